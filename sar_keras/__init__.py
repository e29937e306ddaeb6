"""Colorize Sentinel-1 SAR images with Keras.

TensorFlow takes seconds to import, so it is loaded when a name below first needs it.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

__version__ = importlib.metadata.version("sar_keras")

# Where each public name lives.
_HOMES = {
    "Config": "config",
    "load_config": "config",
    "fit": "training.fit",
    "evaluate": "evaluation.evaluate",
    "benchmark": "evaluation.benchmark",
    "compare": "evaluation.compare",
    "load_model": "inference.model_file",
    "save_model": "inference.model_file",
    "ModelMetadata": "inference.metadata",
    "metadata_of": "inference.metadata",
    "colorize": "inference.colorize",
    "with_uncertainty": "inference.confidence",
    "colorize_scene": "scenes.colorize",
    "UNetGenerator": "networks.unet",
    "GuidedGenerator": "networks.guided",
    "compose_hint": "hint_planes",
    "inputs_of": "networks.guided",
    "PatchDiscriminator": "networks.patchgan",
    "VGG16Features": "networks.vgg16",
    "Pix2Pix": "models.pix2pix",
    "CycleGAN": "models.cyclegan",
    "EPCGAN": "models.epcgan",
}
_WITHOUT_TENSORFLOW = ("config", "hint_planes", "inference.colorize", "inference.metadata", "scenes.colorize")
__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll] - it reads the imports below

if TYPE_CHECKING:
    from sar_keras.config import Config as Config
    from sar_keras.config import load_config as load_config
    from sar_keras.evaluation.benchmark import benchmark as benchmark
    from sar_keras.evaluation.compare import compare as compare
    from sar_keras.evaluation.evaluate import evaluate as evaluate
    from sar_keras.hint_planes import compose_hint as compose_hint
    from sar_keras.inference.colorize import colorize as colorize
    from sar_keras.inference.confidence import with_uncertainty as with_uncertainty
    from sar_keras.inference.metadata import ModelMetadata as ModelMetadata
    from sar_keras.inference.metadata import metadata_of as metadata_of
    from sar_keras.inference.model_file import load_model as load_model
    from sar_keras.inference.model_file import save_model as save_model
    from sar_keras.models.cyclegan import CycleGAN as CycleGAN
    from sar_keras.models.epcgan import EPCGAN as EPCGAN
    from sar_keras.models.pix2pix import Pix2Pix as Pix2Pix
    from sar_keras.networks.guided import GuidedGenerator as GuidedGenerator
    from sar_keras.networks.guided import inputs_of as inputs_of
    from sar_keras.networks.patchgan import PatchDiscriminator as PatchDiscriminator
    from sar_keras.networks.unet import UNetGenerator as UNetGenerator
    from sar_keras.networks.vgg16 import VGG16Features as VGG16Features
    from sar_keras.scenes.colorize import colorize_scene as colorize_scene
    from sar_keras.training.fit import fit as fit


if not TYPE_CHECKING:  # to a type checker a name that is none would be there too

    def __getattr__(name: str):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES[name]
        if home not in _WITHOUT_TENSORFLOW:
            from sar_keras.terminal import load_tensorflow

            load_tensorflow()
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__():
    return sorted(__all__)
