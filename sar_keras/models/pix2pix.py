"""Pix2Pix and the systems that differ from it in the weights of their terms.

Papers: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; the perceptual term
after Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016; feature matching
after Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs" (pix2pixHD), CVPR
2018.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from sar_keras import color, compat
from sar_keras.models import losses
from sar_keras.models.base import System
from sar_keras.models.replicas import descend
from sar_keras.models.systems import PairedNetworkSettings, Pix2PixLoss, Pix2PixNetworks
from sar_keras.networks.patchgan import PatchDiscriminator, hidden_features
from sar_keras.networks.unet import UNetGenerator


class Pix2Pix(System):
    """Trains a generator against a discriminator on (sar, optical) batches; calling it is calling the generator.

    The generator's objective is the sum of its terms, each times its weight:

    - adversarial: cross-entropy of the discriminator's logits of the generated image against "real";
    - l1: mean absolute error;
    - l2: mean squared error;
    - ssim: 1 - SSIM;
    - edges: distance of gradient magnitudes (Ma et al., "Structure-Preserving Super Resolution with Gradient Guidance",
      CVPR 2020), which unlike the others tells a generator that is not sure not to blur;
    - perceptual: distance of VGG16 features;
    - feature_matching: distance of the discriminator's hidden activations.

    The discriminator's is `discriminator_factor * (BCE(real) + BCE(generated))`. Both gradients come from the same
    forward passes.

    Args:
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        discriminator: A view of a pair, see `sar_keras.color.view`, to logits, or to a list of logits, one a scale.
            None trains without one.
        features: RGB in [-1, 1] to the features of the perceptual term, such as `VGG16Features()`. None: no such term.
        weights: Name to weight of the terms that count. A term of weight 0 is only reported. None: those of the student
            report, `{"l1": 100, "perceptual": 0.01, "adversarial": 1}`, as far as there are networks for them.
        view: "luma", "ab" or "rgb".
        space: Where the l1 term is taken: "rgb", or "ab" for the chroma of Lab alone, divided by 128.
        discriminator_factor: Factor of the discriminator's loss.
        averaged: See `System`.

    Raises:
        ValueError: a term that there is not, or that lacks its network.

    Example:

    >>> model = sar_keras.Pix2Pix(
    ...     sar_keras.UNetGenerator(), sar_keras.PatchDiscriminator(), sar_keras.VGG16Features()
    ... )
    >>> model.compile(keras.optimizers.Adam(2e-4, 0.5), keras.optimizers.Adam(2e-4, 0.5))
    >>> model.fit(dataset, epochs=10)  # a tf.data.Dataset of (sar, optical) batches
    >>> model.predict(sar)
    """

    description = "U-Net"
    loss_settings = Pix2PixLoss

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model | None = None,
        features: Callable[[tf.Tensor], tf.Tensor] | None = None,
        weights: dict[str, float] | None = None,
        view: str = "luma",
        space: str = "rgb",
        discriminator_factor: float = 0.5,
        averaged: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        networks = {"logits": discriminator, "activations": discriminator, "features": features}
        terms = self.loss_settings.terms()
        lacking = {name for name, term in terms.items() if networks.get(term.needs, True) is None}
        for name in lacking & (weights or {}).keys():
            network = "a discriminator" if terms[name].needs != "features" else "features"
            raise ValueError(f"weights: the term {name} needs {network}")
        self.generator = generator
        self.discriminator = discriminator
        self.features = features
        self.view = view
        self.space = space
        self.discriminator_factor = discriminator_factor
        self.averaged = averaged
        self.take_terms(weights, lacking)
        self.judge = hidden_features(discriminator) if discriminator else None
        self.built = True

    @classmethod
    def build_generator(cls, model: Pix2PixNetworks, size: int, dtype: str):
        return UNetGenerator(
            (size, size, model.channels),
            model.filters,
            normalization=model.normalization,
            upsampling=model.upsampling,
            dropout=model.dropout,
            output=model.output,
            dtype=dtype,
        )

    @classmethod
    def build_others(cls, model: PairedNetworkSettings, loss: Pix2PixLoss, size: int, dtype: str):
        if not loss.weights()["adversarial"]:
            return {}
        shape = (size, size, color.view_channels(model.view, model.channels))
        filters, normalization = model.discriminator_filters, model.normalization
        return {"discriminator": PatchDiscriminator(shape, filters, normalization, model.scales, dtype=dtype)}

    @classmethod
    def options(cls, model: Pix2PixNetworks, loss: Pix2PixLoss, seed: int):
        return {"view": model.view, "space": model.output}

    def compile(self, generator_optimizer, discriminator_optimizer=None, run_eagerly=False):
        """Set the optimizers; the generator's is also `model.optimizer`, which Keras' callbacks look at."""
        super().compile(generator_optimizer, run_eagerly)
        compat.build(generator_optimizer, self.generator.trainable_variables)
        self.discriminator_optimizer = None
        if self.discriminator:
            if discriminator_optimizer is None:
                raise ValueError("compile needs a discriminator_optimizer: this model has a discriminator")
            self.discriminator_optimizer = discriminator_optimizer
            compat.build(discriminator_optimizer, self.discriminator.trainable_variables)

    @property
    def state(self):
        state = {"generator": self.generator, "generator_optimizer": self.optimizer}
        if self.discriminator:
            state |= {"discriminator": self.discriminator, "discriminator_optimizer": self.discriminator_optimizer}
        return state | ({"averaged": self.averaged} if self.averaged else {})

    def term_names(self) -> list[str]:
        """What `train_step` reports."""
        of_discriminator = ["discriminator_loss", "d_real", "d_fake"] if self.discriminator else []
        return ["generator_loss", *self.term_weights, *of_discriminator]

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        judged = self.discriminator is not None and not self.warming_up
        # Gradients that nothing uses, as those of the discriminator's weights in the generator's pass, are pruned. The
        # weights of the frozen features are not watched, or the tape would keep what they compute.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            for network in filter(None, (self.generator, self.discriminator)):
                tape.watch(compat.tensorflow_variables(network.trainable_variables))
            generated, given = self.generate(sar, optical)
            given |= {
                "colours": (self._in_space(generated), self._in_space(optical)),
                "images": (generated, optical),
                "features": (self.features, generated, optical),
            }
            if judged:
                real_activations, real = self._judge(sar, optical)
                activations, fake = self._judge(sar, generated)
                given |= {"logits": (fake,), "activations": (real_activations, activations)}
                discriminator_loss = self.discriminator_factor * (
                    losses.binary_crossentropy(real, real=True) + losses.binary_crossentropy(fake, real=False)
                )
            generator_loss, terms = self.objective(given)

        descend(self.optimizer, tape, generator_loss, self.generator.trainable_variables, terms)
        reported = {"generator_loss": generator_loss} | terms
        if judged:
            of_discriminator = {"discriminator_loss": discriminator_loss}
            weights = self.discriminator.trainable_variables
            descend(self.discriminator_optimizer, tape, discriminator_loss, weights, of_discriminator)
            verdicts = {"d_real": losses.mean_verdict(real), "d_fake": losses.mean_verdict(fake)}
            reported |= of_discriminator | verdicts
        return self.report(reported)

    def generate(self, sar, optical) -> tuple[tf.Tensor, dict[str, tuple]]:
        """The generated image, and what a subclass's own terms need, see `objective`."""
        return self.generator(sar, training=True), {}

    def _in_space(self, rgb: tf.Tensor) -> tf.Tensor:
        return color.chroma(rgb) if self.space == "ab" else rgb

    def _judge(self, sar, optical) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The discriminator's hidden activations and logits of a pair."""
        outputs = self.judge(color.view(sar, optical, self.view), training=True)
        scales = len(self.discriminator.outputs)
        return outputs[:-scales], outputs[-scales:]
