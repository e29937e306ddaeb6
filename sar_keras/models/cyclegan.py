"""CycleGAN: learns from SAR and optical images that need not be pairs.

Paper: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017.
"""

import keras
import tensorflow as tf

from sar_keras import compat
from sar_keras.models import losses
from sar_keras.models.base import System
from sar_keras.models.replicas import descend, of_all_replicas
from sar_keras.models.systems import CycleGANLoss, CycleGANNetworks
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.resnet import ResNetGenerator


class CycleGAN(System):
    """Trains two generators against two discriminators, on batches of SAR and of unrelated optical images.

    The generators' objective is the sum of its terms, each times its weight:

    - adversarial: least squares, in both directions;
    - cycle: `|back(generator(sar)) - sar| + |generator(back(optical)) - optical|`;
    - identity: `|generator(luminance of optical) - optical| + |back(SAR as RGB) - sar|`, which is not quite the
      paper's, whose two kinds of images have equally many channels.

    Args:
        generator: SAR (N, H, W, c) to optical (N, H, W, 3), both in [-1, 1].
        back: Optical to SAR.
        discriminator: Optical to logits.
        back_discriminator: SAR to logits.
        weights: Name to weight of the terms. None: the paper's, `{"cycle": 10, "identity": 5, "adversarial": 1}`.
        discriminator_factor: Factor of the discriminators' losses.
        pool: Generated images of the past that each discriminator also judges (Zhu et al., section 4).
        seed: The seed of the draws from the pool.
        averaged: See `System`.
    """

    description = "two ResNets"
    paired = False
    loss_settings = CycleGANLoss

    def __init__(
        self,
        generator: keras.Model,
        back: keras.Model,
        discriminator: keras.Model,
        back_discriminator: keras.Model,
        weights: dict[str, float] | None = None,
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
        self.take_terms(weights)
        self.discriminator_factor = discriminator_factor
        self.averaged = averaged
        self.optical_pool = ImagePool(pool, generator.output_shape[1:], seed)
        self.sar_pool = ImagePool(pool, generator.input_shape[1:], seed + 1)
        self.built = True

    @classmethod
    def build_generator(cls, model: CycleGANNetworks, size: int, dtype: str):
        return ResNetGenerator(
            (size, size, model.channels),
            model.filters,
            model.blocks,
            model.normalization,
            model.upsampling,
            dtype=dtype,
        )

    @classmethod
    def build_others(cls, model: CycleGANNetworks, loss: CycleGANLoss, size: int, dtype: str):
        def discriminator(channels, name):
            shape, filters = (size, size, channels), model.discriminator_filters
            return PatchDiscriminator(shape, filters, model.normalization, dtype=dtype, name=name)

        back = ResNetGenerator(
            (size, size, 3),
            model.filters,
            model.blocks,
            model.normalization,
            model.upsampling,
            output_channels=model.channels,
            dtype=dtype,
            name="back_generator",
        )
        return {
            "back": back,
            "discriminator": discriminator(3, "optical_discriminator"),
            "back_discriminator": discriminator(model.channels, "sar_discriminator"),
        }

    @classmethod
    def options(cls, model: CycleGANNetworks, loss: CycleGANLoss, seed: int):
        return {"seed": seed}

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
        return ["generator_loss", *self.term_weights, "discriminator_loss", "d_real", "d_fake"]

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            generated = self.generator(sar, training=True)
            generated_sar = self.back(optical, training=True)
            sar_again = self.back(generated, training=True)
            optical_again = self.generator(generated_sar, training=True)
            generator_loss, terms = self.objective(
                {
                    "round_trip": (sar_again, sar, optical_again, optical),
                    "generators": (self.generator, self.back, sar, optical),
                    "scores": (
                        self.discriminator(generated, training=True),
                        self.back_discriminator(generated_sar, training=True),
                    ),
                }
            )

            step = self.optimizer.iterations
            older = self.optical_pool.exchange(tf.stop_gradient(generated), step)
            older_sar = self.sar_pool.exchange(tf.stop_gradient(generated_sar), step)
            real = self.discriminator(optical, training=True)
            fake = self.discriminator(older, training=True)
            real_sar = self.back_discriminator(sar, training=True)
            fake_sar = self.back_discriminator(older_sar, training=True)
            discriminator_loss = self.discriminator_factor * (
                losses.least_squares([real], real=True)
                + losses.least_squares([fake], real=False)
                + losses.least_squares([real_sar], real=True)
                + losses.least_squares([fake_sar], real=False)
            )

        descend(self.optimizer, generator_tape, generator_loss, self._generator_weights, terms)
        weights, of_discriminators = self._discriminator_weights, {"discriminator_loss": discriminator_loss}
        descend(self.discriminator_optimizer, discriminator_tape, discriminator_loss, weights, of_discriminators)
        # Least-squares outputs are no logits: 1 is real, 0 is generated.
        means = {"d_real": tf.reduce_mean(real), "d_fake": tf.reduce_mean(fake)}
        return self.report({"generator_loss": generator_loss} | terms | of_discriminators | means)


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
        images, of_this_replica = of_all_replicas(images)
        step = tf.cast(step, tf.int64)
        count = tf.shape(images, out_type=tf.int64)[0]
        seen = step * count
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        # The slots of a batch are distinct.
        shuffle = tf.random.experimental.index_shuffle  # pyright: ignore[reportAttributeAccessIssue]
        shuffled = shuffle(tf.range(count) % self.size, seed, self.size - 1)
        full = seen >= self.size
        slots = tf.where(full, shuffled, (seen + tf.range(count)) % self.size)
        old = tf.gather(self.images, slots)
        exchanged = tf.logical_and(full, tf.random.stateless_uniform([count], seed) < 0.5)
        # A slot whose image stays is written again as it is.
        keep = tf.logical_and(full, tf.logical_not(exchanged))[:, None, None, None]
        # Not scatter_nd_update: a variable that each replica has for itself does not know it.
        self.images.assign(tf.tensor_scatter_nd_update(self.images, slots[:, None], tf.where(keep, old, images)))
        return tf.where(exchanged[:, None, None, None], old, images)[of_this_replica]
