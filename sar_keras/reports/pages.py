"""The pages of a run and of an evaluation, and what they show of a model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sar_keras.data import pipeline
from sar_keras.data.loading import Images
from sar_keras.data.pairs import Pair, evenly
from sar_keras.inference.metadata import ModelMetadata, metadata_of
from sar_keras.io.images import to_uint8
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.sizes import patch_size, sar_channels, takes_hint
from sar_keras.reports import sections
from sar_keras.reports.card import Trained
from sar_keras.reports.figures import error_holds, text_of, title_of
from sar_keras.reports.page import Curves, Facts, Patch, Pictures, Section, Table, write_page

MOST_PATCHES = 500  # on a page
_BATCH = 4


def write_run_page(run: Trained, report: dict | None, pictures: Sequence[Pictures], device: str) -> None:
    """Write report.html of a run: how it was trained, how good it is, and what it gives.

    Args:
        run: The run.
        report: Its figures on its own test images, see `sar_keras.evaluate`, or None.
        pictures: What is shown of its patches.
        device: What it was trained on.
    """
    last = run.history[-1] if run.history else {}
    about: dict[str, Any] = {"data": run.data_name, "device": device}
    about |= {name: last[name] for name in ("epoch", "step", "minutes") if name in last}
    test: Section = Facts("Figures", {"test": "none: the split has less than two test images"})
    figures = [sections.figures(report, without_hint(run.generator))] if report else [test]
    page = [
        sections.made_by(**about),
        Facts("Model", {"system": run.config.model.system} | about_model(run.generator, run.metadata)),
        *figures,
        *(sections.hints(report) + sections.groups(report) if report else []),
        *sections.history_sections(run.history),
        *pictures,
        *sections.split_sections(run.pairs),
        sections.configuration(run.config),
    ]
    write_page(run.folder / "report.html", f"Run {run.folder.absolute().name}", page)


def write_evaluation_page(
    path: Path,
    report: dict,
    generator: keras.Model,
    images: Images,
    per_image: Mapping[str, np.ndarray],
    pairs: Sequence[Pair],
    run: Trained | None,
) -> None:
    """Write the page of an evaluation.

    Args:
        path: The file to write.
        report: What `sar_keras.evaluate` gives.
        generator: The model.
        images: The images that were scored.
        per_image: Each figure of each of them, (n,).
        pairs: The pairs of all splits.
        run: The run that the model is of, or None.
    """
    chosen = evenly(list(range(len(images.pairs))), MOST_PATCHES)
    patches = (
        Patch(sections.name_of(images.pairs[index]), triple, sections.figures_of_patch(per_image, index))
        for index, triple in zip(chosen, colorized(generator, images, chosen), strict=True)
    )
    some = [f"{len(chosen)} of {len(images.pairs)} images."] if len(chosen) < len(images.pairs) else []
    orders = list(sections.figures_of_patch(per_image, 0))
    page = [
        sections.made_by(model=report["model"], protocol=report["protocol"]),
        Facts("Model", about_model(generator, metadata_of(generator))),
        sections.figures(report, without_hint(generator)),
        *sections.hints(report),
        *_detail(report),
        *_confidence(report),
        *sections.groups(report),
        Pictures("Patches", sections.COLUMNS, patches, len(chosen), orders, notes=some + without_hint(generator)),
        *sections.split_sections(pairs),
        *([sections.configuration(run.config)] if run else []),
    ]
    write_page(path, f"{Path(report['model']).name or report['model']} on {report['split']} images", page)


def without_hint(generator: keras.Model) -> list[str]:
    """What is to be said of figures and pictures of a guided model."""
    return ["The model is given no hint here."] if takes_hint(generator) else []


def about_model(generator: keras.Model, metadata: ModelMetadata) -> dict[str, str]:
    """What a model is, and what it expects."""
    channels, size, scale = sar_channels(generator), patch_size(generator), metadata.sar_scale
    bands = " and ".join(metadata.sar_bands) or "names not known"
    about = {
        "weights": f"{generator.count_params() / 1e6:.2f} million",
        "SAR bands": f"{channels} ({bands})",
        "SAR values": f"{scale.units}, {scale.low:g} to {scale.high:g}",
        "patch": f"{size} x {size} pixels",
        "hint": "takes one beside the SAR image, or none" if takes_hint(generator) else "takes none",
    }
    if metadata.parent:
        about["began with"] = metadata.parent
    return about


def colorized(generator: keras.Model, images: Images, indices: Sequence[int]) -> Iterator[list[np.ndarray]]:
    """SAR, generated without a hint, and truth of pairs, uint8 (H, W, 3) each, one pair after the other."""
    for sar, truth in pipeline.evaluation_dataset(images, list(indices), _BATCH):
        yield from triples(sar, generator(inputs_of(generator, sar), training=False), truth)


def samples(names: Iterable[str], generator: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> list[Patch]:
    """A batch (SAR, truth) as patches."""
    sar, truth = batch
    generated = generator(inputs_of(generator, sar), training=False)
    return [Patch(name, triple) for name, triple in zip(names, triples(sar, generated, truth), strict=True)]


def triples(sar: tf.Tensor, generated: tf.Tensor, truth: tf.Tensor) -> list[list[np.ndarray]]:
    """Batches of images in [-1, 1] as people see them: for each SAR, generated and true, uint8 (H, W, 3)."""
    grey = np.repeat(to_uint8(np.asarray(sar)[..., :1]), 3, -1)
    images = zip(grey, to_uint8(np.asarray(generated)), to_uint8(np.asarray(truth)), strict=True)
    return [list(triple) for triple in images]


def _detail(report: dict) -> list[Section]:
    """How the SAR's own fine structure in the lightness changes the figures."""
    if not report["detail"]:
        return []
    rows = [[share, figures["psnr"], figures["gradient_similarity"]] for share, figures in report["detail"].items()]
    heads = ["--detail", *(title_of(name) for name in ("psnr", "gradient_similarity"))]
    return [Table("With the SAR's own fine structure", heads, rows)]


def _confidence(report: dict) -> list[Section]:
    """How well the expected error ranks the real one."""
    confidence = report["confidence"]
    if not confidence:
        return []
    rank, curve = confidence["rank_correlation"], confidence["sparsification"]
    notes = [
        f"Rank correlation with the real error: {text_of(rank['pixels'])} of the pixels of an image, "
        f"{rank['all_pixels']:.3f} of all pixels, {rank['patches']:.3f} of patches.",
        "The curves are the mean absolute error of what is left when the most uncertain pixels are left out.",
    ]
    if not error_holds(confidence):
        notes.append("It does not tell here which pixels or patches are wrong: do not use it on such data.")
    names = {"model": "expected error", "oracle": "real error", "random": "at random"}
    curves = {title: (curve["removed"], curve[name]) for name, title in names.items()}
    return [Curves("Expected error", "share left out", curves, notes=notes)]
