"""What every system shares: it is called, validated and saved as one generator from SAR to optical."""

import keras
import tensorflow as tf

from sar_keras import metrics


class Colorizer(keras.Model):
    """Base of the systems; calling one is calling its generator.

    Attributes:
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        averaged: A twin of the generator that holds averaged weights, or None. Where there is one it is what calls and
            evaluation use; `sar_keras.callbacks.AverageWeights` moves it.
        steps_before: Steps of the run before this model's first.
        state: Name to network, optimizer or list of variables: all that a checkpoint must hold.
    """

    averaged: keras.Model | None = None
    discriminator_optimizer: keras.optimizers.Optimizer | None = None
    steps_before = 0
    # While True, a system with a discriminator trains without it.
    warming_up = False

    @property
    def final_generator(self) -> keras.Model:
        return self.averaged or self.generator

    def call(self, sar, training=False):
        return self.final_generator(sar, training=training)

    def compile(self, generator_optimizer, **kwargs):
        # XLA is left off: Keras' default fails under MirroredStrategy, and is slower on CPUs.
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=generator_optimizer, **kwargs)
        self.train_metrics = {name: keras.metrics.Mean(name=name) for name in self.term_names()}
        self.test_metrics = {name: keras.metrics.Mean(name=name) for name in ("l1", "psnr")}

    @property
    def metrics(self):
        return [*self.train_metrics.values(), *self.test_metrics.values()]

    def running_means(self) -> list[tf.Variable]:
        """The variables behind the training terms' means over the epoch under way."""
        return [variable.value for metric in self.train_metrics.values() for variable in metric.variables]

    def report(self, terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Add a step's terms to the means that Keras logs."""
        for name, value in terms.items():
            self.train_metrics[name].update_state(value)
        return {name: self.train_metrics[name].result() for name in self.train_metrics if name in terms}

    def test_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        generated = self(sar, training=False)
        per_image = {
            "l1": tf.reduce_mean(tf.abs(generated - optical), axis=[1, 2, 3]),
            "psnr": metrics.psnr(optical, generated),
        }
        for name, metric in self.test_metrics.items():
            metric.update_state(per_image[name])
        return {name: metric.result() for name, metric in self.test_metrics.items()}


NOT_FINITE = "not finite:"


def descend(
    optimizer: keras.optimizers.Optimizer,
    tape: tf.GradientTape,
    loss: tf.Tensor,
    weights: list,
    terms: dict[str, tf.Tensor],
) -> None:
    """One step of `optimizer` on `weights`, none of which it touches where the loss or a gradient is not finite.

    Raises:
        tf.errors.InvalidArgumentError: it is not; the message begins with NOT_FINITE and goes on with `terms`, name and
            value by turns. `sar_keras.fit` makes a TrainingDiverged of it.
    """
    gradients = tape.gradient(loss, weights)
    # A sum is finite only where each summand is, and costs less than to look at each.
    finite = tf.math.is_finite(tf.add_n([loss, *(tf.reduce_sum(gradient) for gradient in gradients)]))
    named = [part for term in terms.items() for part in term]
    with tf.control_dependencies([tf.debugging.Assert(finite, [NOT_FINITE, *named])]):
        gradients = [tf.identity(gradient) for gradient in gradients]
    optimizer.apply_gradients(zip(gradients, weights, strict=True))
