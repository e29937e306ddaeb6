"""The building blocks that the networks share."""

import keras
import tensorflow as tf

from sar_keras import compat
from sar_keras.errors import ConfigError

NORMALIZATIONS = ("batch", "instance", "group", "layer", "none")
UPSAMPLINGS = ("resize", "transpose")


def initial_weights() -> keras.initializers.Initializer:
    """N(0, 0.02), as in pix2pix (Isola et al., CVPR 2017, section 6.2)."""
    return keras.initializers.RandomNormal(stddev=0.02)


def normalize(x, kind: str, dtype):
    """Append the normalisation `kind`, one of NORMALIZATIONS or a registered Keras layer, to `x`."""
    if kind == "batch":
        # Keras' own momentum of 0.99 lags hundreds of steps behind a GAN's weights, so that inference gives flat
        # brown pictures; 0.9 is what pix2pix (PyTorch) uses.
        # Under several replicas the statistics are those of the whole batch, so that their number changes nothing.
        synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=synchronized, dtype=dtype)(x)
    if kind == "instance":
        return keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, dtype=dtype)(x)
    if kind == "group":
        channels = x.shape[-1]
        groups = next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0)
        return keras.layers.GroupNormalization(groups=groups, epsilon=1e-5, dtype=dtype)(x)
    if kind == "layer":
        # Over the channels of each pixel alone: no tile has a brightness of its own, and inference equals training.
        return keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype)(x)
    if kind == "none":
        return x
    if ">" in kind:
        try:
            return compat.registered(kind)(epsilon=1e-5, dtype=dtype)(x)
        except TypeError as error:
            raise ConfigError(f"model.normalization: {kind} is no normalisation layer: {error}") from error
    raise ValueError(f"normalization must be one of {NORMALIZATIONS} or a registered layer, got {kind!r}")


def upsample(x, filters: int, kind: str, use_bias: bool, dtype):
    """Double height and width by one of UPSAMPLINGS and bring the channels to `filters`."""
    if kind == "transpose":
        return keras.layers.Conv2DTranspose(
            filters, 4, 2, "same", use_bias=use_bias, kernel_initializer=initial_weights(), dtype=dtype
        )(x)
    if kind == "resize":
        # Without the uneven overlap that draws a checkerboard (Odena et al., Distill 2016).
        x = keras.layers.UpSampling2D(2, interpolation="nearest", dtype=dtype)(x)
        return keras.layers.Conv2D(
            filters, 3, 1, "same", use_bias=use_bias, kernel_initializer=initial_weights(), dtype=dtype
        )(x)
    raise ValueError(f"upsampling must be one of {UPSAMPLINGS}, got {kind!r}")
