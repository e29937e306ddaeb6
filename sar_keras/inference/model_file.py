"""Saving and loading trained generators, with what they know of themselves."""

import json
import os
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np

from sar_keras.compat import import_addons
from sar_keras.errors import ModelError, SarKerasError, first_line
from sar_keras.hint_planes import hint_channels
from sar_keras.inference.locate import CONVERTED, DEMO, file_of
from sar_keras.inference.metadata import ModelMetadata, attach, from_json, metadata_of, to_json
from sar_keras.io.files import atomic, local_path
from sar_keras.networks.guided import GuidedGenerator
from sar_keras.networks.sizes import shapes_of_inputs, takes_hint

# Our own entry in the .keras archive; Keras passes over it.
_METADATA = "sar_keras.json"


def save_model(generator: keras.Model, path: str | os.PathLike, metadata: ModelMetadata) -> None:
    """Save a float32 generator as `.keras`, with its metadata inside the file."""
    with atomic(local_path(path)) as temporary:
        keras.Model.save(generator, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_METADATA, json.dumps(to_json(metadata)))


def save_demo(generator: keras.Model, **architecture) -> None:
    """Make a loaded guided U-Net the model "demo": kernels in float16, and the arguments of `GuidedGenerator`."""
    weights = [weight.astype("float16" if weight.ndim > 1 else "float32") for weight in generator.get_weights()]
    text = json.dumps(to_json(metadata_of(generator)) | {"architecture": architecture})
    with atomic(DEMO) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, *weights, metadata=text)


def _load_demo() -> keras.Model:
    with np.load(DEMO) as file:
        metadata = json.loads(str(file["metadata"]))
        generator = GuidedGenerator(**metadata["architecture"])
        generator.set_weights([file[f"arr_{n}"].astype("float32") for n in range(len(generator.weights))])
    _keep_metadata_when_saved(generator)
    return attach(generator, from_json(metadata, DEMO))


def load_model(model: str | os.PathLike) -> keras.Model:
    """Load a generator.

    Args:
        model: A run directory, a `.keras` file, "demo", which comes with the package, or the address of a model on the
            Hugging Face hub: "hf://owner/name" or "hf://owner/name@revision", of which the file generator.keras is
            loaded, from the local cache where there is no network. That needs the extra `hub`.

    Returns:
        A Keras model whose `predict` takes SAR (N, 256, 256, channels), float32 in [-1, 1], and gives optical
        (N, 256, 256, 3), float32 in [-1, 1]. `sar_keras.metadata_of(model)` says how stored values become [-1, 1],
        how far its colours may be off, and which file it is.

    Raises:
        ModelError: neither a run that has saved a generator nor a readable `.keras` file; or the hub does not give it.
    """
    path = file_of(model)
    if path == DEMO:
        return _load_demo()
    if path.name == CONVERTED:
        raise ModelError(f"{path}: is a model for OpenVINO, which only colorize takes; give the run or the .keras file")
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
        if not isinstance(generator, keras.Model):
            raise ModelError(f"{path}: not a generator (SAR images in, RGB images of their size out)")
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
        if isinstance(generator, keras.Sequential):  # lacks some of what functional models have
            generator = keras.Model(generator.inputs, generator.outputs, name=generator.name)
        attach(generator, from_json(metadata, path))
        if not _is_generator(generator):
            raise ModelError(f"{path}: not a generator (SAR images in, RGB images of their size out)")
    except (PermissionError, SarKerasError):
        raise
    except Exception as error:  # a file from somewhere makes Keras raise anything
        if saved_by and str(saved_by).partition(".")[0] != keras.__version__.partition(".")[0]:
            raise ModelError(
                f"{path}: was saved by Keras {saved_by}, which Keras {keras.__version__} does not read; "
                "load it there, or serve what sar-keras export makes of it there"
            ) from error
        raise ModelError(f"{path}: not a model that can be loaded: {first_line(error)}") from error
    _keep_metadata_when_saved(generator)
    if not metadata:
        warnings.warn(f"{path} does not say how its SAR input was scaled: taken for 8-bit", stacklevel=2)
    return generator


def _is_generator(model: keras.Model) -> bool:
    if not takes_hint(model) and len(model.inputs) != 1:
        return False
    shapes = shapes_of_inputs(model)
    sar, hint = shapes.pop("sar", ()), shapes.pop("hint", None)
    if shapes or len(sar) != 4 or model.output_shape != (*sar[:3], 3):
        return False
    return hint is None or hint == (*sar[:3], hint_channels(sar[-1]))


def _keep_metadata_when_saved(generator: keras.Model) -> None:
    """Let `generator.save` write the metadata, too."""

    def save(filepath, overwrite=True, *arguments, **options):
        if Path(filepath).suffix == ".keras" and overwrite and not arguments and not options:
            save_model(generator, filepath, metadata_of(generator))
        else:
            keras.Model.save(generator, filepath, overwrite, *arguments, **options)

    generator.save = save


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
            weights = max([value[name] for name in ("filters", "units") if _is_count(value.get(name))], default=0)
            sides = value.get("kernel_size")
            for side in sides if isinstance(sides, list) else []:
                weights *= side if _is_count(side) else 1
            if 4 * weights > size:
                raise ValueError("asks for more weights than it holds")
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []


def _is_count(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
