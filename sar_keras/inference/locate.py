"""Where the model is that people name. Loads no TensorFlow."""

import os
from pathlib import Path

from sar_keras.errors import ModelError
from sar_keras.inference import hub
from sar_keras.io.files import local_path

# The model that comes with the package, "demo"; benchmarks/demo_model.py made it. Data: CC BY 4.0, see DEMO_MODEL.md
# beside it.
DEMO = Path(__file__).with_name("demo_model.npz")
# Of an export for OpenVINO.
CONVERTED = "model.xml"


def file_of(model: str | os.PathLike) -> Path:
    """The file of a run directory's generator, of "demo", of a model on the hub, or of the path of a model itself.

    Of an export for OpenVINO it is the file model.xml, of several versions of the last.

    Raises:
        ModelError: there is none.
        OutputError: it is another address.
    """
    if hub.is_on_hub(model):
        return hub.download(os.fspath(model))
    path = local_path(model)
    if str(model) == "demo" and not path.is_file() and not (path / "config.yaml").is_file():
        return DEMO
    if path.is_dir():
        if not (path / "config.yaml").is_file():
            if exported := _exported(path):
                return exported
            if next(path.glob("**/saved_model.pb"), None):
                raise ModelError(f"{path}: is a SavedModel for TensorFlow Serving; give the run that it was made of")
            raise ModelError(f"{path}: not a run directory (it holds no config.yaml)")
        path = path / "generator.keras"
        if not path.is_file():
            raise ModelError(f"{path.parent}: has saved no generator yet; train on with sar-keras fit --resume")
    if not path.is_file():
        raise ModelError(f"{path}: no such model; give a run directory, a .keras file, hf://owner/name or demo")
    return path


def model_name(path: Path) -> str:
    """What a model's file is called: a run by its directory, a file from the hub by its address."""
    if address := hub.address_of(path):
        return address
    folder = path.absolute().parent
    if path.name == CONVERTED:
        return folder.parent.name if folder.name.isdigit() else folder.name
    return folder.name if path.name == "generator.keras" else path.stem


def _exported(folder: Path) -> Path | None:
    versions = sorted((int(path.name), path) for path in folder.glob("*") if path.name.isdigit())
    candidates = [folder, *(path for _, path in reversed(versions))]
    return next((path / CONVERTED for path in candidates if (path / CONVERTED).is_file()), None)
