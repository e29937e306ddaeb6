"""Trains several presets under equal terms on one split, and writes the comparison: tables, pictures, curves."""

import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sar_keras.config import Config, is_of_other_systems, keys, load_config, load_run, override
from sar_keras.data import loading, pipeline
from sar_keras.data.pairs import Pair, evenly
from sar_keras.data.reading import PairReader
from sar_keras.data.references import load_references
from sar_keras.data.sources import draw_pairs, find_source, pairs_of_run
from sar_keras.data.splits import audit, read_split, split_pairs, write_split
from sar_keras.errors import ConfigError, DataError, ModelError, OutputError, TrainingDiverged, parameter
from sar_keras.evaluation import hinted
from sar_keras.evaluation.baselines import fit_trees
from sar_keras.evaluation.compare import write_comparison
from sar_keras.evaluation.evaluate import evaluate, figures_of
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.model_file import load_model
from sar_keras.io.files import atomic, local_path
from sar_keras.io.images import captioned, to_uint8, write_image
from sar_keras.networks.guided import inputs_of
from sar_keras.reports.figures import TITLES
from sar_keras.reports.machine import machine, software
from sar_keras.terminal import doing
from sar_keras.training.fit import fit
from sar_keras.training.history import read_history
from sar_keras.training.machines import describe, dtype_policy_for, strategy_for, training_clock

PRESETS = (
    "default", "fast", "l1", "pix2pix", "cgan_ssim_l1", "cyclegan", "epcgan", "paper", "pix2pix_perceptual",
    "pix2pix_dae", "pix2pix_lab",
)  # fmt: skip
_TREES = "gradient-boosted trees (SAR)"
_IMAGES_OF_TREES = 500  # training images that they learn from at most
_PATCHES = 6  # test patches in the picture
# A run of a number of steps is validated so often; a sixth of a run with a refinement belongs to that.
_EPOCHS_OF_STEPS = 12
_NO_LIMIT = 1_200_000
# Keys that all runs of a comparison share.
_EQUAL = (
    "data.root", "data.limit", "data.image_size", "data.resize", "data.sar_bands", "data.optical_bands",
    "model.channels", "train.seed",
)  # fmt: skip


def benchmark(
    output: str | Path,
    presets: tuple[str, ...] = PRESETS,
    data: str | Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    overrides: tuple[str, ...] = (),
) -> Path:
    """Train and evaluate presets under equal minutes or equal steps; what is done already in `output` is kept.

    Writes a run directory a preset with its evaluation.json, and after each of them, from all that `output` holds,
    benchmark.md, benchmark.html (a page in a file of its own), benchmark.json, patches.png (the same test patches
    across systems) and curves.png. The tables have a row of gradient-boosted trees on the same split, trees.json, where
    scikit-learn is installed.

    Args:
        output: Folder of the comparison.
        presets: Names of presets, or paths of YAML files.
        data: Folder or manifest of pairs. None: procedural scenes.
        minutes: Training time of each, see `train.minutes`.
        steps: Number of training steps of each; give one of both.
        overrides: Such as "data.ratios=[0.7, 0.1, 0.2]", for every preset whose system has the key.

    Returns:
        The path of benchmark.md.

    Raises:
        ConfigError, DataError, OutputError: what was asked for cannot be done.
    """
    output = local_path(output)
    if os.environ.get("TF_CONFIG"):
        raise ConfigError("benchmark runs on one machine: unset TF_CONFIG")
    if (minutes is None) == (steps is None):
        raise ConfigError(f"give either {parameter('minutes')} or {parameter('steps')}")
    if output.is_file():
        raise OutputError(f"{output}: is a file; give a folder for the comparison")
    of_presets = _overrides_of(presets, overrides)
    configs = {Path(preset).stem: _config(preset, data, minutes, steps, of_presets[preset]) for preset in presets}
    if len(configs) < len(presets):
        raise ConfigError("two presets have the same name, which is that of their run")
    first = next(iter(configs.values()))
    _check_that_they_compare(output, configs)
    if not importlib.util.find_spec("sklearn"):
        print('no row of gradient-boosted trees: pip install ".[trees]"', file=sys.stderr)
    with _leaving_nothing_untrained(output, drawn=first.data.layout == "synthetic"):
        split_file, report = _split(output, first), None
        for name, config in configs.items():
            run = output / name
            if _is_finished(run):
                print(f"{name}: done already")
                continue
            print(f"\n== {name}", flush=True)
            resume = (run / "config.yaml").is_file()
            try:
                fit(override(config, [f"data.split={json.dumps(str(split_file))}"]), run, resume)
            except TrainingDiverged as error:
                print(f"{name}: left out, it diverged: {error}", flush=True)
                continue
            evaluate(run, split="test")
            evaluation = json.loads((run / "evaluation.json").read_text())
            with atomic(run / "evaluation.json") as temporary:
                temporary.write_text(json.dumps(evaluation | _circumstances(config), indent=2) + "\n")
            report = write_report(output)
        return report or write_report(output)


