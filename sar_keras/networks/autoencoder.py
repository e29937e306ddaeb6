"""The denoising autoencoder that refines generated images, after the student report that this package implements."""

import keras

from sar_keras.networks.blocks import upsample


def Autoencoder(filters: int = 32, dtype=None, name: str = "autoencoder") -> keras.Model:
    """Build the autoencoder: a generated image (N, H, W, 3) to a cleaner one, both float32 in [-1, 1].

    Two halvings and two doublings, without skip connections, so that only what survives at a quarter of the size comes
    through. The report gives the loss (MSE) and optimizer (Adam 1e-3), not the widths: those are ours.

    Args:
        filters: Width after the first halving; it doubles at the second. Height and width must be multiples of 4.
        dtype: Layer dtype policy. The output is float32 whatever it is.
        name: Name of the model.
    """
    image = x = keras.Input((None, None, 3), name="generated")
    for channels in (filters, filters * 2):
        x = keras.layers.Conv2D(channels, 3, 2, "same", activation="relu", dtype=dtype)(x)
    x = keras.layers.Conv2D(filters * 4, 3, 1, "same", activation="relu", dtype=dtype)(x)
    for channels in (filters * 2, filters):
        x = upsample(x, channels, "resize", use_bias=True, dtype=dtype)
        x = keras.layers.ReLU(dtype=dtype)(x)
    x = keras.layers.Conv2D(3, 3, 1, "same", dtype=dtype)(x)
    return keras.Model(image, keras.layers.Activation("tanh", dtype="float32", name="refined")(x), name=name)


def refined(generator: keras.Model, autoencoder: keras.Model) -> keras.Model:
    """The generator with the autoencoder behind it, as one functional model that shares their weights."""
    return keras.Model(generator.input, autoencoder(generator.output), name=f"refined_{generator.name}")
