"""Training: makes a run directory from a configuration."""

import contextlib
import datetime
import functools
import io
import math
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras.config import Config, Section, load_config
from sar_keras.data import loading, pipeline
from sar_keras.data.pairs import Pair, evenly
from sar_keras.data.reading import PairReader
from sar_keras.data.references import load_references
from sar_keras.data.sources import draw_pairs, find_source, folder_of_source
from sar_keras.data.splits import read_split, split_pairs, write_split
from sar_keras.errors import ConfigError, DataError, ModelError, OutputError, parameter
from sar_keras.inference.hub import is_on_hub
from sar_keras.inference.locate import DEMO, file_of, model_name
from sar_keras.inference.metadata import ModelMetadata, metadata_of
from sar_keras.inference.model_file import load_model
from sar_keras.io.bands import warn_if_bands_differ
from sar_keras.io.files import local_path, remove_leftovers, sha256
from sar_keras.io.reflectance import common_stretch
from sar_keras.io.sar import warn_if_units_differ
from sar_keras.models.base import System
from sar_keras.networks.sizes import takes_hint
from sar_keras.reports.card import write_card
from sar_keras.terminal import progress_bar
from sar_keras.training import build
from sar_keras.training.callbacks import forget_events_after
from sar_keras.training.checkpoints import Checkpoints, Position
from sar_keras.training.closing import SAMPLES, close, trained_so_far
from sar_keras.training.failures import explained, lost_workers
from sar_keras.training.history import read_history
from sar_keras.training.machines import (
    describe,
    dtype_policy_for,
    is_chief,
    mean_over_workers,
    resolve_precision,
    several_machines,
    strategy_for,
    wait_for_all,
)
from sar_keras.training.phases import build_phases, state_of, train_phase
from sar_keras.training.resuming import as_resumed
from sar_keras.training.run import Phase, Run


