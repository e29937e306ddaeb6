"""The callbacks on a model of one convolution, and that a configuration gives a run those that it asks for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import DISCRIMINATORS, one_convolution, small_discriminator, tiny

import sar_keras
from sar_keras.errors import ConfigError, TrainingDiverged
from sar_keras.training import callbacks
from sar_keras.training.phases import build_phases
from sar_keras.training.run import Phase


class Watch(keras.callbacks.Callback):
    """Keeps what `look(model, logs)` sees after each step."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.look(self.model, logs))


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = sar_keras.Pix2Pix(one_convolution(), small_discriminator(2), averaged=one_convolution())
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    return model


@pytest.fixture
def fit(model, random):
    """fit(epochs, callbacks) trains in epochs of two steps and returns Keras' history."""
    batch = tuple(tf.constant(random.uniform(-1, 1, (2, 16, 16, channels)), tf.float32) for channels in (1, 3))

    def fit(epochs, used):
        data = tf.data.Dataset.from_tensors(batch).repeat()
        return model.fit(data, epochs=epochs, steps_per_epoch=2, shuffle=False, verbose=0, callbacks=used).history

    return fit


def test_the_discriminator_joins_in_after_the_warm_up(model, fit):
    watch = Watch(lambda model, logs: ("d_real" in logs, model.discriminator.get_weights()[0]))
    before = model.discriminator.get_weights()[0]
    fit(2, [callbacks.WarmUp(3), watch])
    judged, weights = zip(*watch.seen, strict=True)
    assert judged == (False, False, False, True)
    np.testing.assert_array_equal(weights[2], before)
    assert (weights[3] != before).any()


@pytest.mark.parametrize(
    ("minutes", "spent", "factors"), [(None, 0, [1, 1, 1, 0.5]), (10.0, 5.0, [1, 1, 1, 0.5]), (10.0, 8.0, [0.4] * 4)]
)
def test_learning_rates_fall_to_zero_over_the_end_of_a_phase(model, fit, minutes, spent, factors):
    rates = [(model.optimizer, 2e-4), (model.discriminator_optimizer, 1e-4)]
    progress = {"minutes": tf.Variable(spent, dtype=tf.float64)}
    watch = Watch(lambda *_: [float(optimizer.learning_rate.numpy()) for optimizer, _ in rates])
    fit(2, [callbacks.Decay(0.5, rates, 4, minutes, progress), watch])
    np.testing.assert_allclose(watch.seen, np.outer(factors, [2e-4, 1e-4]), rtol=1e-6)


def test_the_average_moves_towards_the_generator(model, fit):
    watch = Watch(lambda model, _: (model.generator.get_weights(), model.averaged.get_weights()))
    average = model.averaged.get_weights()
    fit(2, [callbacks.AverageWeights(0.25), watch])
    for step, (weights, averaged) in enumerate(watch.seen, start=1):
        momentum = min(0.25, (1 + step) / (10 + step))  # of the fourth step on 0.25 is the smaller one
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights, strict=True)]
        for one, other in zip(averaged, average, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert model.final_generator is model.averaged


def test_minutes_end_a_phase_and_count_on_from_where_it_stood(model, fit):
    phase = Phase(model, epochs=9, minutes=5.0)
    phase.progress["minutes"].assign(1.0)
    phase.progress["all_steps"].assign(7)
    model.steps_done = 17  # of an earlier phase ten
    history = fit(1, [callbacks.StopAfter(5.0, phase.progress, minutes_before=2.0)])
    assert phase.steps == 9 and history["step"] == [19] and not phase.finished
    assert 1 < phase.minutes_spent < 5 and history["minutes"] == [2 + phase.minutes_spent]
    phase.progress["minutes"].assign(4.9999999)
    history = fit(5, [callbacks.StopAfter(5.0, phase.progress)])
    assert phase.finished and phase.steps == 10 and history["step"] == [20], "it did not stop after the step"


def test_weights_that_are_not_finite_stop_a_run(model, fit):
    model.optimizer.learning_rate = 1e39
    with pytest.raises(TrainingDiverged, match="the generator's weights are not finite after step 0"):
        model.fit(
            tf.data.Dataset.from_tensors((tf.ones((1, 16, 16, 1)), tf.ones((1, 16, 16, 3)))),
            shuffle=False,
            verbose=0,
            callbacks=[callbacks.StopWhenNotFinite()],
        )


def test_a_configuration_gives_a_run_its_callbacks():
    settings = [*DISCRIMINATORS, "loss.warm_up=2", "train.average=0.9", "train.decay=0.5", "train.epochs=10"]
    first, second = build_phases(tiny("default", *settings, "refinement.epochs=2"), "float32", steps=3)
    warm_up, decay, average = first.callbacks
    assert (warm_up.steps, decay.share, decay.steps, average.momentum) == (2, 0.5, 30, 0.9)
    optimizers = [first.model.optimizer, first.model.discriminator_optimizer]
    assert [optimizer for optimizer, _ in decay.rates] == optimizers
    assert [rate for _, rate in decay.rates] == pytest.approx([1e-3, 2e-4])
    assert first.model.averaged and (first.epochs, second.epochs, second.callbacks) == (10, 2, [])
    with pytest.raises(ConfigError, match=r"train\.decay: optimizer\.generator has a schedule of its own"):
        build_phases(tiny("quick", "train.decay=0.5"), "float32", steps=3)
