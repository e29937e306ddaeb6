"""How far each pixel of a generated image may be off: SAR does not determine colour, so some of it is a guess.

The estimate is the error that the model made where it gave the same colour to pairs whose colours are known. Of what we
compared (`benchmarks/confidence.py`, docs/understand/confidence.md) it ranks the real error on unseen places about as
well as any, and it costs no further pass through the network.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.network import expected_error_of
from sar_keras.networks.guided import input_planes, split_planes
from sar_keras.networks.sizes import any_size, sar_channels


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
    expected_error = expected_error_of(metadata_of(model))
    network, channels = any_size(model), sar_channels(model)
    missing = input_planes(model) - channels

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, input_planes(model)), tf.float32)])
    def run(planes):
        inputs = split_planes(network, planes)
        optical = network(inputs, training=False)
        return optical, expected_error(optical, inputs["hint"] if isinstance(inputs, dict) else None)

    def with_any_hint(sar: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return run(tf.pad(sar, [[0, 0], [0, 0], [0, 0], [0, missing]]) if sar.shape[-1] == channels else sar)

    with_any_hint.network = network  # Keeps the layers alive, which a tf.function does not.
    return with_any_hint
