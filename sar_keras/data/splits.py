"""Splits pairs into train, validation and test so that no scene stands in two of them.

Patches of a scene overlap and look alike: in a random split nearly every test patch has a neighbour in the training
set, and the scores measure memory (see README, "What is honest here").
"""

import csv
import dataclasses
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from sar_keras.data.pairs import SPLITS, Pair
from sar_keras.errors import DataError
from sar_keras.files import atomic

# Random assignments that are tried; the one nearest to the wanted shares wins.
_TRIALS = 20_000


def split_pairs(
    pairs: list[Pair], how: str = "auto", ratios: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> list[Pair]:
    """Return the pairs, in order, each with its `split` filled in.

    Args:
        pairs: Pairs as `find_pairs` gives them.
        how: "scene": whole scenes. "random": single patches; warns of the leak. "auto": the manifest's own split where
            each pair has one, else "scene". Otherwise the path of a split.csv, whose rows are matched by name.
        ratios: Shares of train, validation and test.
        seed: Chooses among equally good splits.

    Raises:
        DataError: a split file that does not fit the pairs; or too few pairs to split.
    """
    if how not in ("auto", "scene", "random"):
        return _read_split(Path(how), pairs)
    if how == "auto" and all(pair.split for pair in pairs):
        return pairs
    if len(pairs) < 2:
        raise DataError("one pair cannot be split into train and test; add pairs")
    places = sorted({pair.place for pair in pairs}, key=str)
    if how == "random":
        assigned = _random(pairs, ratios, seed)
        _warn_of_leak(assigned)
        return assigned
    if len(places) < 2:
        known = places[0][1] is not None
        warnings.warn(
            ("all pairs are of one scene" if known else "the file names tell no scenes")
            + ": split at random, so test patches may overlap training patches and scores will be too good",
            stacklevel=2,
        )
        return _random(pairs, ratios, seed)
    if len(places) == 2:
        larger = Counter(pair.place for pair in pairs).most_common(1)[0][0]
        return [dataclasses.replace(pair, split="train" if pair.place == larger else "test") for pair in pairs]
    return _by_scene(pairs, places, ratios, seed)


def _by_scene(pairs: list[Pair], places: list, ratios, seed: int) -> list[Pair]:
    """Of many random assignments of scenes, take the one whose shares of each terrain are nearest to `ratios`."""
    terrains = sorted({pair.terrain for pair in pairs}, key=str)
    counts = np.zeros((len(places), len(terrains)))
    for pair in pairs:
        counts[places.index(pair.place), terrains.index(pair.terrain)] += 1
    random = np.random.default_rng(seed)
    trials = random.choice(len(SPLITS), size=(_TRIALS, len(places)), p=np.array(ratios) / sum(ratios))
    # In each trial one scene, at random, is given to each split: with few scenes a split would often stay empty.
    wanted = np.flatnonzero(ratios)
    chosen = np.argsort(random.random(trials.shape), axis=1)[:, : len(wanted)]
    np.put_along_axis(trials, chosen, wanted[None], axis=1)
    error = np.zeros(_TRIALS)
    for split, ratio in enumerate(ratios):
        error += np.abs((trials == split) @ counts - ratio * counts.sum(0)).sum(1)
    best = dict(zip(places, trials[error.argmin()], strict=True))
    return [dataclasses.replace(pair, split=SPLITS[best[pair.place]]) for pair in pairs]


def _random(pairs: list[Pair], ratios, seed: int) -> list[Pair]:
    order = np.random.default_rng(seed).permutation(len(pairs))
    held_out = [max(1, round(len(pairs) * ratio / sum(ratios))) if ratio else 0 for ratio in ratios[1:]]
    validation, test = held_out if len(pairs) > 2 else (0, 1)
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (len(pairs) - len(names))
    split = dict(zip(order, names, strict=True))
    return [dataclasses.replace(pair, split=split[index]) for index, pair in enumerate(pairs)]


def _warn_of_leak(pairs: list[Pair]) -> None:
    trained = {pair.place for pair in pairs if pair.split == "train"}
    test = [pair for pair in pairs if pair.split == "test"]
    sharing = sum(pair.place in trained for pair in test)
    warnings.warn(
        f"random split: {sharing} of {len(test)} test patches share a scene with training, so test scores will be "
        "too good; data.split=scene keeps scenes apart",
        stacklevel=3,
    )


def write_split(pairs: list[Pair], path: Path, root: Path) -> None:
    """Write split.csv: the images, relative to `root` where they lie below it, what is known of them, their split."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sar", "optical", "terrain", "season", "scene", "patch", "split"])
        for pair in pairs:
            names = [_relative(pair.sar, root), _relative(pair.optical, root)]
            about = [pair.terrain, pair.season, pair.scene, pair.patch, pair.split]
            writer.writerow(names + ["" if value is None else value for value in about])


def _relative(path: Path, root: Path) -> str:
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _read_split(path: Path, pairs: list[Pair]) -> list[Pair]:
    """Give each pair the split that the file has for its SAR image; leave out pairs that it does not list."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"data.split: {path}: no such split file; use scene, random or the path of a CSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8") from error
    if not rows or "sar" not in rows[0] or "split" not in rows[0]:
        raise DataError(f"{path}: a split file needs the columns sar and split, and a row for each pair")
    unknown = {row["split"] for row in rows} - set(SPLITS)
    if unknown:
        raise DataError(f"{path}: split must be one of {', '.join(SPLITS)}, got {sorted(map(str, unknown))[0]!r}")
    splits = {Path(row["sar"]).parts: row["split"] for row in rows}
    if len(splits) < len(rows):
        raise DataError(f"{path}: two rows name the same SAR image")
    # A row names the end of a path, however deep: the data may lie elsewhere than where the split was made.
    depths = {len(parts) for parts in splits}
    listed = []
    for pair in pairs:
        split = next((splits[end] for depth in depths if (end := pair.sar.parts[-depth:]) in splits), None)
        if split:
            listed.append(dataclasses.replace(pair, split=split))
    if not any(pair.split == "train" for pair in listed):
        raise DataError(f"{path}: none of its training images is in the data folder")
    return listed