@contextlib.contextmanager
def _leaving_nothing_untrained(output: Path, drawn: bool) -> Iterator[None]:
    """Remove the split, and the pairs that were drawn, where the block fails before anything is trained."""
    had_split = (output / "split.csv").is_file()
    try:
        yield
    except BaseException:  # also Ctrl-C: what it leaves would stand in the way of the next call
        if not had_split and not any(output.glob("*/config.yaml")):
            (output / "split.csv").unlink(missing_ok=True)
            if drawn:
                shutil.rmtree(output / "data", ignore_errors=True)
            with contextlib.suppress(OSError):
                output.rmdir()
        raise


def _config(preset: str, data, minutes, steps, overrides) -> Config:
    config = load_config(preset)
    source = ["data.limit=null", "data.layout=synthetic"]
    if data:
        source[1:] = ["data.layout=auto", f"data.root={json.dumps(str(Path(data).absolute()))}"]
    epochs, length = _NO_LIMIT, [f"train.minutes={minutes}"]
    if steps:
        per_epoch = -(-steps // _EPOCHS_OF_STEPS)
        epochs, length = -(-steps // per_epoch), [f"train.steps_per_epoch={per_epoch}"]
    refinement = max(1, epochs // 6) if config.refinement.epochs else 0
    if epochs == refinement:
        raise ConfigError(f"{preset} trains two networks: give at least two steps")
    length += [f"train.epochs={epochs - refinement}", f"refinement.epochs={refinement}"]
    return override(config, [*source, *length, *overrides])


def _overrides_of(presets: tuple[str, ...], overrides: tuple[str, ...]) -> dict[str, list[str]]:
    """The overrides that concern each preset: a key of another system among them does not.

    Raises:
        ConfigError: an override that concerns none of them.
    """
    systems = {preset: load_config(preset).model.system for preset in presets}
    of_presets: dict[str, list[str]] = {preset: [] for preset in presets}
    for text in overrides:
        key = text.partition("=")[0]
        concerned = [preset for preset, system in systems.items() if not is_of_other_systems(key, system)]
        if not concerned:
            raise ConfigError(
                f"{parameter('overrides')} {key}: has no meaning for any of {', '.join(presets)}; leave it out"
            )
        for preset in concerned:
            of_presets[preset].append(text)
    return of_presets


def _check_that_they_compare(output: Path, configs: dict[str, Config]) -> None:
    """One comparison has one set of data, one image size and one seed; also with the runs that are there already."""
    there = {path.parent.name: load_run(path.parent) for path in output.glob("*/config.yaml")}
    drawn = any(config.data.layout == "synthetic" for config in configs.values())
    left = [path for path in (output / "data", output / "split.csv") if path.exists()]
    if drawn and left and not there:
        raise OutputError(
            f"{left[0]}: is there without a run, so it may be of other settings; remove it, or give another "
            f"{parameter('output')}"
        )
    everyone = list((there | configs).items())
    for key in _EQUAL:
        values = {name: keys(config)[key] for name, config in everyone}
        odd = next((name for name in values if values[name] != values[everyone[0][0]]), None)
        if odd:
            raise ConfigError(
                f"{key}: {odd} has {values[odd]}, {everyone[0][0]} has {values[everyone[0][0]]}; these do not compare: "
                f"give another {parameter('output')}"
            )


def _split(output: Path, config: Config) -> Path:
    """One split for all: made for the first, kept for what is added later."""
    path = (output / "split.csv").absolute()
    if not path.is_file():
        data = config.data
        draw_pairs(data, output, config.train.seed)
        pairs = split_pairs(find_source(data, output).pairs, data.split, data.ratios, config.train.seed)
        tested = sum(pair.split == "test" for pair in pairs)
        if tested < 2:
            raise DataError(
                f"the split has {tested} test image(s), and a comparison needs at least 2: change data.ratios"
            )
        write_split(pairs, path, data.root or output / "data")
    return path


def write_report(output: Path) -> Path:
    """Write benchmark.md, .html and .json, patches.png and curves.png from the finished runs in a folder.

    The pixel baseline, trees.json, is fitted where it is not there yet.
    """
    runs = sorted((path.parent for path in output.glob("*/evaluation.json") if _is_finished(path.parent)), key=_rank)
    if not runs:
        raise ModelError(f"{output}: no system has finished")
    trees = _trees(output, runs[0])
    about, results = _about(runs[0]) | {"trees": trees}, [_result(run) for run in runs]
    _draw_patches(output / "patches.png", runs)
    _draw_curves(output / "curves.png", runs)
    _write_page(output / "benchmark.html", about, runs, results)
    with atomic(output / "benchmark.json") as temporary:
        temporary.write_text(json.dumps(about | {"results": results}, indent=2) + "\n")
    path = output / "benchmark.md"
    with atomic(path) as temporary:
        temporary.write_text(_markdown(about, results), encoding="utf-8")
    return path


def _is_finished(run: Path) -> bool:
    """Whether a run was trained and scored here; `evaluate` alone does not tell where it was trained."""
    path = run / "evaluation.json"
    return path.is_file() and "device" in json.loads(path.read_text())


def _rank(run: Path) -> tuple[int, str]:
    return (PRESETS.index(run.name) if run.name in PRESETS else len(PRESETS)), run.name


def _about(run: Path) -> dict:
    config = load_run(run)
    return {
        "data": config.data.root.name if config.data.root else "procedural scenes",
        "seed": config.train.seed,
        "leaks": audit(read_split(run.parent / "split.csv")).leaks,
    }


def _circumstances(config: Config) -> dict[str, str]:
    """Where and when a run was scored; one that is added to a comparison later may have had others."""
    return {
        "device": describe(strategy_for(config.train.strategy), dtype_policy_for(config.train.precision)),
        "machine": machine(),
        "software": software(),
        "date": str(datetime.date.today()),
    }


def _result(run: Path) -> dict:
    last, report = read_history(run / "history.csv")[-1], json.loads((run / "evaluation.json").read_text())
    about = {
        "minutes": last["minutes"],
        "steps": int(last["step"]),
        "images": int(last["step"]) * load_run(run).train.batch_size,
        "weights": load_model(run).count_params(),
    }
    return report | about | {"model": run.name}


def _trees(output: Path, run: Path) -> dict | None:
    """The figures of gradient-boosted trees on the SAR pixels of the same split, with the scales and the seed of a run.

    None: scikit-learn is not there.
    """
    path = output / "trees.json"
    if path.is_file():
        return json.loads(path.read_text())
    if not importlib.util.find_spec("sklearn"):
        return None
    config, metadata = load_run(run), metadata_of(load_model(run))
    pairs = pairs_of_run(config.data, output)
    of_split = {split: [pair for pair in pairs if pair.split == split] for split in ("train", "test")}
    of_split["train"] = evenly(of_split["train"], _IMAGES_OF_TREES)
    images = _load([*of_split["train"], *of_split["test"]], config)
    images = images.with_scales(metadata.sar_scale, metadata.optical_scale)
    train, test = ([n for n, pair in enumerate(images.pairs) if pair.split == split] for split in of_split)
    print("\n== gradient-boosted trees", flush=True)
    started = training_clock()
    trees = fit_trees(images, train, config.train.seed)
    about = {"minutes": (training_clock() - started) / 60, "images": len(train)}
    version = importlib.metadata.version("scikit-learn")
    circumstances = _circumstances(config) | {"device": "CPU", "scikit_learn": version}
    report = figures_of(trees.predict, images, test) | about | circumstances | {"other_date": None}
    references = load_references(images)
    dated = hinted.fit_trees_to_dates(images, references, train, config.train.seed)
    if dated:
        report["other_date"] = hinted.numbers(hinted.score_trees(dated, images, references, test))
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    return report


def _load(pairs: list[Pair], config: Config) -> loading.Images:
    reader = PairReader(config.model.channels, config.data.sar_bands, config.data.optical_bands)
    return loading.load_images(pairs, config.data.image_size, reader, config.data.resize, on_error=config.data.on_error)


def _markdown(about: dict, results: list[dict]) -> str:
    names = list(results[0]["metrics"])
    titles = [TITLES[name][0] + (" ↑" if TITLES[name][1] else " ↓") for name in names]
    circumstances = _all_circumstances(results)
    verdict = "which LEAKS: `sar-keras data audit` tells how" if about["leaks"] else "not seen in training"
    lines = [
        f"# Benchmark on {about['data']}",
        "",
        f"{results[0]['n']} test images of {results[0]['scenes'] or 'unknown'} scenes (split.csv, {verdict}), "
        f"seed {about['seed']}; {'; '.join(circumstances)}. Means "
        "over images; intervals are in benchmark.json. Minutes are those of the training steps alone, on a CPU in "
        "processor time over all cores.",
        "",
        _row(["system", "minutes", "images seen", "million weights", *titles]),
        _row(["---"] * (4 + len(titles))),
    ]
    for result in results:
        sums = [f"{result['minutes']:.1f}", str(result["images"]), f"{result['weights'] / 1e6:.1f}"]
        lines.append(_row([result["model"], *sums, *_figures(result, names)]))
    trees = about["trees"]
    if trees:
        figures = [f"{trees['metrics'][name]['mean']:.4g}" for name in names]
        lines.append(_row([_TREES, f"{trees['minutes']:.1f}", str(trees["images"]), "", *figures]))
    for key, title in (("mean_colour", "mean training colour"), ("copy_sar", "SAR as grey")):
        figures = [f"{results[0]['baselines'][key][name]['mean']:.4g}" for name in names]
        lines.append(_row([title, "", "", "", *figures]))
    if any(result["trained_on_vgg"] for result in results):
        lines += ["", "\\* trained with a loss of VGG16 features itself, which flatters it there."]
    lines.append("")
    guided = {result["model"]: result["hints"] for result in results if result.get("hints")}
    for name, hints in guided.items():
        lines += [f"## {name} under hints", "", "```", *hinted.table(hints)[1:]]
        if trees and trees.get("other_date"):
            lines.append(hinted.line("gradient-boosted trees with the other date", trees["other_date"], hints))
        lines += ["```", ""]
    for by in ("terrain", "scene"):
        lines += [f"## PSNR (dB) by {by}", ""]
        groups = list(results[0][f"by_{by}"])
        lines += [_row(["system", *groups]), _row(["---"] * (1 + len(groups)))]
        for result in [*results, *([{"model": _TREES, **trees}] if trees else [])]:
            of = result[f"by_{by}"]
            figures = [f"{of[group]['psnr']['mean']:.2f}" if group in of else "" for group in groups]
            lines.append(_row([result["model"], *figures]))
        lines.append("")
    lines += ["![test patches](patches.png)", "", "![validation over training time](curves.png)", ""]
    return "\n".join(lines)


def _all_circumstances(results: list[dict]) -> list[str]:
    lines = (f"{result['device']}, {result['machine']}; {result['software']}; {result['date']}" for result in results)
    return list(dict.fromkeys(lines))


def _write_page(path: Path, about: dict, runs: list[Path], results: list[dict]) -> None:
    trees = [(_TREES, about["trees"])] if about["trees"] else []
    notes = [
        f"Seed {about['seed']}; scored on {'; '.join(_all_circumstances(results))}.",
        "Minutes are those of the training steps alone, on a CPU in processor time over all cores.",
    ]
    reports = {run.name: result for run, result in zip(runs, results, strict=True)}
    with doing("writing the page"):
        write_comparison(path, f"Benchmark on {about['data']}", {run.name: run for run in runs}, reports, trees, notes)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figures(result: dict, names: list[str]) -> list[str]:
    marks = {"vgg_distance": " *"} if result["trained_on_vgg"] else {}
    return [f"{result['metrics'][name]['mean']:.4g}{marks.get(name, '')}" for name in names]


def _draw_patches(path: Path, runs: list[Path]) -> None:
    """The same test patches, a row each, across systems: SAR | each system | truth."""
    config = load_run(runs[0])
    pairs = pairs_of_run(config.data, path.parent)
    chosen = evenly([pair for pair in pairs if pair.split == "test"], _PATCHES)
    images = _load(chosen, config)
    sar, optical = next(iter(pipeline.evaluation_dataset(images, list(range(len(chosen))), len(chosen))))
    columns = {"SAR": np.repeat(sar[..., :1], 3, -1)}
    for run in runs:
        generator = load_model(run)
        metadata = metadata_of(generator)
        images = images.with_scales(metadata.sar_scale, metadata.optical_scale)
        sar, _ = next(iter(pipeline.evaluation_dataset(images, list(range(len(chosen))), len(chosen))))
        columns[run.name] = np.concatenate(
            [generator(inputs_of(generator, patch[None]), training=False) for patch in sar]
        )
    columns["truth"] = optical
    grid = np.hstack([np.vstack(list(to_uint8(column))) for column in columns.values()])
    write_image(path, captioned(grid, list(columns)))


def _draw_curves(path: Path, runs: list[Path]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        history = [row for row in read_history(run / "history.csv") if "val_psnr" in row]
        axes.plot([row["minutes"] for row in history], [row["val_psnr"] for row in history], ".-", label=run.name)
    axes.set(xlabel="minutes of training", ylabel="validation PSNR (dB)")
    axes.legend()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)
