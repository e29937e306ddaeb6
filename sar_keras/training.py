"""From a configuration to a run directory."""

import contextlib
import dataclasses
import datetime
import functools
import io
import math
import re
import shutil
import sys
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras import callbacks, metrics, saving, systems
from sar_keras.checkpoints import Checkpoints, Position
from sar_keras.compat import untracked_seeds
from sar_keras.confidence import fit_expected_error
from sar_keras.config import Config, load_config
from sar_keras.data import loading, pipeline, synthetic
from sar_keras.data.pairs import Pair, evenly, find_pairs
from sar_keras.data.splits import read_split, split_pairs, write_split
from sar_keras.distribution import (
    NOT_FINITE,
    describe,
    dtype_policy_for,
    is_chief,
    lost_workers,
    mean_over_workers,
    resolve_precision,
    several_machines,
    strategy_for,
    wait_for_all,
)
from sar_keras.errors import ConfigError, DataError, OutputError, TrainingDiverged, WorkerLost, is_disk_full
from sar_keras.files import remove_leftovers
from sar_keras.history import plot_history, read_history
from sar_keras.inference import load_model, save_model
from sar_keras.models.base import Colorizer
from sar_keras.resuming import as_resumed
from sar_keras.terminal import progress_bar

_SAMPLES = 4  # pairs in a sample grid
# What a run that was killed before it had begun may have left in its directory.
_BEFORE_A_RUN = {"data", "split.csv"}


def fit(config: Config | str | Path = "quick", run: str | Path | None = None, resume: bool = False) -> Path:
    """Train a colorizer and return its run directory.

    Args:
        config: A `Config`, the name of a preset, or the path of a YAML file.
        run: The run directory; must not hold anything yet unless `resume`. None: runs/<preset>-<date>-<time>.
        resume: Go on from the run's last checkpoint. `config` must then be what the run saved, but for
            greater `train.epochs`, `train.minutes` or `refinement.epochs`, another `data.root` or `train.strategy`, and
            what is kept.

    Raises:
        ConfigError, DataError, OutputError: what was asked for cannot be done; nothing is left behind.
        TrainingDiverged: a loss or a gradient is no longer finite; the last checkpoint stays.
        WorkerLost: another of several machines died; the last checkpoint stays.
        Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, in training after a checkpoint at the step.
    """
    run = Path(run) if run else new_run(config)
    if not isinstance(config, Config):
        config = load_config(config)
    if resume:
        config = as_resumed(run, config)
    elif (run / "config.yaml").is_file():
        raise OutputError(f"{run}: exists already; go on with --resume, or give another --out")
    elif run.exists() and (not run.is_dir() or not {path.name for path in run.iterdir()} <= _BEFORE_A_RUN):
        raise OutputError(f"{run}: exists already and is no run; give another --out")
    if config.data.root is None and config.data.layout != "synthetic":
        raise ConfigError("no data: give the folder of pairs with --data, or data.layout=synthetic for a trial")
    config = _resolved(config)
    strategy = strategy_for(config.train.strategy)
    chief = is_chief(strategy)
    try:
        with contextlib.nullcontext() if chief else contextlib.redirect_stdout(io.StringIO()):
            return _fit(config, run, resume, strategy)
    except BaseException as error:
        go_on, lost = f"sar-keras fit --out {run} --resume", lost_workers(error, strategy)
        if chief and not resume and not lost and not (run / "generator.keras").is_file():
            shutil.rmtree(run, ignore_errors=True)
        elif isinstance(error, KeyboardInterrupt) and not error.args:
            print(f"\nto go on from the last checkpoint, if there is one: {go_on}", file=sys.stderr)
        elif is_disk_full(error):
            raise OutputError(f"{run}: the disk is full; free some space, then go on: {go_on}") from error
        # A file that broke while it was read inside the tf.data pipeline.
        if isinstance(error, tf.errors.OpError) and (line := re.search("DataError: (.+)", str(error))):
            raise DataError(line[1]) from error
        if lost:
            raise WorkerLost(
                f"{lost} no longer answers; look at its log, then go on from the last checkpoint on all machines: "
                f"{go_on}"
            ) from error
        raise


