"""The residual generator of CycleGAN.

Papers: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017,
section 7.2; Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
"""

import keras

from sar_keras.compat import reflect
from sar_keras.networks.blocks import initial_weights, normalize, upsample


def ResNetGenerator(
    input_shape: tuple[int, int, int] = (256, 256, 1),
    filters: int = 64,
    blocks: int = 9,
    normalization: str = "instance",
    upsampling: str = "resize",
    output_channels: int = 3,
    dtype=None,
    name: str = "resnet_generator",
) -> keras.Model:
    """Build the ResNet generator: (N, H, W, channels) to (N, H, W, output_channels), both float32 in [-1, 1].

    Two halvings, `blocks` residual blocks at a quarter of the size, two doublings. 9 blocks, 64 filters and instance
    normalisation are the paper's for 256 x 256: 11.4 million weights. Borders are reflected, as there.

    Args:
        input_shape: Height, width (multiples of 4) and channels.
        filters: Width at full size; it doubles at each halving.
        blocks: Number of residual blocks.
        normalization: "batch", "instance", "group", "layer" or "none".
        upsampling: "transpose" (as published) or "resize".
        output_channels: 3 for optical, or the SAR bands of the way back.
        dtype: Layer dtype policy, such as "mixed_bfloat16". The output is float32 whatever it is.
        name: Name of the model.
    """

    def convolve(x, channels, size, stride=1):
        if stride == 1:
            x = reflect(x, size // 2)
        return keras.layers.Conv2D(
            channels,
            size,
            stride,
            "same" if stride > 1 else "valid",
            kernel_initializer=initial_weights(),
            dtype=dtype,
        )(x)

    def activate(x):
        return keras.layers.ReLU(dtype=dtype)(normalize(x, normalization, dtype))

    image = keras.Input(input_shape, name="sar")
    x = activate(convolve(image, filters, 7))
    x = activate(convolve(x, filters * 2, 3, 2))
    x = activate(convolve(x, filters * 4, 3, 2))
    for _ in range(blocks):
        inner = activate(convolve(x, filters * 4, 3))
        inner = normalize(convolve(inner, filters * 4, 3), normalization, dtype)
        x = keras.layers.Add(dtype=dtype)([x, inner])
    for channels in (filters * 2, filters):
        x = activate(upsample(x, channels, upsampling, use_bias=True, dtype=dtype))
    x = convolve(x, output_channels, 7)
    return keras.Model(image, keras.layers.Activation("tanh", dtype="float32", name="optical")(x), name=name)
