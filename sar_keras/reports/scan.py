"""The page of a folder of pairs. It loads no TensorFlow."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sar_keras.config import Config
from sar_keras.data.layouts import BESIDE
from sar_keras.data.pairs import Found, Pair, evenly
from sar_keras.data.reading import PairReader
from sar_keras.data.splits import split_pairs
from sar_keras.errors import DataError, SarKerasError
from sar_keras.reports import sections
from sar_keras.reports.page import Facts, Patch, Pictures, Section, Table, write_page

_MOST_PATCHES = 100


def write_scan_page(path: Path, config: Config, found: Found, progress: Callable[[Iterable], Iterable] = iter) -> None:
    """Write what a folder holds: its pairs by terrain, season and scene, the split that `fit` makes, and pictures.

    Args:
        path: The file to write.
        config: What says how the pairs are read and split.
        found: The pairs.
        progress: Wraps the iteration over the pairs that are shown.
    """
    pairs, data = found.pairs, config.data
    rows = Counter((pair.terrain, pair.season, pair.scene) for pair in pairs)
    scenes = len({pair.place for pair in pairs if pair.scene is not None})
    beside = {f"with {name}": sum(getattr(pair, name) is not None for pair in pairs) for name in BESIDE}
    source = data.root or f"{data.sar} and {data.optical}"
    facts = {
        "data": source,
        "pairs": len(pairs),
        "scenes": scenes or "not known",
        "without a partner": len(found.unpaired),
    }
    chosen = evenly(pairs, _MOST_PATCHES)
    reader = PairReader(config.model.channels, data.sar_bands, data.optical_bands)
    some = [f"{len(chosen)} of {len(pairs)} pairs, spread over all."] if len(chosen) < len(pairs) else []
    stretched = "Values that are not of 8 bits are shown from the 1st to the 99th percentile of each image."
    page: list[Section] = [
        sections.made_by(),
        Facts("Found", facts | {name: count for name, count in beside.items() if count}, notes=found.said),
        Table(
            "Pairs",
            ["terrain", "season", "scene", "pairs"],
            [[*place, n] for place, n in sorted(rows.items(), key=str)],
        ),
        *_split(config, pairs),
        Pictures(
            "Pictures",
            ("SAR", "optical"),
            (_patch(pair, reader) for pair in progress(chosen)),
            len(chosen),
            notes=[*some, stretched],
        ),
    ]
    if found.unpaired:
        page.append(Table("Without a partner", ["image"], [[str(path)] for path in found.unpaired]))
    write_page(path, f"Pairs in {Path(str(source)).name}", page)


def _split(config: Config, pairs: list[Pair]) -> list[Section]:
    """The split that `fit` would make, with what it would say of it."""
    data = config.data
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            pairs = split_pairs(pairs, data.split, data.ratios, config.train.seed)
    except SarKerasError as error:
        return [Facts("Split", {"not possible": str(error)})]
    said = [f"As `fit` splits them with data.split={data.split}.", *(f"{one.message}." for one in warned)]
    return [*sections.split_sections(pairs, said)]


def _patch(pair: Pair, reader: PairReader) -> Patch:
    """A pair as it looks; one that cannot be read is grey, and its name says why."""
    try:
        images = [_visible(image) for image in reader.read(pair)]
    except DataError as error:
        return Patch(str(error), [np.full((64, 64, 3), 128, np.uint8)] * 2)
    return Patch(" ".join(filter(None, (pair.terrain, sections.name_of(pair)))), images)


def _visible(image: np.ndarray) -> np.ndarray:
    """An image (H, W, bands) as stored, as uint8 (H, W, 3)."""
    colours = image if image.shape[-1] == 3 else image[..., :1]
    if image.dtype != np.uint8:
        values = np.nan_to_num(colours.astype("float32"), nan=np.nan, posinf=np.nan, neginf=np.nan)
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
        colours = (np.nan_to_num(np.clip((values - low) / max(high - low, 1e-6), 0, 1)) * 255).astype(np.uint8)
    return np.broadcast_to(colours, (*colours.shape[:2], 3))
