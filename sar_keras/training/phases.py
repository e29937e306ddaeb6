"""The trainings of a run, one after the other: of the generator, then of a refinement where it has one."""

import dataclasses
import functools
import math
import re
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras.compat import untracked_seeds
from sar_keras.config import Config
from sar_keras.data import pipeline
from sar_keras.data.loading import Images
from sar_keras.errors import TrainingDiverged
from sar_keras.models.base import Colorizer
from sar_keras.models.replicas import NOT_FINITE
from sar_keras.training import build as systems
from sar_keras.training import callbacks, saving
from sar_keras.training.checkpoints import Checkpoints
from sar_keras.training.machines import is_chief


@dataclasses.dataclass
class Phase:
    """One of the trainings of a run.

    Attributes:
        model: What it trains.
        epochs: How many.
        minutes: Its limit in training time, or None.
        paired: Whether the images of a batch belong together.
        earlier: The phases before it, which are finished when it begins.
        callbacks: Those that other phases have not.
        progress: How far it is; saved with the weights.
    """

    model: Colorizer
    epochs: int
    minutes: float | None
    paired: bool = True
    earlier: list["Phase"] = dataclasses.field(default_factory=list)
    callbacks: list[keras.callbacks.Callback] = dataclasses.field(default_factory=list)
    progress: dict[str, tf.Variable] = dataclasses.field(
        default_factory=lambda: {
            "epochs": tf.Variable(0, dtype=tf.int64),
            "steps": tf.Variable(0, dtype=tf.int64),  # into the epoch under way
            "all_steps": tf.Variable(0, dtype=tf.int64),
            "minutes": tf.Variable(0.0, dtype=tf.float64),
        }
    )

    @property
    def epochs_done(self) -> int:
        return int(self.progress["epochs"].numpy())

    @property
    def epochs_before(self) -> int:
        return sum(phase.epochs_done for phase in self.earlier)

    @property
    def last_epoch(self) -> int:
        """The run's epochs when this phase ends."""
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
    def finished(self) -> bool:
        return self.epochs_done >= self.epochs or bool(self.minutes and self.minutes_spent >= self.minutes)


@dataclasses.dataclass(frozen=True)
class Sitting:
    """What the phases of a run share from its beginning, or where it goes on, to its end.

    Attributes:
        config: The run's.
        run: Its directory.
        strategy: What it is distributed by.
        images: The pairs of all splits.
        indices: Split to those of its pairs.
        steps: Of an epoch.
        phases: In their order.
        checkpoints: Where they go.
        state: What a checkpoint holds, see `state_of`.
        history: Rows of history.csv, one dict an epoch; extended by `train_phase`.
        samples: See `callbacks.SampleGrids`.
        validation: The distributed validation images, or None.
    """

    config: Config
    run: Path
    strategy: tf.distribute.Strategy
    images: Images
    indices: dict[str, list[int]]
    steps: int
    phases: list[Phase]
    checkpoints: Checkpoints
    state: tf.train.Checkpoint
    history: list[dict]
    samples: dict[str, tuple[tf.Tensor, tf.Tensor]]
    validation: tf.distribute.DistributedDataset | None


def build_phases(config: Config, policy: str, steps: int) -> list[Phase]:
    """The phases of a run, not trained yet, whose epochs have so many steps; to be called in its strategy's scope."""
    train, refinement, model = config.train, config.refinement, systems.build_model(config, policy)

    def minutes(epochs: int) -> float | None:
        """The limit is of all phases together."""
        return train.minutes and train.minutes * (epochs / (train.epochs + refinement.epochs))

    first = Phase(model, train.epochs, minutes(train.epochs), paired=config.model.system != "cyclegan")
    phases = [first]
    if refinement.epochs:
        refining = systems.build_refinement(config, policy, model.final_generator)
        phases.append(Phase(refining, refinement.epochs, minutes(refinement.epochs), earlier=[first]))
    if config.loss.warm_up:
        first.callbacks.append(callbacks.WarmUp(config.loss.warm_up))
    if train.decay:
        rates, total = systems.learning_rates(config, model), train.epochs * steps
        first.callbacks.append(callbacks.Decay(train.decay, rates, total, first.minutes, first.progress))
    if train.average:
        first.callbacks.append(callbacks.AverageWeights(train.average))
    return phases


