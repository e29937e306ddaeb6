"""Which engine colours, and the form of a model that it needs. Loads TensorFlow only where it must.

A model for OpenVINO is made once of each model's file, and kept beside the run, or in the user's cache directory. Its
folder's name is the hash of the model's file: a model that was trained on never meets an old one.
"""

import contextlib
import functools
import os
import shutil
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
_FORM = 1
# Converted models that are kept of a run, and in the cache directory.
_KEPT = 4


def network_of(
    model: "keras.Model | Network | str | os.PathLike", engine: str = "auto", precision: str = "float32", exact=False
) -> Network:
    """A model that is ready to run.

    Args:
        model: A model, or the path of one, see `sar_keras.load_model`, or of an export for OpenVINO. That of a path is
            the same at each call as long as its file stays the same.
        engine: "tensorflow", "openvino", or "auto": for a path OpenVINO where it is installed and can take the model,
            else TensorFlow; for a Keras model, whose TensorFlow is loaded already, TensorFlow.
        precision: "float32" or "bfloat16".
        exact: On TensorFlow in float32, the colours are those of `model.predict` to the bit; otherwise it is faster.

    Raises:
        DataError: no such engine or precision, or it is not installed.
        ModelError: a path without a model, or one that OpenVINO cannot take, where it must.
        ConfigError: neither engine is installed.
    """
    check_engine(engine, precision)
    if isinstance(model, Network):
        return model
    if not isinstance(model, str | os.PathLike):
        from sar_keras.inference.compiled import KerasNetwork

        return KerasNetwork(model, "tensorflow" if engine == "auto" else engine, precision, exact)
    file = file_of(model)
    return _network_of(file, file.stat().st_mtime_ns, engine, precision, exact)


@functools.lru_cache(maxsize=2)  # the page compares two
def _network_of(file: Path, changed: int, engine: str, precision: str, exact: bool) -> Network:
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
                why = f", because OpenVINO cannot run the model: {error}"
        else:
            why = ', because openvino is not installed: pip install ".[openvino]" starts sooner'
    if not is_installed("tensorflow"):
        raise ConfigError("neither openvino nor tensorflow is installed, of which one is needed: pip install openvino")
    load_tensorflow()
    from sar_keras.inference.compiled import KerasNetwork
    from sar_keras.inference.model_file import load_once

    return KerasNetwork(load_once(file), "tensorflow", precision, exact, f"tensorflow{why}")


def _converted(file: Path, precision: str) -> Network:
    name = "demo" if file == DEMO else str(file)
    if file.name == CONVERTED:
        return ConvertedNetwork(file, precision, name, file)
    if file == DEMO and DEMO_CONVERTED.is_file():
        return ConvertedNetwork(DEMO_CONVERTED, precision, name, DEMO)
    key = f"{sha256(file)[:32]}-{_FORM}"
    folders = _folders(file)
    there = next((path for folder in folders if (path := folder / key / CONVERTED).is_file()), None)
    if there:
        return ConvertedNetwork(there, precision, name, file)
    if not is_installed("tensorflow"):
        raise ModelError(
            f"{file}: TensorFlow is not installed, and OpenVINO takes the model once it is converted, where TensorFlow "
            "is: sar-keras export MODEL --format openvino"
        )
    load_tensorflow()
    from sar_keras.inference.converted import convert_for_openvino
    from sar_keras.inference.model_file import load_once

    model = load_once(file)
    for folder in folders:
        # A run may be on a disk that cannot be written, or is full; and another process may have been faster.
        with contextlib.suppress(OSError, OutputError), doing("converting the model for OpenVINO, once"):
            convert_for_openvino(model, folder / key)
            _prune(folder)
        made = folder / key / CONVERTED
        if made.is_file():
            return ConvertedNetwork(made, precision, name, file, f"openvino, converted once, into {made.parent}")
    raise ModelError(f"neither {' nor '.join(map(str, folders))} can be written")


def _folders(file: Path) -> list[Path]:
    """Where converted models of a file are kept, the first place first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sar_keras", "openvino")
    is_run = (file.parent / "config.yaml").is_file()
    return [file.parent / "openvino", cache] if is_run else [cache]


def _prune(folder: Path) -> None:
    """Remove the oldest."""
    made = sorted(folder.glob(f"*/{CONVERTED}"), key=lambda path: path.stat().st_mtime)
    for path in made[:-_KEPT]:
        shutil.rmtree(path.parent, ignore_errors=True)
