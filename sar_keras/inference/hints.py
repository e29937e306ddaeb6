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
from sar_keras.io.sar import guess_units

# The parameters that give one, of `sar_keras.colorize` and others.
HINTS = ("palette", "basemap", "reference", "reference_sar", "clouds")
NO_HINT = "none, so that colours are a guess; a palette, a basemap or a reference guides them"
ImageLike = Any  # a path, or an array (H, W, 3) of uint8
# In squares of 32 pixels two dates of the same ground correlate by about 0.35, other ground by 0.00: of 344 pairs of
# images of 256 pixels 3 in 100 of the same ground were below 0.05, and 98 in 100 of other ground.
_SQUARE = 32
_UNLIKE = 0.05
_ENOUGH = 16  # squares
LEAST_WEIGHT = 0.25  # of the pixels that count for one: beyond the corner of what has data


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
        said = f"the {'coarse image' if self.kind == 'coarse' else 'image of another date'} {name_of(self.image)}"
        said += f", with the SAR image {name_of(self.sar)} of that date" if self.sar is not None else ""
        return said + (f", without the clouds of {name_of(self.mask)}" if self.mask is not None else "")


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


def files_of_hint(**given: ImageLike) -> list[Path]:
    """The files among the values of the parameters HINTS."""
    values = [each for value in given.values() for each in (value if isinstance(value, list | tuple) else [value])]
    return [Path(value) for value in values if _is_path(value)]


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
        if not where.any():
            raise DataError(f"{parameter('palette')}: {name_of(palette)} is transparent or black everywhere")
        return _unit(levels[where].mean(0))
    colour = np.asarray(palette)
    is_share = colour.dtype.kind == "f" and colour.size and 0 < colour.max() <= 1
    if colour.shape != (3,) or not (colour.min() >= 0 and colour.max() <= 255) or is_share:
        raise DataError(f"{parameter('palette')}: is {palette}; give three levels of 0 to 255, or '#5c6b3a'")
    return _unit(colour)


def _unit(colour: np.ndarray) -> np.ndarray:
    return (colour / 127.5 - 1).astype("float32")


def _levels(image: ImageLike) -> tuple[np.ndarray, np.ndarray]:
    """RGB (H, W, 3), uint8, and where it counts, (H, W)."""
    name, mask = "the hint", None
    if _is_path(image):
        name, levels = os.fspath(image), read_optical(image)
        with open_raster(Path(image)) as raster:
            mask = raster.dataset_mask() > 0
    else:
        if isinstance(image, Image.Image) and "A" in image.getbands():
            mask = np.asarray(image.getchannel("A")) > 0
        levels = image if isinstance(image, np.ndarray) else image_array(image)
        if levels.ndim == 2 or levels.shape[-1] == 1:  # grey
            levels = np.repeat(np.atleast_3d(levels), 3, -1)
        if levels.ndim != 3 or levels.shape[-1] not in (3, 4):
            raise DataError(f"{name}: has the shape {levels.shape}; give RGB as (height, width, 3)")
    check_is_rgb(name, levels.dtype, levels.shape[-1])
    if mask is None and levels.shape[-1] == 4:
        mask = levels[..., 3] > 0
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
    if np.dtype(dtype) != np.uint8:
        chosen = "-b 4 -b 3 -b 2 " if bands > 4 else ""
        raise DataError(
            f"{name}: is {dtype}, not RGB of 8 bits, as colours are shown; make it so, for example with "
            f"gdal_translate {chosen}-ot Byte -scale 0 3000 0 255, for reflectance times 10,000"
        )


def warn_of_grey(name: str) -> None:
    warnings.warn(f"{name}: is grey, so it tells no colours; is it the SAR image?", stacklevel=3)


def likeness_of_dates(sar: np.ndarray, other: np.ndarray, valid: np.ndarray) -> list[float]:
    """How two SAR images (H, W, channels) correlate in each square of 32 pixels that has data, `valid` (H, W)."""
    found = []
    for row in range(0, sar.shape[0] - _SQUARE + 1, _SQUARE):
        for column in range(0, sar.shape[1] - _SQUARE + 1, _SQUARE):
            square = slice(row, row + _SQUARE), slice(column, column + _SQUARE)
            one, two = sar[square][..., 0], other[square][..., 0]
            if valid[square].all() and one.std() > 0 < two.std():
                found.append(float(np.corrcoef(one.ravel(), two.ravel())[0, 1]))
    return found


def warn_of_other_ground(likenesses: list[float], name: str) -> None:
    """Warn where the SAR images of two dates, see `likeness_of_dates`, seem to show other ground."""
    if len(likenesses) >= _ENOUGH and np.mean(likenesses) < _UNLIKE:
        warnings.warn(
            f"{name}: has nothing in common with the SAR image that is colorized (correlation "
            f"{np.mean(likenesses):.2f}); if it shows other ground, the reference does too, and the colours are wrong",
            stacklevel=3,
        )


