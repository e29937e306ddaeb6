"""Saving and loading trained generators, and colorizing single images of any size with them."""

import functools
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from sar_keras.compat import import_addons
from sar_keras.confidence import ExpectedError
from sar_keras.engine import check_engine, on_engine
from sar_keras.errors import DataError, ModelError, OutputError, SarKerasError, SomeFailed
from sar_keras.files import atomic
from sar_keras.images import SUFFIXES, check_writable_suffix, image_array, read_sar, write_image
from sar_keras.networks import (  # their layers must be known when a model loads
    any_size,
    epcgan,  # noqa: F401
    for_inference,
    patch_size,
    unet,
)
from sar_keras.sar import Scale, check_units, guess_units, warn_if_units_differ

# Our own entry in the .keras archive; Keras passes over it.
_METADATA = "sar_keras.json"
# The model that comes with the package, `load_model("demo")`; benchmarks/demo_model.py made it. Data: CC BY 4.0, see
# DEMO_MODEL.md beside it.
DEMO = Path(__file__).with_name("demo_model.npz")


def save_model(
    generator: keras.Model,
    path: str | os.PathLike,
    sar_scale: Scale,
    optical_scale: Scale | None = None,
    expected_error: ExpectedError | None = None,
) -> None:
    """Save a float32 generator as `.keras`, with the scales of its data and its expected error inside the file."""
    metadata = _metadata(sar_scale, optical_scale, expected_error)
    with atomic(path) as temporary:
        generator.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_METADATA, json.dumps(metadata))


def _metadata(sar_scale: Scale, optical_scale: Scale | None, expected_error: ExpectedError | None) -> dict:
    return {
        "sar_scale": vars(sar_scale),
        "optical_scale": optical_scale and vars(optical_scale),
        "expected_error": expected_error and vars(expected_error),
    }


def _take_metadata(generator: keras.Model, metadata: dict, path: Path) -> keras.Model:
    optical_scale, expected_error = metadata.get("optical_scale"), metadata.get("expected_error")
    generator.sar_scale = Scale(**metadata.get("sar_scale", {}))
    generator.optical_scale = optical_scale and Scale(**optical_scale)
    generator.expected_error = expected_error and ExpectedError(**expected_error)
    generator.saved_as = str(path)
    return generator


def save_demo(generator: keras.Model, **architecture) -> None:
    """Make a loaded U-Net the model "demo": kernels in float16, and the arguments of `UNetGenerator`."""
    metadata = _metadata(generator.sar_scale, generator.optical_scale, generator.expected_error)
    # Statistics of batch normalisation may be too small for float16.
    weights = [weight.astype("float16" if weight.ndim > 1 else "float32") for weight in generator.get_weights()]
    text = json.dumps(metadata | {"architecture": architecture})
    with atomic(DEMO) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, *weights, metadata=text)


def _load_demo() -> keras.Model:
    with np.load(DEMO) as file:
        metadata = json.loads(str(file["metadata"]))
        generator = unet.UNetGenerator(**metadata["architecture"])
        generator.set_weights([file[f"arr_{n}"].astype("float32") for n in range(len(generator.weights))])
    return _take_metadata(generator, metadata, DEMO)


