"""What comes after a training: the expected error, the test, the report, the model card."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sar_keras.data import pipeline
from sar_keras.data.pairs import evenly
from sar_keras.data.splits import read_split
from sar_keras.inference.expected_error import fit_expected_error
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import load_model, save_model
from sar_keras.models.base import psnr
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.sizes import takes_hint
from sar_keras.reports import sections
from sar_keras.reports.card import Trained, write_card
from sar_keras.reports.figures import TITLES, intervals, kept
from sar_keras.reports.page import Patch, Pictures
from sar_keras.reports.pages import samples, triples, without_hint, write_run_page
from sar_keras.terminal import doing, progress_bar
from sar_keras.training.history import plot_history
from sar_keras.training.machines import describe, dtype_policy_for
from sar_keras.training.run import Run

SAMPLES = 4  # pairs in a sample grid
_LEARNT_ERRORS = 200  # training pairs from which a model learns its errors, at most
_TEST_PATCHES = 24  # in the report


def close(run: Run, generator: keras.Model) -> None:
    """Save the generators with what they know of their errors, and tell how good the last one is."""
    folder, images, indices = run.folder, run.images, run.indices
    mean_colour = pipeline.mean_colour(images, evenly(indices["train"], 500))
    metadata = dataclasses.replace(run.metadata, mean_colour=tuple(mean_colour.tolist()))
    known = _save_with_expected_error(run, generator, folder / "generator.keras", metadata)
    best = folder / "generator_best.keras"
    if best.is_file():
        _save_with_expected_error(run, load_model(best), best, metadata)
    if run.history:
        plot_history(run.history, folder / "history.png")
    report, pictures = None, []
    if indices["test"]:
        report, patches = _test(run, generator, mean_colour)
        _print_test(report)
        if takes_hint(generator):
            print("(without a hint; sar-keras evaluate tells how much each kind of hint brings)")
        notes, orders = without_hint(generator), [TITLES["psnr"][0]]
        pictures.append(Pictures("Test patches", sections.COLUMNS, patches, len(patches), orders, notes=notes))
        # An interval needs two images. What `evaluate` found of these very weights says more.
        report = kept(folder, generator) or (report if report["n"] > 1 else None)
    _write_reports(trained_so_far(run, generator, known), run, report, pictures)
    hint = " --palette '#5c6b3a'" if takes_hint(generator) else ""
    print(f"""
{folder}/generator.keras    the trained model
{folder}/report.html        how it was trained, how good it is, and what it gives
{folder}/MODEL_CARD.md      for those to whom you pass the model on
{folder}/samples/           SAR | generated | truth
tensorboard --logdir {folder}/logs
next: sar-keras colorize {folder} IMAGE -o colour.png{hint}
      sar-keras evaluate {folder} --html evaluation.html
      sar-keras export {folder}""")


def _save_with_expected_error(run: Run, generator: keras.Model, path: Path, metadata: ModelMetadata) -> ModelMetadata:
    """Validation pairs are of few places, training pairs are known to the model: of both together it learns most."""
    if run.indices["validation"]:
        indices = [*evenly(run.indices["train"], _LEARNT_ERRORS), *run.indices["validation"]]
        batches = _batches_with_hints(run, indices) if takes_hint(generator) else _batches(run, indices)
        bar = progress_bar("learning its errors", "batch", -(-len(indices) // run.config.train.batch_size))
        metadata = dataclasses.replace(metadata, expected_error=fit_expected_error(generator, bar(batches)))
    save_model(generator, path, metadata)
    return metadata


def _batches(run: Run, indices: list[int]) -> tf.data.Dataset:
    return pipeline.evaluation_dataset(run.images, indices, run.config.train.batch_size)


def _batches_with_hints(run: Run, indices: list[int]) -> tf.data.Dataset:
    """Batches in which hints are drawn as in training, and colours change with them, see `draw_hint`."""
    train = run.config.train
    plain = {"augment": False, "speckle": False, "radiometric_jitter": 0.0, "to_mean_colour": 0.0}
    data = run.config.data.model_copy(update=plain)
    batches = pipeline.training_dataset(
        run.images, indices, train.batch_size, train.seed, data, references=run.references
    )
    return batches.take(-(-len(indices) // train.batch_size))


def trained_so_far(run: Run, generator: keras.Model, metadata: ModelMetadata, finished: bool = True) -> Trained:
    pairs = read_split(run.folder / "split.csv")
    return Trained(run.folder, run.config, generator, metadata, pairs, run.history, finished)


def _write_reports(trained: Trained, run: Run, report: dict | None, pictures: list[Pictures]) -> None:
    """Write the run's card and its page, with the samples beside the pictures that there are."""
    for split, batch in run.samples.items():
        names = [sections.name_of(run.images.pairs[index]) for index in evenly(run.indices[split], SAMPLES)]
        patches = samples(names, trained.generator, batch)
        what = "Training" if split == "train" else "Validation"
        notes = without_hint(trained.generator)
        pictures.append(Pictures(f"{what} patches", sections.COLUMNS, patches, len(patches), notes=notes))
    device = describe(run.strategy, dtype_policy_for(run.config.train.precision))
    with doing("writing the report"):
        write_run_page(trained, report, pictures, device)
        write_card(trained, report)


