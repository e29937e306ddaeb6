"""Edge-preserving convolutional GAN.

Paper: Guo et al., "Edge-Preserving Convolutional Generative Adversarial Networks for SAR-to-Optical Image Translation",
Remote Sensing 2021, 13(18), 3575.
"""

import keras

from sar_keras.models import losses
from sar_keras.models.pix2pix import Pix2Pix


class EPCGAN(Pix2Pix):
    """Pix2Pix whose generator also predicts the gradient magnitudes of the optical image.

    Adds `gradient * (|g - grad(optical)| + |grad(generated) - grad(optical)|)` to the generator's objective, with g the
    output of the gradient branch.

    Args:
        generator: An `EPCGenerator`: its layer "gradient" gives g, (N, H, W, 1).
        gradient: Weight of the term.
        **kwargs: As for Pix2Pix.
    """

    def __init__(self, generator: keras.Model, *args, gradient: float = 10.0, **kwargs):
        super().__init__(generator, *args, **kwargs)
        self.gradient = gradient
        self.with_gradient = keras.Model(generator.input, [generator.output, generator.get_layer("gradient").output])

    def term_names(self):
        return [*super().term_names(), "gradient"]

    def generate(self, sar, optical):
        generated, gradient = self.with_gradient(sar, training=True)
        truth = losses.gradient_magnitude(optical)
        distance = losses.mean_absolute_error(gradient, truth)
        distance += losses.mean_absolute_error(losses.gradient_magnitude(generated), truth)
        return generated, {"gradient": distance}
