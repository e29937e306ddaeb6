"""Layers that compute what stock layers compute, faster: stand-ins in training and inference, never saved."""

from collections.abc import Callable

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation in one operation of TensorFlow's; Keras 3 takes about ten, in float32 whatever the policy."""

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # It gives n / (n - 1) of the variance of n values, Keras 3 keeps the variance itself.
        count = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            kept.assign(self.momentum * kept + (1 - self.momentum) * new)
        return normalized


class ChannelGroupNormalization(keras.layers.GroupNormalization):
    """Group normalisation as a factor and an addend of each channel: for inference.

    Means and variances of the channels tell those of the groups. Keras brings the whole image into another shape for
    the groups, which OpenVINO takes half of its time for.
    """

    def call(self, inputs):
        return _scaled(inputs, *self.scale_of(inputs))

    def scale_of(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Factor and addend of each channel, (N, channels), float32."""
        images = tf.cast(inputs, tf.float32)
        own = tf.reduce_mean(images, [1, 2], keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(images, own), [1, 2])
        mean = self._of_groups(own[:, 0, 0])
        variance = self._of_groups(variance + (own[:, 0, 0] - mean) ** 2)
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            factor *= tf.cast(self.gamma, tf.float32)
        addend = -mean * factor
        return factor, addend + tf.cast(self.beta, tf.float32) if self.center else addend

    def _of_groups(self, values: tf.Tensor) -> tf.Tensor:
        """(N, channels) to the mean of each channel's group, of the same shape."""
        channels = int(values.shape[-1] or 0)
        means = tf.reduce_mean(tf.reshape(values, [-1, self.groups, channels // self.groups]), -1)
        return tf.repeat(means, channels // self.groups, -1)


class ScaledChannels(keras.layers.Layer):
    """Each channel times a factor, plus an addend: what a `ChannelGroupNormalization` does to images of one scene."""

    def build(self, input_shape):
        self.factor, self.addend = (
            self.add_weight(shape=(1, input_shape[-1]), dtype="float32", name=name) for name in ("factor", "addend")
        )

    def call(self, inputs):
        return _scaled(inputs, tf.convert_to_tensor(self.factor), tf.convert_to_tensor(self.addend))


def _scaled(images: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    with tf.name_scope("normalization"):  # by which `sar_keras.inference.openvino` finds both
        factor, addend = (tf.cast(each, images.dtype)[:, None, None] for each in (factor, addend))
    return images * factor + addend


def _with_bias_and_activation(layer: keras.layers.Layer, outputs: tf.Tensor) -> tf.Tensor:
    if layer.use_bias:
        outputs += tf.cast(layer.bias, outputs.dtype)
    return layer.activation(outputs)


class _SubPixel:
    """What the two layers below share."""

    filters: int

    def convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return _with_bias_and_activation(self, sub_pixel_convolution(inputs, kernel))

    def compute_output_shape(self, input_shape):
        count, height, width, _ = input_shape
        return count, height and 2 * height, width and 2 * width, self.filters


class ResizeConvolution(_SubPixel, keras.layers.Conv2D):
    """A nearest-neighbour enlargement by 2 and the 3 x 3 convolution behind it, on the image as it was before.

    Each of the four pixels that come from one sees only 2 x 2 different pixels, so that 4 products do for 9. Has the
    convolution's own weights; under a policy such as "mixed_bfloat16" it is their sums that are rounded last.
    """

    def call(self, inputs):
        return self.convolve(inputs, sub_pixel_kernel(tf.cast(self.kernel, inputs.dtype)))


class SubPixelConvolution(_SubPixel, keras.layers.Layer):
    """`ResizeConvolution`, or a transposed convolution, with a kernel that is made once: for inference."""

    def __init__(self, filters: int, use_bias: bool, activation, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.use_bias, self.activation = filters, use_bias, activation

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(2, 2, input_shape[-1], 4 * self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias") if self.use_bias else None

    def call(self, inputs):
        return self.convolve(inputs, tf.cast(self.kernel, inputs.dtype))


class MatrixConvolution(keras.layers.Conv2D):
    """A convolution of 4 x 4 pixels and stride 2, or of 3 x 3 and stride 1, as one matrix product.

    For images of few pixels and many channels, where oneDNN's convolutions spend most of their time on the order of the
    weights, most of all in their gradient.
    """

    def call(self, inputs):
        kernel = tf.reshape(tf.cast(self.kernel, inputs.dtype), [-1, self.filters])
        height, width = (size // stride for size, stride in zip(inputs.shape[1:3], self.strides, strict=True))
        windows = unfold(inputs) if self.strides == (2, 2) else _windows_of_nine(inputs)
        return _with_bias_and_activation(self, tf.reshape(windows @ kernel, [-1, height, width, self.filters]))


class MatrixTransposedConvolution(keras.layers.Conv2DTranspose):
    """`MatrixConvolution` the other way round: a transposed convolution."""

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        kernel = tf.reshape(tf.cast(self.kernel, inputs.dtype), [-1, channels])
        windows = tf.matmul(tf.reshape(inputs, [-1, channels]), kernel, transpose_b=True)
        return _with_bias_and_activation(self, fold(windows, height, width))


def unfold(images: tf.Tensor) -> tf.Tensor:
    """The windows of 4 x 4 pixels, 2 apart, of images (N, 2 h, 2 w, c) with a border of one zero: (N h w, 16 c)."""
    height, width = (size // 2 for size in images.shape[1:3])
    return tf.custom_gradient(lambda images: (_unfold(images), lambda upstream: _fold(upstream, height, width)))(images)


def fold(windows: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Each window (N h w, 16 c) added where `unfold` takes it from: (N, 2 h, 2 w, c)."""
    return tf.custom_gradient(lambda windows: (_fold(windows, height, width), _unfold))(windows)


# Each is the other's gradient; TensorFlow's own takes several times as long. Along an axis the four pixels of a window
# are two of its own, and the two with which the next one begins.


def _unfold(images: tf.Tensor) -> tf.Tensor:
    _, height, width, channels = images.shape
    height, width, row = height // 2, width // 2, (width + 2) * channels
    padded = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), [-1, height + 1, 2 * row])
    rows = tf.concat([tf.slice(padded, [0, first, 0], [-1, height, -1]) for first in (0, 1)], 2)
    rows = tf.reshape(rows, [-1, width + 1, 2 * channels])
    windows = tf.concat([tf.slice(rows, [0, first, 0], [-1, width, -1]) for first in (0, 1)], 2)
    windows = tf.transpose(tf.reshape(windows, [-1, 4, width, 4 * channels]), [0, 2, 1, 3])
    return tf.reshape(windows, [-1, 16 * channels])


def _fold(windows: tf.Tensor, height: int, width: int) -> tf.Tensor:
    channels = windows.shape[-1] // 16
    windows = tf.transpose(tf.reshape(windows, [-1, width, 4, 4 * channels]), [0, 2, 1, 3])
    rows = _overlaid(tf.reshape(windows, [-1, width, 4 * channels]))
    padded = _overlaid(tf.reshape(rows, [-1, height, 4 * (2 * width + 2) * channels]))
    padded = tf.reshape(padded, [-1, 2 * height + 2, 2 * width + 2, channels])
    return tf.slice(padded, [0, 1, 1, 0], [-1, 2 * height, 2 * width, -1])


def _windows_of_nine(images: tf.Tensor) -> tf.Tensor:
    """The windows of 3 x 3 pixels of images (N, h, w, c) with a border of one zero: (N h w, 9 c)."""
    _, height, width, channels = images.shape
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    shifted = [tf.slice(padded, [0, y, x, 0], [-1, height, width, -1]) for y in range(3) for x in range(3)]
    return tf.reshape(tf.concat(shifted, -1), [-1, 9 * channels])


def _overlaid(windows: tf.Tensor) -> tf.Tensor:
    """(n, size, 2 c) to (n, size + 1, c): the first half of each, plus the second half of the one before."""
    half = windows.shape[-1] // 2
    first, second = (tf.slice(windows, [0, 0, begin], [-1, -1, half]) for begin in (0, half))
    return tf.pad(first, [[0, 0], [0, 1], [0, 0]]) + tf.pad(second, [[0, 0], [1, 0], [0, 0]])


def sub_pixel_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """A kernel (3, 3, in, out) for an image enlarged by nearest neighbours as (2, 2, in, 4 * out) for the image itself.

    Of the four, the first is that of the odd rows and columns: their window begins with the pixel that they are from.
    """
    return _of_both_axes(kernel, _two_of_three)


def sub_pixel_kernel_of_transposed(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel (4, 4, out, in) of a transposed convolution of stride 2, in the same way."""
    return _of_both_axes(tf.transpose(kernel, [0, 1, 3, 2]), _two_of_four)


def _of_both_axes(kernel: tf.Tensor, two_taps: Callable[[tf.Tensor, int], list[tf.Tensor]]) -> tf.Tensor:
    _, _, channels, filters = kernel.shape
    # (row is even, column is even, 2, 2, in, out)
    both = tf.stack([tf.stack(two_taps(row, 1)) for row in two_taps(kernel, 0)])
    return tf.reshape(tf.transpose(both, [2, 3, 4, 0, 1, 5]), [2, 2, channels, 4 * filters])


def _two_of_three(kernel: tf.Tensor, axis: int) -> list[tf.Tensor]:
    """What the taps along `axis` become, for odd and for even positions of the enlarged image."""
    first, second, third = tf.unstack(kernel, axis=axis)
    return [tf.stack(taps, axis) for taps in ((first + second, third), (first, second + third))]


def _two_of_four(kernel: tf.Tensor, axis: int) -> list[tf.Tensor]:
    first, second, third, fourth = tf.unstack(kernel, axis=axis)
    return [tf.stack(taps, axis) for taps in ((third, first), (fourth, second))]


def sub_pixel_convolution(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, in) and a `sub_pixel_kernel` to (N, 2 H, 2 W, out)."""
    # Not padded by the convolution: TensorFlow has no fast gradients for that.
    windows = tf.nn.conv2d(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), kernel, 1, "VALID")
    # Windows begin half a pixel outside, with a row and a column too much at each border. Not [:, 1:-1, 1:-1], whose
    # gradient takes as long as that of the convolution.
    enlarged = tf.nn.depth_to_space(windows, 2)
    count, height, width, channels = tf.unstack(tf.shape(enlarged))
    inner = tf.slice(enlarged, [0, 1, 1, 0], [count, height - 2, width - 2, channels])
    return tf.ensure_shape(inner, [None, *(size and 2 * size for size in images.shape[1:3]), kernel.shape[-1] // 4])
