"""Puts runs side by side that were tested on the same images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sar_keras.config import Config, keys, load_run
from sar_keras.data import loading, pipeline
from sar_keras.data.pairs import Pair, evenly
from sar_keras.data.reading import PairReader
from sar_keras.data.sources import pairs_of_run
from sar_keras.data.splits import read_split
from sar_keras.errors import DataError, ModelError, parameter
from sar_keras.evaluation.evaluate import evaluate
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.model_file import load_model
from sar_keras.io.files import local_path
from sar_keras.io.images import to_uint8
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.sizes import takes_hint
from sar_keras.reports import sections
from sar_keras.reports.figures import BASELINES, kept, notes_on, scenes_of, title_of
from sar_keras.reports.page import Curves, Patch, Pictures, Section, Table, write_page
from sar_keras.terminal import doing
from sar_keras.training.history import read_history

_PATCHES = 24
# Keys that decide what the true images are.
_OF_TRUTH = ("data.image_size", "data.resize", "data.optical_bands")
# Keys that decide what procedural scenes show.
_OF_SCENES = ("train.seed", "data.limit")


def compare(runs: Sequence[str | Path], output: str | Path = "compare.html") -> Path:
    """Write a page with runs side by side: configurations, figures, curves, and the same patches.

    Figures are those that a run keeps of its test images, as `sar_keras.evaluate` finds them; it is called where a run
    has none of its present weights.

    Args:
        runs: Run directories that were tested on the same images.
        output: The file to write.

    Returns:
        `output`.

    Raises:
        DataError, ModelError: less than two runs, or runs whose test images are not the same.
    """
    output, folders = local_path(output), [local_path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        raise ModelError(f"{parameter('runs')}: give two run directories or more, each once")
    names = [folder.absolute().name for folder in folders]
    named = dict(zip(names if len(set(names)) == len(names) else map(str, folders), folders, strict=True))
    configs = {}
    for name, folder in named.items():
        if not (folder / "config.yaml").is_file():
            raise ModelError(f"{folder}: not a run directory (it holds no config.yaml)")
        configs[name] = load_run(folder)
    _check_that_they_compare(named, configs)
    reports = {}
    for name, folder in named.items():
        reports[name] = kept(folder, load_model(folder)) or evaluate(folder)
    with doing("writing the page"):
        write_comparison(output, " and ".join(named) if len(named) == 2 else f"{len(named)} runs", named, reports)
    return output


def _check_that_they_compare(named: Mapping[str, Path], configs: Mapping[str, Config]) -> None:
    """
    Raises:
        DataError: the test images of two runs are not the same.
    """
    first = next(iter(named))
    tests = {name: _images_of(folder, "test") for name, folder in named.items()}
    if not tests[first]:
        raise DataError(f"{named[first]}: its split has no test images to compare on")
    for name, folder in named.items():
        common = len(tests[name] & tests[first])
        if not common == len(tests[first]) == len(tests[name]):
            raise DataError(
                f"{folder}: has {len(tests[name])} test images, of which {common} are among the {len(tests[first])} of "
                f"{named[first]}; only runs of one split compare: train with data.split={named[first] / 'split.csv'}"
            )
        drawn = "synthetic" in (configs[name].data.layout, configs[first].data.layout)
        for key in (*_OF_TRUTH, *(("data.layout", *_OF_SCENES) if drawn else ())):
            values = [keys(config)[key] for config in (configs[name], configs[first])]
            if values[0] != values[1]:
                raise DataError(
                    f"{folder}: has {key}={values[0]}, {named[first]} has {values[1]}: their test images differ, so "
                    "the runs do not compare"
                )


def _images_of(run: Path, split: str) -> set[tuple]:
    return {(str(pair.sar), pair.window) for pair in read_split(run / "split.csv") if pair.split == split}


def write_comparison(
    path: Path,
    title: str,
    runs: Mapping[str, Path],
    reports: Mapping[str, dict],
    more_rows: Sequence[tuple[str, dict]] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write a page with runs side by side.

    Args:
        path: The file to write.
        title: Its heading.
        runs: Names and run directories, of the same test images.
        reports: What `sar_keras.evaluate` found of each.
        more_rows: Others to list below the runs, with their reports.
        notes: Sentences about the figures.

    Raises:
        DataError: the test images of two runs are not the same.
    """
    configs = {name: load_run(folder) for name, folder in runs.items()}
    generators = {name: load_model(folder) for name, folder in runs.items()}
    histories = {name: read_history(folder / "history.csv") for name, folder in runs.items()}
    first = next(iter(runs))
    metrics = [name for name in reports[first]["metrics"] if all(name in of["metrics"] for of in reports.values())]
    rows: list[list[Any]] = []
    for name, report in reports.items():
        last = histories[name][-1] if histories[name] else {}
        seen = int(last.get("step", 0)) * configs[name].train.batch_size
        weights = generators[name].count_params() / 1e6
        rows.append([name, last.get("minutes"), seen, weights, *(report["metrics"][figure] for figure in metrics)])
    rows += [
        [name, report.get("minutes"), report.get("images"), None, *(report["metrics"][figure] for figure in metrics)]
        for name, report in more_rows
    ]
    rows += _baselines(reports, metrics)
    flattered = [name for name, report in reports.items() if report["trained_on_vgg"]]
    about = notes_on(reports[first] | {"trained_on_vgg": False, "metrics": dict.fromkeys(metrics)})
    if flattered:
        about.append(f"A loss of VGG16 features flatters the VGG16 distance of {', '.join(flattered)}.")
    if any(map(takes_hint, generators.values())):
        about.append("Guided models are scored and shown without a hint.")
    heads = ["run", "minutes", "images seen", "million weights", *map(title_of, metrics)]
    page = [
        sections.made_by(),
        Table(
            f"Figures on {reports[first]['n']} test images of {scenes_of(reports[first])}",
            heads,
            rows,
            notes=[*notes, *about],
        ),
        *(table for name, report in reports.items() for table in sections.hints(report, f"{name} under hints")),
        *_groups(dict([*reports.items(), *more_rows])),
        *_curves(configs, histories, runs),
        _pictures(runs, configs, generators),
        sections.differences(configs),
        *_splits(runs),
    ]
    write_page(path, title, page)


