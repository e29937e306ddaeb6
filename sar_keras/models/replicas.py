"""What a training step does on each of several devices or machines: the seams between tf.distribute and Keras."""

from collections.abc import Callable

import keras
import tensorflow as tf

from sar_keras import compat


def per_replica(mean: tf.Tensor) -> tf.Tensor:
    """A replica's share in the mean over all of them: the sum of these shares over the replicas is the mean.

    https://www.tensorflow.org/tutorials/distribute/custom_training#define_the_loss_function
    """
    return mean / tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Inside a step: the sum over all replicas of each number, in one message between them."""
    sums = tf.distribute.get_replica_context().all_reduce("SUM", tf.stack(list(values.values())))
    return dict(zip(values, tf.unstack(sums), strict=True))


def of_all_replicas(images: tf.Tensor) -> tuple[tf.Tensor, slice]:
    """Inside a step: the images (N, ...) of all replicas, one after the other, and which of them are this replica's."""
    replica = tf.distribute.get_replica_context()
    first = replica.replica_id_in_sync_group * tf.shape(images)[0]
    return replica.all_gather(images, axis=0), slice(first, first + tf.shape(images)[0])


NOT_FINITE = "not finite:"


def descend(
    optimizer: keras.optimizers.Optimizer,
    tape: tf.GradientTape,
    loss: tf.Tensor,
    weights: list,
    terms: dict[str, tf.Tensor],
) -> None:
    """Inside a step: one step of `optimizer` on `weights`, down the gradient of a loss.

    `loss` is the mean over this replica's images; the step is that of the mean over all replicas' images. None of the
    weights is touched where the loss or a gradient is not finite.

    Raises:
        tf.errors.InvalidArgumentError: it is not; the message begins with NOT_FINITE and goes on with `terms`, name and
            value by turns. `sar_keras.fit` makes a TrainingDiverged of it.
    """
    scale = per_replica(compat.loss_scale(optimizer))
    gradients = tape.gradient(loss, weights, output_gradients=scale)  # pyright: ignore[reportCallIssue]
    # A sum is finite only where each summand is, and costs less than to look at each.
    total = tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
    if isinstance(optimizer, compat.LossScaleOptimizer):
        # It skips a step whose gradients are not finite, but looks at those of the first replica alone, before their
        # sum is taken (https://github.com/keras-team/keras/blob/master/keras/src/optimizers/loss_scale_optimizer.py).
        # So one that is not finite anywhere makes a gradient so everywhere: 0 x infinity is not a number.
        gradients[0] += sum_over_replicas({"broken": 0.0 * total})["broken"]
        checked = loss
    else:
        checked = loss + total
    named = [part for term in terms.items() for part in term]
    with tf.control_dependencies([tf.debugging.Assert(tf.math.is_finite(checked), [NOT_FINITE, *named])]):
        gradients = [tf.identity(gradient) for gradient in gradients]
    compat.apply_scaled(optimizer, gradients, weights)


class ReplicatedSteps(keras.Model):
    """A model whose `fit` and `evaluate` run its steps on every replica, of one machine or several.

    Keras' own functions reduce the results of the replicas in a way that fails on several machines, and take the mean
    of the replicas' means, which is not the mean over images. The results of a step must here be the same on each
    replica, see `sum_over_replicas`.
    """

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._on_every_replica(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._on_every_replica(self.test_step)
        return self.test_function

    def _on_every_replica(self, step: Callable) -> Callable:
        strategy = self.distribute_strategy

        def run(batch):
            results = strategy.run(step, args=(batch,))
            return {name: strategy.experimental_local_results(value)[0] for name, value in results.items()}

        run = run if self.run_eagerly else tf.function(run, reduce_retracing=True)
        return lambda iterator: run(next(iterator))

    def _maybe_symbolic_build(self, *_, **__):
        """Do nothing. Keras would look at a batch to build the model, but our models are built.

        Under MultiWorkerMirroredStrategy it even fails, because there it cannot look at a batch.

        https://github.com/keras-team/keras/blob/master/keras/src/backend/tensorflow/trainer.py
        """
