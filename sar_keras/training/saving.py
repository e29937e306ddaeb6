"""What a run keeps: its generator after each epoch, and checkpoints, also when it is told to stop."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import keras

from sar_keras.config import interval
from sar_keras.errors import Stopped
from sar_keras.inference.model_file import save_model
from sar_keras.training.callbacks import check_finite
from sar_keras.training.checkpoints import Position
from sar_keras.training.history import best_epoch, write_history
from sar_keras.training.machines import is_chief, mean_over_workers
from sar_keras.training.run import Phase, Run


class CopyToFloat32(keras.callbacks.Callback):
    """After each epoch copies the weights into a float32 generator, which the callbacks behind it use."""

    def __init__(self, generator: keras.Model):
        super().__init__()
        self.generator = generator

    def on_epoch_end(self, epoch, logs=None):
        self.generator.set_weights(self.model.final_generator.get_weights())


class SaveRun(keras.callbacks.Callback):
    """After each epoch writes history.csv, the float32 generator, and the best one; checkpoints when they are due.

    It is the last of the callbacks: what a checkpoint is about is on disk before the checkpoint is, so that a run that
    is killed between them writes it again. Of several processes only the chief writes.

    Args:
        run: The run; its history is extended here.
        phase: The training under way.
        generator: The float32 generator that `CopyToFloat32` keeps up to date.
        signals: What `noting_signals` yields.
    """

    def __init__(self, run: Run, phase: Phase, generator: keras.Model, signals: list[int]):
        super().__init__()
        self.run, self.phase, self.generator, self.signals = run, phase, generator, signals
        self._every, self._unit = interval(run.config.train.checkpoint_every)
        self._since = {"epoch": 0, "step": 0}
        self._saved_at = time.monotonic()

    def on_train_begin(self, logs=None):
        # Keras sets them to zero when the epoch begins; this one goes on.
        self._means = [variable.numpy() for variable in self.model.running_means()]

    def on_epoch_begin(self, epoch, logs=None):
        if self.phase.steps_into_epoch:
            for variable, value in zip(self.model.running_means(), self._means, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.phase.progress["steps"].assign_add(1)
        self._since["step"] += 1
        if self.phase.steps_into_epoch < self.run.steps_per_epoch and not self.model.stop_training:
            self._save_if_due()

    def on_epoch_end(self, epoch, logs=None):
        self.phase.progress["epochs"].assign_add(1)
        self.phase.progress["steps"].assign(0)
        self._since["epoch"] += 1
        if is_chief(self.run.strategy):
            self._save_generator(epoch + 1, logs)
        self.phase.stopped = bool(self.model.stop_training) and not self.phase.finished
        # The chief alone keeps the history.
        if mean_over_workers(float(self.run.stopped_early(self.phase)), self.run.strategy):
            self.model.stop_training = True
        self._save_if_due(finished=epoch + 1 == self.phase.last_epoch or self.model.stop_training)

    def _save_generator(self, epoch: int, logs: dict) -> None:
        folder, history, metadata = self.run.folder, self.run.history, self.run.metadata
        history.append({"epoch": epoch} | {name: float(value) for name, value in logs.items()})
        write_history(history, folder / "history.csv")
        save_model(self.generator, folder / "generator.keras", metadata)
        if best_epoch(history, self.run.config.train.best) == epoch:
            save_model(self.generator, folder / "generator_best.keras", metadata)

    def _save_if_due(self, finished: bool = False) -> None:
        since = self._since | {"minute": (time.monotonic() - self._saved_at) / 60}
        due = finished or self.signals or since[self._unit] >= self._every
        # One clock, or one machine's signal, decides for all: they have to save together.
        if not mean_over_workers(float(bool(due)), self.run.strategy):
            return
        if self.phase.steps_into_epoch:  # at the end of an epoch `StopWhenNotFinite` has looked
            check_finite(self.model)
        epochs = self.phase.epochs_before + self.phase.epochs_done
        stopped = self.run.phases[0].stopped
        position = Position(epochs, self.phase.steps_into_epoch, self.model.steps_done, stopped)
        self.run.checkpoints.save(self.run.state, position, is_chief(self.run.strategy))
        self._since, self._saved_at = {"epoch": 0, "step": 0}, time.monotonic()
        if mean_over_workers(float(bool(self.signals)), self.run.strategy):
            line = f"stopped {position}; saved. To go on: sar-keras fit --out {self.run.folder} --resume"
            raise KeyboardInterrupt(line) if signal.SIGINT in self.signals else Stopped(line)


@contextlib.contextmanager
def noting_signals() -> Iterator[list[int]]:
    """Yield a list to which SIGTERM and Ctrl-C are added; they do nothing else, but a second one stops at once."""
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