def _baselines(reports: Mapping[str, dict], metrics: Sequence[str]) -> list[list[Any]]:
    """A row for each baseline; for each run where they are not the same."""
    rows: dict[tuple, list[Any]] = {}
    for name, report in reports.items():
        for baseline, title in BASELINES.items():
            figures = [report["baselines"][baseline][figure] for figure in metrics]
            means = (baseline, *(f"{figure['mean']:.4g}" for figure in figures))
            other = any(key[0] == baseline for key in rows)
            rows.setdefault(means, [f"{title} of {name}" if other else title, None, None, None, *figures])
    return list(rows.values())


def _groups(reports: Mapping[str, dict]) -> list[Section]:
    """PSNR by terrain and by scene."""
    tables: list[Section] = []
    for by in ("terrain", "scene"):
        names = list(dict.fromkeys(group for report in reports.values() for group in report[f"by_{by}"]))
        rows = []
        for name, report in reports.items():
            of_group = report[f"by_{by}"]
            rows.append([name, *(of_group[group]["psnr"] if group in of_group else None for group in names)])
        tables.append(Table(f"PSNR (dB) by {by}", ["run", *names], rows))
    return tables


def _curves(
    configs: Mapping[str, Config], histories: Mapping[str, list[dict]], runs: Mapping[str, Path]
) -> list[Section]:
    """Validation PSNR over images seen and over minutes."""
    validated = {frozenset(_images_of(folder, "validation")) for folder in runs.values()}
    notes = ["The runs were validated on different images, so the heights of these curves do not compare."]
    notes = notes if len(validated) > 1 else []
    images = {
        name: sections.curve(rows, "step", "val_psnr", configs[name].train.batch_size)
        for name, rows in histories.items()
    }
    minutes = {name: sections.curve(rows, "minutes", "val_psnr") for name, rows in histories.items()}
    title = "Validation PSNR (dB)"
    found = [
        Curves(f"{title} over images seen", "images seen", images, notes=notes),
        Curves(f"{title} over time", "minutes", minutes, notes=notes),
    ]
    return [section for section in found if any(x for x, _ in section.curves.values())]


def _splits(runs: Mapping[str, Path]) -> list[Section]:
    """The split of all runs, or one for each kind that there is."""
    by_pairs: dict[tuple, tuple[list[str], list[Pair]]] = {}
    for name, folder in runs.items():
        pairs = read_split(folder / "split.csv")
        key = tuple(sorted((str(pair.sar), str(pair.window), pair.split) for pair in pairs))
        by_pairs.setdefault(key, ([], pairs))[0].append(name)
    return [
        table
        for names, pairs in by_pairs.values()
        for table in sections.split_sections(pairs, [f"Of {', '.join(names)}."] if len(by_pairs) > 1 else [])
    ]


def _pictures(
    runs: Mapping[str, Path], configs: Mapping[str, Config], generators: Mapping[str, keras.Model]
) -> Pictures:
    """The same test patches across runs, each read as its run reads it."""
    images = {}
    for name, folder in runs.items():
        pairs = [pair for pair in pairs_of_run(configs[name].data, folder) if pair.split == "test"]
        # In one order: the data of two runs may lie in other folders.
        chosen = evenly(sorted(pairs, key=lambda pair: (pair.sar.name, str(pair.window), str(pair.sar))), _PATCHES)
        images[name] = _load(chosen, configs[name], generators[name])
    first = next(iter(runs))
    count = min(len(of_run.pairs) for of_run in images.values())
    columns = ["SAR", *runs, "truth"]
    return Pictures("The same patches", columns, _patches(images, generators, first, count), count)


def _load(pairs: list[Pair], config: Config, generator: keras.Model) -> loading.Images:
    data, metadata = config.data, metadata_of(generator)
    reader = PairReader(config.model.channels, data.sar_bands, data.optical_bands, metadata.sar_bands)
    images = loading.load_images(pairs, data.image_size, reader, data.resize, on_error=data.on_error)
    return images.with_scales(metadata.sar_scale, metadata.optical_scale)


def _patches(
    images: Mapping[str, loading.Images], generators: Mapping[str, keras.Model], first: str, count: int
) -> Iterator[Patch]:
    datasets = [pipeline.evaluation_dataset(of_run, list(range(count)), 1) for of_run in images.values()]
    for index, batches in enumerate(zip(*datasets, strict=True)):
        pair, truth = images[first].pairs[index], np.asarray(batches[0][1])
        for name, (_, other) in zip(images, batches, strict=True):
            # Of other files of the same name, or scaled by another range.
            if not np.allclose(other, truth, atol=0.02):
                raise DataError(
                    f"{images[name].pairs[index].optical}: is another image, or scaled otherwise, in {name} than in "
                    f"{first}; the runs do not compare"
                )
        colours = [
            generator(inputs_of(generator, sar), training=False)
            for generator, (sar, _) in zip(generators.values(), batches, strict=True)
        ]
        sar = np.repeat(to_uint8(batches[0][0])[..., :1], 3, -1)
        yield Patch(sections.name_of(pair), [each[0] for each in (sar, *map(to_uint8, colours), to_uint8(truth))])
