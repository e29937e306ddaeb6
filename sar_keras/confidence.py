"""Where a colour is a guess: the spread of what a generator says of the same SAR seen in four ways."""

import keras
import tensorflow as tf

from sar_keras.networks import any_size

_FLIPS = ([], [1], [2], [1, 2])  # axes of NHWC


def with_uncertainty(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """The generator as a function to colours and how sure they are, from the four flips of its input.

    The function maps SAR (N, H, W, channels) in [-1, 1], of any height and width that the network takes, to the mean
    colour (N, H, W, 3) in [-1, 1] and its standard deviation over the flips (N, H, W, 1), averaged over the channels,
    on the scale of RGB in [0, 1].
    """
    network = any_size(model)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32)])
    def run(sar):
        colours = tf.stack([tf.reverse(network(tf.reverse(sar, axes), training=False), axes) for axes in _FLIPS])
        spread = tf.reduce_mean(tf.math.reduce_std(colours, axis=0), axis=-1, keepdims=True)
        return tf.reduce_mean(colours, axis=0), spread / 2.0

    run.network = network  # Keeps the layers alive, which a tf.function does not.
    return run