def to_unit(levels: np.ndarray) -> np.ndarray:
    return levels.astype("float32") / 127.5 - 1


def image_hint(
    network: Network,
    hint: Hint | None,
    height: int,
    width: int,
    units: str = "auto",
    limits: dict[str, tuple[float, float]] | None = None,
) -> np.ndarray | None:
    """The planes of a hint for a SAR image, (height, width, hint_channels), to whose size it is stretched, if any.

    `units` are those of the SAR image of another date; in `limits` by units what becomes -1 and 1, so that both dates
    can be compared.
    """
    channels = network.channels
    if hint is None:
        return None
    if hint.kind == "palette":
        return compose_hint(np.broadcast_to(np.float32(hint.image), (height, width, 3)), hint.kind, channels=channels)
    levels, where = _levels(hint.image)
    if is_grey(levels):
        warn_of_grey(name_of(hint.image))
    if hint.kind == "other_date":
        _warn_if_stretched(hint.image, levels, height, width)
    here = _at_size(where, height, width, Image.Resampling.NEAREST)
    if hint.mask is not None:
        mask = read_image(hint.mask, lambda bands: bands.numbers[:1]) if _is_path(hint.mask) else np.asarray(hint.mask)
        cloudy = np.atleast_3d(mask)[..., 0] != 0
        _warn_if_stretched(hint.mask, cloudy, height, width)
        here &= ~_at_size(cloudy, height, width, Image.Resampling.BOX)
        where = where & ~_at_size(cloudy, *where.shape, Image.Resampling.BOX)
    if not here.any():
        warnings.warn(f"{name_of(hint.image)}: is empty (transparent, black or clouds), so it is no hint", stacklevel=3)
    rgb = stretched(to_unit(levels), height, width, where)
    sar = where_sar = None
    if hint.sar is not None:
        sar, where_sar = _sar_of_date(network, hint.sar, units, limits or {}, height, width)
    return compose_hint(rgb, hint.kind, here[..., None], sar, where_sar, channels)


def _warn_if_stretched(image: ImageLike, levels: np.ndarray, height: int, width: int) -> None:
    if levels.shape[:2] != (height, width):
        warnings.warn(
            f"{name_of(image)}: has {levels.shape[1]}x{levels.shape[0]} pixels, stretched to {width}x{height}: "
            "it has to show the same ground",
            stacklevel=4,
        )


def _at_size(mask: np.ndarray, height: int, width: int, resampling: Image.Resampling) -> np.ndarray:
    """A mask (h, w) at another size, bool (height, width). With BOX a pixel is set where one of those within is."""
    return np.asarray(Image.fromarray(mask.astype("float32")).resize((width, height), resampling)) > 0


def _sar_of_date(
    network: Network, image: ImageLike, units: str, limits: dict[str, tuple[float, float]], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The SAR image of another date (height, width, channels) in [-1, 1], and where it has data, (height, width, 1)."""
    metadata, channels = network.metadata, network.channels
    if _is_path(image) or isinstance(image, list | tuple):
        files = [Path(path) for path in (image if isinstance(image, list | tuple) else [image])]
        values = read_sar(files, channels, trained_on=metadata.sar_bands)
    else:
        values = np.atleast_3d(np.asarray(image))
    if values.ndim != 3 or values.shape[-1] < channels:
        raise DataError(f"{parameter('reference_sar')}: has the shape {values.shape}; the model takes {channels} bands")
    values = values[..., :channels]
    where = np.asarray(np.isfinite(values).all(-1))
    units = guess_units(values, metadata.sar_scale) if units == "auto" else units
    sar = stretched(metadata.sar_scale.to_unit(values, units, limits.get(units)), height, width, where)
    _warn_if_stretched(image, values, height, width)
    return sar, _at_size(where, height, width, Image.Resampling.NEAREST)[..., None]


def stretched(image: np.ndarray, height: int, width: int, where: np.ndarray | None = None) -> np.ndarray:
    """An image (h, w, c) in [-1, 1] at another size, bicubically; where it becomes smaller its pixels are averaged.

    Pixels that do not count, where `where` (h, w) is not set, do not change those beside them.
    """

    def resized(band: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.BICUBIC))

    bands = np.moveaxis(image, -1, 0)
    if where is None or where.all():
        return np.clip(np.stack([resized(band) for band in bands], -1), -1, 1)
    weights = where.astype("float32")
    total = np.maximum(resized(weights), LEAST_WEIGHT)
    return np.clip(np.stack([resized(np.where(where, band, 0)) / total for band in bands], -1), -1, 1)


def name_of(image: ImageLike) -> str:
    if isinstance(image, list | tuple):
        return " and ".join(map(name_of, image))
    return Path(os.fspath(image)).name if _is_path(image) else "an array"


def _is_path(image: ImageLike) -> bool:
    return isinstance(image, str | os.PathLike)
