"""The generator of EPC-GAN: edge-preserving convolutions and a gradient branch.

Papers: Guo et al., "Edge-Preserving Convolutional Generative Adversarial Networks for SAR-to-Optical Image
Translation", Remote Sensing 2021, 13(18), 3575; Su et al., "Pixel-Adaptive Convolutional Neural Networks", CVPR 2019,
equation 3. The widths of the layers are not published: those here are ours, and no parity with the paper's scores is
claimed.
"""

import keras
import tensorflow as tf

from sar_keras.networks.blocks import initial_weights, normalize, upsample


@keras.saving.register_keras_serializable(package="sar_keras")
class EdgePreservingConvolution(keras.layers.Layer):
    """A 3 x 3 convolution that does not mix the two sides of an edge.

    The input is split into content, its local mean, and texture, the rest. The texture passes a plain convolution. The
    content passes one whose kernel adapts to each pixel: v'_i = sum_j K(f_i, f_j) W[p_i - p_j] v_j + b with
    K = exp(-|f_i - f_j|^2 / 2), so that pixels j that differ from pixel i in their features f hardly count. f is a
    1 x 1 convolution of the content. The result is the sum of both: (N, H, W, channels) to (N, H, W, filters).

    Args:
        filters: Channels of the result.
        guide_filters: Channels of the features f.
    """

    def __init__(self, filters: int, guide_filters: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.guide_filters = guide_filters
        self.smooth = keras.layers.AveragePooling2D(3, 1, "same", dtype=self.dtype_policy)
        self.guide = keras.layers.Conv2D(guide_filters, 1, dtype=self.dtype_policy)
        # The adapted neighbours lie side by side as channels, so that W is a 1 x 1 convolution of nine times as many.
        self.content = keras.layers.Conv2D(
            filters, 1, kernel_initializer=initial_weights(), dtype=self.dtype_policy, name="content"
        )
        self.texture = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=initial_weights(),
            dtype=self.dtype_policy,
            name="texture",
        )

    def build(self, input_shape):
        *outer, channels = input_shape
        self.guide.build(input_shape)
        self.content.build((*outer, 9 * channels))
        self.texture.build(input_shape)
        self.built = True

    def call(self, x):
        content = self.smooth(x)
        guide = self.guide(content)
        adapted = [
            values * tf.exp(-0.5 * tf.reduce_sum(tf.square(guide - features), -1, keepdims=True))
            for values, features in zip(_neighbours(content), _neighbours(guide), strict=True)
        ]
        return self.content(tf.concat(adapted, -1)) + self.texture(x - content)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "guide_filters": self.guide_filters}


def _neighbours(x) -> list:
    """The image shifted by each of the nine offsets of a 3 x 3 window, zero beyond the border."""
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    sides = [slice(0, -2), slice(1, -1), slice(2, None)]
    return [padded[:, rows, columns] for rows in sides for columns in sides]


@keras.saving.register_keras_serializable(package="sar_keras")
class GradientMagnitude(keras.layers.Layer):
    """Length of the central-difference gradient of the first channel: (N, H, W, channels) to (N, H, W, 1)."""

    def call(self, x):
        _, north, _, west, _, east, _, south, _ = _neighbours(x[..., :1])
        # The root has no derivative at zero.
        return tf.sqrt(tf.square(east - west) + tf.square(south - north) + 1e-6) / 2

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)


def EPCGenerator(
    input_shape: tuple[int, int, int] = (256, 256, 1),
    filters: int = 32,
    blocks: int = 4,
    normalization: str = "batch",
    upsampling: str = "resize",
    dtype=None,
    name: str = "epc_generator",
) -> keras.Model:
    """Build the generator: SAR (N, H, W, channels) to optical (N, H, W, 3), both float32 in [-1, 1].

    The main branch halves its input three times, refines it by `blocks` residual blocks of edge-preserving convolutions
    and doubles it again, with skip connections. The gradient branch begins with the gradients of the SAR image, takes
    in the main branch at each size and predicts those of the optical image (layer "gradient", (N, H, W, 1)), which the
    last layers of the main branch see.

    Args:
        input_shape: Height, width (multiples of 8) and channels.
        filters: Width after the first halving; it doubles at each of the next two.
        blocks: Number of residual blocks.
        normalization: "batch", "instance", "group", "layer" or "none".
        upsampling: "transpose" or "resize".
        dtype: Layer dtype policy, such as "mixed_bfloat16". Both outputs are float32 whatever it is.
        name: Name of the model.
    """

    def activate(x):
        return keras.layers.LeakyReLU(0.2, dtype=dtype)(normalize(x, normalization, dtype))

    def down(x, channels):
        return activate(
            keras.layers.Conv2D(channels, 4, 2, "same", kernel_initializer=initial_weights(), dtype=dtype)(x)
        )

    def up(x, channels):
        return activate(upsample(x, channels, upsampling, use_bias=True, dtype=dtype))

    def join(*parts):
        return keras.layers.Concatenate(dtype=dtype)(list(parts))

    sar = x = keras.Input(input_shape, name="sar")
    skips = []
    for channels in (filters, filters * 2, filters * 4):
        x = down(x, channels)
        skips.append(x)
    for _ in range(blocks):
        inner = activate(EdgePreservingConvolution(filters * 4, dtype=dtype)(x))
        inner = normalize(EdgePreservingConvolution(filters * 4, dtype=dtype)(inner), normalization, dtype)
        x = keras.layers.Add(dtype=dtype)([x, inner])

    g = GradientMagnitude(dtype=dtype)(sar)
    for channels in (filters // 2, filters, filters):
        g = down(g, max(1, channels))
    g = up(join(g, x), filters)
    x = join(up(x, filters * 2), skips[1])
    x = activate(EdgePreservingConvolution(filters * 2, dtype=dtype)(x))
    g = up(join(g, x), filters)
    x = join(up(x, filters), skips[0])
    x = activate(EdgePreservingConvolution(filters, dtype=dtype)(x))
    g = upsample(join(g, x), 1, upsampling, use_bias=True, dtype=dtype)
    gradient = keras.layers.Activation("linear", dtype="float32", name="gradient")(g)
    x = join(up(x, filters), gradient)
    x = keras.layers.Conv2D(3, 3, 1, "same", kernel_initializer=initial_weights(), dtype=dtype)(x)
    return keras.Model(sar, keras.layers.Activation("tanh", dtype="float32", name="optical")(x), name=name)
