"""What a trained model knows of itself."""

import dataclasses
from pathlib import Path

import keras

from sar_keras.inference.expected_error import ExpectedError
from sar_keras.io.reflectance import Stretch
from sar_keras.io.sar import Scale


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What a trained model knows of itself; it is saved inside the model's file.

    Attributes:
        sar_scale: How stored SAR values become [-1, 1]. Without a word of it they are taken for 8-bit.
        optical_scale: The same of the optical images that it was trained on, or None where that is not known.
        expected_error: How far its colours may be off, or None where that is not known.
        mean_colour: Mean colour (3,), in [-1, 1], of the optical images that it was trained on, or None.
        sar_bands: What the bands of its SAR images are called, in their order, such as ("VV", "VH"); empty where that
            is not known.
        reflectance: The reflectances that 0 and 255 of its colours stand for, or None where that is not known, see
            `sar_keras.io.reflectance`.
        parent: The model that its training began with, its name and the SHA-256 of its file, or None.
        saved_as: The file that it was loaded from, or None.
    """

    sar_scale: Scale = dataclasses.field(default_factory=Scale)
    optical_scale: Scale | None = None
    expected_error: ExpectedError | None = None
    mean_colour: tuple[float, ...] | None = None
    sar_bands: tuple[str, ...] = ()
    reflectance: Stretch | None = None
    parent: str | None = None
    saved_as: Path | None = None


def attach(model: keras.Model, metadata: ModelMetadata) -> keras.Model:
    """Give a model its metadata, and return it."""
    model.sar_keras_metadata = metadata
    return model


def metadata_of(model: keras.Model) -> ModelMetadata:
    """The metadata of a model from `sar_keras.load_model`; those of another Keras model are the defaults."""
    return getattr(model, "sar_keras_metadata", ModelMetadata())
