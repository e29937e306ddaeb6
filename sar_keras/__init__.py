"""Colorize Sentinel-1 SAR images with Keras.

TensorFlow takes seconds to import, so it is loaded when a name below first needs it.
"""

import importlib
import importlib.metadata
import os

__version__ = importlib.metadata.version("sar_keras")

_HOMES = {
    "Config": "config",
    "load_config": "config",
    "fit": "training",
    "evaluate": "evaluation",
    "benchmark": "comparison",
    "load_model": "inference",
    "colorize": "inference",
    "colorize_scene": "scenes",
    "UNetGenerator": "networks.unet",
    "PatchDiscriminator": "networks.patchgan",
    "VGG16Features": "networks.vgg16",
    "Pix2Pix": "models.pix2pix",
    "CycleGAN": "models.cyclegan",
    "EPCGAN": "models.epcgan",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home != "config":
        _import_tensorflow_quietly()
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)


def _import_tensorflow_quietly() -> None:
    """Import TensorFlow without its start-up lines, unless the user asked for them.

    TF_CPP_MIN_LOG_LEVEL silences the C++ log, but not the lines that are written before the log is set up
    (https://github.com/tensorflow/tensorflow/issues/79029), so the file descriptor is turned aside meanwhile.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        importlib.import_module("tensorflow")
        return
    # 3 hides errors too: grappler reports a harmless "remapper failed: LeakyReluGrad" as one, at every training.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tempfile

    from sar_keras.terminal import doing

    terminal = os.dup(2)
    with doing("loading TensorFlow"), tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            aside.seek(0)
            os.write(terminal, aside.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
