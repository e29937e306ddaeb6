"""Hints for a guided model, from what a person has: a colour, a coarse image, or an image of another date.

Loads no TensorFlow.
"""

import dataclasses
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from sar_keras.errors import DataError, ModelError, parameter
from sar_keras.hint_planes import compose_hint, has_data
from sar_keras.inference.network import Network
from sar_keras.io.images import image_array, is_grey, read_image, read_optical, read_sar
from sar_keras.io.opening import open_raster

# The parameters that give one, of `sar_keras.colorize` and others.
HINTS = ("palette", "basemap", "reference", "reference_sar", "clouds")
NO_HINT = "none, so that colours are a guess; a palette, a basemap or a reference guides them"
ImageLike = Any  # a path, or an array (H, W, 3) of uint8


@dataclasses.dataclass(frozen=True)
class Hint:
    """What is known of the colours of a SAR image.

    Attributes:
        kind: One of `sar_keras.hint_planes.KINDS`.
        image: A colour (3,) in [-1, 1], a path, or an image (H, W, 3) of uint8.
        sar: The SAR image of the date of `image`, or a list of paths where each polarisation has a file, or None.
        mask: A path or an array (H, W): not 0 where `image` is not to be believed, such as clouds. None: nowhere.
    """

    kind: str
    image: ImageLike
    sar: ImageLike | None = None
    mask: ImageLike | None = None

    @property
    def said(self) -> str:
        """For people: what the hint is."""
        if self.kind == "palette":
            levels = np.rint((np.asarray(self.image) + 1) * 127.5).astype(int)
            return f"the colour #{levels[0]:02x}{levels[1]:02x}{levels[2]:02x}"
        said = f"the {'coarse image' if self.kind == 'coarse' else 'image of another date'} {_name(self.image)}"
        said += f", with the SAR image {_name(self.sar)} of that date" if self.sar is not None else ""
        return said + (f", without the clouds of {_name(self.mask)}" if self.mask is not None else "")


def hint_of(
    network: Network,
    palette: ImageLike | None = None,
    basemap: ImageLike | None = None,
    reference: ImageLike | None = None,
    reference_sar: ImageLike | None = None,
    clouds: ImageLike | None = None,
) -> Hint | None:
    """The hint that is given in one of these ways, or None; see `sar_keras.colorize`.

    Raises:
        DataError: more than one of palette, basemap and reference, or what belongs to a reference without it.
        ModelError: a model that takes no hint.
    """
    given = {"palette": palette, "basemap": basemap, "reference": reference}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in (("reference_sar", reference_sar), ("clouds", clouds)):
        if value is not None and reference is None and (name == "reference_sar" or basemap is None):
            partners = [parameter("reference"), *([parameter("basemap")] if name == "clouds" else [])]
            raise DataError(f"{parameter(name)}: belongs to {' or '.join(partners)}, which is not given")
    if not given:
        return None
    if len(given) > 1:
        raise DataError(f"{' and '.join(map(parameter, given))}: give one of them")
    name = next(iter(given))
    if not network.takes_hint:
        raise ModelError(
            f"{network.name}: takes no hint, so {parameter(name)} has no effect; "
            "sar-keras fit guided trains a model that does"
        )
    if palette is not None:
        return Hint("palette", _colour(palette))
    if basemap is not None:
        return Hint("coarse", basemap, mask=clouds)
    return Hint("other_date", reference, reference_sar, clouds)


def _colour(palette: ImageLike) -> np.ndarray:
    """A colour's name, such as "#5c6b3a", or three levels of 0 to 255, or the mean colour of an image; in [-1, 1]."""
    if _is_path(palette) and not os.path.exists(palette):
        name = os.fspath(palette)
        try:
            palette = np.array(ImageColor.getrgb(f"#{name}" if re.fullmatch("[0-9a-fA-F]{6}", name) else name)[:3])
        except ValueError as error:
            raise DataError(f"{parameter('palette')} {name}: neither a colour such as '#5c6b3a' nor a file") from error
    if _is_path(palette) or np.ndim(palette) == 3:
        levels, where = _levels(palette)
        colour = levels[where].mean(0) if where.any() else np.zeros(3)
    else:
        colour = np.asarray(palette, "float64")
    if colour.shape != (3,) or not (colour.min() >= 0 and colour.max() <= 255) or 0 < colour.max() < 1:
        raise DataError(f"{parameter('palette')}: is {palette}; give three levels of 0 to 255, or '#5c6b3a'")
    return (colour / 127.5 - 1).astype("float32")