def load_model(model: str | os.PathLike) -> keras.Model:
    """Load a generator from a run directory or a `.keras` file, or "demo", the one that comes with the package.

    Returns:
        A Keras model whose `predict` takes SAR (N, 256, 256, channels), float32 in [-1, 1], and gives optical
        (N, 256, 256, 3), float32 in [-1, 1]. Its attribute `sar_scale` says how stored values become [-1, 1],
        `optical_scale` the same of the optical images that it was trained on (or None), `expected_error` how far its
        colours may be off (or None), `saved_as` which file it is.

    Raises:
        ModelError: neither a run that has saved a generator nor a readable `.keras` file.
    """
    path = Path(model)
    if str(model) == "demo" and not path.is_file() and not (path / "config.yaml").is_file():
        return _load_demo()
    if path.is_dir():
        if not (path / "config.yaml").is_file():
            raise ModelError(f"{path}: not a run directory (it holds no config.yaml)")
        path = path / "generator.keras"
        if not path.is_file():
            raise ModelError(f"{path.parent}: has saved no generator yet; train on with sar-keras fit --resume")
    if not path.is_file():
        raise ModelError(f"{path}: no such model; give a run directory, a .keras file, or demo")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a .keras file, or a broken one")
    saved_by = ""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive)
            saved_by = json.loads(archive.read("metadata.json"))["keras_version"]
            if b"Addons>" in archive.read("config.json"):
                import_addons(str(path))
        generator = keras.saving.load_model(path, compile=False, safe_mode=True)
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
        if isinstance(generator, keras.Sequential):  # lacks some of what functional models have
            generator = keras.Model(generator.inputs, generator.outputs, name=generator.name)
        _take_metadata(generator, metadata, path)
        shape = generator.input_shape
        if len(generator.inputs) != 1 or len(shape) != 4 or generator.output_shape != (*shape[:3], 3):
            raise ModelError(f"{path}: not a generator (SAR images in, RGB images of their size out)")
    except (PermissionError, SarKerasError):
        raise
    except Exception as error:  # a file from somewhere makes Keras raise anything
        if saved_by and str(saved_by).partition(".")[0] != keras.__version__.partition(".")[0]:
            raise ModelError(
                f"{path}: was saved by Keras {saved_by}, which Keras {keras.__version__} does not read; "
                "load it there, or serve what sar-keras export makes of it there"
            ) from error
        raise ModelError(f"{path}: not a model that can be loaded: {_first_line(error)}") from error
    if not metadata:
        warnings.warn(f"{path} does not say how its SAR input was scaled: taken for 8-bit", stacklevel=2)
    return generator


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Raise ValueError where a .keras file would unpack to much more, or ask for more weights, than it holds.

    Keras stores weights as they are.
    """
    size = sum(entry.compress_size for entry in archive.infolist())
    if sum(entry.file_size for entry in archive.infolist()) > 10 * size + 2**20:
        raise ValueError("unpacks to more than ten times its size")
    pending = [json.loads(archive.read("config.json"))]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            weights = max((value.get(name) for name in ("filters", "units") if _is_count(value.get(name))), default=0)
            sides = value.get("kernel_size")
            for side in sides if isinstance(sides, list) else []:
                weights *= side if _is_count(side) else 1
            if 4 * weights > size:
                raise ValueError("asks for more weights than it holds")
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []


def _is_count(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def colorizer(generator: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """The generator as a function of one SAR image of any size, to uint8 RGB of that size.

    The function takes (H, W, channels), float32 in [-1, 1]. The image is mirrored at its right and lower border until
    both sides are multiples of the network's patch size, and cropped back. It is what `colorize` and exported models
    run, so that both give the same colours.
    """
    network = any_size(generator)
    patch = patch_size(generator)

    # AutoGraph would take half a second to find nothing to convert.
    @tf.function(input_signature=[tf.TensorSpec((None, None, generator.input_shape[-1]), tf.float32)], autograph=False)
    def run(sar):
        height, width = tf.shape(sar)[0], tf.shape(sar)[1]
        padded = _mirror_to_multiple(_mirror_to_multiple(sar, patch, axis=0), patch, axis=1)
        optical = network(padded[None], training=False)[0, :height, :width]
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


def for_engine(model: keras.Model, precision: str, engine: str) -> keras.Model:
    """A copy of a generator that is faster, see `for_inference`, for a function to give to `on_engine`."""
    if engine == "openvino":
        # It rounds by itself, but whatever comes after the last plain convolution it leaves in float32: of a U-Net with
        # transposed ones the whole decoder.
        return for_inference(model, without_transposed=True)
    return for_inference(model, precision)


@functools.lru_cache(maxsize=1)
def loaded(model: str) -> keras.Model:
    """`load_model`, once for many images."""
    return load_model(model)


def colorize(
    model: keras.Model | str | os.PathLike,
    image,
    units: str = "auto",
    precision: str = "float32",
    engine: str = "tensorflow",
) -> np.ndarray:
    """Colorize one SAR image of any height and width.

    Args:
        model: A model from `load_model`, or the path of one, which is loaded once.
        image: A path to a PNG, JPEG or TIFF, a PIL image, or an array (H, W) or (H, W, channels) of uint8, uint16 or
            float (decibel, linear power, or [-1, 1]).
        units: Units of its values, see `sar_keras.sar.Scale.to_unit`; "auto" guesses them from dtype and statistics,
            and warns where they are not what the model was trained on.
        precision: "float32", or "bfloat16", which is faster where the processor has it; it keeps the weights that the
            model has at its first call.
        engine: "tensorflow", or "openvino", which is faster on CPUs, needs some seconds before images of a new size,
            and keeps the weights likewise; it is the extra `openvino`.

    Returns:
        RGB, uint8 (H, W, 3).

    Raises:
        DataError: the image cannot be read or has too few bands; or other units, another precision or engine.
        ModelError: `model` is a path without a model.
    """
    check_engine(engine, precision)
    check_units(units)
    if not isinstance(model, keras.Model):
        model = loaded(os.fspath(model))
    channels = model.input_shape[-1]
    name = "the image"
    if isinstance(image, str | os.PathLike):
        name = str(image)
        values = read_sar(image, channels)
    else:
        values = image_array(image) if isinstance(image, Image.Image) else np.asarray(image)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[-1] < channels or values.size == 0:
            raise DataError(f"{name} has the shape {np.shape(image)}; the model takes (height, width, {channels})")
        values = values[..., :channels]
    scale = getattr(model, "sar_scale", Scale())
    units = guess_units(values, scale) if units == "auto" else units
    warn_if_units_differ(units, scale, name)
    missing = ~np.isfinite(values)
    if missing.all():
        raise DataError(f"{name} holds no data: no value is a number")
    if missing.any():  # as in scenes
        values = np.where(missing, np.median(values[~missing]), values)
    return _kept_colorizer(model, precision, engine)(np.asarray(scale.to_unit(values, units)))


def _kept_colorizer(model: keras.Model, precision: str, engine: str) -> Callable[[np.ndarray], np.ndarray]:
    name = f"colorizer_{precision}_{engine}"
    if not hasattr(model, name):
        # Of the plain model nothing is copied, so that it may go on changing.
        plain = (precision, engine) == ("float32", "tensorflow")
        network = model if plain else for_engine(model, precision, engine)
        setattr(model, name, on_engine(colorizer(network), engine, precision))
    return getattr(model, name)


def colorize_files(
    model: keras.Model,
    inputs: list[Path],
    output: Path,
    progress: Callable[[Iterable], Iterable] = iter,
    precision: str = "float32",
    engine: str = "tensorflow",
) -> list[Path]:
    """Colorize image files into `output`: a file for one input, a folder for several or for a folder of images.

    Raises:
        OutputError: the output's suffix cannot be written, or an output would replace its input.
        SomeFailed: some of several inputs could not be colorized; the others are written.
    """
    jobs = _outputs_for(inputs, output)
    for source, destination in jobs:
        check_writable_suffix(destination)
        if source.resolve() == destination.resolve():
            raise OutputError(f"{destination}: would replace its own input; give another -o")

    def work(source, destination):
        write_image(destination, colorize(model, source, precision=precision, engine=engine))

    return do_all(jobs, work, "images", progress)


def do_all(
    jobs: list[tuple[Path, Path]],
    work: Callable[[Path, Path], object],
    kind: str,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Path]:
    """Do `work(source, destination)` for each job, whichever of several fail, and return the destinations.

    Raises:
        SomeFailed: some of several failed; it names them. A single one raises its own error.
    """
    done, failures = [], []
    for source, destination in progress(jobs):
        try:
            work(source, destination)
            done.append(destination)
        except SarKerasError as error:
            if len(jobs) == 1:
                raise
            failures.append(str(error))
    if failures:
        raise SomeFailed(
            f"{len(failures)} of {len(jobs)} {kind} failed, the others are done:\n  " + "\n  ".join(failures)
        )
    return done


def find_below(folder: Path, suffixes: tuple[str, ...], output: Path) -> list[Path]:
    """Files below a folder, but for the colours of an earlier run in `output` and what a killed one has left."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    earlier = output.absolute() if output.absolute() != folder.absolute() else None
    return [path for path in found if not path.name.startswith(".") and earlier not in path.absolute().parents]


def destinations(found: Iterable[tuple[Path, Path]], output: Path, suffix: str) -> list[tuple[Path, Path]]:
    """(source, destination) for each (source, its place below the folder `output`).

    Raises:
        OutputError: two sources would become one file.
    """
    jobs: dict[Path, Path] = {}
    for source, below in found:
        destination = (output / below).with_suffix(suffix)
        if destination in jobs:
            raise OutputError(f"{source} and {jobs[destination]} would both become {destination}; rename one")
        jobs[destination] = source
    return [(source, destination) for destination, source in jobs.items()]


def _outputs_for(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    if len(inputs) == 1 and not inputs[0].is_dir() and not output.is_dir():
        return [(inputs[0], output)]
    found: list[tuple[Path, Path]] = []
    for source in inputs:
        if not source.is_dir():
            found.append((source, Path(source.name)))
            continue
        images = find_below(source, SUFFIXES, output)
        if not images:
            raise DataError(f"{source}: holds no images ({', '.join(SUFFIXES)})")
        found += [(path, path.relative_to(source)) for path in images]
    jobs = destinations(found, output, ".png")
    if output.is_file():
        raise OutputError(f"{output}: is a file; several inputs need a folder as -o")
    return jobs
