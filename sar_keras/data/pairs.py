"""Finds (SAR, optical) pairs of images in the layouts that people have.

- "terrain": the Kaggle SEN1-2 subset, `v_2/{agri,barrenland,...}/{s1,s2}/ROIs1868_summer_s1_59_p2.png`;
- "sen12": the original SEN1-2, `ROIs1158_spring/{s1_0,s2_0}/ROIs1158_spring_s1_0_p30.png`
  (Schmitt et al., 2018, https://mediatum.ub.tum.de/1436631);
- "folders": two parallel folders (s1/s2, sar/optical, ...) with equal file names;
- "manifest": a CSV with the columns sar, optical and optionally scene, terrain, split;
- "scenes": co-registered GeoTIFF scenes of any size, cut into windows: a scenes.csv with the same columns, or names
  alike in one folder, such as `area_S1_VH.tif` and `area_S2_RGB.tif`.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from sar_keras.data.windows import Box, Window, cut
from sar_keras.errors import DataError, parameter
from sar_keras.io.images import SUFFIXES

LAYOUTS = ("auto", "terrain", "sen12", "folders", "manifest", "scenes")
SPLITS = ("train", "validation", "test")
# Names of sibling folders, SAR first.
_FOLDERS = (("s1", "s2"), ("sar", "optical"), ("sar", "rgb"), ("sar", "opt"), ("A", "B"))
# What the names of the two scenes of a pair differ in: the sensor, and which of its bands.
_SCENE_SIDES = {"s1": "sar", "sar": "sar", "s2": "optical", "optical": "optical", "opt": "optical", "rgb": "optical"}
_SCENE_BANDS = ("vv", "vh", "hh", "hv", "rgb")
_SEN12_NAME = re.compile(r"(?P<roi>ROIs\d+)_(?P<season>[a-z]+)_s[12]_(?P<scene>\d+)_p(?P<patch>\d{1,18})$")


@dataclasses.dataclass(frozen=True)
class Pair:
    """A SAR image and the optical image of the same ground, with what names and manifest tell of them.

    `scene` is unique only together with `season`; neighbouring patches of a scene overlap. Where the images are whole
    scenes, `window` (column, row, width, height) is the part that counts, and `box` the ground that it shows, (west,
    south, east, north) in degrees.
    """

    sar: Path
    optical: Path
    terrain: str | None = None
    season: str | None = None
    scene: str | None = None
    patch: int | None = None
    split: str | None = None
    window: Window | None = None
    box: Box | None = None

    @property
    def place(self) -> tuple[str | None, str | None]:
        """What must not stand in two splits: season and scene, whatever the terrain."""
        return self.season, self.scene


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds: its pairs, in the order of their names, and the images that have no partner."""

    pairs: list[Pair]
    unpaired: list[Path]


def find_pairs(
    root: str | Path,
    layout: str = "auto",
    must_exist: bool = True,
    size: int = 256,
    progress: Callable[[Iterable], Iterable] = iter,
    allow_outside: bool = False,
) -> Found:
    """Find the pairs under a folder, or in a CSV manifest.

    Args:
        root: A folder, or a manifest.
        layout: One of LAYOUTS; "auto" looks which it is. A file is a manifest of scenes if its name is scenes.csv.
        must_exist: Whether the files that a manifest names must exist; those of scenes must.
        size: Side in pixels of the windows into which scenes are cut.
        progress: Wraps the iteration over the scenes, for a progress bar.
        allow_outside: Whether a manifest may name images that do not lie below its own folder.

    Raises:
        DataError: there is no such folder, it holds no pairs, the manifest is not one, or two scenes do not fit.
    """
    root = Path(root)
    if not root.exists():
        raise DataError(f"{root}: no such file or folder ({parameter('data.root')})")
    scenes = root if root.is_file() else root / "scenes.csv"
    if scenes.is_file() and (layout == "scenes" or (layout == "auto" and scenes.name == "scenes.csv")):
        return _cut_scenes(Found(_read_manifest(scenes, True, allow_outside), []), size, progress)
    manifest = root if root.is_file() else root / "pairs.csv"
    if layout == "manifest" or root.is_file() or (layout == "auto" and manifest.is_file()):
        return Found(_read_manifest(manifest, must_exist, allow_outside), [])
    found = Found([], [])
    for terrain, sar_folder, optical_folder in sorted(_sibling_folders(root, layout)):
        matched = _match(sar_folder, optical_folder, terrain)
        found.pairs.extend(matched.pairs)
        found.unpaired.extend(matched.unpaired)
    if layout == "scenes" or (layout == "auto" and not found.pairs and not found.unpaired):
        found = _cut_scenes(_match_scenes(root), size, progress)
    if not found.pairs:
        what = "no pairs" if layout == "auto" else f"no pairs in the layout {layout!r}"
        raise DataError(
            f"{root}: {what}; expected s1/ and s2/ (or sar/ and optical/) folders with matching names, a pairs.csv, "
            "or scenes such as area_S1_VH.tif and area_S2_RGB.tif"
        )
    return found


def pair_from_names(sar: Path, optical: Path, terrain: str | None = None) -> Pair:
    """A pair with the season, scene and patch that the name of its SAR image tells, if it is a SEN1-2 name."""
    name = _SEN12_NAME.match(sar.stem)
    if not name:
        patch = re.search(r"_p(\d{1,18})$", sar.stem)
        return Pair(sar, optical, terrain, patch=int(patch[1]) if patch else None)
    return Pair(sar, optical, terrain, name["season"], name["scene"], int(name["patch"]))


