"""Pix2Pix with a perceptual loss.

Paper: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; the perceptual term
after Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
"""

import keras
import tensorflow as tf

from sar_keras import color, losses, metrics
from sar_keras.distribution import per_replica


class Pix2Pix(keras.Model):
    """Trains a generator against a discriminator on (sar, optical) batches; calling it is calling the generator.

    The objective is `adversarial * BCE + l1 * L1 + perceptual * |VGG16(generated) - VGG16(optical)|` for the generator
    and `discriminator_factor * (BCE(real) + BCE(generated))` for the discriminator. Both gradients come from the same
    forward passes.

    Args:
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        discriminator: A view of a pair, see `sar_keras.color.view`, to logits. None trains without one.
        features: RGB in [-1, 1] to the features of the perceptual term, such as `VGG16Features()`. None: no such term.
        view: "luma", "ab" or "rgb".
        adversarial, l1, perceptual: Weights of the terms.
        discriminator_factor: Factor of the discriminator's loss.

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
        adversarial: float = 1.0,
        l1: float = 100.0,
        perceptual: float = 0.01,
        discriminator_factor: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.generator = generator
        self.discriminator = discriminator
        self.features = features
        self.view = view
        self.adversarial = adversarial
        self.l1 = l1
        self.perceptual = perceptual
        self.discriminator_factor = discriminator_factor
        self.built = True

    def compile(self, generator_optimizer, discriminator_optimizer=None, **kwargs):
        """Set the optimizers; the generator's is also `model.optimizer`, which Keras' callbacks look at.

        XLA is left off: Keras' default fails under MirroredStrategy, and is slower on CPUs.
        """
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=generator_optimizer, **kwargs)
        generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer = None
        names = ["generator_loss", "l1"]
        if self.features:
            names.append("perceptual")
        if self.discriminator:
            if discriminator_optimizer is None:
                raise ValueError("compile needs a discriminator_optimizer: this model has a discriminator")
            self.discriminator_optimizer = discriminator_optimizer
            discriminator_optimizer.build(self.discriminator.trainable_variables)
            names += ["adversarial", "discriminator_loss", "d_real", "d_fake"]
        self.train_metrics = {name: keras.metrics.Mean(name=name) for name in names}
        self.test_metrics = {name: keras.metrics.Mean(name=name) for name in ("l1", "psnr")}

    @property
    def metrics(self):
        return [*self.train_metrics.values(), *self.test_metrics.values()]

    def call(self, sar, training=False):
        return self.generator(sar, training=training)

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        # What follows the gradients is pruned from the graph: no gradient is computed for the frozen features, nor for
        # the discriminator's weights in the generator's pass.
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            generated = self.generator(sar, training=True)
            terms = {"l1": losses.mean_absolute_error(generated, optical)}
            generator_loss = self.l1 * terms["l1"]
            if self.features:
                terms["perceptual"] = losses.mean_absolute_error(self.features(generated), self.features(optical))
                generator_loss += self.perceptual * terms["perceptual"]
            if self.discriminator:
                real = self.discriminator(color.view(sar, optical, self.view), training=True)
                fake = self.discriminator(color.view(sar, generated, self.view), training=True)
                terms["adversarial"] = losses.binary_crossentropy(fake, real=True)
                terms["discriminator_loss"] = self.discriminator_factor * (
                    losses.binary_crossentropy(real, real=True) + losses.binary_crossentropy(fake, real=False)
                )
                generator_loss += self.adversarial * terms["adversarial"]
                discriminator_loss = per_replica(terms["discriminator_loss"])
            scaled_generator_loss = per_replica(generator_loss)

        weights = self.generator.trainable_variables
        self.optimizer.apply_gradients(
            zip(generator_tape.gradient(scaled_generator_loss, weights), weights, strict=True)
        )
        if self.discriminator:
            weights = self.discriminator.trainable_variables
            self.discriminator_optimizer.apply_gradients(
                zip(discriminator_tape.gradient(discriminator_loss, weights), weights, strict=True)
            )
            terms["d_real"] = tf.reduce_mean(tf.sigmoid(real))
            terms["d_fake"] = tf.reduce_mean(tf.sigmoid(fake))
        terms["generator_loss"] = generator_loss
        for name, metric in self.train_metrics.items():
            metric.update_state(terms[name])
        return {name: metric.result() for name, metric in self.train_metrics.items()}

    def test_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        generated = self.generator(sar, training=False)
        per_image = {
            "l1": tf.reduce_mean(tf.abs(generated - optical), axis=[1, 2, 3]),
            "psnr": metrics.psnr(optical, generated),
        }
        for name, metric in self.test_metrics.items():
            metric.update_state(per_image[name])
        return {name: metric.result() for name, metric in self.test_metrics.items()}
