"""CycleGAN: learns from SAR and optical images that need not be pairs.

Paper: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017.
"""

import keras
import tensorflow as tf

from sar_keras import color, compat
from sar_keras.models import losses
from sar_keras.models.base import Colorizer
from sar_keras.models.replicas import descend, of_all_replicas, per_replica


class CycleGAN(Colorizer):
    """Trains two generators against two discriminators, on batches of SAR and of unrelated optical images.

    The generators' objective is least-squares adversarial in both directions, plus `cycle * (|back(generator(sar)) -
    sar| + |generator(back(optical)) - optical|)`, plus `identity * (|generator(luminance of optical) - optical| +
    |back(SAR as RGB) - sar|)`. The identity term is not quite the paper's, whose domains have equally many channels.

    Args:
        generator: SAR (N, H, W, c) to optical (N, H, W, 3), both in [-1, 1].
        back: Optical to SAR.
        discriminator: Optical to logits.
        back_discriminator: SAR to logits.
        cycle, identity, adversarial: Weights of the terms.
        discriminator_factor: Factor of the discriminators' losses.
        pool: Generated images of the past that each discriminator also judges (Zhu et al., section 4).
        seed: Of the draws from the pool.
        averaged: See `Colorizer`.
    """

    def __init__(
        self,
        generator: keras.Model,
        back: keras.Model,
        discriminator: keras.Model,
        back_discriminator: keras.Model,
        adversarial: float = 1.0,
        cycle: float = 10.0,
        identity: float = 5.0,
        discriminator_factor: float = 0.5,
        pool: int = 50,
        seed: int = 0,
        averaged: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.generator = generator
        self.back = back
        self.discriminator = discriminator
        self.back_discriminator = back_discriminator
        self.adversarial = adversarial
        self.cycle = cycle
        self.identity = identity
        self.discriminator_factor = discriminator_factor
        self.averaged = averaged
        self.optical_pool = ImagePool(pool, generator.output_shape[1:], seed)
        self.sar_pool = ImagePool(pool, generator.input_shape[1:], seed + 1)
        self.built = True

    def compile(self, generator_optimizer, discriminator_optimizer, run_eagerly=False):
        """Set the optimizers: one of both generators, also `model.optimizer`, and one of both discriminators."""
        super().compile(generator_optimizer, run_eagerly)
        self.discriminator_optimizer = discriminator_optimizer
        compat.build(generator_optimizer, self._generator_weights)
        compat.build(discriminator_optimizer, self._discriminator_weights)

    @property
    def _generator_weights(self):
        return self.generator.trainable_variables + self.back.trainable_variables

    @property
    def _discriminator_weights(self):
        return self.discriminator.trainable_variables + self.back_discriminator.trainable_variables

    @property
    def state(self):
        return {
            "generator": self.generator,
            "back": self.back,
            "generator_optimizer": self.optimizer,
            "discriminator": self.discriminator,
            "back_discriminator": self.back_discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
            "pools": [self.optical_pool.images, self.sar_pool.images],
        } | ({"averaged": self.averaged} if self.averaged else {})

    def term_names(self):
        return ["generator_loss", "cycle", "identity", "adversarial", "discriminator_loss", "d_real", "d_fake"]

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            generated = self.generator(sar, training=True)
            generated_sar = self.back(optical, training=True)
            terms = {
                "cycle": losses.mean_absolute_error(self.back(generated, training=True), sar)
                + losses.mean_absolute_error(self.generator(generated_sar, training=True), optical),
                "identity": self._identity(sar, optical),
                "adversarial": losses.least_squares([self.discriminator(generated, training=True)], real=True)
                + losses.least_squares([self.back_discriminator(generated_sar, training=True)], real=True),
            }
            generator_loss = tf.add_n([getattr(self, name) * value for name, value in terms.items()])
            scaled_generator_loss = per_replica(generator_loss)

            step = self.optimizer.iterations
            real = self.discriminator(optical, training=True)
            fake = self.discriminator(self.optical_pool.exchange(tf.stop_gradient(generated), step), training=True)
            real_sar = self.back_discriminator(sar, training=True)
            fake_sar = self.back_discriminator(
                self.sar_pool.exchange(tf.stop_gradient(generated_sar), step), training=True
            )
            discriminator_loss = self.discriminator_factor * (
                losses.least_squares([real], real=True)
                + losses.least_squares([fake], real=False)
                + losses.least_squares([real_sar], real=True)
                + losses.least_squares([fake_sar], real=False)
            )
            scaled_discriminator_loss = per_replica(discriminator_loss)

        descend(self.optimizer, generator_tape, scaled_generator_loss, self._generator_weights, terms)
        weights, own = self._discriminator_weights, {"discriminator_loss": discriminator_loss}
        descend(self.discriminator_optimizer, discriminator_tape, scaled_discriminator_loss, weights, own)
        # Least-squares outputs are no logits: 1 is real, 0 is generated.
        return self.report(
            terms
            | own
            | {
                "generator_loss": generator_loss,
                "d_real": tf.reduce_mean(real),
                "d_fake": tf.reduce_mean(fake),
            }
        )

    def _identity(self, sar, optical):
        if not self.identity:
            return tf.constant(0.0)
        grey = tf.repeat(color.luminance(optical), sar.shape[-1], -1)
        as_rgb = tf.repeat(sar[..., :1], 3, -1)
        return losses.mean_absolute_error(self.generator(grey, training=True), optical) + losses.mean_absolute_error(
            self.back(as_rgb, training=True), sar
        )


class ImagePool:
    """Keeps generated images; of those handed in, half come back as they are, half are exchanged for older ones.

    Until it is full it only collects. All replicas have the same pool, since each adds the images of all of them.
    Batches must not be larger than the pool.
    """

    def __init__(self, size: int, shape: tuple[int, int, int], seed: int):
        self.images = tf.Variable(
            tf.zeros((size, *shape)),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.size, self.seed = size, seed

    def exchange(self, images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The images (N, H, W, c), some of them older. Draws depend on the seed and `step` alone."""
        if not self.size:
            return images
        images, own = of_all_replicas(images)
        step = tf.cast(step, tf.int64)
        count = tf.shape(images, out_type=tf.int64)[0]
        seen = step * count
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        # The slots of a batch are distinct.
        shuffled = tf.random.experimental.index_shuffle(tf.range(count) % self.size, seed, self.size - 1)
        full = seen >= self.size
        slots = tf.where(full, shuffled, (seen + tf.range(count)) % self.size)
        old = tf.gather(self.images, slots)
        exchanged = tf.logical_and(full, tf.random.stateless_uniform([count], seed) < 0.5)
        # A slot whose image stays is written again as it is.
        keep = tf.logical_and(full, tf.logical_not(exchanged))[:, None, None, None]
        # Not scatter_nd_update: a variable that each replica has for itself does not know it.
        self.images.assign(tf.tensor_scatter_nd_update(self.images, slots[:, None], tf.where(keep, old, images)))
        return tf.where(exchanged[:, None, None, None], old, images)[own]
