"""What the names of folders and files tell: which images are SAR and which optical, and which two belong together.

The words that name the two sides, such as s1 and s2, may stand anywhere in the path of an image below the root. Without
them, the paths of the two images of a pair are alike.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sar_keras.errors import DataError
from sar_keras.io.bands import POLARISATIONS, polarisation_of_file

# Words that name a side. A number may follow those of the second row: sar1.png, opt1.png.
_WORDS = (
    {"sar": r"(?<![a-z0-9])s1(?![a-z0-9])", "optical": r"(?<![a-z0-9])s2(?![a-z0-9])"},
    {"sar": r"(?<![a-z])sar(?![a-z])", "optical": r"(?<![a-z])(?:optical|opt|rgb)(?![a-z])"},
)
_ANY_WORD = "|".join(word for row in _WORDS for word in row.values())
_POLARISATION = r"(?<![a-z])(?:vv|vh|hh|hv)(?![a-z])"
# Folders that are a data set's own split.
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# CycleGAN's folders are trainA and trainB, those of pix2pix A/train and B/train.
_LETTER = re.compile(rf"(?P<split>{'|'.join(SPLIT_FOLDERS)})?[_-]?(?P<letter>[AB])", re.IGNORECASE)


class Place(NamedTuple):
    """What the folders above an image tell.

    Attributes:
        side: "sar", "optical" or None.
        folder: The name of the folder that says so.
        key: Equal for the two sides of a pair.
        is_plain: Whether `folder` names its side and no more.
        terrain: Of plain folders: the nearest other one that names no split.
        split: "train", "validation", "test" or None.
    """

    side: str | None
    folder: str
    key: tuple
    is_plain: bool
    terrain: str | None
    split: str | None


class Match(NamedTuple):
    """Two images that belong together, the SAR image in a file for each polarisation; and what their folders tell."""

    sar: tuple[Path, ...]
    optical: Path
    terrain: str | None
    split: str | None


def read_place(folders: Sequence[str]) -> Place:
    """Read the names of the folders above an image, from the root down."""
    split = next((SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS), None)
    rest = [_without(f"{_ANY_WORD}|{_POLARISATION}", name) for name in folders]
    side, row, at = None, None, None
    for number, name in enumerate(folders):  # the deepest one counts, and words before letters
        if told := _side(name):
            (side, row), at = told, number
    if side is None:
        for number, name in enumerate(folders):
            if letter := _LETTER.fullmatch(name):
                side, row, at = {"a": "sar", "b": "optical"}[letter["letter"].lower()], "AB", number
                rest[number] = ""
                split = split or SPLIT_FOLDERS.get((letter["split"] or "").lower())
    if side is None:
        return Place(None, "", (), False, None, split)
    is_plain = not rest[at]
    others = [name for name, left in zip(folders, rest, strict=True) if left and name.lower() not in SPLIT_FOLDERS]
    terrain = others[-1] if is_plain and others else None
    return Place(side, folders[at], (row, split, *filter(None, rest)), is_plain, terrain, split)


def _side(name: str) -> tuple[str, int] | None:
    """The side that a name tells, and the row of _WORDS; None if it tells none, or both."""
    told = [
        (side, row)
        for row, words in enumerate(_WORDS)
        for side, word in words.items()
        if re.search(word, name, re.IGNORECASE)
    ]
    return told[0] if len({side for side, _ in told}) == 1 else None


def _without(words: str, name: str) -> str:
    """A name without such words, and with one kind of separator."""
    return re.sub(r"[\W_]+", "_", re.sub(words, "", name, flags=re.IGNORECASE)).strip("_")


# Which folders a layout means.
_MEANT: dict[str, Callable[[Place], bool]] = {
    "auto": lambda place: True,
    "folders": lambda place: place.is_plain,
    "terrain": lambda place: place.terrain is not None,
    "sen12": lambda place: re.fullmatch(r"s[12]_\d+", place.folder) is not None,
}


def match_folders(images: dict[Path, list[Path]], root: Path, layout: str) -> tuple[list[Match], list[Path]]:
    """Match the images in folders that name their side: s1 and s2, SAR and Optical, trainA and trainB, s1_7 and s2_7.

    Args:
        images: Those of each folder.
        root: What the folders lie below.
        layout: "auto", "folders", "terrain" or "sen12".

    Returns:
        The matches in the order of their names, and the images without a partner. A folder without a partner counts
        where its name is s1 or s2, alone or with a number; others may be anything.
    """
    groups: dict[tuple, dict[str, list[Path]]] = defaultdict(lambda: {"sar": [], "optical": []})
    places: dict[tuple, Place] = {}
    for folder, files in images.items():
        place = read_place(folder.relative_to(root).parts)
        if place.side and _MEANT[layout](place):
            groups[place.key][place.side] += files
            places[place.key] = place
    matches, alone = [], []
    for key, sides in groups.items():
        place = places[key]
        if all(sides.values()):
            matched, unmatched = _match(sides["sar"], sides["optical"])
            terrain = None if layout == "folders" else place.terrain
            matches += [Match(sar, optical, terrain, place.split) for sar, optical in matched]
            alone += unmatched
        elif re.fullmatch(r"s[12](_\d+)?", place.folder, re.IGNORECASE):
            alone += sides["sar"] + sides["optical"]
    return sorted(matches, key=lambda match: (match.terrain or "", match.sar[0].parent)), sorted(alone)


def match_names(images: dict[Path, list[Path]], root: Path) -> tuple[list[Match], list[Path]]:
    """Match images of one folder whose own names tell their side, such as area_S1_VH.tif and area_S2_RGB.tif."""
    matches, alone = [], []
    for folder, files in images.items():
        told = {path: _side(path.stem) for path in files}
        sides = [[path for path in files if told[path] and told[path][0] == side] for side in ("sar", "optical")]
        matched, unmatched = _match(*sides)
        split = read_place(folder.relative_to(root).parts).split
        matches += [Match(sar, optical, None, split) for sar, optical in matched]
        alone += unmatched
    return matches, sorted(alone)


def scene_name(sar: Path) -> str:
    """The name of a scene: what is left of its file's without side and polarisation, or else its folder's."""
    return _without(f"{_ANY_WORD}|{_POLARISATION}", sar.stem) or sar.parent.name


# What must be equal in the names of two images, from the strictest on.
_KEYS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: _without(_ANY_WORD, name),
    lambda name: _without(f"{_ANY_WORD}|{_POLARISATION}", name),
)


def _match(sar: Iterable[Path], optical: Iterable[Path]) -> tuple[list[tuple[tuple[Path, ...], Path]], list[Path]]:
    """Match images by their names; return the matches, in the order of their names, and the images that have none.

    Raises:
        DataError: two files could be the same image.
    """
    found, left = [], {"sar": list(sar), "optical": list(optical)}
    for key in _KEYS:
        named: dict[str, dict[str, list[Path]]] = {"sar": defaultdict(list), "optical": defaultdict(list)}
        for side, paths in left.items():
            for path in paths:
                named[side][key(path.stem)].append(path)
        for name in named["sar"].keys() & named["optical"].keys():
            found.append((_polarisations(named["sar"].pop(name)), _only(named["optical"].pop(name))))
        left = {side: [path for paths in names.values() for path in paths] for side, names in named.items()}
    return sorted(found, key=lambda pair: natural_order(pair[0][0].stem)), left["sar"] + left["optical"]


def _only(paths: list[Path]) -> Path:
    if len(paths) > 1:
        raise DataError(f"{paths[1]}: has the same name as {paths[0].name}; rename or remove one")
    return paths[0]


def _polarisations(paths: list[Path]) -> tuple[Path, ...]:
    """The files of one SAR image: a single one, or one for each polarisation, VV first."""
    known = {polarisation_of_file(path): path for path in paths}
    if len(paths) == 1 or None in known or len(known) < len(paths):
        return (_only(paths),)
    return tuple(known[name] for name in POLARISATIONS if name in known)


def natural_order(name: str) -> list:
    """Sort p2 before p10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
