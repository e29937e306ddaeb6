"""Splits pairs into train, validation and test so that no scene stands in two of them.

Patches of a scene overlap and look alike: in a random split nearly every test patch has a neighbour in the training
set, and the scores measure memory (see README, "What is honest here"). Windows of large scenes are the exception, since
it is known where they lie: one scene may stand in several splits, as blocks of windows with a gap between them.
"""

import csv
import dataclasses
import hashlib
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from sar_keras.data.pairs import SPLITS, Pair, known_split, pair_from_names
from sar_keras.errors import DataError
from sar_keras.io.files import atomic

HOW = ("auto", "scene", "blocks", "random", "sen12-v2")
# The scenes of the Kaggle SEN1-2 terrain subset, 16,000 pairs, 80/10/10 with each terrain in each split.
_CANONICAL = Path(__file__).with_name("sen12_v2_split.csv")
_CANONICAL_SHA256 = "1628079dcf99436f15aa5bdfe6a3417884e8babe09672bdc83a898060cf4fdde"
# Over all the random deals of which the best is taken.
_SCENES_DEALT = 20_000
# At most about as many blocks are made of the windows of scenes; and how many deals of those are tried.
_BLOCKS = 25
_BLOCK_DEALS = 5_000


def split_pairs(
    pairs: list[Pair], how: str = "auto", ratios: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> list[Pair]:
    """Return the pairs, in order, each with its `split` filled in.

    Windows of scenes that lie less than a window's side from those of another split are left out, from training rather
    than from validation, and from validation rather than from the test.

    Args:
        pairs: Pairs as `find_pairs` gives them.
        how: "scene": whole scenes; of two, the larger for training, and of windows blocks of it for validation.
            "blocks": the windows of scenes, in blocks that stay whole. "random": single patches; warns of the leak.
            "auto": the manifest's own split where each pair has one, else "scene", or "blocks" for a single scene of
            windows. "sen12-v2": the scenes of the Kaggle SEN1-2 terrain subset as this package splits them for all, so
            that scores can be compared. Otherwise the path of a split.csv, whose rows are matched by name and window.
        ratios: Shares of train, validation and test.
        seed: Chooses among equally good splits.

    Raises:
        DataError: a split file that does not fit the pairs; or too few pairs to split.
    """
    if how not in HOW:
        return _from_file(Path(how), pairs)
    if how == "sen12-v2":
        return _canonical(pairs)
    if how == "auto" and all(pair.split for pair in pairs):
        return _leave_gaps(pairs)
    train, validation, test = (ratio / sum(ratios) for ratio in ratios)
    ratios = train, validation, test
    if len(pairs) < 2:
        raise DataError("one pair cannot be split into train and test; add pairs")
    places = sorted({pair.place for pair in pairs}, key=str)
    if how == "random":
        assigned = _random(pairs, ratios, seed)
        if any(pair.split == "test" for pair in assigned):
            _warn_of_leak(assigned)
        return assigned
    windows = all(pair.window for pair in pairs)
    if how == "blocks" and not windows:
        raise DataError("data.split=blocks is for GeoTIFF scenes, and these pairs are patches; use data.split=scene")
    if how == "blocks" or (windows and len(places) < 2):
        return _leave_gaps(_by_blocks(pairs, ratios, seed))
    if len(places) < 2:
        known = places[0][1] is not None
        warnings.warn(
            ("all pairs are of one scene" if known else "the file names tell no scenes")
            + ": split at random, so test patches may overlap training patches and scores will be too good",
            stacklevel=2,
        )
        return _random(pairs, ratios, seed)
    if len(places) == 2 and ratios[2]:
        larger = Counter(pair.place for pair in pairs).most_common(1)[0][0]
        train = [dataclasses.replace(pair, split="train") for pair in pairs if pair.place == larger]
        if windows and ratios[1]:
            train = _by_blocks(train, (ratios[0], ratios[1], 0.0), seed)
        rest = iter(train)
        return _leave_gaps(
            [next(rest) if pair.place == larger else dataclasses.replace(pair, split="test") for pair in pairs]
        )
    return _leave_gaps(_by_scene(pairs, places, ratios, seed))


def _canonical(pairs: list[Pair]) -> list[Pair]:
    content = _CANONICAL.read_bytes()
    if hashlib.sha256(content).hexdigest() != _CANONICAL_SHA256:
        raise DataError(f"{_CANONICAL}: is not the file that was published; install the package again")
    rows = csv.DictReader(content.decode().splitlines())
    split = {(row["season"], row["scene"]): row["split"] for row in rows}
    unknown = next((pair for pair in pairs if pair.place not in split), None)
    if unknown:
        raise DataError(f"{unknown.sar}: is of no scene of the split sen12-v2; use data.split=scene")
    return [dataclasses.replace(pair, split=split[pair.place]) for pair in pairs]


def _by_scene(pairs: list[Pair], places: list, ratios, seed: int) -> list[Pair]:
    """Give each split its share of each terrain, as nearly as whole scenes allow.

    Scenes are dealt out in a random order, each to the split that it helps most; of many such deals the one nearest to
    the wanted shares is taken.
    """
    terrains = sorted({pair.terrain for pair in pairs}, key=str)
    place_index = {place: i for i, place in enumerate(places)}
    terrain_index = {terrain: i for i, terrain in enumerate(terrains)}
    counts = np.zeros((len(places), len(terrains)))
    for pair in pairs:
        counts[place_index[pair.place], terrain_index[pair.terrain]] += 1

    used = np.flatnonzero(ratios)
    wanted = np.array(ratios)[used, None] * counts.sum(0)
    random = np.random.default_rng(seed)
    deals = _SCENES_DEALT // len(places) + 1
    order = random.permuted(np.tile(np.arange(len(places)), (deals, 1)), axis=1)
    filled = np.zeros((deals, len(used), len(terrains)))
    assigned = np.zeros((deals, len(places)), int)
    every = np.arange(deals)
    for turn in range(len(places)):
        scene = order[:, turn]
        # In relation to what is wanted, so that a small split, too, gets something of each terrain.
        error = np.abs(filled - wanted) / wanted
        change = (np.abs(filled + counts[scene][:, None] - wanted) / wanted - error).sum(-1)
        # The first scenes go one to each split, so that none stays empty.
        split = np.full(deals, turn) if turn < len(used) else change.argmin(1)
        filled[every, split] += counts[scene]
        assigned[every, scene] = split
    best = assigned[(np.abs(filled - wanted) / wanted).sum((1, 2)).argmin()]
    return [dataclasses.replace(pair, split=SPLITS[used[best[place_index[pair.place]]]]) for pair in pairs]


def _by_blocks(pairs: list[Pair], ratios, seed: int) -> list[Pair]:
    """Give each split its share of windows in whole blocks, so placed that gaps between the splits cost little.

    A block is of a place: of all scenes of one name, which may be of several dates.
    """
    side = int(np.ceil((len({(pair.place, pair.window) for pair in pairs}) / _BLOCKS) ** 0.5))
    members: dict[tuple, list[int]] = {}
    for index, pair in enumerate(pairs):
        assert pair.window
        column, row, width, height = pair.window
        members.setdefault((pair.place, column // (side * width), row // (side * height)), []).append(index)
    block_of = np.empty(len(pairs), int)
    for number, indices in enumerate(members.values()):
        block_of[indices] = number
    near = np.stack([_near(pairs, [pairs[index] for index in indices]) for indices in members.values()], axis=1)

    # Windows of one block that lie near the same blocks are kept or left out together.
    alike, counts = np.unique(np.column_stack([block_of, near]), axis=0, return_counts=True)
    block, near = alike[:, 0], alike[:, 1:] > 0
    sizes, wanted, random = np.bincount(block_of), np.array(ratios) / sum(ratios), np.random.default_rng(seed)
    used = wanted > 0
    best, least = None, np.inf
    for _ in range(_BLOCK_DEALS):
        order = random.permutation(len(sizes))
        # The middle of each block on a scale from 0 to 1: up to the share of training it is that, then validation.
        middle = (np.cumsum(sizes[order]) - sizes[order] / 2) / len(pairs)
        level = np.empty(len(sizes), int)
        level[order] = np.searchsorted(np.cumsum(wanted)[:-1], middle, side="right")
        kept = ~(near & (level > level[block][:, None])).any(1)
        shares = np.bincount(level[block][kept], counts[kept], minlength=3)[used] / len(pairs)
        # In relation to what is wanted, so that a small split counts as much as training.
        cost = np.abs(shares / wanted[used] - 1).sum()
        if shares.all() and cost < least:
            best, least = level, cost
    if best is None:
        raise DataError(
            f"{pairs[0].sar}: {len(pairs)} windows are too few for blocks of train, validation and test with a gap "
            "between them; add scenes, or set a smaller data.image_size"
        )
    return [dataclasses.replace(pair, split=SPLITS[best[number]]) for pair, number in zip(pairs, block_of, strict=True)]


def _leave_gaps(pairs: list[Pair]) -> list[Pair]:
    """Leave out the windows that lie near one of a later split; pairs that are no windows all stay."""
    for later in range(1, len(SPLITS)):
        held = [pair for pair in pairs if pair.split == SPLITS[later]]
        near = _near(pairs, held)
        pairs = [
            pair for pair, close in zip(pairs, near, strict=True) if not (close and SPLITS.index(pair.split) < later)
        ]
    return pairs


def _near(pairs: list[Pair], others: list[Pair]) -> np.ndarray:
    """Which of the windows `pairs` lie less than a side, of the larger one, from one of `others`: (len(pairs),), bool.

    In pixels within one file; between files on the ground, as far as they are georeferenced.
    """
    near = np.zeros(len(pairs), bool)
    ours, theirs = _by_file(pairs), _by_file(others)
    on_ground = [(file, pair.box) for file, windows in theirs.items() for _, pair in windows if pair.box]
    files, boxes = np.array([str(file) for file, _ in on_ground]), np.array([box for _, box in on_ground])
    for file, windows in ours.items():
        indices, here = [index for index, _ in windows], [pair for _, pair in windows]
        if file in theirs:
            near[indices] |= _boxes_near(_edges([p.window for p in here]), _edges([p.window for _, p in theirs[file]]))
        elsewhere = files != str(file)
        if elsewhere.any() and all(pair.box for pair in here):
            near[indices] |= _boxes_near(np.array([pair.box for pair in here]), boxes[elsewhere])
    return near


def _by_file(pairs: list[Pair]) -> dict[Path, list[tuple[int, Pair]]]:
    """The pairs that are windows, with their indices, by the scene that they are of."""
    grouped: dict[Path, list[tuple[int, Pair]]] = {}
    for index, pair in enumerate(pairs):
        if pair.window:
            grouped.setdefault(pair.sar, []).append((index, pair))
    return grouped


def _edges(windows: list) -> np.ndarray:
    """(column, row, width, height) to (left, top, right, bottom)."""
    corners, sizes = np.split(np.array(windows), 2, axis=1)
    return np.concatenate([corners, corners + sizes], axis=1)


def _boxes_near(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of `boxes`, (n, 4) as low x, low y, high x, high y, meet one of `others` once either is grown by its side.

    Whichever of two windows is asked about the other, the answer is the same.
    """
    grown, others_grown = _grown(boxes), _grown(others)
    # Most pairs of files lie far apart.
    low, high = grown[:, :2].min(0), grown[:, 2:].max(0)
    close = ((others_grown[:, :2] < high) & (others_grown[:, 2:] > low)).all(1)
    return np.any(_meet(grown, others[close]) | _meet(boxes, others_grown[close]), axis=1)


def _grown(boxes: np.ndarray) -> np.ndarray:
    side = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] - side, boxes[:, 2:] + side], axis=1)


def _meet(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of `boxes` meet which of `others`: (n, m)."""
    return np.all((others[:, :2] < boxes[:, None, 2:]) & (others[:, 2:] > boxes[:, None, :2]), 2)


def _random(pairs: list[Pair], ratios, seed: int) -> list[Pair]:
    order = np.random.default_rng(seed).permutation(len(pairs))
    held_out = [max(1, round(len(pairs) * ratio)) if ratio else 0 for ratio in ratios[1:]]
    validation, test = held_out if len(pairs) > 2 else (0, int(ratios[2] > 0))
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (len(pairs) - len(names))
    split = dict(zip(order, names, strict=True))
    return [dataclasses.replace(pair, split=split[index]) for index, pair in enumerate(pairs)]


def _warn_of_leak(pairs: list[Pair]) -> None:
    trained = {pair.place for pair in pairs if pair.split == "train" and pair.scene is not None}
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
        writer.writerow(["sar", "optical", "terrain", "season", "scene", "patch", "split", "window", "box"])
        for pair in pairs:
            names = [_relative(pair.sar, root), _relative(pair.optical, root)]
            about = [pair.terrain, pair.season, pair.scene, pair.patch, pair.split]
            where = [" ".join(map(str, numbers or ())) for numbers in (pair.window, pair.box)]
            writer.writerow(names + ["" if value is None else value for value in about] + where)


def _relative(path: Path, root: Path) -> str:
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def read_split(path: Path) -> list[Pair]:
    """The pairs of a split file: names and what they tell; the images need not exist.

    Columns sar and split, and optionally optical, terrain, season, scene, patch, and for windows of scenes window and
    box, see `Pair`. "val" counts as "validation".

    Raises:
        DataError: no such file, not a CSV, or a column or a split that is missing or unknown.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such split file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8") from error
    if not rows or not {"sar", "split"} <= set(rows[0]):
        raise DataError(f"{path}: a split file needs the columns sar and split, and a row for each pair")
    pairs = []
    for line, row in enumerate(rows, start=2):
        split = known_split(row["split"], f"{path}: line {line}")
        pair = pair_from_names(Path(row["sar"] or ""), Path(row.get("optical") or ""), row.get("terrain") or None)
        about = {"season": row.get("season") or pair.season, "scene": row.get("scene") or pair.scene}
        patch = int(row["patch"]) if re.fullmatch(r"\d{1,18}", row.get("patch") or "") else pair.patch
        try:
            about["window"] = tuple(map(int, (row.get("window") or "").split())) or None
            about["box"] = tuple(map(float, (row.get("box") or "").split())) or None
        except ValueError as error:
            raise DataError(f"{path}: line {line}: window and box must be numbers with spaces between them") from error
        if any(numbers and len(numbers) != 4 for numbers in (about["window"], about["box"])):
            raise DataError(f"{path}: line {line}: window and box must be four numbers each")
        pairs.append(dataclasses.replace(pair, split=split, patch=patch, **about))
    if len({(pair.sar, pair.window) for pair in pairs}) < len(pairs):
        raise DataError(f"{path}: two rows name the same SAR image")
    return pairs


def _from_file(path: Path, pairs: list[Pair]) -> list[Pair]:
    """Give each pair the split that the file has for its SAR image and window; leave out what it does not list."""
    splits = {(pair.sar.parts, pair.window): pair.split for pair in read_split(path)}
    # A row names the end of a path, however deep: the data may lie elsewhere than where the split was made.
    depths = sorted({len(parts) for parts, _ in splits}, reverse=True)
    listed = []
    for pair in pairs:
        keys = ((pair.sar.parts[-depth:], pair.window) for depth in depths)
        split = next((splits[key] for key in keys if key in splits), None)
        if split:
            listed.append(dataclasses.replace(pair, split=split))
    if not any(pair.split == "train" for pair in listed):
        windows = "; its windows may be of another size than data.image_size" * any(pair.window for pair in pairs)
        raise DataError(f"{path}: none of its training images is in the data folder{windows}")
    if len(listed) < len(splits):
        warnings.warn(
            f"{path}: {len(splits) - len(listed)} of the {len(splits)} pairs that it lists are not in the data folder",
            stacklevel=3,
        )
    return listed


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How many patches of a held-out split there are, and how many of them training has all but seen."""

    total: int
    same_scene: int
    neighbour: int


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` found.

    `shared_scenes` are those that stand in several splits; scenes of windows may, as long as no window has a neighbour.
    """

    held_out: dict[str, HeldOut]
    shared_scenes: dict[tuple[str | None, str | None], list[str]]
    unknown: int
    leaks: bool

    @property
    def said(self) -> list[str]:
        """Lines for people; none where nothing that is held out has a name that tells its scene."""
        lines = [
            f"{name}: {found.total} patches, {found.same_scene} ({found.same_scene / found.total:.1%}) share a scene "
            f"with training, {found.neighbour} ({found.neighbour / found.total:.1%}) have a neighbouring patch there"
            for name, found in self.held_out.items()
        ]
        if not lines:
            return []
        lines += [
            f"scene {' '.join(filter(None, place))} stands in {', '.join(splits)}"
            for place, splits in self.shared_scenes.items()
        ]
        if self.unknown:
            lines.append(f"{self.unknown} patches whose names tell no scene were left out")
        apart = "; windows of one scene lie a gap apart" if self.shared_scenes else ""
        return [*lines, "leaks" if self.leaks else f"no leak{apart}"]


def audit(pairs: list[Pair]) -> Audit:
    """Count what a split leaks.

    A scene is (season, scene), whatever the terrain; neighbours are patches of a scene whose numbers differ by one, or
    windows less than a window's side apart, be they of one scene or of two that overlap.
    """
    known = [pair for pair in pairs if pair.scene is not None]
    trained = {pair.place for pair in known if pair.split == "train"}
    trained_patches = {(pair.place, pair.patch) for pair in known if pair.split == "train" and pair.patch is not None}
    held_out = {}
    for split in SPLITS[1:]:
        held = [pair for pair in known if pair.split == split]
        if held:
            near = _near(held, [pair for pair in known if pair.split == "train"])
            near |= [
                pair.patch is not None and any((pair.place, pair.patch + step) in trained_patches for step in (-1, 1))
                for pair in held
            ]
            held_out[split] = HeldOut(len(held), sum(pair.place in trained for pair in held), int(near.sum()))
    splits_of: dict = {}
    for pair in known:
        splits_of.setdefault(pair.place, set()).add(pair.split)
    shared = {place: sorted(splits, key=SPLITS.index) for place, splits in splits_of.items() if len(splits) > 1}
    patches_of = {pair.place for pair in known if not pair.window}
    leaks = bool(shared.keys() & patches_of) or any(found.neighbour for found in held_out.values())
    return Audit(held_out, dict(sorted(shared.items(), key=str)), len(pairs) - len(known), leaks)