def _levels(image: ImageLike) -> tuple[np.ndarray, np.ndarray]:
    """RGB (H, W, 3), uint8, and where it counts, (H, W)."""
    name, mask = "the hint", None
    if _is_path(image):
        name, levels = os.fspath(image), read_optical(image)
        with open_raster(Path(image)) as raster:
            mask = raster.dataset_mask() > 0
    else:
        levels = image if isinstance(image, np.ndarray) else image_array(image)
    check_is_rgb(name, levels.dtype, levels.shape[-1] if levels.ndim == 3 else 1)
    levels = levels[..., :3]
    # GDAL does not turn photographs as their EXIF tag says.
    has_mask = mask is not None and mask.shape == levels.shape[:2]
    where = has_data(to_unit(levels))[..., 0]
    return levels, where & mask if has_mask else where


def check_is_rgb(name: str, dtype, bands: int = 3) -> None:
    """
    Raises:
        DataError: not RGB of 8 bits.
    """
    if np.dtype(dtype) != np.uint8 or bands < 3:
        raise DataError(
            f"{name}: is {dtype}, not RGB of 8 bits, as colours are shown; make it so, for example with "
            "gdal_translate -b 4 -b 3 -b 2 -ot Byte -scale 0 3000 0 255, for reflectance times 10,000"
        )


def warn_of_grey(name: str) -> None:
    warnings.warn(f"{name}: is grey, so it tells no colours; is it the SAR image?", stacklevel=3)


def to_unit(levels: np.ndarray) -> np.ndarray:
    return levels.astype("float32") / 127.5 - 1


def image_hint(network: Network, hint: Hint | None, height: int, width: int, units: str = "auto") -> np.ndarray | None:
    """The planes of a hint for a SAR image, (height, width, hint_channels), to whose size it is stretched, if any.

    `units` are those of the SAR image of another date.
    """
    channels = network.channels
    if hint is None:
        return None
    if hint.kind == "palette":
        return compose_hint(np.broadcast_to(np.float32(hint.image), (height, width, 3)), hint.kind, channels=channels)
    levels, where = _levels(hint.image)
    if is_grey(levels):
        warn_of_grey(_name(hint.image))
    if hint.kind == "other_date" and levels.shape[:2] != (height, width):
        warnings.warn(
            f"{_name(hint.image)}: has {levels.shape[1]}x{levels.shape[0]} pixels, stretched to {width}x{height}: "
            "it has to show the same ground",
            stacklevel=3,
        )
    rgb = stretched(to_unit(levels), height, width)
    where = _nearest(where, height, width)
    if hint.mask is not None:
        mask = read_image(hint.mask, lambda bands: bands.numbers[:1]) if _is_path(hint.mask) else np.asarray(hint.mask)
        where &= ~_nearest(np.atleast_3d(mask)[..., 0] != 0, height, width)
    sar = None if hint.sar is None else _sar_of_date(network, hint.sar, units, height, width)
    return compose_hint(rgb, hint.kind, where[..., None], sar, channels=channels)


def _nearest(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask (h, w) at another size, bool (height, width)."""
    return np.asarray(Image.fromarray(mask.astype("uint8")).resize((width, height), Image.Resampling.NEAREST)) > 0


def _sar_of_date(network: Network, image: ImageLike, units: str, height: int, width: int) -> np.ndarray:
    metadata, channels = network.metadata, network.channels
    if _is_path(image) or isinstance(image, list | tuple):
        files = [Path(path) for path in (image if isinstance(image, list | tuple) else [image])]
        values = read_sar(files, channels, trained_on=metadata.sar_bands)
    else:
        values = np.atleast_3d(np.asarray(image))
    if values.ndim != 3 or values.shape[-1] < channels:
        raise DataError(f"{parameter('reference_sar')}: has the shape {values.shape}; the model takes {channels} bands")
    return stretched(metadata.sar_scale.to_unit(values[..., :channels], units), height, width)


def stretched(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W, c) in [-1, 1] at another size, bicubically; where it becomes smaller its pixels are averaged."""
    bands = [
        Image.fromarray(band).resize((width, height), Image.Resampling.BICUBIC) for band in np.moveaxis(image, -1, 0)
    ]
    return np.clip(np.stack([np.asarray(band) for band in bands], -1), -1, 1)


def _name(image: ImageLike) -> str:
    if isinstance(image, list | tuple):
        return " and ".join(map(_name, image))
    return Path(os.fspath(image)).name if _is_path(image) else "an array"


def _is_path(image: ImageLike) -> bool:
    return isinstance(image, str | os.PathLike)