def new_run(config: Config | str | Path) -> Path:
    """The run directory of a run that is given none: runs/<preset>-<date>-<time>.

    Raises:
        OutputError: several machines train the run, each of which would name it by its own clock.
    """
    if several_machines():
        raise OutputError("several machines write one run: give --out RUN, a folder that all of them see")
    name = "run" if isinstance(config, Config) else Path(config).stem
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _resolved(config: Config) -> Config:
    """With an absolute root and the precision that "auto" means here, so that the saved run repeats elsewhere."""
    changes = {"train": config.train.model_copy(update={"precision": resolve_precision(config.train.precision)})}
    if config.data.root:
        try:
            root = config.data.root.expanduser().absolute()
        except RuntimeError as error:
            raise ConfigError(f"data.root: {error}") from error
        changes["data"] = config.data.model_copy(update={"root": root})
    return config.model_copy(update=changes)


def _fit(config: Config, run: Path, resume: bool, strategy: tf.distribute.Strategy) -> Path:
    """Train. Of several processes only the chief prints and writes; all have to do the same otherwise."""
    train = config.train
    keras.utils.set_random_seed(train.seed)
    policy, chief = dtype_policy_for(train.precision), is_chief(strategy)
    if train.batch_size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"train.batch_size: {train.batch_size} cannot be shared equally by {strategy.num_replicas_in_sync} devices"
            "; make it a multiple, or train.strategy=one"
        )
    for which in ("generator", "discriminator", "refinement"):
        systems.optimizer(config, which)

    checkpoints = Checkpoints(run / "checkpoints", train.keep)
    found, start = None, Position()
    if resume:
        found, start = checkpoints.latest(remove_broken=chief) or (None, start)
        print(f"resumed {start}", flush=True)
        _must_agree(start.step, "checkpoints", run, strategy)
        if chief:
            remove_leftovers(run)
    pairs = _pairs(config, run, resume, strategy)
    images = loading.load(
        pairs,
        config.data.image_size,
        config.model.channels,
        config.data.resize,
        progress=progress_bar("reading", "pair", len(pairs)),
        on_error=config.data.on_error,
    )
    pairs = images.pairs
    _must_agree(len(pairs), "images", config.data.root or run / "data", strategy)
    indices = {
        split: [index for index, pair in enumerate(pairs) if pair.split == split]
        for split in ("train", "validation", "test")
    }
    if not indices["train"]:
        raise DataError("the split leaves no training pairs")

    steps = train.steps_per_epoch or math.ceil(len(indices["train"]) / train.batch_size)
    with strategy.scope():
        model = systems.build_model(config, policy)
        phases = [_Phase(model, train.epochs, train.minutes)]
        if config.refinement.epochs:
            refinement = systems.build_refinement(config, policy, model.final_generator)
            phases.append(_Phase(refinement, config.refinement.epochs, train.minutes))
            # The limit is of both together.
            for phase in phases:
                share = phase.epochs / (train.epochs + config.refinement.epochs)
                phase.minutes = train.minutes and train.minutes * share
        if config.loss.warm_up:
            phases[0].callbacks.append(callbacks.WarmUp(config.loss.warm_up))
        if train.decay:
            rates, total = systems.learning_rates(config, model), train.epochs * steps
            phases[0].callbacks.append(
                callbacks.Decay(train.decay, rates, total, phases[0].minutes, phases[0].progress)
            )
        if train.average:
            phases[0].callbacks.append(callbacks.AverageWeights(train.average))
        # All but the random numbers of the data and of an image pool, which follow from the number of steps.
        state = tf.train.Checkpoint(
            dropout_seeds=untracked_seeds(model.generator),
            phases=[phase.progress for phase in phases],
            running_means=[phase.model.running_means() for phase in phases],
            **{name: part for phase in phases for name, part in phase.model.state.items()},
        )
    if found:
        checkpoints.restore(state, found)
    if len(phases) > 1 and phases[1].steps and not phases[0].finished:
        raise ConfigError(
            "the run's refinement has begun: train.epochs and train.minutes must stay; refinement.epochs may be raised"
        )
    if chief:
        run.mkdir(parents=True, exist_ok=True)
        if not resume:
            write_split(pairs, run / "split.csv", config.data.root or run / "data")
        config.save(run / "config.yaml")  # last: it makes a run of the folder
        callbacks.forget_events_after(start.step, run / "logs")
    done = sum(phase.epochs_done for phase in phases)
    history = [row for row in read_history(run / "history.csv") if row["epoch"] <= done]

    _print_opening(config, run, pairs, indices, strategy, policy, model, steps)
    datasets = {
        split: pipeline.evaluation_dataset(images, chosen, train.batch_size)
        for split, chosen in indices.items()
        if chosen
    }
    samples = {
        split: next(iter(pipeline.evaluation_dataset(images, evenly(indices[split], _SAMPLES), _SAMPLES)))
        for split in ("train", "validation")
        if indices[split]
    }
    validation = None
    if indices["validation"]:
        validation = strategy.distribute_datasets_from_function(
            functools.partial(pipeline.validation_dataset, images, indices["validation"], train.batch_size)
        )
    scales = images.sar_scale, images.optical_scale
    if all(phase.finished for phase in phases):
        last = phases[-1]
        key = "train.minutes" if last.epochs_done < last.epochs else "train.epochs"
        key = "refinement.epochs" if len(phases) > 1 else key
        print(f"nothing to do: the run has had its {done} epochs; to go on raise {key} with --set")
    for index, phase in enumerate(phases):
        last = index == len(phases) - 1
        twin = systems.build_saved_generator(config) if last else systems.build_generator(config)
        if phase.finished:
            twin.set_weights(phase.model.final_generator.get_weights())
            continue
        if index:
            print("refinement: the autoencoder behind the generator", flush=True)
        phase.model.steps_done = sum(earlier.steps for earlier in phases[: index + 1])
        before = sum(earlier.epochs_done for earlier in phases[:index])
        epochs = before + phase.epochs
        paired = config.model.system != "cyclegan" or index == 1
        with saving.noting_signals() as signals:
            watchers = [
                *phase.callbacks,
                callbacks.StopAfter(phase.minutes, phase.progress, sum(p.minutes_spent for p in phases[:index])),
                callbacks.StopWhenNotFinite(),
                saving.KeepTwin(twin),
            ]
            if chief:
                watchers += [
                    callbacks.Progress(epochs),
                    callbacks.TensorBoardScalars(run / "logs"),
                    callbacks.SampleGrids(run, samples, twin, epochs),
                ]
            watchers.append(
                saving.SaveRun(
                    run=run,
                    checkpoints=checkpoints,
                    state=state,
                    every=train.checkpoint_every,
                    steps=steps,
                    progress=phase.progress,
                    epochs_before=before,
                    epochs=epochs,
                    generator=twin,
                    scales=scales,
                    history=history,
                    best=train.best,
                    signals=signals,
                )
            )
            while not phase.finished:
                done, into = before + phase.epochs_done, min(phase.steps_into_epoch, steps - 1)
                order = images, indices["train"], train.batch_size, train.seed
                dataset = functools.partial(
                    pipeline.training_dataset,
                    *order,
                    config.data.augment,
                    done * steps + into,
                    paired,
                    config.data.speckle,
                )
                try:
                    phase.model.fit(
                        strategy.distribute_datasets_from_function(dataset),
                        # Of an epoch that was interrupted the rest, then whole ones.
                        steps_per_epoch=steps - into,
                        initial_epoch=done,
                        epochs=done + 1 if into else epochs,
                        validation_data=validation,
                        validation_steps=math.ceil(len(indices["validation"]) / train.batch_size) or None,
                        verbose=0,
                        shuffle=False,
                        callbacks=watchers,
                    )
                except tf.errors.InvalidArgumentError as error:
                    if NOT_FINITE not in str(error):
                        raise
                    step = (before + phase.epochs_done) * steps + phase.steps_into_epoch
                    files = pipeline.files_of_step(*order, step, paired)
                    raise _diverged(str(error), step + 1, files) from error
    if chief:
        _close(run, twin, images, indices["train"], datasets, scales, history)
    wait_for_all(strategy)  # A worker that left earlier would count as lost.
    return run