def _test(run: Run, generator: keras.Model, mean_colour: np.ndarray) -> tuple[dict, list[Patch]]:
    """Some of the figures that `sar_keras.evaluate` reports, which are quickly had, and some of the patches."""
    pairs = [run.images.pairs[index] for index in run.indices["test"]]
    shown, patches = set(evenly(list(range(len(pairs))), _TEST_PATCHES)), []
    scores: dict[str, list[dict]] = {"model": [], "mean_colour": []}
    done = 0
    for sar, truth in progress_bar("testing", "batch")(_batches(run, run.indices["test"])):
        generated = generator(inputs_of(generator, sar), training=False)
        scores["model"].append(_scores(truth, generated))
        scores["mean_colour"].append(_scores(truth, tf.broadcast_to(mean_colour, tf.shape(truth))))
        for n, triple in enumerate(triples(sar, generated, truth)):
            if done + n in shown:
                figures = {TITLES["psnr"][0]: float(scores["model"][-1]["psnr"][n])}
                patches.append(Patch(sections.name_of(pairs[done + n]), triple, figures))
        done += len(sar)
    per_image = {
        name: {figure: np.concatenate([batch[figure] for batch in batches]) for figure in batches[0]}
        for name, batches in scores.items()
    }
    report = {
        "protocol": "standard",
        "split": "test",
        "n": len(pairs),
        "scenes": len({pair.place for pair in pairs if pair.scene is not None}),
        "metrics": intervals(per_image["model"]),
        "baselines": {"mean_colour": intervals(per_image["mean_colour"])},
    }
    return report, patches


def _scores(truth: tf.Tensor, generated: tf.Tensor) -> dict[str, np.ndarray]:
    """Figures of images (N, H, W, 3) in [-1, 1], as `sar_keras.evaluation.metrics.standard` has them: name to (N,)."""
    error = (np.asarray(truth) - np.asarray(generated)) / 2
    return {
        "psnr": np.minimum(psnr(truth, generated), 100.0),
        "ssim": np.asarray(tf.image.ssim((truth + 1) / 2, (generated + 1) / 2, 1.0)),
        "mse": (error**2).mean((1, 2, 3)),
        "mae": np.abs(error).mean((1, 2, 3)),
    }


def _print_test(report: dict) -> None:
    model_psnr, mean_psnr = (
        metrics["psnr"]["mean"] for metrics in (report["metrics"], report["baselines"]["mean_colour"])
    )
    print(f"\ntest    PSNR {model_psnr:.2f} dB; the mean colour of the training set gives {mean_psnr:.2f} dB")
    if model_psnr < mean_psnr:
        print("        not yet better than a single colour: train longer, or on more scenes")
