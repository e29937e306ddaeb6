"""The trainings of a run, one after the other: of the generator, then of a refinement where it has one."""

import functools
import math

import keras
import tensorflow as tf

from sar_keras.compat import untracked_seeds
from sar_keras.config import Config, keys
from sar_keras.data import pipeline
from sar_keras.models.replicas import NOT_FINITE
from sar_keras.training import build, callbacks, saving
from sar_keras.training.failures import diverged
from sar_keras.training.machines import is_chief
from sar_keras.training.run import Phase, Run


def build_phases(config: Config, policy: str, steps: int) -> list[Phase]:
    """The phases of a run, not trained yet, whose epochs have so many steps; to be called in its strategy's scope."""
    train, refinement, model = config.train, config.refinement, build.build_model(config, policy)

    def minutes(epochs: int) -> float | None:
        """The limit is of all phases together."""
        return train.minutes and train.minutes * (epochs / (train.epochs + refinement.epochs))

    first = Phase(model, train.epochs, minutes(train.epochs))
    phases = [first]
    if refinement.epochs:
        refining = build.build_refinement(config, policy, model.final_generator)
        phases.append(Phase(refining, refinement.epochs, minutes(refinement.epochs), earlier=[first]))
    if warm_up := keys(config).get("loss.warm_up"):
        first.callbacks.append(callbacks.WarmUp(warm_up))
    if train.decay:
        rates, total = build.learning_rates(config, model), train.epochs * steps
        first.callbacks.append(callbacks.Decay(train.decay, rates, total, first.minutes, first.progress))
    if train.average:
        first.callbacks.append(callbacks.AverageWeights(train.average))
    return phases


def state_of(phases: list[Phase]) -> tf.train.Checkpoint:
    """The state of a run, but for the random numbers of data and image pool: these follow from the number of steps."""
    return tf.train.Checkpoint(
        dropout_seeds=untracked_seeds(phases[0].model.generator),
        phases=[phase.progress for phase in phases],
        running_means=[phase.model.running_means() for phase in phases],
        **{name: part for phase in phases for name, part in phase.model.state.items()},
    )


def train_phase(run: Run, phase: Phase) -> keras.Model:
    """Train a phase from where it stands to its end, and return its generator, in float32.

    Raises:
        TrainingDiverged: a loss, a gradient or a weight is no longer finite.
        Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, after a checkpoint at the step.
    """
    last = phase is run.phases[-1]
    generator = build.build_saved_generator(run.config) if last else build.build_generator(run.config)
    if run.is_over(phase):
        generator.set_weights(phase.model.final_generator.get_weights())
        return generator
    if phase.earlier:
        print("refinement: the autoencoder behind the generator", flush=True)
    phase.model.steps_done = sum(each.steps for each in [*phase.earlier, phase])
    with saving.noting_signals() as signals:
        of_phase = _callbacks(run, phase, generator, signals)
        while not phase.finished:
            _train_epochs(run, phase, of_phase)
            if phase.model.stop_training:  # also by a callback of the user's
                break
    return generator


def _callbacks(run: Run, phase: Phase, generator: keras.Model, signals: list[int]) -> list[keras.callbacks.Callback]:
    """The callbacks of a phase, in the order in which each needs what those before it have done."""
    found = [
        *phase.callbacks,
        callbacks.StopAfter(phase.minutes, phase.progress, phase.minutes_before),
        callbacks.StopWhenNotFinite(),
        saving.CopyToFloat32(generator),
    ]
    if is_chief(run.strategy):
        found += [
            callbacks.Progress(phase.last_epoch),
            callbacks.TensorBoardScalars(run.folder / "logs"),
            callbacks.SampleGrids(run.folder, run.samples, generator, phase.last_epoch),
        ]
    return [*found, *run.callbacks, saving.SaveRun(run, phase, generator, signals)]


def _train_epochs(run: Run, phase: Phase, of_phase: list[keras.callbacks.Callback]) -> None:
    """Train the rest of an epoch that was interrupted, or else whole ones to the end of the phase."""
    train, indices, steps = run.config.train, run.indices, run.steps_per_epoch
    done, into = phase.epochs_before + phase.epochs_done, min(phase.steps_into_epoch, steps - 1)
    dataset = functools.partial(
        pipeline.training_dataset,
        run.images,
        indices["train"],
        train.batch_size,
        train.seed,
        run.config.data,
        first_step=done * steps + into,
        paired=phase.model.paired,
        references=run.references,
    )
    try:
        phase.model.fit(
            run.strategy.distribute_datasets_from_function(lambda context: dataset(context=context)),
            steps_per_epoch=steps - into,
            initial_epoch=done,
            epochs=done + 1 if into else phase.last_epoch,
            validation_data=run.validation,
            validation_steps=math.ceil(len(indices["validation"]) / train.batch_size) or None,
            verbose=0,
            shuffle=False,
            callbacks=of_phase,
        )
    except tf.errors.InvalidArgumentError as error:
        if NOT_FINITE not in str(error):
            raise
        step = (phase.epochs_before + phase.epochs_done) * steps + phase.steps_into_epoch
        files = pipeline.files_of_step(
            run.images, indices["train"], train.batch_size, train.seed, step, phase.model.paired
        )
        raise diverged(str(error), step + 1, files) from error
