"""Finds (SAR, optical) pairs of images in the layouts that people have.

- "folders": folders that name their side in whatever way, such as s1 and s2, SAR and Optical, trainA and trainB, with
  file names alike; see `sar_keras.data.layouts`;
- "terrain": such folders below those of terrains: the Kaggle SEN1-2 subset,
  `v_2/{agri,barrenland,...}/{s1,s2}/ROIs1868_summer_s1_59_p2.png`;
- "sen12": the original SEN1-2, `ROIs1158_spring/{s1_0,s2_0}/ROIs1158_spring_s1_0_p30.png`
  (Schmitt et al., 2018, https://mediatum.ub.tum.de/1436631), and SEN12MS;
- "manifest": a CSV with the columns sar, optical and optionally scene, terrain, split;
- "scenes": co-registered GeoTIFF scenes of any size, cut into windows: a scenes.csv with the same columns, or names
  alike in one folder, such as `area_S1_VH.tif` and `area_S2_RGB.tif`.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sar_keras.data.layouts import match_folders, match_names, scene_name
from sar_keras.data.windows import Box, Window, cut
from sar_keras.errors import DataError, parameter
from sar_keras.io.files import is_utf8, readable, walk
from sar_keras.io.images import SUFFIXES

LAYOUTS = ("auto", "terrain", "sen12", "folders", "manifest", "scenes")
SPLITS = ("train", "validation", "test")
_SEN12_NAME = re.compile(r"(?P<roi>ROIs\d+)_(?P<season>[a-z]+)_s[12]_(?P<scene>\d+)_p(?P<patch>\d{1,18})$")
_TIFF = (".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Pair:
    """A SAR image and the optical image of the same ground, with what names and manifest tell of them.

    `scene` is unique only together with `season`; neighbouring patches of a scene overlap. Where the images are whole
    scenes, `window` (column, row, width, height) is the part that counts, and `box` the ground that it shows, (west,
    south, east, north) in degrees. `more_sar` are further files of the SAR image, where each polarisation has one.
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
    more_sar: tuple[Path, ...] = ()

    @property
    def sar_files(self) -> tuple[Path, ...]:
        return self.sar, *self.more_sar

    @property
    def place(self) -> tuple[str | None, str | None]:
        """What must not stand in two splits: season and scene, whatever the terrain."""
        return self.season, self.scene


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        pairs: In the order of their names.
        unpaired: The images that have no partner.
        said: Lines for people: what was guessed, and what was passed over.
    """

    pairs: list[Pair]
    unpaired: list[Path] = dataclasses.field(default_factory=list)
    said: list[str] = dataclasses.field(default_factory=list)


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
        return _cut_scenes(Found(_read_manifest(scenes, True, allow_outside)), size, progress)
    manifest = root if root.is_file() else root / "pairs.csv"
    if layout == "manifest" or root.is_file() or (layout == "auto" and manifest.is_file()):
        return Found(_read_manifest(manifest, must_exist, allow_outside))
    found = _find_by_names(root, layout, size, progress)
    if not found.pairs:
        what = "no pairs" if layout == "auto" else f"no pairs in the layout {layout!r}"
        raise DataError(
            f"{root}: {what}; expected s1/ and s2/ (or sar/ and optical/) folders with matching names, a pairs.csv, "
            "or scenes such as area_S1_VH.tif and area_S2_RGB.tif"
        )
    return found


def _find_by_names(root: Path, layout: str, size: int, progress: Callable[[Iterable], Iterable]) -> Found:
    images, said = _images_below(root)
    matches, unpaired = ([], []) if layout == "scenes" else match_folders(images, root, layout)
    are_scenes = not matches and not unpaired and layout in ("auto", "scenes")
    if are_scenes:
        tiffs = {folder: [path for path in paths if path.suffix.lower() in _TIFF] for folder, paths in images.items()}
        matches, unpaired = match_names(tiffs, root)
    pairs = []
    for match in matches:
        pair = pair_from_names(match.sar[0], match.optical, match.terrain)
        pairs.append(dataclasses.replace(pair, split=match.split, more_sar=match.sar[1:]))
    pairs, line = _with_own_split(pairs)
    found = Found(pairs, unpaired, said + line)
    if are_scenes:
        named = [dataclasses.replace(pair, scene=scene_name(pair.sar)) for pair in pairs]
        found = _cut_scenes(dataclasses.replace(found, pairs=named), size, progress)
    return found


def _images_below(root: Path) -> tuple[dict[Path, list[Path]], list[str]]:
    """The images of each folder, and a line for people on those whose names nobody can be told."""
    images, odd = {}, []
    for folder, names in walk(root):
        paths = [folder / name for name in names if Path(name).suffix.lower() in SUFFIXES]
        images[folder] = [path for path in paths if is_utf8(path.relative_to(root))]
        odd += [readable(str(path)) for path in paths if not is_utf8(path.relative_to(root))]
    more = f", nor are those of {len(odd) - 1} more" if len(odd) > 1 else ""
    return images, [f"passed over: {odd[0]}: the name is not UTF-8{more}; rename it"] if odd else []


def _with_own_split(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """Keep the split that folders tell, if it is one: of two parts or more, and of all pairs. A line says so."""
    parts = [split for split in SPLITS if any(pair.split == split for pair in pairs)]
    outside = next((pair for pair in pairs if not pair.split), None)
    if len(parts) > 1 and not outside:
        return pairs, [f"folders split the data into {', '.join(parts)}, which data.split=auto takes; scene overrules"]
    said = f"folders named {', '.join(parts)} are not taken for a split: {outside and outside.sar} lies in none of them"
    return [dataclasses.replace(pair, split=None) for pair in pairs], [said] if len(parts) > 1 else []


def pair_from_names(sar: Path, optical: Path, terrain: str | None = None) -> Pair:
    """A pair with the season, scene and patch that the name of its SAR image tells, if it is a SEN1-2 name."""
    name = _SEN12_NAME.match(sar.stem)
    if not name:
        patch = re.search(r"_p(\d{1,18})$", sar.stem)
        return Pair(sar, optical, terrain, patch=int(patch[1]) if patch else None)
    return Pair(sar, optical, terrain, name["season"], name["scene"], int(name["patch"]))


def _cut_scenes(scenes: Found, size: int, progress: Callable[[Iterable], Iterable]) -> Found:
    """Replace each pair of scenes by a pair for each of its windows."""
    pairs = []
    for scene in progress(scenes.pairs):
        whole = dataclasses.replace(scene, scene=scene.scene or scene.sar.stem)
        windows = cut(scene.sar, scene.optical, size, scene.more_sar)
        pairs.extend(dataclasses.replace(whole, window=window, box=box) for window, box in windows)
    return dataclasses.replace(scenes, pairs=pairs)


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
