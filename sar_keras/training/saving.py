"""What a run keeps: its generator after each epoch, and checkpoints, also when it is told to stop."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras.config import interval
from sar_keras.errors import Stopped
from sar_keras.inference.model_file import save_model
from sar_keras.io.sar import Scale
from sar_keras.training.callbacks import check_finite
from sar_keras.training.checkpoints import Checkpoints, Position
from sar_keras.training.history import best_epoch, write_history
from sar_keras.training.machines import is_chief, mean_over_workers


class KeepTwin(keras.callbacks.Callback):
    """After each epoch copies the weights into a float32 twin of the generator, which other callbacks use."""

    def __init__(self, generator: keras.Model):
        super().__init__()
        self.generator = generator

    def on_epoch_end(self, epoch, logs=None):
        self.generator.set_weights(self.model.final_generator.get_weights())


class SaveRun(keras.callbacks.Callback):
    """After each epoch writes history.csv, the float32 generator, and the best one; checkpoints when they are due.

    The last of the callbacks: what a checkpoint is about is on disk before the checkpoint is, so that a run that is
    killed between them writes it again. Of several processes only the chief writes.

    Args:
        run: The run directory.
        checkpoints: Where they go.
        state: What a checkpoint holds.
        every: See `train.checkpoint_every`.
        steps: Of an epoch.
        progress: Position of this phase of the run: "epochs" finished, and "steps" into the one under way.
        epochs_before, epochs: Of earlier phases, and of the run until this phase ends.
        generator: The float32 twin that `KeepTwin` keeps up to date, to be saved.
        scales: Of the SAR and the optical images, saved with the generator.
        history: Rows of earlier sittings, one dict an epoch; extended here.
        best: See `train.best`.
        signals: What `noting_signals` yields.
    """

    def __init__(
        self,
        run: Path,
        checkpoints: Checkpoints,
        state: tf.train.Checkpoint,
        every: str,
        steps: int,
        progress: dict[str, tf.Variable],
        epochs_before: int,
        epochs: int,
        generator: keras.Model,
        scales: tuple[Scale, Scale],
        history: list[dict],
        best: str,
        signals: list[int],
    ):
        super().__init__()
        self.run, self.checkpoints, self.state, self.steps = run, checkpoints, state, steps
        self.progress, self.epochs_before, self.epochs = progress, epochs_before, epochs
        self.generator, self.scales, self.history, self.best = generator, scales, history, best
        self.signals = signals
        self._every, self._unit = interval(every)
        self._since = {"epoch": 0, "step": 0}
        self._saved_at = time.monotonic()

    def on_train_begin(self, logs=None):
        # Keras sets them to zero when the epoch begins; this one goes on.
        self._means = [variable.numpy() for variable in self.model.running_means()]

    def on_epoch_begin(self, epoch, logs=None):
        if self.progress["steps"].numpy():
            for variable, value in zip(self.model.running_means(), self._means, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.progress["steps"].assign_add(1)
        self._since["step"] += 1
        if self.progress["steps"].numpy() < self.steps and not self.model.stop_training:
            self._save_if_due()

    def on_epoch_end(self, epoch, logs=None):
        self.progress["epochs"].assign_add(1)
        self.progress["steps"].assign(0)
        self._since["epoch"] += 1
        if is_chief(self.model.distribute_strategy):
            self.history.append({"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()})
            write_history(self.history, self.run / "history.csv")
            save_model(self.generator, self.run / "generator.keras", *self.scales)
            if best_epoch(self.history, self.best) == epoch + 1:
                save_model(self.generator, self.run / "generator_best.keras", *self.scales)
        self._save_if_due(finished=epoch + 1 == self.epochs or self.model.stop_training)

    def _save_if_due(self, finished: bool = False) -> None:
        since = self._since | {"minute": (time.monotonic() - self._saved_at) / 60}
        due = finished or self.signals or since[self._unit] >= self._every
        # One clock, or one machine's signal, decides for all: they have to save together.
        if not mean_over_workers(float(bool(due)), self.model.distribute_strategy):
            return
        epochs, steps = (int(self.progress[name].numpy()) for name in ("epochs", "steps"))
        if steps:  # at the end of an epoch `StopWhenNotFinite` has looked
            check_finite(self.model)
        position = Position(self.epochs_before + epochs, steps, self.model.steps_done)
        self.checkpoints.save(self.state, position, is_chief(self.model.distribute_strategy))
        self._since, self._saved_at = {"epoch": 0, "step": 0}, time.monotonic()
        if mean_over_workers(float(bool(self.signals)), self.model.distribute_strategy):
            line = f"stopped {position}; saved. To go on: sar-keras fit --out {self.run} --resume"
            raise KeyboardInterrupt(line) if signal.SIGINT in self.signals else Stopped(line)


@contextlib.contextmanager
def noting_signals() -> Iterator[list[int]]:
    """Yield a list that SIGTERM and Ctrl-C are added to in place of what they do else; a second one stops at once."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number, frame):
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
