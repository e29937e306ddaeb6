"""Pix2Pix and the systems that differ from it in the weights of their terms.

Papers: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; the perceptual term
after Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016; feature matching
after Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs" (pix2pixHD), CVPR
2018.
"""

import keras
import tensorflow as tf

from sar_keras import color, compat
from sar_keras.models import losses
from sar_keras.models.base import Colorizer
from sar_keras.models.replicas import descend, per_replica
from sar_keras.networks.patchgan import hidden_features


class Pix2Pix(Colorizer):
    """Trains a generator against a discriminator on (sar, optical) batches; calling it is calling the generator.

    The objective is `l1 * L1 + l2 * MSE + ssim * (1 - SSIM) + edges * |grad(generated) - grad(optical)| +
    perceptual * |VGG16(generated) - VGG16(optical)| + adversarial * BCE + feature_matching * |D_hidden(generated) -
    D_hidden(optical)|` for the generator and `discriminator_factor * (BCE(real) + BCE(generated))` for the
    discriminator. Both gradients come from the same forward passes.

    Args:
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        discriminator: A view of a pair, see `sar_keras.color.view`, to logits, or to a list of logits, one a scale.
            None trains without one.
        features: RGB in [-1, 1] to the features of the perceptual term, such as `VGG16Features()`. None: no such term.
        view: "luma", "ab" or "rgb".
        space: Where the L1 term is taken: "rgb", or "ab" for the chroma of Lab alone, divided by 128.
        adversarial, l1, l2, ssim, edges, perceptual, feature_matching: Weights of the terms; `edges` is that of the
            distance of gradient magnitudes (Ma et al., "Structure-Preserving Super Resolution with Gradient Guidance",
            CVPR 2020), which unlike the others tells a generator that is not sure not to blur.
        discriminator_factor: Factor of the discriminator's loss.
        averaged: See `Colorizer`.

    Example:

    >>> model = sar_keras.Pix2Pix(
    ...     sar_keras.UNetGenerator(), sar_keras.PatchDiscriminator(), sar_keras.VGG16Features()
    ... )
    >>> model.compile(keras.optimizers.Adam(2e-4, 0.5), keras.optimizers.Adam(2e-4, 0.5))
    >>> model.fit(dataset, epochs=10)  # a tf.data.Dataset of (sar, optical) batches
    >>> model.predict(sar)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model | None = None,
        features: keras.Model | None = None,
        view: str = "luma",
        space: str = "rgb",
        adversarial: float = 1.0,
        l1: float = 100.0,
        l2: float = 0.0,
        ssim: float = 0.0,
        edges: float = 0.0,
        perceptual: float = 0.01,
        feature_matching: float = 0.0,
        discriminator_factor: float = 0.5,
        averaged: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.generator = generator
        self.discriminator = discriminator
        self.features = features
        self.view = view
        self.space = space
        self.adversarial = adversarial
        self.l1 = l1
        self.l2 = l2
        self.ssim = ssim
        self.edges = edges
        self.perceptual = perceptual
        self.feature_matching = feature_matching
        self.discriminator_factor = discriminator_factor
        self.averaged = averaged
        self.judge = hidden_features(discriminator) if discriminator else None
        self.built = True

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
        names = ["generator_loss", "l1"]
        names += [name for name in ("l2", "ssim", "edges") if getattr(self, name)]
        names += ["perceptual"] if self.features else []
        if self.discriminator:
            names += ["adversarial", "discriminator_loss", "d_real", "d_fake"]
            names += ["feature_matching"] if self.feature_matching else []
        return names

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        adversarial = self.discriminator is not None and not self.warming_up
        # What follows the gradients is pruned from the graph: no gradient is computed for the frozen features, nor for
        # the discriminator's weights in the generator's pass.
        with tf.GradientTape(persistent=True) as tape:
            generated, terms = self.generate(sar, optical)
            terms |= self._distances(generated, optical, tape)
            if adversarial:
                # After the other terms, whose memory is free again by then.
                with tf.control_dependencies(list(terms.values())):
                    sar, optical, generated = map(tf.identity, (sar, optical, generated))
                real_hidden, real = self._judge(sar, optical)
                fake_hidden, fake = self._judge(sar, generated)
                terms["adversarial"] = losses.binary_crossentropy(fake, real=True)
                if self.feature_matching:
                    terms["feature_matching"] = losses.feature_matching(real_hidden, fake_hidden)
                discriminator_loss = self.discriminator_factor * (
                    losses.binary_crossentropy(real, real=True) + losses.binary_crossentropy(fake, real=False)
                )
                scaled_discriminator_loss = per_replica(discriminator_loss)
            generator_loss = tf.add_n([getattr(self, name) * value for name, value in terms.items()])
            scaled_generator_loss = per_replica(generator_loss)

        descend(self.optimizer, tape, scaled_generator_loss, self.generator.trainable_variables, terms)
        terms["generator_loss"] = generator_loss
        if adversarial:
            weights, own = self.discriminator.trainable_variables, {"discriminator_loss": discriminator_loss}
            descend(self.discriminator_optimizer, tape, scaled_discriminator_loss, weights, own)
            terms |= own
            terms["d_real"], terms["d_fake"] = losses.mean_verdict(real), losses.mean_verdict(fake)
        return self.report(terms)

    def generate(self, sar, optical) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The generated image, and the terms that come with it; each is weighted by the attribute of its name."""
        return self.generator(sar, training=True), {}

    def _distances(self, generated, optical, tape) -> dict[str, tf.Tensor]:
        if self.space == "ab":
            terms = {"l1": losses.mean_absolute_error(color.chroma(generated), color.chroma(optical))}
        else:
            terms = {"l1": losses.mean_absolute_error(generated, optical)}
        if self.l2:
            terms["l2"] = losses.mean_squared_error(generated, optical)
        if self.ssim:
            terms["ssim"] = losses.ssim_loss(generated, optical)
        if self.edges:
            terms["edges"] = losses.gradient_distance(generated, optical)
        if self.features:
            terms["perceptual"] = losses.perceptual_distance(self.features, generated, optical, tape)
        return terms

    def _judge(self, sar, optical) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The discriminator's hidden activations and logits."""
        outputs = self.judge(color.view(sar, optical, self.view), training=True)
        scales = len(self.discriminator.outputs)
        return outputs[:-scales], outputs[-scales:]