def _must_agree(count: int, what: str, where: Path, strategy: tf.distribute.Strategy) -> None:
    if mean_over_workers(float(count), strategy) != count:
        raise OutputError(f"{where}: the machines see different {what} there; all have to see the same folder")


def _close(run: Path, generator: keras.Model, images, train_indices: list[int], datasets: dict, scales, history):
    """Save the generators with what they know of their errors, draw the history, and say how good the last one is."""
    _save_with_expected_error(generator, run / "generator.keras", scales, datasets.get("validation"))
    if (run / "generator_best.keras").is_file():
        best = load_model(run / "generator_best.keras")
        _save_with_expected_error(best, run / "generator_best.keras", scales, datasets.get("validation"))
    if history:
        plot_history(history, run / "history.png")
    _print_closing(run, generator, images, train_indices, datasets)


def _save_with_expected_error(generator: keras.Model, path: Path, scales: tuple, validation) -> None:
    error = validation and fit_expected_error(generator, progress_bar("learning its errors", "batch")(validation))
    save_model(generator, path, *scales, error)


def _diverged(message: str, step: int, files: list[Path]) -> TrainingDiverged:
    """What `distribution.descend` found, for people."""
    terms = dict(re.findall(r"\[(\w+)\] \[(\S+)\]", message[message.index(NOT_FINITE) :]))
    broken = [name for name, value in terms.items() if not math.isfinite(float(value))]
    what = ", ".join(broken) or f"the gradient of {' + '.join(terms)}"
    return TrainingDiverged(
        f"{what} not finite at step {step}, on {', '.join(map(str, files))}; it has not reached the weights, and "
        f"{callbacks.LOWER}"
    )


