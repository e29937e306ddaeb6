"""Edge-preserving convolutional GAN.

Paper: Guo et al., "Edge-Preserving Convolutional Generative Adversarial Networks for SAR-to-Optical Image Translation",
Remote Sensing 2021, 13(18), 3575.
"""

import keras

from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.models.systems import EPCGANLoss, EPCGANNetworks
from sar_keras.networks.epcgan import EPCGenerator


class EPCGAN(Pix2Pix):
    """Pix2Pix whose generator also predicts the gradient magnitudes of the optical image.

    Its objective has one more term, gradient: `|g - grad(optical)| + |grad(generated) - grad(optical)|`, with g the
    output of the gradient branch.

    Args:
        generator: An `EPCGenerator`: its layer "gradient" gives g, (N, H, W, 1).
        *args: As for Pix2Pix.
        **kwargs: As for Pix2Pix. Where no weights are given gradient has 10.
    """

    description = "EPC generator"
    loss_settings = EPCGANLoss

    def __init__(self, generator: keras.Model, *args, **kwargs):
        super().__init__(generator, *args, **kwargs)
        self.with_gradient = keras.Model(generator.input, [generator.output, generator.get_layer("gradient").output])

    @classmethod
    def build_generator(cls, model: EPCGANNetworks, size: int, dtype: str):
        return EPCGenerator(
            (size, size, model.channels),
            model.filters,
            model.blocks,
            normalization=model.normalization,
            upsampling=model.upsampling,
            dtype=dtype,
        )

    @classmethod
    def options(cls, model: EPCGANNetworks, loss: EPCGANLoss, seed: int):
        return {"view": model.view}

    def generate(self, sar, optical):
        generated, gradient = self.with_gradient(sar, training=True)
        return generated, {"gradient": (gradient, generated, optical)}
