"""What is known of a run while it trains: its parts, and how far each training in it has come."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras.config import Config
from sar_keras.data.loading import Images
from sar_keras.data.references import References
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.models.base import System
from sar_keras.training.checkpoints import Checkpoints
from sar_keras.training.history import best_epoch


def _new_progress() -> dict[str, tf.Variable]:
    return {
        "epochs": tf.Variable(0, dtype=tf.int64),
        "steps": tf.Variable(0, dtype=tf.int64),
        "all_steps": tf.Variable(0, dtype=tf.int64),
        "minutes": tf.Variable(0.0, dtype=tf.float64),
    }


@dataclasses.dataclass
class Phase:
    """One of the trainings of a run: of the generator, or of the refinement behind it.

    Attributes:
        model: The system that it trains.
        epochs: How many epochs it has.
        minutes: Its limit in training time, or None.
        earlier: The phases before it, which are over when it begins.
        callbacks: Those callbacks that other phases do not have.
        progress: How far it is; saved with the weights. "epochs" are finished, "steps" are those into the epoch under
            way, "all_steps" and "minutes" those of the whole phase.
        stopped: Whether a callback of the user's ended it before its epochs and minutes were up; saved as well.
    """

    model: System
    epochs: int
    minutes: float | None
    earlier: list["Phase"] = dataclasses.field(default_factory=list)
    callbacks: list[keras.callbacks.Callback] = dataclasses.field(default_factory=list)
    progress: dict[str, tf.Variable] = dataclasses.field(default_factory=_new_progress)
    stopped: bool = False

    @property
    def epochs_done(self) -> int:
        return int(self.progress["epochs"].numpy())

    @property
    def epochs_before(self) -> int:
        return sum(phase.epochs_done for phase in self.earlier)

    @property
    def last_epoch(self) -> int:
        """The number of the run's epochs when this phase ends."""
        return self.epochs_before + self.epochs

    @property
    def steps_into_epoch(self) -> int:
        return int(self.progress["steps"].numpy())

    @property
    def steps(self) -> int:
        return int(self.progress["all_steps"].numpy())

    @property
    def minutes_spent(self) -> float:
        return float(self.progress["minutes"].numpy())

    @property
    def minutes_before(self) -> float:
        return sum(phase.minutes_spent for phase in self.earlier)

    @property
    def finished(self) -> bool:
        return self.epochs_done >= self.epochs or bool(self.minutes and self.minutes_spent >= self.minutes)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run under way.

    Attributes:
        config: Its configuration.
        folder: The run directory.
        strategy: How it is distributed over devices and machines.
        images: The pairs of all splits.
        indices: Each split with the indices of its pairs in `images`.
        steps_per_epoch: How many steps an epoch has.
        phases: Its trainings, in their order.
        checkpoints: The run's folder of checkpoints.
        state: What a checkpoint holds, see `sar_keras.training.phases.state_of`.
        metadata: What the run's generator knows of itself so far.
        callbacks: The user's callbacks.
        history: Rows of history.csv, one dict an epoch. Training appends to it.
        samples: Batches for the sample grids, see `sar_keras.training.callbacks.SampleGrids`.
        validation: The validation images, distributed, or None.
        references: The images of another date for a guided system, or None.
    """

    config: Config
    folder: Path
    strategy: tf.distribute.Strategy
    images: Images
    indices: dict[str, list[int]]
    steps_per_epoch: int
    phases: list[Phase]
    checkpoints: Checkpoints
    state: tf.train.Checkpoint
    metadata: ModelMetadata
    callbacks: list[keras.callbacks.Callback]
    history: list[dict]
    samples: dict[str, tuple[tf.Tensor, tf.Tensor]]
    validation: tf.distribute.DistributedDataset | None
    references: References | None = None

    def is_over(self, phase: Phase) -> bool:
        """Whether a phase is not trained any further. A callback ends the last phase only until the run is resumed."""
        return phase.finished or self.stopped_early(phase) or (phase.stopped and phase is not self.phases[-1])

    def stopped_early(self, phase: Phase) -> bool:
        """Whether the last `train.early_stopping` epochs of a phase brought no better validation figure."""
        train, first = self.config.train, phase.epochs_before
        of_phase = [row for row in self.history if first < row["epoch"] <= first + phase.epochs_done]
        best = best_epoch(of_phase, train.best)
        return bool(train.early_stopping and best) and of_phase[-1]["epoch"] - best >= train.early_stopping
