"""What a run shows while it trains, and what steers it."""

import contextlib
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sar_keras.io.files import atomic
from sar_keras.io.images import sample_grid, write_image
from sar_keras.models.terms import labels
from sar_keras.networks.guided import inputs_of
from sar_keras.training.failures import weights_not_finite
from sar_keras.training.machines import mean_over_workers, training_clock

_SCALARS_EVERY = 10  # steps between two points of the training curves in TensorBoard
_GRIDS_A_RUN = 20  # sample grids of a long run, so that they stay few enough to look through


class StopWhenNotFinite(keras.callbacks.Callback):
    """Stops the run before weights that are not finite are used further: of finite gradients an optimizer made them."""

    def on_epoch_end(self, epoch, logs=None):
        check_finite(self.model)


def check_finite(model) -> None:
    for name, part in model.state.items():
        if isinstance(part, keras.Model) and not all(np.isfinite(weight).all() for weight in part.get_weights()):
            raise weights_not_finite(name, model.steps_done)


class WarmUp(keras.callbacks.Callback):
    """Keeps the discriminator out of the first `steps` steps; the train function is traced anew when it joins in."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_batch_begin(self, batch, logs=None):
        warming_up = self.model.optimizer.iterations.numpy() < self.steps
        if warming_up != self.model.warming_up:
            self.model.warming_up = warming_up
            self.model.make_train_function(force=True)


class Decay(keras.callbacks.Callback):
    """Lets learning rates fall linearly to zero over the last part of a phase.

    How far the phase is counts in steps or in minutes of its limits, whichever is further.

    Args:
        share: The part of the phase, 0..1.
        rates: Optimizers, each with its learning rate before the fall.
        steps: The number of steps of the whole phase.
        minutes: The limit of the phase in training time, or None.
        progress: The phase's, see `sar_keras.training.run.Phase`.
    """

    def __init__(self, share: float, rates: list[tuple], steps: int, minutes: float | None, progress: dict):
        super().__init__()
        self.share, self.rates, self.steps, self.minutes, self.progress = share, rates, steps, minutes, progress

    def on_train_batch_begin(self, batch, logs=None):
        done = self.model.optimizer.iterations.numpy() / self.steps
        if self.minutes:
            done = max(done, float(self.progress["minutes"].numpy()) / self.minutes)
        factor = float(np.clip((1 - done) / self.share, 0, 1))
        for optimizer, rate in self.rates:
            optimizer.learning_rate = rate * factor


class AverageWeights(keras.callbacks.Callback):
    """Moves `model.averaged` towards the generator after each step: an exponential moving average of all its weights.

    Not Keras' `use_ema`: that leaves out the statistics of batch normalisation, and swapping the two sets of weights
    (`SwapEMAWeights`) rounds them. In the first steps the momentum is (1 + step) / (10 + step), as TensorFlow's
    `ExponentialMovingAverage` has it, so that the average does not drag the initial weights along.
    """

    def __init__(self, momentum: float):
        super().__init__()
        self.momentum = momentum

    def on_train_begin(self, logs=None):
        pairs = list(zip(self.model.averaged.weights, self.model.generator.weights, strict=True))

        @tf.function
        def move(share):
            for average, weight in pairs:
                average.assign(average + share * (tf.cast(weight, average.dtype) - average))

        self._move = move

    def on_train_batch_end(self, batch, logs=None):
        step = float(self.model.optimizer.iterations.numpy())
        self._move(tf.constant(1 - min(self.momentum, (1 + step) / (10 + step))))


class StopAfter(keras.callbacks.Callback):
    """Ends a phase of the run after so many minutes of training steps; validation and saving do not count.

    The epoch that the end falls into counts as done. Also counts and logs the minutes and steps of the whole run, so it
    must come before the callbacks that show them.

    Args:
        minutes: The limit in minutes, see `train.minutes`, or None.
        progress: The phase's, see `sar_keras.training.run.Phase`: it counts "minutes" and "all_steps".
        minutes_before: The training time of earlier phases.
    """

    def __init__(self, minutes: float | None, progress: dict[str, tf.Variable], minutes_before: float = 0.0):
        super().__init__()
        self.minutes, self.progress, self.minutes_before = minutes, progress, minutes_before
        self._spent = float(progress["minutes"].numpy())

    def on_train_batch_begin(self, batch, logs=None):
        self._started = training_clock()

    def on_train_batch_end(self, batch, logs=None):
        self._spent += (training_clock() - self._started) / 60
        if self.minutes:
            # One clock for all machines, because they have to stop at the same step.
            self._spent = mean_over_workers(self._spent, self.model.distribute_strategy)
        self.progress["minutes"].assign(self._spent)
        self.progress["all_steps"].assign_add(1)
        self.model.steps_done += 1
        if self.minutes and self._spent >= self.minutes:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        logs["minutes"] = self.minutes_before + self._spent
        logs["step"] = self.model.steps_done


class Progress(keras.callbacks.Callback):
    """A progress bar an epoch with every term on a terminal, and one line an epoch everywhere.

    Args:
        epochs: The number of epochs of the run.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        self._bar = tqdm(
            total=self.params["steps"],
            desc=f"epoch {epoch + 1}/{self.epochs}",
            unit="step",
            leave=False,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            bar_format="{desc} {n}/{total} {elapsed}<{remaining}{postfix}",
        )

    def on_train_batch_end(self, batch, logs=None):
        terms = " ".join(f"{short} {logs[name]:.3g}" for name, short in labels().items() if name in logs)
        self._bar.set_postfix_str(terms, refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._started
        self._bar.close()
        print(f"epoch {epoch + 1}/{self.epochs}  {seconds:.0f} s  {_terms(logs)}", flush=True)


def _terms(logs: dict) -> str:
    # Keras sorts by name; the reader wants the sum first, and what was held out last.
    order = (*labels(), "val_psnr")
    return " ".join(f"{name.removesuffix('_loss')} {logs[name]:.3g}" for name in order if name in logs)


class TensorBoardScalars(keras.callbacks.Callback):
    """Every term in logs/train, every validation figure in logs/validation, over the optimizer's steps.

    Keras' own callback counts batches from zero again in a resumed run.
    """

    def __init__(self, logs: Path):
        super().__init__()
        self._train = tf.summary.create_file_writer(str(logs / "train"))
        self._validation = tf.summary.create_file_writer(str(logs / "validation"))

    def on_train_batch_end(self, batch, logs=None):
        step = self.model.steps_done
        if step % _SCALARS_EVERY == 0:
            self._write(self._train, logs, step)

    def on_epoch_end(self, epoch, logs=None):
        step = self.model.steps_done
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        self._write(self._train, {name: value for name, value in logs.items() if not name.startswith("val_")}, step)
        self._write(self._validation, validation, step)

    @staticmethod
    def _write(writer, values: dict, step: int) -> None:
        with writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        # A checkpoint may follow, behind which nothing is written again.
        writer.flush()


def forget_events_after(step: int, logs: Path) -> None:
    """Remove what TensorBoard would show twice when a run goes on from `step`; and a last event that is cut off."""
    for path in logs.rglob("events.*"):
        kept = []
        with contextlib.suppress(tf.errors.DataLossError):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step <= step:
                    kept.append(record)
        with atomic(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in kept:
                writer.write(record)


class SampleGrids(keras.callbacks.Callback):
    """SAR | generated | truth of the same few pairs as time goes by: samples/*.png and TensorBoard images.

    Args:
        run: The run directory.
        samples: Name ("train", "validation") to a batch (sar, optical).
        generator: The float32 generator that `sar_keras.training.saving.CopyToFloat32` keeps up to date.
        epochs: The number of epochs of the run.
    """

    def __init__(self, run: Path, samples: dict[str, tuple[tf.Tensor, tf.Tensor]], generator: keras.Model, epochs: int):
        super().__init__()
        self.folder, self.samples, self.generator, self.epochs = run, samples, generator, epochs
        self._writer = tf.summary.create_file_writer(str(run / "logs" / "samples"))

    def on_train_begin(self, logs=None):
        self._generate = tf.function(lambda sar: self.generator(inputs_of(self.generator, sar), training=False))

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.epochs or self.model.stop_training
        if (epoch + 1) % max(1, self.epochs // _GRIDS_A_RUN) and not last:
            return
        step = self.model.steps_done
        for name, (sar, optical) in self.samples.items():
            grid = sample_grid(sar.numpy(), self._generate(sar).numpy(), optical.numpy())
            write_image(self.folder / "samples" / f"{name}-{epoch + 1:04d}.png", grid)
            with self._writer.as_default(step):
                tf.summary.image(name, grid[None])
        self._writer.flush()