@dataclasses.dataclass
class _Phase:
    """One of the trainings of a run: of the generator, then of a refinement where there is one.

    `minutes` is its limit in training time, or None. `callbacks` are those that the other has not. `progress` is saved
    with the weights.
    """

    model: Colorizer
    epochs: int
    minutes: float | None
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


def _pairs(config: Config, run: Path, resume: bool, strategy: tf.distribute.Strategy) -> list[Pair]:
    """Find, or for `synthetic` draw, the pairs and split them; a resumed run keeps the split that it began with."""
    data = config.data
    root, layout = data.root, data.layout
    if layout == "synthetic":
        count = data.limit or 240
        root, layout = run / "data", "terrain"
        if is_chief(strategy) and not (resume and root.is_dir()):
            synthetic.write_pairs(
                root,
                count,
                seed=config.train.seed,
                image_size=data.image_size,
                progress=progress_bar("drawing", "scene"),
            )
        wait_for_all(strategy)
    progress = progress_bar("looking at", "scene")
    found = find_pairs(root, layout, size=data.image_size, progress=progress, allow_outside=data.allow_outside)
    if found.unpaired:
        first, many = found.unpaired[0], len(found.unpaired)
        raise DataError(
            f"{first}: has no partner"
            + (f", nor have {many - 1} more" if many > 1 else "")
            + "; add or remove them (`sar-keras data scan` lists all)"
        )
    if resume:
        pairs = split_pairs(found.pairs, str(run / "split.csv"))
        listed = len(read_split(run / "split.csv"))
        if len(pairs) != listed:
            raise DataError(
                f"{run / 'split.csv'}: lists {listed} pairs, {len(pairs)} of them are in {root}; restore them"
            )
        return pairs
    chosen = evenly(found.pairs, data.limit or len(found.pairs))
    pairs = split_pairs(chosen, data.split, data.ratios, config.train.seed)
    if any(pair.window for pair in pairs):
        print(f"gap     {len(chosen) - len(pairs)} of {len(chosen)} windows lie between the splits and are left out")
    return pairs


def _print_opening(config, run, pairs, indices, strategy, policy, model, steps) -> None:
    scenes = len({pair.place for pair in pairs if pair.scene is not None})
    shares = ", ".join(f"{len(chosen)} {split}" for split, chosen in indices.items())
    terms = [f"{weight:g} {name}" for name, weight in config.loss if name in model.term_names() and weight]
    print(f"run     {run}")
    print(f"data    {len(pairs)} pairs of {scenes or 'unknown'} scene{'s' * (scenes != 1)}: {shares}")
    network = {"pix2pix": "U-Net", "epcgan": "EPC generator", "cyclegan": "two ResNets"}[config.model.system]
    print(f"model   {network}, {model.generator.count_params() / 1e6:.1f} million weights; loss {' + '.join(terms)}")
    print(f"device  {describe(strategy, policy)}; batches of {config.train.batch_size}, {steps} steps an epoch")
    print(flush=True)


def _print_closing(run: Path, model, images, train_indices: list[int], datasets: dict) -> None:
    if "test" in datasets:
        mean_colour = pipeline.mean_colour(images, evenly(train_indices, 500))
        scores, baseline = [], []
        for sar, truth in progress_bar("testing", "batch")(datasets["test"]):
            scores.append(metrics.psnr(truth, model(sar, training=False)))
            baseline.append(metrics.psnr(truth, tf.broadcast_to(mean_colour, tf.shape(truth))))
        model_psnr, mean_psnr = (float(tf.reduce_mean(tf.concat(values, 0))) for values in (scores, baseline))
        print(f"\ntest    PSNR {model_psnr:.2f} dB; the mean colour of the training set gives {mean_psnr:.2f} dB")
        if model_psnr < mean_psnr:
            print("        not yet better than a single colour: train longer, or on more scenes")
    print(f"""
{run}/generator.keras    the trained model
{run}/samples/           SAR | generated | truth
{run}/history.png        loss curves
tensorboard --logdir {run}/logs
next: sar-keras colorize {run} IMAGE -o colour.png
      sar-keras export {run}""")
