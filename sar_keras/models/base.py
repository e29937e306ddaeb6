"""What every system shares: it is called, validated and saved as one generator from SAR to optical."""

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

from sar_keras import compat
from sar_keras.models import losses
from sar_keras.models.replicas import ReplicatedSteps, per_replica, sum_over_replicas
from sar_keras.models.systems import LossSettings


def psnr(truth: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1], (N,); the peak is the whole range from -1 to 1."""
    return tf.image.psnr(truth, generated, max_val=2.0)


class System(ReplicatedSteps):
    """Base of the systems; calling one is calling its generator.

    A system of the table `sar_keras.models.systems.SYSTEMS` also defines `build_generator`, `build_others` and
    `options`, which make it from its settings.

    Attributes:
        description: The generator in a word or two, for people.
        paired: Whether the images of a batch must belong together.
        guided: Whether the generator takes {"sar": sar, "hint": hint}, see `sar_keras.hint_planes`.
        loss_settings: The settings `loss.*`, which know the terms that the system has.
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        averaged: A second generator that holds averaged weights, or None. Where there is one it is what calls and
            evaluation use; `sar_keras.training.callbacks.AverageWeights` moves it.
        steps_done: Steps of the run, also of an earlier phase of it that trained another model. Not the optimizer's
            iterations, which under float16 leave out the steps that it skips.
        warming_up: While True, a system with a discriminator trains without it.
        term_weights: Each term of the generator's objective with its weight.
        term_functions: Each term with its function, see `sar_keras.models.terms`. A faster one of equal value may take
            its place.
        state: Name to network, optimizer or list of variables: all that a checkpoint must hold.
    """

    description = ""
    paired = True
    guided = False
    loss_settings: type[LossSettings]
    averaged: keras.Model | None = None
    discriminator_optimizer: keras.optimizers.Optimizer | None = None
    steps_done = 0
    warming_up = False

    @classmethod
    def build_generator(cls, model, size: int, dtype: str) -> keras.Model:
        """The untrained generator as the settings `model.*` describe it, for patches of `size` pixels a side."""
        raise NotImplementedError

    @classmethod
    def build_others(cls, model, loss, size: int, dtype: str) -> dict[str, keras.Model]:
        """The other networks that the constructor takes and that are trained, by their argument."""
        raise NotImplementedError

    @classmethod
    def options(cls, model, loss, seed: int) -> dict[str, Any]:
        """The further arguments that the constructor takes, from the settings `model.*` and `loss.*`."""
        raise NotImplementedError

    def take_terms(self, weights: dict[str, float] | None, lacking: Collection[str] = ()) -> None:
        """Set the weights of the objective's terms; one of weight 0 is only reported.

        Args:
            weights: Name to weight. None: those of the table of terms that are above 0, but for the terms in `lacking`.
            lacking: Names of terms whose network is not there.

        Raises:
            ValueError: a term that the system does not have.
        """
        terms = self.loss_settings.terms()
        if weights is None:
            weights = {name: term.weight for name, term in terms.items() if term.weight and name not in lacking}
        for name in weights:
            if name not in terms:
                raise ValueError(f"weights: no term {name!r}; the terms are {', '.join(terms)}")
        self.term_weights = dict(weights)
        self.term_functions = {name: getattr(losses, terms[name].function) for name in weights}
        self._needs = {name: terms[name].needs for name in weights}

    def objective(self, given: dict[str, tuple]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The generator's objective, the weighted sum of its terms, and the terms.

        Args:
            given: What the terms need, see `sar_keras.models.terms.Term`, to the arguments of their functions. Terms
                whose need is not in it are left out.
        """
        terms = {name: self.term_functions[name](*given[need]) for name, need in self._needs.items() if need in given}
        return tf.add_n([self.term_weights[name] * value for name, value in terms.items()]), terms

    @property
    def final_generator(self) -> keras.Model:
        return self.averaged or self.generator

    def call(self, sar, training=False):
        return self.final_generator(sar, training=training)

    def compile(self, generator_optimizer, run_eagerly=False):
        # XLA is left off: Keras' default fails under MirroredStrategy, and is slower on CPUs.
        # weighted_metrics: else Keras 2 warns that it has none for the weights of validation images.
        super().compile(generator_optimizer, weighted_metrics=[], run_eagerly=run_eagerly, jit_compile=False)
        self.train_metrics = {name: keras.metrics.Mean(name=name) for name in self.term_names()}
        self.test_metrics = {name: keras.metrics.Mean(name=name) for name in ("l1", "psnr")}

    @property
    def metrics(self):
        return [*self.train_metrics.values(), *self.test_metrics.values()]

    def running_means(self) -> list[tf.Variable]:
        """The variables behind the training terms' means over the epoch under way."""
        return compat.tensorflow_variables(
            variable for metric in self.train_metrics.values() for variable in metric.variables
        )

    def report(self, terms: dict[str, tf.Tensor]) -> dict[str, Any]:
        """Add a step's terms, each a mean over this replica's images, to the means that Keras logs."""
        terms = sum_over_replicas({name: per_replica(value) for name, value in terms.items()})
        # A checkpoint holds the sum of what the replicas count, and may be restored on another number of them.
        for name, value in terms.items():
            self.train_metrics[name].update_state(value, sample_weight=per_replica(1.0))
        return {name: self.train_metrics[name].result() for name in self.train_metrics if name in terms}

    def test_step(self, data):
        sar, optical, weight = keras.utils.unpack_x_y_sample_weight(data)
        generated = self(sar, training=False)
        weight = tf.ones(tf.shape(optical)[:1]) if weight is None else weight
        per_image = {
            "l1": tf.reduce_mean(tf.abs(generated - optical), axis=[1, 2, 3]),
            "psnr": psnr(optical, generated),
        }
        sums = {name: tf.reduce_sum(weight * values) for name, values in per_image.items()}
        sums = sum_over_replicas(sums | {"images": tf.reduce_sum(weight)})
        for name, metric in self.test_metrics.items():
            metric.update_state(sums[name] / sums["images"], sample_weight=sums["images"])
        return {name: metric.result() for name, metric in self.test_metrics.items()}
