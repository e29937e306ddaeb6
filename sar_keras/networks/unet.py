"""The U-Net generator of pix2pix.

Paper: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 6.1.1;
Ronneberger et al., "U-Net", MICCAI 2015. Original code: https://github.com/phillipi/pix2pix.
"""

import keras
import tensorflow as tf

from sar_keras.color import lab_to_rgb
from sar_keras.networks.blocks import initial_weights, normalize, upsample


def depth_for(size: int) -> int:
    """How often `size` pixels can be halved, at most 8 times: pix2pix goes from 256 pixels down to one."""
    return min(8, (size & -size).bit_length() - 1)


def UNetGenerator(
    input_shape: tuple[int, int, int] = (256, 256, 1),
    filters: int = 64,
    depth: int | None = None,
    normalization: str = "batch",
    upsampling: str = "resize",
    dropout: float = 0.5,
    output: str = "rgb",
    dtype=None,
    name: str = "unet_generator",
) -> keras.Model:
    """Build the U-Net: SAR (N, H, W, channels) to optical (N, H, W, 3), both float32 in [-1, 1].

    With `normalization="batch"` and `upsampling="transpose"` it is pix2pix's U-Net-256: 54.4 million weights.
    `sar_keras.networks.sizes.any_size(model)` gives the same weights for other heights and widths.

    Args:
        input_shape: Height, width and channels (1: VV or VH; 2: both; 3: both and their ratio).
        filters: Width of the first level; it doubles three times on the way down.
        depth: Number of halvings. Height and width must be multiples of `2**depth`.
            None: 8, or as many as the input's size allows.
        normalization: "batch", "instance", "group", "layer" or "none".
        upsampling: "transpose" (as published) or "resize" (nearest neighbour, then a convolution).
        dropout: Rate in the three innermost decoder levels; active in training only.
        output: "rgb", or "ab": the network gives the two chroma channels of Lab, to which the first SAR band is the
            lightness; the model turns them into RGB.
        dtype: Layer dtype policy, such as "mixed_bfloat16". The output is float32 whatever it is.
        name: Name of the model.

    Returns:
        A functional `keras.Model` of stock layers, but for `LabToRGB` with `output="ab"`.

    Example:

    >>> generator = UNetGenerator(filters=8)
    >>> generator.predict(np.zeros((1, 256, 256, 1), "float32")).shape
    (1, 256, 256, 3)
    """
    sar = keras.Input(input_shape, name="sar")
    x = unet(sar, 3 if output == "rgb" else 2, filters, depth, normalization, upsampling, dropout, dtype)
    if output == "ab":
        x = keras.layers.Activation("tanh", dtype="float32", name="chroma")(x)
        return keras.Model(sar, LabToRGB(dtype="float32", name="optical")([sar, x]), name=name)
    optical = keras.layers.Activation("tanh", dtype="float32", name="optical")(x)
    return keras.Model(sar, optical, name=name)


def unet(x, channels: int, filters: int, depth: int | None, normalization: str, upsampling: str, dropout: float, dtype):
    """Append the U-Net to `x` (N, H, W, c), for the arguments of `UNetGenerator`: (N, H, W, channels), any values."""
    height, width = x.shape[1:3]
    depth = depth or min(depth_for(height), depth_for(width))
    if height % 2**depth or width % 2**depth:
        raise ValueError(f"height and width must be multiples of {2**depth}, got {height} x {width}")
    widths = [min(filters * 2**level, filters * 8) for level in range(depth)]

    skips = []
    for level, features in enumerate(widths):
        # The innermost level is a single pixel at 256 x 256: an instance normalisation would erase it.
        bare = level in (0, depth - 1)
        x = keras.layers.Conv2D(
            features,
            4,
            2,
            "same",
            use_bias=bare or normalization == "none",
            kernel_initializer=initial_weights(),
            dtype=dtype,
        )(x)
        if not bare:
            x = normalize(x, normalization, dtype)
        x = keras.layers.LeakyReLU(0.2, dtype=dtype)(x)
        skips.append(x)

    for level, features in enumerate(reversed(widths[:-1])):
        x = upsample(x, features, upsampling, use_bias=normalization == "none", dtype=dtype)
        x = normalize(x, normalization, dtype)
        if level < 3 and dropout:
            x = keras.layers.Dropout(dropout, dtype=dtype)(x)
        x = keras.layers.ReLU(dtype=dtype)(x)
        x = keras.layers.Concatenate(dtype=dtype)([x, skips[depth - 2 - level]])

    return upsample(x, channels, upsampling, use_bias=True, dtype=dtype)


@keras.saving.register_keras_serializable(package="sar_keras")
class LabToRGB(keras.layers.Layer):
    """[SAR (N, H, W, c), chroma (N, H, W, 2)], both in [-1, 1], to RGB (N, H, W, 3) in [-1, 1].

    The first SAR band from -1 to 1 is the lightness from 0 to 100, chroma from -1 to 1 is a, b from -128 to 128.
    """

    def call(self, inputs):
        sar, chroma = inputs
        return lab_to_rgb(tf.concat([(sar[..., :1] + 1) * 50, chroma * 128], -1))

    def compute_output_shape(self, input_shapes):
        return (*input_shapes[0][:-1], 3)
