"""Which engine colours, and the form of a model that it needs. Loads TensorFlow only where it must.

A model for OpenVINO is made once of each model's file, and kept beside the run, or in the user's cache directory. Its
folder's name is the hash of the model's file: a model that was trained on never meets an old one.
"""

import contextlib
import functools
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sar_keras.errors import ConfigError, ModelError, OutputError
from sar_keras.inference.locate import CONVERTED, DEMO, file_of
from sar_keras.inference.network import Network
from sar_keras.inference.openvino import ConvertedNetwork, check_engine, is_installed
from sar_keras.io.files import sha256
from sar_keras.terminal import doing, load_tensorflow

if TYPE_CHECKING:
    import keras

# "demo" as OpenVINO takes it; benchmarks/demo_model.py made it, too.
DEMO_CONVERTED = DEMO.with_name("demo_openvino") / CONVERTED
# Changes where a newer version of this package converts otherwise.
_FORM = 2
# Converted models that are kept beside a run, and in the cache directory.
_KEPT = 8


def network_of(
    model: "keras.Model | Network | str | os.PathLike", engine: str = "auto", precision: str = "float32"
) -> Network:
    """A model that is ready to run.

    Args:
        model: A model, or the path of one, see `sar_keras.load_model`, or of an export for OpenVINO. That of a path is
            the same at each call as long as its file stays the same. A `Network` keeps its own engine and precision.
        engine: "tensorflow", "openvino", or "auto": for a path OpenVINO where it is installed and can take the model,
            else TensorFlow; for a Keras model, whose TensorFlow is loaded already, TensorFlow.
        precision: "float32" or "bfloat16".

    Raises:
        DataError: no such engine or precision, or it is not installed.
        ModelError: a path without a model, or one that OpenVINO cannot take, where it must.
        ConfigError: neither engine is installed.
    """
    if isinstance(model, Network):
        return model
    if not isinstance(model, str | os.PathLike):
        check_engine(engine, precision)
        from sar_keras.inference.compiled import KerasNetwork

        return KerasNetwork(model, "tensorflow" if engine == "auto" else engine, precision)
    file = file_of(model)
    return _network_of(file, file.stat().st_mtime_ns, engine, precision)


@functools.lru_cache(maxsize=2)  # the page compares two
def _network_of(file: Path, changed: int, engine: str, precision: str) -> Network:
    check_engine(engine, precision)  # which looks for packages: not at each call
    if file.name == CONVERTED and engine == "tensorflow":
        raise ModelError(f"{file}: is a model for OpenVINO, not for TensorFlow; give the run that it was made of")
    why = ""
    if engine != "tensorflow":
        if is_installed("openvino"):
            try:
                return _converted(file, precision)
            except ModelError as error:
                if engine == "openvino" or file.name == CONVERTED or not is_installed("tensorflow"):
                    raise
                why = f", because OpenVINO {error}"
        else:
            why = ', because openvino is not installed: pip install ".[openvino]" starts sooner'
    if not is_installed("tensorflow"):
        raise ConfigError("neither openvino nor tensorflow is installed, of which one is needed: pip install openvino")
    load_tensorflow()
    from sar_keras.inference.compiled import KerasNetwork
    from sar_keras.inference.model_file import load_model

    return KerasNetwork(load_model(file), "tensorflow", precision, f"tensorflow{why}")


def _converted(file: Path, precision: str) -> Network:
    name = "demo" if file == DEMO else str(file)
    if file.name == CONVERTED:
        return ConvertedNetwork(file, precision, name, file)
    if file == DEMO and DEMO_CONVERTED.is_file():
        return ConvertedNetwork(DEMO_CONVERTED, precision, name, DEMO)
    digest = sha256(file)
    forms = [folder / f"{digest[:32]}-{_FORM}" / CONVERTED for folder in _folders(file)]
    for form in forms:
        # One that is broken, or that others may not read, is as none.
        with contextlib.suppress(OSError, ModelError):
            if form.is_file():
                return ConvertedNetwork(form, precision, name, file)
    if not is_installed("tensorflow"):
        raise ModelError(
            f"{file}: has no form for OpenVINO here, or a damaged one; make it where TensorFlow is installed: "
            "sar-keras export MODEL --format openvino"
        )
    load_tensorflow()
    from sar_keras.inference.converted import convert_for_openvino
    from sar_keras.inference.model_file import load_model

    model = load_model(file)
    if sha256(file) != digest:  # a training has saved it meanwhile
        return _converted(file, precision)
    for form in forms:
        # A run may be on a disk that cannot be written, or is full; and another process may have been faster.
        with contextlib.suppress(OSError, OutputError), doing("converting the model for OpenVINO, once"):
            shutil.rmtree(form.parent, ignore_errors=True)
            convert_for_openvino(model, form.parent)
            _prune(form.parents[1])
        with contextlib.suppress(OSError, ModelError):
            said = f"openvino, converted once, into {form.parent}"
            return ConvertedNetwork(form, precision, name, file, said)
    raise ModelError(f"needs a form of the model, for which there is no place: {_places(forms)}")


def _places(forms: list[Path]) -> str:
    return ", ".join(f"{form.parents[1]} cannot be written" for form in forms) or "there is no home directory"


def _folders(file: Path) -> list[Path]:
    """Where converted models of a file are kept, the first place first."""
    folders = [file.parent / "openvino"] if (file.parent / "config.yaml").is_file() else []
    with contextlib.suppress(RuntimeError):  # there is no home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folders.append(cache / "sar_keras" / "openvino")
    return folders


def _prune(folder: Path) -> None:
    """Remove the oldest, and what killed conversions left; other folders in a run's may be exports of the user's."""
    for path in folder.iterdir():
        if re.fullmatch(r"\.[0-9a-f]{32}-\d+-[0-9a-f]{8}", path.name) and path.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(path, ignore_errors=True)
    made = [path for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{32}-\d+", path.name)]
    for path in sorted(made, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
