"""A generator that is ready to run, whichever engine computes: arrays in, arrays out. Loads no TensorFlow."""

import numpy as np

from sar_keras.errors import ModelError
from sar_keras.inference.expected_error import ExpectedError
from sar_keras.inference.metadata import ModelMetadata

# Where an expected error is written: nothing that we compared reaches 0.25 within an image on unseen places.
CONFIDENCE_SAID = (
    "tells better from worse areas to some degree, and hardly which pixel is wrong; sar-keras evaluate says whether it "
    "holds on your data"
)


class Network:
    """SAR (N, H, W, channels), float32 in [-1, 1], to optical (N, H, W, 3), float32 in [-1, 1].

    Where it takes a hint, that is (N, H, W, hint_channels), see `sar_keras.hint_planes`, or None. Height and width may
    be any multiples of `multiple`.

    Attributes:
        name: For people: a path, "demo", or what Keras calls the model.
        metadata: What the model knows of itself.
        channels: SAR bands.
        takes_hint: Whether it takes a hint.
        patch: The side of the images that it was made for; 256 for one that takes any size.
        multiple: What sides must be multiples of.
        normalizes_each: Whether each image is normalised by itself, so that neighbouring windows may differ.
        normalized_by: The hash of the images by which all are normalised, see `normalized_as`, or "".
        engine: "tensorflow" or "openvino".
        precision: "float32" or "bfloat16".
        said: For people: the engine, and why it is that one.
    """

    name: str
    metadata: ModelMetadata
    channels: int
    takes_hint: bool
    patch: int
    multiple: int
    normalizes_each: bool
    normalized_by: str = ""
    engine: str
    precision: str
    said: str

    def weights_hash(self) -> str:
        """The same only where the weights are the same."""
        raise NotImplementedError

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None, exact: bool = False) -> np.ndarray:
        """The colours; with `exact`, on TensorFlow in float32, those of `model.predict` to the bit, which is slower."""
        raise NotImplementedError

    def normalized_as(self, sar: np.ndarray, hint: np.ndarray | None = None) -> "Network":
        """Of a network that `normalizes_each` one that does not: it normalises all images as these are.

        Args:
            sar: One image, or several joined to one, (1, H, W, channels).
            hint: Their hint.
        """
        raise NotImplementedError


def to_levels(optical: np.ndarray) -> np.ndarray:
    """Optical in [-1, 1] to grey levels of 0..255 that are not rounded yet, in place."""
    optical += 1
    optical *= 127.5
    return np.clip(optical, 0, 255, out=optical)


def expected_error_of(metadata: ModelMetadata) -> ExpectedError:
    """The expected error of a model.

    Raises:
        ModelError: it has none.
    """
    if metadata.expected_error is None:
        raise ModelError(
            "the model does not know its error: it had no validation pairs, or its training has not ended; "
            "sar-keras fit --resume ends it, data.ratios sets validation pairs aside"
        )
    return metadata.expected_error