def _sibling_folders(root: Path, layout: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield (terrain or "", SAR folder, optical folder) at any depth below `root`."""
    for name, subfolders, _ in os.walk(root, followlinks=True):
        folder = Path(name)
        if layout in ("auto", "sen12"):
            for scene in {child[3:] for child in subfolders if re.fullmatch(r"s[12]_\d+", child)}:
                yield "", folder / f"s1_{scene}", folder / f"s2_{scene}"
        if layout in ("auto", "terrain", "folders"):
            for sar, optical in _FOLDERS:
                # A lonely s1 is a pair of folders of which one is missing; a lonely "A" or "rgb" may be anything.
                if {sar, optical} <= set(subfolders) or (sar == "s1" and {sar, optical} & set(subfolders)):
                    # Directly under the root the folder's name is the data set's, not a terrain's.
                    is_terrain = layout != "folders" and folder != root
                    if layout != "terrain" or is_terrain:
                        yield folder.name if is_terrain else "", folder / sar, folder / optical


def _match(sar_folder: Path, optical_folder: Path, terrain: str) -> Found:
    sar, optical = _images_by_key(sar_folder), _images_by_key(optical_folder)
    both = sorted(sar.keys() & optical.keys(), key=_natural_order)
    alone = sorted([sar[key] for key in sar.keys() - both] + [optical[key] for key in optical.keys() - both])
    return Found([pair_from_names(sar[key], optical[key], terrain or None) for key in both], alone)


def _match_scenes(root: Path) -> Found:
    """Pairs of whole scenes below `root`, not cut yet: TIFFs of one folder with names alike but for sensor and band."""
    sides: dict[str, dict[tuple[Path, str], Path]] = {"sar": {}, "optical": {}}
    for path in sorted(root.rglob("*")):
        parts = re.split(r"[_. -]", path.stem)
        side = {_SCENE_SIDES[part.lower()] for part in parts if part.lower() in _SCENE_SIDES}
        if path.suffix.lower() not in (".tif", ".tiff") or len(side) != 1:
            continue
        rest = [part for part in parts if part.lower() not in (*_SCENE_SIDES, *_SCENE_BANDS)]
        scenes, key = sides[side.pop()], (path.parent, "_".join(rest))
        if key in scenes:
            raise DataError(f"{path}: has the same name as {scenes[key].name}; say in a scenes.csv which to use")
        scenes[key] = path
    sar, optical = sides["sar"], sides["optical"]
    alone = [scenes[key] for scenes, others in ((sar, optical), (optical, sar)) for key in scenes.keys() - others]
    return Found(
        [Pair(sar[key], optical[key], scene=key[1] or key[0].name) for key in sorted(sar.keys() & optical.keys())],
        sorted(alone),
    )


def _cut_scenes(scenes: Found, size: int, progress: Callable[[Iterable], Iterable]) -> Found:
    """Replace each pair of scenes by a pair for each of its windows."""
    pairs = []
    for scene in progress(scenes.pairs):
        whole = dataclasses.replace(scene, scene=scene.scene or scene.sar.stem)
        windows = cut(scene.sar, scene.optical, size)
        pairs.extend(dataclasses.replace(whole, window=window, box=box) for window, box in windows)
    return Found(pairs, scenes.unpaired)


def _images_by_key(folder: Path) -> dict[str, Path]:
    """The images of a folder under what is equal in the names of partners."""
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in SUFFIXES:
            continue
        key = re.sub(r"(^|_)(s1|s2|sar|optical|opt|rgb)(?=_|$)", r"\1", path.stem, flags=re.IGNORECASE)
        if key in images:
            raise DataError(f"{path}: has the same name as {images[key].name}; rename or remove one")
        images[key] = path
    return images


def _natural_order(name: str) -> list:
    """Sort p2 before p10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _read_manifest(path: Path, must_exist: bool, allow_outside: bool) -> list[Pair]:
    if not path.is_file():
        raise DataError(f"{path}: no such manifest")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8") from error
    if "sar" not in columns or "optical" not in columns:
        raise DataError(f"{path}: needs the columns sar and optical, has {', '.join(columns) or 'none'}")
    if not rows:
        raise DataError(f"{path}: lists no pairs")
    pairs = []
    root, seen = Path(os.path.abspath(path.parent)), set()
    for line, row in enumerate(rows, start=2):
        if not row["sar"] or not row["optical"]:
            raise DataError(f"{path}: line {line} lacks the name of a SAR or an optical image")
        split = known_split(row["split"], f"{path}: line {line}") if row.get("split") else None
        sar, optical = (Path(os.path.normpath(root / row[side])) for side in ("sar", "optical"))
        for image in (sar, optical):
            if not allow_outside and not image.is_relative_to(root):
                raise DataError(
                    f"{path}: line {line} names {image}, which does not lie below the manifest's folder; if you trust "
                    f"the manifest, allow it by {parameter('data.allow_outside')}"
                )
            if must_exist and not image.is_file():
                raise DataError(f"{path}: line {line} names {image}, which does not exist")
        if sar in seen:
            raise DataError(f"{path}: line {line} names {sar} a second time; remove one")
        seen.add(sar)
        pair = pair_from_names(sar, optical, row.get("terrain") or None)
        scene = {"season": None, "scene": row["scene"]} if row.get("scene") else {}
        pairs.append(dataclasses.replace(pair, split=split, **scene))
    return pairs


def known_split(name: str, where: str) -> str:
    """A split as a file names it; "val" counts as "validation".

    Raises:
        DataError: another name.
    """
    name = "validation" if name == "val" else name
    if name not in SPLITS:
        raise DataError(f"{where}: split must be one of {', '.join(SPLITS)}, got {name!r}")
    return name


def evenly(items: list, count: int) -> list:
    """At most `count` items, spread over the list."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)]
