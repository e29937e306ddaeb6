"""A U-Net with a second input, the hint, see `sar_keras.hint_planes`."""

import keras
import numpy as np
import tensorflow as tf

from sar_keras.hint_planes import KINDS, RGB, hint_channels, kinds_of
from sar_keras.networks.sizes import sar_channels, takes_hint
from sar_keras.networks.unet import unet

_COARSE = 32  # pixels a side


def inputs_of(
    model: keras.Model, sar: tf.Tensor | np.ndarray, hint: tf.Tensor | np.ndarray | None = None
) -> tf.Tensor | dict[str, tf.Tensor]:
    """What a model, guided or not, is called with, or its `predict`.

    Args:
        model: A generator.
        sar: SAR images (N, H, W, channels), float32 in [-1, 1].
        hint: From `compose_hint`, (N, H, W, hint_channels). None: no hint.
    """
    images = tf.convert_to_tensor(sar)
    if not takes_hint(model):
        return images
    if hint is None:
        hint = tf.concat([tf.zeros_like(images[..., :1])] * hint_channels(sar_channels(model)), -1)
    return {"sar": images, "hint": tf.convert_to_tensor(hint, tf.float32)}


def input_planes(model: keras.Model) -> int:
    """SAR bands, and the planes of a hint where a generator takes one."""
    channels = sar_channels(model)
    return channels + (hint_channels(channels) if takes_hint(model) else 0)


def split_planes(model: keras.Model, planes: tf.Tensor):
    """What a generator is called with, from SAR image and hint in one tensor (N, H, W, input_planes)."""
    channels = sar_channels(model)
    return {"sar": planes[..., :channels], "hint": planes[..., channels:]} if takes_hint(model) else planes


def GuidedGenerator(
    input_shape: tuple[int, int, int] = (256, 256, 1),
    filters: int = 64,
    depth: int | None = None,
    normalization: str = "batch",
    upsampling: str = "resize",
    dropout: float = 0.5,
    dtype=None,
    name: str = "guided_generator",
) -> keras.Model:
    """Build a U-Net of {"sar": (N, H, W, channels), "hint": (N, H, W, hint_channels)} to optical (N, H, W, 3).

    All are float32 in [-1, 1]. Where the hint is of this date, "palette" or "coarse", the colours are those of the hint
    plus a difference that the network learns: so what the hint says well is not lost. Where it is of another date the
    network also says, pixel by pixel, how far the colours start from it. Without a hint the difference is the colour.

    Args:
        input_shape: Height, width and channels of the SAR image.
        filters, depth, normalization, upsampling, dropout, dtype, name: As for `sar_keras.UNetGenerator`.

    Returns:
        A functional `keras.Model` of stock layers and `ColoursFromHint`.
    """
    sar = keras.Input(input_shape, name="sar")
    hint = keras.Input((*input_shape[:2], hint_channels(input_shape[-1])), name="hint")
    x = keras.layers.Concatenate(dtype=dtype)([sar, hint])
    x = unet(x, 4, filters, depth, normalization, upsampling, dropout, dtype)
    optical = ColoursFromHint(dtype="float32", name="optical")([hint, x])
    return keras.Model({"sar": sar, "hint": hint}, optical, name=name)


@keras.saving.register_keras_serializable(package="sar_keras")
class ColoursFromHint(keras.layers.Layer):
    """[hint (N, H, W, c), difference and trust (N, H, W, 4), any values] to RGB (N, H, W, 3) in [-1, 1].

    The colour is the hint, times the trust where it is of another date, plus the difference. Most of what a coarse hint
    tells is kept: there the difference loses what is as coarse as 32 pixels. Difference and trust are squashed here.
    """

    def call(self, inputs):
        hint, x = inputs
        palette, coarse, other_date = tf.split(kinds_of(hint), len(KINDS), -1)
        trust = palette + coarse + other_date * tf.sigmoid(x[..., 3:])
        difference = tf.tanh(x[..., :3])
        blurred = _enlarged(tf.nn.avg_pool2d(difference, _COARSE, _COARSE, "SAME"), tf.shape(difference)[1:3])
        optical = hint[..., :RGB] * trust + difference - coarse * blurred
        # The gradient passes the clipping, so that a colour outside can be learnt back.
        return optical + tf.stop_gradient(tf.clip_by_value(optical, -1.0, 1.0) - optical)

    def compute_output_shape(self, input_shapes):
        return (*input_shapes[0][:-1], 3)


def _enlarged(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`tf.image.resize(images, size, "bicubic")` as products of matrices, because OpenVINO has no such operation."""
    rows, columns = (_bicubic_weights(tf.shape(images)[axis], size[axis - 1]) for axis in (1, 2))
    return tf.einsum("nywc,xw->nyxc", tf.einsum("nhwc,yh->nywc", images, rows), columns)


def _bicubic_weights(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """What each of `before` pixels counts for each of `after`: (after, before).

    Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -1/2; pixels beyond the border
    do not count.
    """
    ratio = tf.cast(before, tf.float32) / tf.cast(after, tf.float32)
    positions = (tf.range(tf.cast(after, tf.float32)) + 0.5) * ratio - 0.5
    distance = tf.abs(positions[:, None] - tf.range(tf.cast(before, tf.float32)))
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = tf.where(distance < 1, near, tf.where(distance < 2, far, 0.0))
    return weights / tf.reduce_sum(weights, 1, keepdims=True)
