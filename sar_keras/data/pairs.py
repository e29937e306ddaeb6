"""Finds (SAR, optical) pairs of images in the layouts that people have.

- "folders": folders that name their side in whatever way, such as s1 and s2, SAR and Optical, trainA and trainB, with
  file names alike; or files of one folder that do, sar1.png and opt1.png; see `sar_keras.data.layouts`;
- "terrain": such folders below those of terrains: the Kaggle SEN1-2 subset,
  `v_2/{agri,barrenland,...}/{s1,s2}/ROIs1868_summer_s1_59_p2.png`;
- "sen12": the original SEN1-2, `ROIs1158_spring/{s1_0,s2_0}/ROIs1158_spring_s1_0_p30.png`
  (Schmitt et al., 2018, https://mediatum.ub.tum.de/1436631), and SEN12MS;
- "aligned": both images side by side in one file, as pix2pix has them;
- "manifest": a CSV with the columns sar, optical and optionally scene, terrain, split, and reference, reference_sar,
  changed, see `Pair`;
- "scenes": co-registered GeoTIFF scenes of any size, cut into windows: a scenes.csv with the same columns, names alike
  in one folder, such as `area_S1_VH.tif` and `area_S2_RGB.tif`, or folders as above.

Each of them may lie in a zip.
"""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from sar_keras.data import layouts, looks
from sar_keras.data.layouts import BESIDE, Listing, Match
from sar_keras.data.windows import Box, NoWindows, Window, cut, is_large_scene
from sar_keras.errors import DataError, parameter
from sar_keras.io.zips import file_size, is_zip, read_bytes

LAYOUTS = ("auto", "terrain", "sen12", "folders", "aligned", "manifest", "scenes")
SPLITS = ("train", "validation", "test")
_COLUMNS = ("sar", "optical", "scene", "terrain", "split", *BESIDE)  # of a manifest
_SEN12_NAME = re.compile(r"(?P<roi>ROIs\d+)_(?P<season>[a-z]+)_s[12]_(?P<scene>\d+)_p(?P<patch>\d{1,18})$")

Side = Literal["left", "right"]
# Images of a data set that are opened to find out what they are.
_LOOKED_AT = 8


