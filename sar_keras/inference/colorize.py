"""Colorizing single images of any size. Loads TensorFlow only where the engine is."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sar_keras.errors import DataError
from sar_keras.inference.detail import add_detail, check_detail, fine_structure
from sar_keras.inference.engines import network_of
from sar_keras.inference.hints import hint_of, image_hint, likeness_of_dates, name_of, warn_of_other_ground
from sar_keras.inference.network import Network, to_levels
from sar_keras.io.bands import Choice, warn_if_bands_differ
from sar_keras.io.images import image_array, read_bands, read_image, read_sar, warn_if_coloured
from sar_keras.io.sar import check_units, guess_units, warn_if_units_differ

if TYPE_CHECKING:
    import keras


def _are_paths(image) -> bool:
    return isinstance(image, list | tuple) and all(isinstance(path, str | os.PathLike) for path in image)


def colorize(
    model: "keras.Model | Network | str | os.PathLike",
    image,
    units: str = "auto",
    precision: str = "float32",
    engine: str = "auto",
    detail: float = 0.0,
    *,
    palette=None,
    basemap=None,
    reference=None,
    reference_sar=None,
    clouds=None,
) -> np.ndarray:
    """Colorize one SAR image of any height and width.

    Args:
        model: A model from `load_model`, or the path of one, or of an export for OpenVINO, which is loaded once. The
            colours are those of the weights that it has at the call.
        image: A path to a PNG, JPEG, TIFF, BMP or WebP, or a list of paths where each polarisation has a file; a PIL
            image, or an array (H, W) or (H, W, channels) of uint8, uint16 or float (decibel, linear power, or [-1, 1]).
        units: Units of its values, see `sar_keras.io.sar.Scale.to_unit`; "auto" guesses them from dtype and statistics,
            and warns where they are not what the model was trained on.
        precision: "float32", or "bfloat16", which is faster where the processor has it.
        engine: "openvino", the extra of this name, starts sooner, is often faster on CPUs, and needs a moment before
            images of a new size; the first use of a model converts it. "tensorflow" gives the colours of
            `model.predict` to the bit. "auto" is OpenVINO for a path, where it is installed and can take the model, and
            TensorFlow otherwise, see `sar_keras.inference.engines.network_of`.
        detail: How much of the SAR image's own fine structure comes into the lightness, 0 to 1, see
            `sar_keras.inference.detail`.
        palette: For a guided model: the colour of the place, "#5c6b3a", three levels of 0 to 255, or an image whose
            mean colour counts.
        basemap: For a guided model: colours of today or of always at a low resolution.
        reference: For a guided model: an image of another date. Like `basemap` a path or an array (h, w, 3) of uint8,
            of the same ground; another size is stretched. Give one of the three.
        reference_sar: The SAR image of the date of `reference`: a path, a list of paths, or an array.
        clouds: A mask, path or array (h, w): not 0 where `reference` or `basemap` shows clouds.

    Returns:
        RGB, uint8 (H, W, 3).

    Raises:
        DataError: the image cannot be read or has too few bands; or other units, another precision or engine; or
            a detail beyond 0 to 1.
        ModelError: `model` is a path without a model, or takes no hint, and one is given.
    """
    check_detail(detail)
    check_units(units)
    network = network_of(model, engine, precision)
    hint = hint_of(network, palette, basemap, reference, reference_sar, clouds)
    channels, metadata = network.channels, network.metadata
    name = "the image"
    if isinstance(image, str | os.PathLike) or _are_paths(image):
        files = [Path(image)] if isinstance(image, str | os.PathLike) else [Path(path) for path in image]
        name = str(files[0])
        choices: list[Choice] = []
        values = read_sar(files, channels, trained_on=metadata.sar_bands, note=choices.append)
        warn_if_bands_differ(choices[0].names, metadata.sar_bands, name)
        if channels == len(files) == 1 and not any(choices[0].names) and len(read_bands(files[0]).numbers) > 1:
            warn_if_coloured(read_image(files[0], lambda there: there.numbers), name)
    else:
        values = image_array(image) if isinstance(image, Image.Image) else np.asarray(image)
        shape = values.shape
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[-1] < channels or values.size == 0:
            raise DataError(f"{name} has the shape {shape}; the model takes (height, width, {channels})")
        if channels == 1:
            warn_if_coloured(values, name)
        values = values[..., :channels]
    scale, told = metadata.sar_scale, units
    units = guess_units(values, scale) if units == "auto" else units
    warn_if_units_differ(units, scale, name, metadata.sar_units)
    missing = ~np.isfinite(values)
    if missing.all():
        raise DataError(f"{name} holds no data: no value is a number")
    if missing.any():  # as in scenes
        values = np.where(missing, np.median(values[~missing]), values)
    limits = scale.limits(units, values)
    sar = scale.to_unit(values, units, limits)
    planes = image_hint(network, hint, sar.shape[0], sar.shape[1], told, {units: limits})
    if hint is not None and hint.sar is not None and planes is not None:
        other, there = planes[..., -channels:], planes[..., -channels - 1] > 0
        warn_of_other_ground(likeness_of_dates(sar, other, there), name_of(hint.sar))
    colours = _colours(network, sar, planes)
    if detail:
        fine = fine_structure(sar, np.logical_not(missing.any(-1)))
        colours = np.rint(add_detail(colours.astype("float32"), detail * fine)).astype(np.uint8)
    return colours


def _colours(network: Network, sar: np.ndarray, hint: np.ndarray | None) -> np.ndarray:
    """RGB, uint8 (H, W, 3), of SAR and hint (H, W, c), mirrored at the right and lower border to what fits."""
    height, width = sar.shape[:2]
    hint = None if hint is None else _mirrored(hint, network.patch)[None]
    optical = network(_mirrored(sar, network.patch)[None], hint, exact=True)[0, :height, :width]
    return np.rint(to_levels(optical)).astype(np.uint8)


def _mirrored(image: np.ndarray, multiple: int) -> np.ndarray:
    beyond = [-size % multiple for size in image.shape[:2]]
    if not any(beyond):  # `np.pad` would take a twentieth of a small network's time for nothing
        return image
    return np.pad(image, [(0, beyond[0]), (0, beyond[1]), (0, 0)], "reflect")
