"""What several pages have in common: how they were made, the split, figures and curves. It loads no TensorFlow."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sar_keras.config import Config, keys
from sar_keras.data.pairs import SPLITS, Pair
from sar_keras.data.splits import audit
from sar_keras.models.terms import OF_DISCRIMINATOR, labels
from sar_keras.reports.figures import BASELINES, HINTS, TITLES, notes_on, scenes_of, title_of
from sar_keras.reports.machine import circumstances
from sar_keras.reports.page import Curves, Facts, Section, Table

COLUMNS = ("SAR", "generated", "truth")
# What captions say of a patch.
_OF_A_PATCH = ("psnr", "ssim", "ciede2000")


def made_by(**more: Any) -> Facts:
    return Facts("How this was made", circumstances() | more)


def split_sections(pairs: Sequence[Pair], said: Sequence[str] = ()) -> list[Section]:
    """How many pairs of which terrain each split has, and whether it leaks."""
    terrains = sorted({pair.terrain for pair in pairs if pair.terrain})
    rows = []
    for split in SPLITS:
        of_split = [pair for pair in pairs if pair.split == split]
        counts = Counter(pair.terrain for pair in of_split)
        scenes = len({pair.place for pair in of_split if pair.scene is not None})
        rows.append([split, len(of_split), scenes or "unknown", *(counts[terrain] for terrain in terrains)])
    return [Table("Split", ["split", "pairs", "scenes", *terrains], rows, notes=[*said, *audit_lines(pairs)])]


def audit_lines(pairs: Sequence[Pair]) -> list[str]:
    """Whether a split leaks, as `sar-keras data audit` says it."""
    lines = audit(list(pairs)).said
    return [f"Audit: {line}." for line in lines] or [
        "Audit: no held-out patch has a name that tells its scene, so nothing can be checked."
    ]


def configuration(config: Config) -> Table:
    rows = [[key, _shown(value)] for key, value in keys(config).items()]
    return Table("Configuration", ["key", "value"], rows, folded=True)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def differences(configs: Mapping[str, Config]) -> Table:
    """The keys that are not the same in all configurations."""
    every = {name: keys(config) for name, config in configs.items()}
    names = list(dict.fromkeys(key for of_run in every.values() for key in of_run))
    rows = [[key, *(_shown(of_run[key]) if key in of_run else None for of_run in every.values())] for key in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    notes = [] if rows else ["There is none."]
    return Table("What differs in the configurations", ["key", *configs], rows, notes=notes)


def figures(report: dict, notes: Sequence[str] = ()) -> Table:
    """The figures of a report, see `sar_keras.evaluate`, beside its baselines."""
    baselines = {name: title for name, title in BASELINES.items() if name in report["baselines"]}
    rows = [
        [title_of(name), figure, *(report["baselines"][baseline][name] for baseline in baselines)]
        for name, figure in report["metrics"].items()
    ]
    if "fid" in report:
        rows.append(["FID ↓", report["fid"]["model"], *(report["fid"][baseline] for baseline in baselines)])
    title = f"Figures on {report['n']} {report['split']} images of {scenes_of(report)}"
    return Table(title, ["figure", "model", *baselines.values()], rows, notes=[*notes, *notes_on(report)])


def hints(report: dict, title: str = "Under hints") -> list[Table]:
    """How a guided model does under each kind of hint, beside the hint alone."""
    if not report.get("hints"):
        return []
    columns = {"n": "images", "psnr": "PSNR (dB)", "ssim": "SSIM"}
    columns |= {f"psnr_{where}": f"PSNR where {where}" for where in ("changed", "unchanged")}
    every = [numbers for sides in report["hints"].values() for numbers in sides.values() if numbers]
    columns = {key: title for key, title in columns.items() if any(key in numbers for numbers in every)}
    rows = []
    for name, sides in report["hints"].items():
        with_model, alone = HINTS[name]
        about = {"model": with_model, "alone": f"{with_model or HINTS['other_date'][0]}: {alone}, without a model"}
        for side, numbers in sides.items():
            if numbers:
                rows.append([about[side], *(numbers.get(key) for key in columns)])
    return [Table(title, ["hint", *columns.values()], rows)]


def groups(report: dict) -> list[Table]:
    """The figures by terrain and by scene."""
    return [
        Table(
            f"By {by}",
            [by, *(title_of(name) for name in report["metrics"])],
            [[group, *of_group.values()] for group, of_group in report[f"by_{by}"].items()],
        )
        for by in ("terrain", "scene")
        if report.get(f"by_{by}")
    ]


def history_sections(history: Sequence[dict]) -> list[Section]:
    """The curves of a run, and their numbers."""
    groups = [
        ("Generator's terms", [name for name in labels() if name not in OF_DISCRIMINATOR], True),
        ("Discriminator", list(OF_DISCRIMINATOR), False),
        ("Validation PSNR (dB)", ["val_psnr"], False),
    ]
    sections: list[Section] = []
    for title, names, log in groups:
        curves = {name: curve(history, "epoch", name) for name in names if any(name in row for row in history)}
        if curves:
            sections.append(Curves(title, "epoch", curves, log))
    columns = list(dict.fromkeys(name for row in history for name in row))
    rows = [[row.get(name) for name in columns] for row in history]
    return [*sections, Table("Figures of each epoch", columns, rows, folded=True)] if history else []


def curve(history: Sequence[dict], x: str, y: str, factor: float = 1) -> tuple[list[float], list[float]]:
    points = [(row[x] * factor, row[y]) for row in history if x in row and y in row]
    return [point[0] for point in points], [point[1] for point in points]


def name_of(pair: Pair) -> str:
    window = f" at column {pair.window[0]}, row {pair.window[1]}" if pair.window else ""
    return f"{pair.sar.name}{window}"


def figures_of_patch(per_image: Mapping[str, np.ndarray], index: int) -> dict[str, float]:
    """Those of a patch's figures that are worth a caption, by their titles."""
    return {TITLES[name][0]: float(per_image[name][index]) for name in _OF_A_PATCH if name in per_image}
