"""The PatchGAN discriminator of pix2pix.

Paper: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 6.1.2.
"""

import keras

from sar_keras.networks.blocks import initial_weights, normalize


def PatchDiscriminator(
    input_shape: tuple[int, int, int] = (256, 256, 2),
    filters: int = 64,
    normalization: str = "batch",
    scales: int = 1,
    dtype=None,
    name: str = "patch_discriminator",
) -> keras.Model:
    """Build the 70 x 70 PatchGAN: a view of a pair (N, H, W, channels) to one logit a patch (N, h, w, 1).

    The view is what the discriminator judges, see `sar_keras.color.view`: (256, 256, 2) is SAR beside luminance.
    Each of the 30 x 30 logits of a 256 x 256 view sees 70 x 70 pixels; there is no sigmoid.

    Args:
        input_shape: Height, width and channels of the view; at least 32 x 32, doubled for each scale above one.
        filters: Width of the first level; it doubles three times.
        normalization: "batch", "instance", "group", "layer" or "none".
        scales: Above 1, so many such networks look at the view at 1, 1/2, 1/4 of its resolution, and the model gives a
            list of their logits (Wang et al., "pix2pixHD", CVPR 2018, section 3.2).
        dtype: Layer dtype policy, such as "mixed_bfloat16". The logits are float32 whatever it is.
        name: Name of the model.
    """
    pair = x = keras.Input(input_shape, name="view")
    logits = []
    for scale in range(scales):
        if scale:
            x = keras.layers.AveragePooling2D(3, 2, "same", dtype=dtype)(x)
        logits.append(_judge(x, filters, normalization, dtype, name="logits" if scale == 0 else f"logits_{scale}"))
    return keras.Model(pair, logits[0] if scales == 1 else logits, name=name)


def _judge(x, filters: int, normalization: str, dtype, name: str):
    for level, channels in enumerate([filters, filters * 2, filters * 4, filters * 8]):
        if level == 3:
            stride, padding = 1, "valid"
            x = keras.layers.ZeroPadding2D(1, dtype=dtype)(x)
        else:
            stride, padding = 2, "same"
        x = keras.layers.Conv2D(
            channels,
            4,
            stride,
            padding,
            use_bias=level == 0 or normalization == "none",
            kernel_initializer=initial_weights(),
            dtype=dtype,
        )(x)
        if level > 0:
            x = normalize(x, normalization, dtype)
        x = keras.layers.LeakyReLU(0.2, dtype=dtype)(x)
    x = keras.layers.ZeroPadding2D(1, dtype=dtype)(x)
    x = keras.layers.Conv2D(1, 4, 1, kernel_initializer=initial_weights(), dtype=dtype)(x)
    return keras.layers.Activation("linear", dtype="float32", name=name)(x)


def hidden_features(discriminator: keras.Model) -> keras.Model:
    """The same network with another output: the activations of its hidden levels, for feature matching."""
    hidden = [layer.output for layer in discriminator.layers if isinstance(layer, keras.layers.LeakyReLU)]
    return keras.Model(discriminator.input, [*hidden, *discriminator.outputs])
