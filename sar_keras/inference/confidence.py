"""How far each pixel of a generated image may be off: SAR does not determine colour, so some of it is a guess.

The estimate is the error that the model made where it gave the same colour to pairs whose colours are known. Of what we
compared (`benchmarks/confidence.py`, docs/understand/confidence.md) it ranks the real error on unseen places about as
well as any, and it costs no further pass through the network.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from sar_keras.errors import ModelError
from sar_keras.inference.expected_error import ExpectedError
from sar_keras.inference.metadata import metadata_of
from sar_keras.networks.guided import input_planes, split_planes
from sar_keras.networks.sizes import any_size, sar_channels

# Where an expected error is written: nothing that we compared reaches 0.25 within an image on unseen places.
CONFIDENCE_SAID = (
    "tells better from worse areas to some degree, and hardly which pixel is wrong; sar-keras evaluate says whether it "
    "holds on your data"
)


def with_uncertainty(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The model as a function that also tells how far each pixel may be off.

    Args:
        model: A model from `sar_keras.load_model`.

    Returns:
        A function of SAR (N, H, W, channels), float32 in [-1, 1], of any height and width that the network takes, to
        the model's optical (N, H, W, 3) in [-1, 1] and the expected absolute error of each pixel, mean over red, green
        and blue as fractions of 1: (N, H, W, 1), at least 0. For a guided model the planes of a hint may follow the SAR
        bands; without them there is no hint.

    Raises:
        ModelError: the model carries no estimate of its error.
    """
    run = uncertainty_function(model, expected_error_of(model))
    channels = sar_channels(model)
    missing = input_planes(model) - channels
    if not missing:
        return run

    def with_any_hint(sar: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return run(tf.pad(sar, [[0, 0], [0, 0], [0, 0], [0, missing]]) if sar.shape[-1] == channels else sar)

    return with_any_hint


def expected_error_of(model: keras.Model) -> ExpectedError:
    """The expected error of a model.

    Raises:
        ModelError: it has none.
    """
    expected_error = metadata_of(model).expected_error
    if expected_error is None:
        raise ModelError(
            "the model does not know its error: it had no validation pairs, or its training has not ended; "
            "sar-keras fit --resume ends it, data.ratios sets validation pairs aside"
        )
    return expected_error


def uncertainty_function(
    network: keras.Model, expected_error: ExpectedError
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """`with_uncertainty` of a network whose expected error is given."""
    network = any_size(network)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, input_planes(network)), tf.float32)])
    def run(sar):
        inputs = split_planes(network, sar)
        optical = network(inputs, training=False)
        return optical, expected_error(optical, inputs["hint"] if isinstance(inputs, dict) else None)

    run.network = network  # Keeps the layers alive, which a tf.function does not.
    return run
