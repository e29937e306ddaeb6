"""Colorizing single images of any size."""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from sar_keras.errors import DataError
from sar_keras.inference.compiled import compiled
from sar_keras.inference.detail import add_detail, check_detail, fine_structure
from sar_keras.inference.hints import hint_of, image_hint
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.model_file import load_once
from sar_keras.inference.openvino import check_engine
from sar_keras.io.bands import Choice, warn_if_bands_differ
from sar_keras.io.images import image_array, read_sar
from sar_keras.io.sar import check_units, guess_units, warn_if_units_differ
from sar_keras.networks.guided import input_planes, split_planes
from sar_keras.networks.sizes import any_size, patch_size, sar_channels, takes_hint


def image_function(generator: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The generator as a function of one SAR image of any size, to uint8 RGB of that size.

    The function takes (H, W, channels), float32 in [-1, 1]; of a guided generator the planes of the hint follow. The
    image is mirrored at its right and lower border until both sides are multiples of the network's patch size, and
    cropped back. It is what `colorize` and exported models run, so that both give the same colours.
    """
    network = any_size(generator)
    patch = patch_size(generator)

    # AutoGraph would take half a second to find nothing to convert.
    @tf.function(input_signature=[tf.TensorSpec((None, None, input_planes(generator)), tf.float32)], autograph=False)
    def run(sar):
        height, width = tf.shape(sar)[0], tf.shape(sar)[1]
        padded = _mirror_to_multiple(_mirror_to_multiple(sar, patch, axis=0), patch, axis=1)
        optical = network(split_planes(network, padded[None]), training=False)[0, :height, :width]
        return tf.cast(tf.clip_by_value(tf.round((optical + 1.0) * 127.5), 0.0, 255.0), tf.uint8)

    run.network = network  # Keeps the layers alive, which a tf.function does not.
    return run


def _mirror_to_multiple(image: tf.Tensor, multiple: int, axis: int) -> tf.Tensor:
    """Continue an image by reflections, as often as it takes; works from a single pixel on."""
    size = tf.shape(image)[axis]
    positions = tf.range(-(-size // multiple) * multiple)
    period = tf.maximum(2 * (size - 1), 1)
    positions = tf.minimum(positions % period, period - positions % period)
    return tf.gather(image, tf.minimum(positions, size - 1), axis=axis)


def _are_paths(image) -> bool:
    return isinstance(image, list | tuple) and all(isinstance(path, str | os.PathLike) for path in image)


def colorize(
    model: keras.Model | str | os.PathLike,
    image,
    units: str = "auto",
    precision: str = "float32",
    engine: str = "tensorflow",
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
        model: A model from `load_model`, or the path of one, which is loaded once. The colours are those of the weights
            that it has at the call.
        image: A path to a PNG, JPEG, TIFF, BMP or WebP, or a list of paths where each polarisation has a file; a PIL
            image, or an array (H, W) or (H, W, channels) of uint8, uint16 or float (decibel, linear power, or [-1, 1]).
        units: Units of its values, see `sar_keras.io.sar.Scale.to_unit`; "auto" guesses them from dtype and statistics,
            and warns where they are not what the model was trained on.
        precision: "float32", or "bfloat16", which is faster where the processor has it.
        engine: "tensorflow", or "openvino", which is faster on CPUs and needs some seconds before images of a new size;
            it is the extra `openvino`.
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
    check_engine(engine, precision)
    check_detail(detail)
    check_units(units)
    if not isinstance(model, keras.Model):
        model = load_once(model)
    hint = hint_of(model, palette, basemap, reference, reference_sar, clouds)
    channels = sar_channels(model)
    name = "the image"
    metadata = metadata_of(model)
    if isinstance(image, str | os.PathLike) or _are_paths(image):
        files = [Path(image)] if isinstance(image, str | os.PathLike) else [Path(path) for path in image]
        name = str(files[0])
        choices: list[Choice] = []
        values = read_sar(files, channels, trained_on=metadata.sar_bands, note=choices.append)
        warn_if_bands_differ(choices[0].names, metadata.sar_bands, name)
    else:
        values = image_array(image) if isinstance(image, Image.Image) else np.asarray(image)
        shape = values.shape
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[-1] < channels or values.size == 0:
            raise DataError(f"{name} has the shape {shape}; the model takes (height, width, {channels})")
        values = values[..., :channels]
    scale, told = metadata.sar_scale, units
    units = guess_units(values, scale) if units == "auto" else units
    warn_if_units_differ(units, scale, name)
    missing = ~np.isfinite(values)
    if missing.all():
        raise DataError(f"{name} holds no data: no value is a number")
    if missing.any():  # as in scenes
        values = np.where(missing, np.median(values[~missing]), values)
    run = compiled(model, image_function, "image", precision, engine, exact=True)
    sar = np.asarray(scale.to_unit(values, units))
    planes = [image_hint(model, hint, sar.shape[0], sar.shape[1], told)] if takes_hint(model) else []
    colours = run(np.concatenate([sar, *planes], -1))
    if detail:
        fine = fine_structure(sar, np.logical_not(missing.any(-1)))
        colours = np.rint(add_detail(colours.astype("float32"), detail * fine)).astype(np.uint8)
    return colours
