"""The PatchGAN discriminator of pix2pix.

Paper: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 6.1.2.
"""

import keras

from sar_keras.networks.blocks import initial_weights, normalize


def PatchDiscriminator(
    input_shape: tuple[int, int, int] = (256, 256, 2),
    filters: int = 64,
    normalization: str = "batch",
    dtype=None,
    name: str = "patch_discriminator",
) -> keras.Model:
    """Build the 70 x 70 PatchGAN: a view of a pair (N, H, W, channels) to one logit a patch (N, h, w, 1).

    The view is what the discriminator judges, see `sar_keras.color.view`: (256, 256, 2) is SAR beside luminance.
    Each of the 30 x 30 logits of a 256 x 256 view sees 70 x 70 pixels; there is no sigmoid.

    Args:
        input_shape: Height, width and channels of the view; at least 32 x 32.
        filters: Width of the first level; it doubles three times.
        normalization: "batch", "instance", "group" or "none".
        dtype: Layer dtype policy, such as "mixed_bfloat16". The logits are float32 whatever it is.
        name: Name of the model.
    """
    pair = keras.Input(input_shape, name="view")
    x = pair
    for level, channels in enumerate([filters, filters * 2, filters * 4, filters * 8]):
        if level == 3:
            stride, padding = 1, "valid"
            x = keras.layers.ZeroPadding2D(1, dtype=dtype)(x)
        else:
            stride, padding = 2, "same"
        x = keras.layers.Conv2D(
            channels, 4, stride, padding, use_bias=level == 0, kernel_initializer=initial_weights(), dtype=dtype
        )(x)
        if level > 0:
            x = normalize(x, normalization, dtype)
        x = keras.layers.LeakyReLU(0.2, dtype=dtype)(x)
    x = keras.layers.ZeroPadding2D(1, dtype=dtype)(x)
    x = keras.layers.Conv2D(1, 4, 1, kernel_initializer=initial_weights(), dtype=dtype)(x)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(pair, logits, name=name)
