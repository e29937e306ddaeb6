"""VGG-16 features for the perceptual loss.

Paper: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.
Weights: ImageNet, Visual Geometry Group, University of Oxford, CC BY 4.0; see VGG16_WEIGHTS.md beside this file.
"""

from pathlib import Path

import keras
import numpy as np

WEIGHTS = Path(__file__).with_name("vgg16_imagenet_blocks1-3.npz")
SHIPPED = tuple(f"block{block}_conv{n}" for block, count in ((1, 2), (2, 2), (3, 3)) for n in range(1, count + 1))
DEEPER = tuple(f"block{block}_conv{n}" for block in (4, 5) for n in (1, 2, 3))
# ImageNet's mean colour, subtracted from values 0..255 by the "caffe" convention of the published weights.
MEAN_RGB = (123.68, 116.779, 103.939)


def VGG16Features(
    layer: str = "block3_conv3", input_shape: tuple = (None, None, 3), dtype=None, name: str = "vgg16_features"
) -> keras.Model:
    """Build the frozen VGG-16 up to `layer`: RGB (N, H, W, 3) in [-1, 1] to its activations after ReLU.

    Layers up to block3_conv3 come from weights inside this package (float16). Deeper ones come from
    `keras.applications.VGG16`, which downloads 58 MB into the Keras cache on first use.

    Args:
        layer: A convolution of VGG-16, "block1_conv1" to "block5_conv3".
        input_shape: Height, width and 3.
        dtype: Layer dtype policy, such as "mixed_bfloat16".
        name: Name of the model.

    Raises:
        ValueError: `layer` is not a convolution of VGG-16.
    """
    if layer not in SHIPPED + DEEPER:
        raise ValueError(f"layer must be one of {', '.join(SHIPPED + DEEPER)}, got {layer!r}")
    rgb = keras.Input(input_shape, name="optical")
    # From [-1, 1] to 0..255 minus the mean. The published weights want BGR: their first kernel is flipped instead.
    x = keras.layers.Rescaling(127.5, [127.5 - mean for mean in MEAN_RGB], dtype=dtype)(rgb)
    for convolution, kernel, bias in _weights_up_to(layer):
        block, number = convolution.split("_conv")
        if number == "1" and block != "block1":
            x = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
        new = keras.layers.Conv2D(kernel.shape[-1], 3, 1, "same", activation="relu", dtype=dtype, name=convolution)
        x = new(x)
        new.set_weights([kernel[:, :, ::-1] if convolution == "block1_conv1" else kernel, bias])
    model = keras.Model(rgb, x, name=name)
    model.trainable = False
    return model


def _weights_up_to(layer: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if layer in SHIPPED:
        with np.load(WEIGHTS) as weights:
            return [
                (name, weights[f"{name}_k"].astype("float32"), weights[f"{name}_b"].astype("float32"))
                for name in SHIPPED[: SHIPPED.index(layer) + 1]
            ]
    published = keras.applications.VGG16(include_top=False, weights="imagenet")
    return [
        (name, *published.get_layer(name).get_weights())
        for name in (SHIPPED + DEEPER)[: (SHIPPED + DEEPER).index(layer) + 1]
    ]