def fit(
    config: Config | str | Path = "quick",
    run: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> Path:
    """Train a colorizer and return its run directory.

    Args:
        config: A `Config`, the name of a preset, or the path of a YAML file.
        run: The run directory; must be empty, or not exist, unless `resume`. None: runs/<preset>-<date>-<time>.
        resume: Go on from the run's last checkpoint. `config` must then be what the run saved, but for
            greater `train.epochs`, `train.minutes` or `refinement.epochs`, another `data.root` or `train.strategy`, and
            what is kept.
        callbacks: Further Keras callbacks. They see each epoch's figures before the run is saved; where one raises, the
            last checkpoint stays.

    Raises:
        ConfigError, DataError, OutputError: what was asked for cannot be done; nothing is left behind.
        TrainingDiverged: a loss or a gradient is no longer finite; the last checkpoint stays.
        WorkerLost: another of several machines died; the last checkpoint stays.
        Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, in training after a checkpoint at the step.
    """
    run = local_path(run) if run else new_run(config)
    if not isinstance(config, Config):
        config = load_config(config)
    if resume:
        config = as_resumed(run, config)
    elif (run / "config.yaml").is_file():
        raise OutputError(f"{run}: exists already; give {parameter('resume')} to go on, or another {parameter('run')}")
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        # Not even what a killed run may have left, for it is removed where this one fails.
        raise OutputError(f"{run}: exists already, is no run and is not empty; give another {parameter('run')}")
    data = config.data
    if data.root is None and data.sar is None and data.optical is None and data.layout != "synthetic":
        raise ConfigError(
            f"no data: give the folder of pairs as {parameter('data.root')}, or data.layout=synthetic for a trial"
        )
    config = _resolved(config)
    strategy = strategy_for(config.train.strategy)
    chief = is_chief(strategy)
    try:
        with contextlib.nullcontext() if chief else contextlib.redirect_stdout(io.StringIO()):
            return _fit(config, run, resume, strategy, list(callbacks))
    except BaseException as error:
        kept = any((run / "checkpoints").glob("step-*")) or (run / "generator.keras").is_file()
        if chief and not resume and not kept and not lost_workers(error, strategy):
            shutil.rmtree(run, ignore_errors=True)
        elif isinstance(error, KeyboardInterrupt) and not error.args:
            go_on = f"sar-keras fit --out {run} --resume"
            print(f"\nto go on from the last checkpoint, if there is one: {go_on}", file=sys.stderr)
        if told := explained(error, run, strategy):
            raise told from error
        raise


def new_run(config: Config | str | Path) -> Path:
    """The run directory of a run that is given none: runs/<preset>-<date>-<time>.

    Raises:
        OutputError: several machines train the run, each of which would name it by its own clock.
    """
    if several_machines():
        raise OutputError(f"several machines write one run: give a folder that all of them see as {parameter('run')}")
    name = "run" if isinstance(config, Config) else Path(config).stem
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _resolved(config: Config) -> Config:
    """Make paths absolute and resolve the precision "auto", so that the saved run repeats elsewhere."""
    train: dict[str, str] = {"precision": resolve_precision(config.train.precision)}
    if config.train.init and file_of(config.train.init) != DEMO and not is_on_hub(config.train.init):
        train["init"] = os.path.abspath(config.train.init)
    changes: dict[str, Section] = {"train": config.train.model_copy(update=train)}
    folders = {name: getattr(config.data, name) for name in ("root", "sar", "optical")}
    try:
        folders = {name: path and path.expanduser().absolute() for name, path in folders.items()}
    except RuntimeError as error:
        raise ConfigError(f"data.root: {error}") from error
    changes["data"] = config.data.model_copy(update=folders)
    return config.model_copy(update=changes)


def _fit(
    config: Config, run: Path, resume: bool, strategy: tf.distribute.Strategy, callbacks: list[keras.callbacks.Callback]
) -> Path:
    """Train. Of several processes only the chief prints and writes; all have to do the same otherwise."""
    train, chief = config.train, is_chief(strategy)
    keras.utils.set_random_seed(train.seed)
    policy = dtype_policy_for(train.precision)
    _check_batch_and_optimizers(config, strategy)

    checkpoints = Checkpoints(run / "checkpoints", train.keep)
    found, start = _last_checkpoint(checkpoints, run, strategy) if resume else (None, Position())
    parent = _parent(config, run, bool(found))
    about = metadata_of(parent) if parent else ModelMetadata()
    images, indices = _load(config, run, resume, strategy, about.sar_bands)
    if parent:
        images = images.with_scales(about.sar_scale, about.optical_scale)
        warn_if_units_differ(images.sar_units, images.sar_scale, "the data", about.sar_units)
        warn_if_bands_differ(images.sar_bands, about.sar_bands, "the data")
    steps = train.steps_per_epoch or math.ceil(len(indices["train"]) / train.batch_size)
    with strategy.scope():
        phases = build_phases(config, policy, steps)
        state = state_of(phases)
        if parent and not found:
            _begin_with(phases[0].model, parent)
    if found:
        checkpoints.restore(state, found)
        phases[0].stopped = start.stopped
    done = sum(phase.epochs_done for phase in phases)
    history = [row for row in read_history(run / "history.csv") if row["epoch"] <= done]
    under_way = Run(
        config=config,
        folder=run,
        strategy=strategy,
        images=images,
        references=load_references(images) if phases[0].model.guided else None,
        indices=indices,
        steps_per_epoch=steps,
        phases=phases,
        checkpoints=checkpoints,
        state=state,
        metadata=ModelMetadata(
            images.sar_scale,
            images.optical_scale,
            sar_units=tuple(sorted({*about.sar_units, images.sar_units} - {images.sar_scale.units})) if parent else (),
            sar_bands=images.sar_bands,
            reflectance=common_stretch(pair.optical for pair in images.pairs if pair.window),
            parent=_name(parent) if parent else None,
        ),
        callbacks=callbacks,
        history=history,
        samples=_samples(images, indices),
        validation=_validation(images, indices["validation"], train.batch_size, strategy, phases[0].model.guided),
    )
    if len(phases) > 1 and phases[1].steps and not under_way.is_over(phases[0]):
        raise ConfigError(
            "the run's refinement has begun: train.epochs and train.minutes must stay; refinement.epochs may be raised"
        )
    if chief:
        run.mkdir(parents=True, exist_ok=True)
        if not resume:
            write_split(images.pairs, run / "split.csv", folder_of_source(config.data, run))
        config.save(run / "config.yaml")  # last: it makes a run of the folder
        forget_events_after(start.step, run / "logs")

    _print_opening(under_way, policy)
    if all(map(under_way.is_over, phases)):
        _print_nothing_to_do(phases)
    elif chief:
        # The figures of an earlier training are not those of the weights that this one saves.
        write_card(trained_so_far(under_way, phases[0].model.final_generator, under_way.metadata, finished=False), None)
    for phase in phases:
        generator = train_phase(under_way, phase)
    if chief:
        close(under_way, generator)
    wait_for_all(strategy)  # A worker that left earlier would count as lost.
    return run


def _parent(config: Config, run: Path, resumed: bool) -> keras.Model | None:
    """The model that a run begins with; of one that goes on its own, which has its parent's scales."""
    if config.train.init is None:
        return None
    saved = run / "generator.keras"
    return load_model(saved if resumed and saved.is_file() else config.train.init)


def _begin_with(model: System, parent: keras.Model) -> None:
    """Give the generator, and the average of its weights, those of another model.

    Raises:
        ModelError: its network is another one.
    """
    weights = parent.get_weights()
    shapes = [weight.shape for weight in weights]
    if shapes != [tuple(weight.shape) for weight in model.generator.weights]:
        millions = [network.count_params() / 1e6 for network in (parent, model.generator)]
        path = metadata_of(parent).saved_as
        if takes_hint(parent) != model.guided:
            parents, runs = ("a hint", "none")[:: 1 if takes_hint(parent) else -1]
            raise ModelError(f"{path}: takes {parents}, the run's network {runs}; begin with another model or preset")
        raise ModelError(
            f"{path}: is another network ({millions[0]:.2f} million weights) than the run's ({millions[1]:.2f}); give "
            "the run the settings model.* that it was trained with"
        )
    model.generator.set_weights(weights)
    if model.averaged:
        model.averaged.set_weights(weights)


def _name(parent: keras.Model) -> str:
    """A parent's name and the hash of its file; of a run that goes on, what it says of its parent."""
    about = metadata_of(parent)
    return about.parent or f"{model_name(about.saved_as)}, SHA-256 {sha256(about.saved_as)}"


def _check_batch_and_optimizers(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Say early what would fail only after the images are read."""
    if config.train.batch_size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} cannot be shared equally by {strategy.num_replicas_in_sync} "
            "devices; make it a multiple, or train.strategy=one"
        )
    for which in ("generator", "discriminator", "refinement"):
        build.optimizer(config, which)


def _last_checkpoint(
    checkpoints: Checkpoints, run: Path, strategy: tf.distribute.Strategy
) -> tuple[Path | None, Position]:
    """Where a run goes on; also removes what killed processes left in it."""
    chief = is_chief(strategy)
    found, start = checkpoints.latest(remove_broken=chief) or (None, Position())
    print(f"resumed {start}", flush=True)
    _must_agree(start.step, "checkpoints", run, strategy)
    if chief:
        remove_leftovers(run)
    return found, start


def _load(
    config: Config, run: Path, resume: bool, strategy: tf.distribute.Strategy, trained_on: Sequence[str]
) -> tuple[loading.Images, dict[str, list[int]]]:
    """The images of all splits, and each split's indices of them; `trained_on` are the SAR bands of a parent."""
    pairs = _pairs(config, run, resume, strategy)
    images = loading.load_images(
        pairs,
        config.data.image_size,
        PairReader(config.model.channels, config.data.sar_bands, config.data.optical_bands, trained_on),
        config.data.resize,
        progress=progress_bar("reading", "pair", len(pairs)),
        on_error=config.data.on_error,
    )
    _must_agree(len(images.pairs), "images", config.data.root or run / "data", strategy)
    indices = {
        split: [index for index, pair in enumerate(images.pairs) if pair.split == split]
        for split in ("train", "validation", "test")
    }
    if not indices["train"]:
        raise DataError("the split leaves no training pairs; data.split=scene splits the data anew")
    return images, indices


def _samples(images: loading.Images, indices: dict[str, list[int]]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """A few pairs of each split that has any, for the sample grids."""
    return {
        split: next(iter(pipeline.evaluation_dataset(images, evenly(indices[split], SAMPLES), SAMPLES)))
        for split in ("train", "validation")
        if indices[split]
    }


def _validation(
    images: loading.Images, indices: list[int], batch_size: int, strategy: tf.distribute.Strategy, guided: bool
) -> tf.distribute.DistributedDataset | None:
    """What each device validates on, or None where there is nothing."""
    if not indices:
        return None
    return strategy.distribute_datasets_from_function(
        functools.partial(pipeline.validation_dataset, images, indices, batch_size, guided=guided)
    )


def _must_agree(count: int, what: str, where: Path, strategy: tf.distribute.Strategy) -> None:
    if mean_over_workers(float(count), strategy) != count:
        raise OutputError(f"{where}: the machines see different {what} there; all have to see the same folder")


def _pairs(config: Config, run: Path, resume: bool, strategy: tf.distribute.Strategy) -> list[Pair]:
    """Find, or for `synthetic` draw, the pairs and split them; a resumed run keeps the split that it began with."""
    data = config.data
    if is_chief(strategy):
        draw_pairs(data, run, config.train.seed)
    wait_for_all(strategy)
    found = find_source(data, run, progress_bar("looking at", "scene"))
    for line in found.said:
        print(f"found   {line}")
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
            folder = data.root or run / "data"
            raise DataError(
                f"{run / 'split.csv'}: lists {listed} pairs, {len(pairs)} of them are in {folder}; restore them"
            )
        return pairs
    chosen = evenly(found.pairs, data.limit or len(found.pairs))
    pairs = split_pairs(chosen, data.split, data.ratios, config.train.seed)
    if any(pair.window for pair in pairs):
        print(f"gap     {len(chosen) - len(pairs)} of {len(chosen)} windows lie between the splits and are left out")
    return pairs


def _print_opening(run: Run, policy: str) -> None:
    config, images, model, references = run.config, run.images, run.phases[0].model, run.references
    scenes = len({pair.place for pair in images.pairs if pair.scene is not None})
    shares = ", ".join(f"{len(chosen)} {split}" for split, chosen in run.indices.items())
    terms = [f"{weight:g} {name}" for name, weight in config.loss.weights().items() if weight]
    print(f"run     {run.folder}")
    print(f"data    {len(images.pairs)} pairs of {scenes or 'unknown'} scene{'s' * (scenes != 1)}: {shares}")
    for line in images.reader.said:
        print(f"        {line}")
    if references:
        print(f"hints   {len(references.optical)} of {len(images.pairs)} pairs name an image of another date", end="")
        print(f", {len(references.sar)} also its SAR image; those of the others are simulated")
    millions = model.generator.count_params() / 1e6
    print(f"model   {model.description}, {millions:.1f} million weights; loss {' + '.join(terms)}")
    steps = f"batches of {config.train.batch_size}, {run.steps_per_epoch} steps an epoch"
    print(f"device  {describe(run.strategy, policy)}; {steps}")
    print(flush=True)


def _print_nothing_to_do(phases: list[Phase]) -> None:
    last, done = phases[-1], sum(phase.epochs_done for phase in phases)
    key = "train.minutes" if last.epochs_done < last.epochs else "train.epochs"
    key = "refinement.epochs" if len(phases) > 1 else key
    print(f"nothing to do: the run has had its {done} epochs; to go on raise {key}")