@dataclasses.dataclass(frozen=True)
class Pair:
    """A SAR image and the optical image of the same ground, with what names and manifest tell of them.

    `scene` is unique only together with `season`; neighbouring patches of a scene overlap. Where the images are whole
    scenes, `window` (column, row, width, height) is the part that counts, and `box` the ground that it shows, (west,
    south, east, north) in degrees. `more_sar` are further files of the SAR image, where each polarisation has one.
    Where both images are one file, side by side, `sar_side` says which half is the SAR image. `reference` is an optical
    image of the same ground at another date, `reference_sar` the SAR image of that date, and `changed` a mask, not 0
    where the ground has changed between them.
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
    sar_side: Side | None = None
    reference: Path | None = None
    reference_sar: Path | None = None
    changed: Path | None = None

    @property
    def sar_files(self) -> tuple[Path, ...]:
        return self.sar, *self.more_sar

    @property
    def place(self) -> tuple[str | None, str | None]:
        """What must not stand in two splits: season and scene, whatever the terrain."""
        return self.season, self.scene

    @property
    def ground(self) -> tuple:
        """The same for pairs that are known to show one place; without a scene a pair is a place of its own."""
        return self.place if self.scene else (self.sar, self.window)


@dataclasses.dataclass(frozen=True)
class Found:
    """The pairs that a folder holds.

    Attributes:
        pairs: The pairs, in the order of their names.
        unpaired: The images that have no partner.
        said: Lines for people: what was guessed, and what was passed over.
    """

    pairs: list[Pair]
    unpaired: list[Path] = dataclasses.field(default_factory=list)
    said: list[str] = dataclasses.field(default_factory=list)


def find_pairs(
    root: str | Path | None,
    layout: str = "auto",
    must_exist: bool = True,
    size: int = 256,
    progress: Callable[[Iterable], Iterable] = iter,
    allow_outside: bool = False,
    sar: Path | None = None,
    optical: Path | None = None,
    sar_side: Side | None = None,
) -> Found:
    """Find the pairs under a folder, or in a CSV manifest.

    Args:
        root: A folder, a zip, or a manifest. None where `sar` and `optical` are given.
        layout: One of LAYOUTS; "auto" finds out which it is. A file is a manifest of scenes if its name is scenes.csv.
        must_exist: Whether the files that a manifest names must exist; those of scenes must.
        size: Side in pixels of the windows into which scenes are cut.
        progress: Wraps the iteration over the scenes, for a progress bar.
        allow_outside: Whether a manifest may name images that do not lie below its own folder.
        sar, optical: Folders, or zips, of the SAR and the optical images, whatever these are called.
        sar_side: Which half of the images of the layout "aligned" is SAR. None: it is guessed.

    Raises:
        DataError: there is no such folder, it holds no pairs, the manifest is not one, or two scenes do not fit.
    """
    if sar or optical:
        found, are_scenes = _scenes_or_patches(_find_in_two(sar, optical), layout, size)
    else:
        root = Path(root or "")
        if not root.exists():
            raise DataError(f"{root}: no such file or folder ({parameter('data.root')})")
        top = layouts.top_of_zip(root) if is_zip(root) else root
        is_manifest = top.is_file() and not is_zip(top)
        scenes, manifest = (top if is_manifest else top / name for name in ("scenes.csv", "pairs.csv"))
        if file_size(scenes) is not None and (layout == "scenes" or (layout == "auto" and scenes.name == "scenes.csv")):
            return _cut_scenes(_manifest(scenes, True, allow_outside), size, progress)
        if layout == "manifest" or is_manifest or (layout == "auto" and file_size(manifest) is not None):
            return _manifest(manifest, must_exist, allow_outside)
        found, are_scenes = _find_below(layouts.list_images(top), layout, size, sar_side)
    if not are_scenes:
        return found
    named = [dataclasses.replace(pair, scene=layouts.scene_name(pair.sar), patch=None) for pair in found.pairs]
    return _cut_scenes(dataclasses.replace(found, pairs=named), size, progress)


def _find_below(listing: Listing, layout: str, size: int, sar_side: Side | None) -> tuple[Found, bool]:
    """The pairs below a folder, and whether they are whole scenes."""
    unpaired: list[Path] = []
    beside, listing = layouts.Beside(listing), layouts.without_beside(listing)
    for found, are_scenes in _readings(listing, layout, size, sar_side):
        if found.pairs:
            pairs = [dataclasses.replace(pair, **beside.take(pair.sar)) for pair in found.pairs]
            if not any(pair.reference for pair in pairs):
                lone = next((pair for pair in pairs if pair.reference_sar or pair.changed), None)
                if lone:
                    raise DataError(f"{lone.reference_sar or lone.changed}: needs a reference; add a folder of them")
            unpaired, said = found.unpaired + beside.left(), listing.said + found.said
            return dataclasses.replace(found, pairs=pairs, unpaired=unpaired, said=said), are_scenes
        unpaired = unpaired or found.unpaired
    raise layouts.nothing_found(listing, layout, unpaired)


def _readings(listing: Listing, layout: str, size: int, sar_side: Side | None) -> Iterator[tuple[Found, bool]]:
    """What the images of a folder may be, the surest first; and whether they are whole scenes."""
    if layout == "aligned":
        yield _halves(listing, sar_side), False
        return
    if layout == "scenes":
        yield _found(*layouts.match_folders(listing.tiffs(), "auto")), True
    else:
        yield _scenes_or_patches(_found(*layouts.match_folders(listing, layout)), layout, size)
    if layout in ("auto", "scenes"):
        yield _found(*layouts.match_names(listing.tiffs())), True
    if layout == "auto":
        yield _found(*layouts.match_names(listing)), False
        if looks.are_squares_side_by_side(evenly(listing.paths, _LOOKED_AT)):
            yield _halves(listing, sar_side), False


def _found(matches: list[Match], unpaired: list[Path]) -> Found:
    """Matches as pairs, with the split that their folders tell; lines say what was guessed."""
    matches, said = _letters_read(matches)
    pairs = []
    for match in matches:
        pair = pair_from_names(match.sar[0], match.optical, match.terrain)
        pairs.append(dataclasses.replace(pair, split=match.split, more_sar=match.sar[1:]))
    pairs, more_said = _with_own_split(pairs)
    return Found(pairs, unpaired, said + more_said)


def _letters_read(matches: list[Match]) -> tuple[list[Match], list[str]]:
    """Where A and B tell the sides: A is SAR, unless it is the one in colour."""
    lettered = [match for match in matches if match.by_letter]
    if not lettered:
        return matches, []
    overrule = f"{parameter('data.sar')} and {parameter('data.optical')} overrule"
    if not looks.second_is_sar([(match.sar[0], match.optical) for match in evenly(lettered, _LOOKED_AT)]):
        return matches, [f"A is taken for SAR, B for optical; {overrule}"]
    swapped = [
        match._replace(sar=(match.optical,), optical=match.sar[0]) if match.by_letter else match for match in matches
    ]
    return swapped, [f"B is taken for SAR, because it is grey, and A for optical; {overrule}"]


def _halves(listing: Listing, sar_side: Side | None) -> Found:
    """Each image as a pair, side by side."""
    guess = None if sar_side else looks.sar_half(evenly(listing.paths, _LOOKED_AT))
    side: Side = sar_side or guess or "left"
    found = _found(layouts.each_alone(listing), [])
    why = "because it is grey" if guess else "as in pix2pix"
    said = f"each image is a pair, side by side, of which the {side} half is taken for SAR, {why}"
    said = [] if sar_side else [f"{said}; data.sar_side overrules"]
    return Found([dataclasses.replace(pair, sar_side=side) for pair in found.pairs], [], said + found.said)


def _find_in_two(sar: Path | None, optical: Path | None) -> Found:
    """The pairs of two folders."""
    if not sar or not optical:
        raise DataError(f"give both folders, {parameter('data.sar')} and {parameter('data.optical')}")
    for folder, name in ((sar, "data.sar"), (optical, "data.optical")):
        if not folder.exists():
            raise DataError(f"{folder}: no such folder ({parameter(name)})")
    if sar.resolve() == optical.resolve():
        raise DataError(f"{sar}: is given for SAR and for optical images; give two folders")
    there = layouts.list_images(sar), layouts.list_images(optical)
    matches, unpaired, said = layouts.match_trees(*there)
    if not matches:
        raise DataError(
            f"{sar} and {optical}: hold {len(there[0].paths)} and {len(there[1].paths)} images, of which no two have "
            "names alike; name the pairs in a pairs.csv with the columns sar and optical"
        )
    found = _found(matches, unpaired)
    return dataclasses.replace(found, said=[*there[0].said, *there[1].said, *said, *found.said])


def _scenes_or_patches(found: Found, layout: str, size: int) -> tuple[Found, bool]:
    """Whether pairs are whole scenes: by their looks if the layout does not say."""
    sample = evenly(found.pairs, _LOOKED_AT) if layout == "auto" else []
    are_patches = any(pair.patch is not None for pair in sample)
    files = [path for pair in sample for path in (pair.sar, pair.optical)]
    if not files or are_patches or not all(is_large_scene(path, size) for path in files):
        return found, layout == "scenes"
    said = f"large GeoTIFFs are cut into windows of {size} pixels; data.layout=folders takes each as one patch"
    return dataclasses.replace(found, said=[*found.said, said]), True


def _with_own_split(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """Keep the split that folders tell, if it is one: of all pairs, and of two parts or more, or test data alone.

    A line says so.
    """
    parts = [split for split in SPLITS if any(pair.split == split for pair in pairs)]
    outside = next((pair for pair in pairs if not pair.split), None)
    if not outside and (len(parts) > 1 or parts == ["test"]):
        all_test = "the folders' names say that all pairs are test data"
        said = all_test if parts == ["test"] else f"folders split the data into {', '.join(parts)}"
        return pairs, [f"{said}, which data.split=auto takes; data.split=scene overrules"]
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
    """Replace each pair of scenes by a pair for each of its windows; of several those without any are left out."""
    pairs, lacking = [], []
    for scene in progress(scenes.pairs):
        whole = dataclasses.replace(scene, scene=scene.scene or scene.sar.stem)
        beside = [path for path in (getattr(scene, name) for name in BESIDE) if path]
        try:
            windows = cut(scene.sar, scene.optical, size, scene.more_sar, beside)
        except NoWindows as error:
            lacking.append(error)
            continue
        pairs.extend(dataclasses.replace(whole, window=window, box=box) for window, box in windows)
    if lacking and not pairs:
        raise lacking[0]
    return dataclasses.replace(scenes, pairs=pairs, said=[*scenes.said, *(f"left out: {error}" for error in lacking)])


def _manifest(path: Path, must_exist: bool, allow_outside: bool) -> Found:
    pairs, columns = _read_manifest(path, must_exist, allow_outside)
    others = [column for column in columns if column not in _COLUMNS]
    return Found(pairs, said=[f"columns of {path.name} that are not read: {', '.join(others)}"] if others else [])


def _read_manifest(path: Path, must_exist: bool, allow_outside: bool) -> tuple[list[Pair], list[str]]:
    """The pairs of a manifest, and the names of its columns."""
    if file_size(path) is None:
        raise DataError(f"{path}: no such manifest")
    try:
        reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""))
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
        beside = {name: Path(os.path.normpath(root / row[name])) for name in BESIDE if row.get(name)}
        if beside and "reference" not in beside:
            raise DataError(f"{path}: line {line} names {' and '.join(beside)}, which need a reference; name one")
        for image in (sar, optical, *beside.values()):
            if not allow_outside and not image.is_relative_to(root):
                raise DataError(
                    f"{path}: line {line} names {image}, which does not lie below the manifest's folder; if you trust "
                    f"the manifest, allow it by {parameter('data.allow_outside')}"
                )
            if (must_exist or image in beside.values()) and file_size(image) is None:
                raise DataError(f"{path}: line {line} names {image}, which does not exist")
        if sar in seen:
            raise DataError(f"{path}: line {line} names {sar} a second time; remove one")
        seen.add(sar)
        pair = pair_from_names(sar, optical, row.get("terrain") or None)
        scene = {"season": None, "scene": row["scene"]} if row.get("scene") else {}
        pairs.append(dataclasses.replace(pair, split=split, **scene, **beside))
    return pairs, list(columns)


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