def state_of(phases: list[Phase]) -> tf.train.Checkpoint:
    """All but the random numbers of the data and of an image pool, which follow from the number of steps."""
    return tf.train.Checkpoint(
        dropout_seeds=untracked_seeds(phases[0].model.generator),
        phases=[phase.progress for phase in phases],
        running_means=[phase.model.running_means() for phase in phases],
        **{name: part for phase in phases for name, part in phase.model.state.items()},
    )


def train_phase(sitting: Sitting, phase: Phase) -> keras.Model:
    """Train a phase from where it stands to its end, and return its generator, in float32.

    Raises:
        TrainingDiverged: a loss, a gradient or a weight is no longer finite.
        Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, after a checkpoint at the step.
    """
    last = phase is sitting.phases[-1]
    twin = systems.build_saved_generator(sitting.config) if last else systems.build_generator(sitting.config)
    if phase.finished:
        twin.set_weights(phase.model.final_generator.get_weights())
        return twin
    if phase.earlier:
        print("refinement: the autoencoder behind the generator", flush=True)
    phase.model.steps_done = sum(each.steps for each in [*phase.earlier, phase])
    with saving.noting_signals() as signals:
        watchers = _watchers(sitting, phase, twin, signals)
        while not phase.finished:
            _train_epochs(sitting, phase, watchers)
    return twin


def _watchers(sitting: Sitting, phase: Phase, twin: keras.Model, signals: list[int]) -> list[keras.callbacks.Callback]:
    """The callbacks of a phase, in the order in which each needs what those before it have done."""
    run, minutes_before = sitting.run, sum(earlier.minutes_spent for earlier in phase.earlier)
    watchers = [
        *phase.callbacks,
        callbacks.StopAfter(phase.minutes, phase.progress, minutes_before),
        callbacks.StopWhenNotFinite(),
        saving.KeepTwin(twin),
    ]
    if is_chief(sitting.strategy):
        watchers += [
            callbacks.Progress(phase.last_epoch),
            callbacks.TensorBoardScalars(run / "logs"),
            callbacks.SampleGrids(run, sitting.samples, twin, phase.last_epoch),
        ]
    save = saving.SaveRun(
        run=run,
        checkpoints=sitting.checkpoints,
        state=sitting.state,
        every=sitting.config.train.checkpoint_every,
        steps=sitting.steps,
        progress=phase.progress,
        epochs_before=phase.epochs_before,
        epochs=phase.last_epoch,
        generator=twin,
        scales=sitting.images.scales,
        history=sitting.history,
        best=sitting.config.train.best,
        signals=signals,
    )
    return [*watchers, save]


def _train_epochs(sitting: Sitting, phase: Phase, watchers: list[keras.callbacks.Callback]) -> None:
    """Train the rest of an epoch that was interrupted, or else whole ones to the end of the phase."""
    train, indices, steps = sitting.config.train, sitting.indices, sitting.steps
    done, into = phase.epochs_before + phase.epochs_done, min(phase.steps_into_epoch, steps - 1)
    order = sitting.images, indices["train"], train.batch_size, train.seed
    dataset = functools.partial(
        pipeline.training_dataset,
        *order,
        sitting.config.data.augment,
        done * steps + into,
        phase.paired,
        sitting.config.data.speckle,
        sitting.config.data.radiometric_jitter,
        sitting.config.data.to_mean_colour,
    )
    try:
        phase.model.fit(
            sitting.strategy.distribute_datasets_from_function(dataset),
            steps_per_epoch=steps - into,
            initial_epoch=done,
            epochs=done + 1 if into else phase.last_epoch,
            validation_data=sitting.validation,
            validation_steps=math.ceil(len(indices["validation"]) / train.batch_size) or None,
            verbose=0,
            shuffle=False,
            callbacks=watchers,
        )
    except tf.errors.InvalidArgumentError as error:
        if NOT_FINITE not in str(error):
            raise
        step = (phase.epochs_before + phase.epochs_done) * steps + phase.steps_into_epoch
        files = pipeline.files_of_step(*order, step, phase.paired)
        raise _diverged(str(error), step + 1, files) from error


def _diverged(message: str, step: int, files: list[Path]) -> TrainingDiverged:
    """What `replicas.descend` found, for people."""
    terms = dict(re.findall(r"\[(\w+)\] \[(\S+)\]", message[message.index(NOT_FINITE) :]))
    broken = [name for name, value in terms.items() if not math.isfinite(float(value))]
    what = ", ".join(broken) or f"the gradient of {' + '.join(terms)}"
    return TrainingDiverged(
        f"{what} not finite at step {step}, on {', '.join(map(str, files))}; it has not reached the weights, and "
        f"{callbacks.LOWER}"
    )
