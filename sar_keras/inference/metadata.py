"""What a trained model knows of itself. Loads no TensorFlow."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sar_keras.inference.expected_error import ExpectedError
from sar_keras.io.reflectance import Stretch
from sar_keras.io.sar import Scale

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What a trained model knows of itself; it is saved inside the model's file.

    Attributes:
        sar_scale: How stored SAR values become [-1, 1]. Without a word of it they are taken for 8-bit.
        optical_scale: The same of the optical images that it was trained on, or None where that is not known.
        expected_error: How far its colours may be off, or None where that is not known.
        mean_colour: Mean colour (3,), in [-1, 1], of the optical images that it was trained on, or None.
        sar_units: Further units that its SAR images were in, stretched to those of `sar_scale`.
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
    sar_units: tuple[str, ...] = ()
    sar_bands: tuple[str, ...] = ()
    reflectance: Stretch | None = None
    parent: str | None = None
    saved_as: Path | None = None


def attach(model: "keras.Model", metadata: ModelMetadata) -> "keras.Model":
    """Give a model its metadata, and return it."""
    model.sar_keras_metadata = metadata
    return model


def metadata_of(model: "keras.Model") -> ModelMetadata:
    """The metadata of a model from `sar_keras.load_model`; those of another Keras model are the defaults."""
    return getattr(model, "sar_keras_metadata", ModelMetadata())


def to_json(metadata: ModelMetadata) -> dict:
    """All but `saved_as`, as what JSON has."""
    return {
        "sar_scale": vars(metadata.sar_scale),
        "optical_scale": metadata.optical_scale and vars(metadata.optical_scale),
        "expected_error": metadata.expected_error and dataclasses.asdict(metadata.expected_error),
        "mean_colour": metadata.mean_colour,
        "sar_units": metadata.sar_units,
        "sar_bands": metadata.sar_bands,
        "reflectance": metadata.reflectance,
        "parent": metadata.parent,
    }


def from_json(tree: dict[str, Any], path: Path | None) -> ModelMetadata:
    """What `to_json` made of one, with the file that it comes from.

    Raises:
        ValueError, TypeError, KeyError: it did not.
    """
    optical_scale, expected_error = tree.get("optical_scale"), tree.get("expected_error")
    mean_colour, parent = tree.get("mean_colour"), tree.get("parent")
    if mean_colour is not None:
        if len(mean_colour) != 3 or not np.all(np.abs(np.float64(mean_colour)) <= 1):
            raise ValueError("not a mean colour: three numbers in [-1, 1]")
        red, green, blue = map(float, mean_colour)
        mean_colour = red, green, blue
    reflectance = tree.get("reflectance")
    if reflectance is not None:
        low, high = map(float, reflectance)
        if not -np.inf < low < high < np.inf:
            raise ValueError("not a stretch: the reflectances of 0 and of 255")
        reflectance = low, high
    return ModelMetadata(
        Scale(**tree.get("sar_scale", {})),
        optical_scale and Scale(**optical_scale),
        expected_error and ExpectedError.from_json(expected_error),
        mean_colour,
        tuple(map(str, tree.get("sar_units", ()))),
        tuple(map(str, tree.get("sar_bands", ()))),
        reflectance,
        parent and str(parent),
        path,
    )
