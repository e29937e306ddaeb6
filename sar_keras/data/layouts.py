"""What the names of folders and files tell: which images are SAR and which optical, and which two belong together.

The words that name the two sides, such as s1 and s2, may stand anywhere in the path of an image below the root. Without
them, the paths of the two images of a pair are alike.
"""

import dataclasses
import functools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sar_keras.errors import DataError, parameter
from sar_keras.io.bands import POLARISATIONS, polarisation_of_file
from sar_keras.io.files import is_utf8, readable, walk
from sar_keras.io.images import SUFFIXES

# Words that name a side: s1, Sentinel-1, S1GRD; and sar, which a number may follow: sar1.png, opt1.png.
_WORDS = (
    {
        "sar": r"(?<![a-z0-9])(?:s|sentinel[-_]?)1(?:grd|rtc|hand)?(?![a-z0-9])",
        "optical": r"(?<![a-z0-9])(?:s|sentinel[-_]?)2(?:l1c|l2a|rgb|hand)?(?![a-z0-9])",
    },
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
# Folders, and columns of manifests, of what a pair may name of another date, see `sar_keras.data.pairs.Pair`.
BESIDE = ("reference", "reference_sar", "changed")
# CycleGAN's folders are trainA and trainB, those of pix2pix A/train and B/train.
_LETTER = re.compile(rf"(?P<split>{'|'.join(SPLIT_FOLDERS)})?[_-]?(?P<letter>[AB])", re.IGNORECASE)
_BY_LETTER = len(_WORDS)  # in place of a row
# What two folders may be called, for each row, and for letters.
_PARTNERS = (("s1", "s2"), ("sar", "optical"), ("A", "B"))


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images below a folder or in a zip.

    Attributes:
        root: The folder.
        images: The images of each folder, by its path.
        unread: How many files there are of each suffix that is not read.
        said: Lines for people. There is one if images are passed over because their names are not UTF-8.
    """

    root: Path
    images: dict[Path, list[Path]]
    unread: Counter[str]
    said: list[str]

    @property
    def paths(self) -> list[Path]:
        return [path for paths in self.images.values() for path in paths]

    def tiffs(self) -> "Listing":
        """The TIFFs alone."""
        tiffs = {
            folder: [path for path in paths if path.suffix.lower() in (".tif", ".tiff")]
            for folder, paths in self.images.items()
        }
        return dataclasses.replace(self, images=tiffs)

    def place(self, folder: Path) -> "Place":
        return read_place(folder.relative_to(self.root).parts)


def list_images(root: Path) -> Listing:
    """List the images below a folder or in a zip."""
    listing, odd = Listing(root, {}, Counter(), []), []
    for folder, names in walk(root):
        paths = [folder / name for name in names]
        listing.unread.update(path.suffix.lower() or "without suffix" for path in paths if not _is_image(path))
        images = [path for path in paths if _is_image(path)]
        odd += [readable(str(path)) for path in images if not is_utf8(path.relative_to(root))]
        listing.images[folder] = [path for path in images if is_utf8(path.relative_to(root))]
    if odd:
        more = f", nor are those of {len(odd) - 1} more" if len(odd) > 1 else ""
        listing.said.append(f"passed over: {odd[0]}: the name is not UTF-8{more}; rename it")
    return listing


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def top_of_zip(path: Path) -> Path:
    """The folder of a zip in which all of it lies, which often bears the data set's name; else the zip itself."""
    folders = [folder for folder, names in walk(path) if names]
    top = Path(os.path.commonpath(folders)) if folders else path
    return path if read_place(top.relative_to(path).parts).side else top


def nothing_found(listing: Listing, layout: str, unpaired: list[Path]) -> DataError:
    """Why there are no pairs: what there is, and which layout is the closest."""
    paths, named = listing.paths, {}
    for folder, files in listing.images.items():
        place = listing.place(folder)
        if files and place.side:
            named.setdefault(place.side, (folder, place))
    sar, optical = parameter("data.sar"), parameter("data.optical")
    others = match_folders(listing, "auto")[0] if layout != "auto" else []
    if others:
        what, mend = f"{len(others)} pairs of another layout", "leave out data.layout"
    elif not paths:
        what, mend = "no images", f"what is read are {', '.join(SUFFIXES)}"
    elif len(named) == 2:
        examples = unpaired or paths
        what = f"{len(paths)} images, of which no two have names alike, such as {examples[0]} and {examples[-1]}"
        mend = f"the closest layout is two folders: {sar} {named['sar'][0]} and {optical} {named['optical'][0]}"
    elif named:
        ((folder, place),) = named.values()
        what = f"{len(paths)} images, and beside {folder} no folder with their partners"
        mend = f"the closest layout is {' and '.join(_PARTNERS[place.key[0]])}"
    else:
        what = f"{len(paths)} images, such as {paths[0]}, and no name tells which are SAR"
        mend = (
            f"name two folders sar and optical, or give them as {sar} and {optical}; or data.layout=aligned, if each "
        )
        mend += "image is both, side by side"
    unread = ", ".join(f"{number} {suffix}" for suffix, number in listing.unread.most_common(3))
    unread = f", and files that are not read ({unread})" if unread else ""
    meant = "" if layout == "auto" else f" in the layout {layout!r}"
    return DataError(f"{listing.root}: no pairs{meant}: it holds {what}{unread}; {mend}")


class Place(NamedTuple):
    """What the folders above an image tell.

    Attributes:
        side: "sar" or "optical", or None where no folder names a side.
        folder: The name of the folder that names the side.
        key: What the folders of both sides of a pair have in common.
        is_plain: Whether the name of `folder` is its side's and nothing more.
        terrain: The nearest folder that names neither side nor split, or None; always None where not `is_plain`.
        split: The split that a folder names, "train", "validation" or "test", or None.
    """

    side: str | None
    folder: str
    key: tuple
    is_plain: bool
    terrain: str | None
    split: str | None


class Match(NamedTuple):
    """Two images that belong together, the SAR image in a file for each polarisation; and what their folders tell.

    `by_letter` is true where nothing but the letters A and B tells which is SAR.
    """

    sar: tuple[Path, ...]
    optical: Path
    terrain: str | None = None
    split: str | None = None
    by_letter: bool = False


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
                side, row, at = {"a": "sar", "b": "optical"}[letter["letter"].lower()], _BY_LETTER, number
                rest[number] = ""
                split = split or SPLIT_FOLDERS.get((letter["split"] or "").lower())
    if side is None or at is None:
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


def match_folders(listing: Listing, layout: str) -> tuple[list[Match], list[Path]]:
    """Match the images in folders that name their side: s1 and s2, SAR and Optical, trainA and trainB, s1_7 and s2_7.

    Args:
        listing: The images.
        layout: "auto", "folders", "terrain" or "sen12".

    Returns:
        The matches in the order of their names, and the images without a partner. A folder without a partner counts
        where its name is s1 or s2, alone or with a number; others may be anything.
    """
    groups: dict[tuple, dict[str, list[Path]]] = defaultdict(lambda: {"sar": [], "optical": []})
    places: dict[tuple, Place] = {}
    for folder, files in listing.images.items():
        place = listing.place(folder)
        if place.side and _MEANT[layout](place):
            groups[place.key][place.side] += files
            places[place.key] = place
    matches, alone = [], []
    for key, sides in groups.items():
        place = places[key]
        if all(sides.values()):
            stems = [{path: path.stem for path in sides[side]} for side in ("sar", "optical")]
            matched, unmatched = _match(stems[0], stems[1])
            terrain, by_letter = None if layout == "folders" else place.terrain, key[0] == _BY_LETTER
            matches += [Match(sar, optical, terrain, place.split, by_letter) for sar, optical in matched]
            alone += unmatched
        elif re.fullmatch(r"s[12](_\d+)?", place.folder, re.IGNORECASE):
            alone += sides["sar"] + sides["optical"]
    return sorted(matches, key=lambda match: (match.terrain or "", match.sar[0].parent)), sorted(alone)


def match_names(listing: Listing) -> tuple[list[Match], list[Path]]:
    """Match images of one folder whose own names tell their side, such as area_S1_VH.tif and area_S2_RGB.tif."""
    matches, alone = [], []
    for folder, files in listing.images.items():
        told = {path: _side(path.stem) for path in files}
        stems = [{path: path.stem for path in files if (told[path] or "?")[0] == side} for side in ("sar", "optical")]
        matched, unmatched = _match(stems[0], stems[1])
        matches += [Match(sar, optical, split=listing.place(folder).split) for sar, optical in matched]
        alone += unmatched
    return matches, sorted(alone)


def each_alone(listing: Listing) -> list[Match]:
    """A match for each image, which is both its SAR and its optical image."""
    return [
        Match((path,), path, split=listing.place(folder).split)
        for folder, files in listing.images.items()
        for path in sorted(files, key=lambda path: natural_order(path.stem))
    ]


class Beside:
    """The images below folders that are called as one of BESIDE: they belong to the pair whose names are alike."""

    def __init__(self, listing: Listing):
        self._root = listing.root
        self._images: dict[str, dict[tuple, list[Path]]] = {name: defaultdict(list) for name in BESIDE}
        for folder, paths in listing.images.items():
            if name := _name_beside(folder.relative_to(listing.root)):
                for path in paths:
                    self._images[name][self._key(path)].append(path)

    def take(self, sar: Path) -> dict[str, Path]:
        """What belongs to the pair of a SAR image, by the names in BESIDE. Each image is given once.

        Raises:
            DataError: two files could be the same image.
        """
        found = {name: images.pop(self._key(sar), []) for name, images in self._images.items()}
        for name, paths in found.items():
            if len(paths) > 1:
                raise DataError(
                    f"{paths[1]}: has the same name as {paths[0].name}; remove one, or put all bands of an image of "
                    f"{name} into one file"
                )
        return {name: paths[0] for name, paths in found.items() if paths}

    def left(self) -> list[Path]:
        """The images that no pair took."""
        return sorted(path for images in self._images.values() for paths in images.values() for path in paths)

    def _key(self, path: Path) -> tuple:
        folders = [name for name in path.parent.relative_to(self._root).parts if name.lower() not in BESIDE]
        others = [
            _KEYS[-1](name) for name in folders if name.lower() not in SPLIT_FOLDERS and not _LETTER.fullmatch(name)
        ]
        return read_place(folders).split, *filter(None, others), _KEYS[-1](path.stem)


def without_beside(listing: Listing) -> Listing:
    """The images that `Beside` does not hold."""
    root = listing.root
    images = {folder: paths for folder, paths in listing.images.items() if not _name_beside(folder.relative_to(root))}
    return dataclasses.replace(listing, images=images)


def _name_beside(folder: Path) -> str | None:
    return next((name.lower() for name in folder.parts if name.lower() in BESIDE), None)


def scene_name(sar: Path) -> str:
    """The name of a scene: what is left of its file's without side and polarisation, or else its folder's."""
    return _without(f"{_ANY_WORD}|{_POLARISATION}", sar.stem) or sar.parent.name


def match_trees(sar: Listing, optical: Listing) -> tuple[list[Match], list[Path], list[str]]:
    """Match all images of two folders, whatever these are called.

    Returns:
        The matches, the images without a partner, and a line for people if their names are not alike.
    """
    names = [
        {path: path.relative_to(side.root).with_suffix("").as_posix() for path in side.paths} for side in (sar, optical)
    ]
    matched, alone = _match(names[0], names[1], keys=(*_KEYS, *(functools.partial(_of_file, key) for key in _KEYS)))
    left = [_varying({path: side[path] for path in alone if path in side}) for side in names]
    more, alone = _match(left[0], left[1])
    said = [f"paired by what differs between names: {files[0]} with {partner}" for files, partner in more[:1]]
    matches = []
    for files, partner in matched + more:
        place = read_place(("sar", *files[0].parent.relative_to(sar.root).parts))
        matches.append(Match(files, partner, place.terrain, place.split))
    return matches, sorted(alone), said


def _varying(names: dict[Path, str]) -> dict[Path, str]:
    """Names without the beginning and the end that all of them have in common; numbers stay whole."""
    names = {path: _KEYS[-1](name) for path, name in names.items()}
    common = [os.path.commonprefix([name[::step] for name in names.values()]) for step in (1, -1)]  # noqa: RUF071
    first, last = (len(text.rstrip("0123456789")) for text in common)
    return {path: name[first : max(first, len(name) - last)] for path, name in names.items()}


# What must be equal in two names, from the strictest on.
_KEYS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: _without(_ANY_WORD, name),
    lambda name: _without(f"{_ANY_WORD}|{_POLARISATION}", name),
)


def _of_file(key: Callable[[str], str], name: str) -> str:
    return key(name.rpartition("/")[2])


def _match(
    sar: dict[Path, str], optical: dict[Path, str], keys: Iterable[Callable[[str], str]] = _KEYS
) -> tuple[list[tuple[tuple[Path, ...], Path]], list[Path]]:
    """Match images by their names; return the matches, in the order of their names, and the images that have none.

    Raises:
        DataError: two files could be the same image.
    """
    found, left = [], [sar, optical]
    for key in keys:
        named = [_grouped(side, key) for side in left]
        for name in named[0].keys() & named[1].keys():
            found.append((_polarisations(named[0].pop(name)), _only(named[1].pop(name))))
        left = [
            {p: side[p] for paths in groups.values() for p in paths} for side, groups in zip(left, named, strict=True)
        ]
    return sorted(found, key=lambda pair: natural_order(sar[pair[0][0]])), [*left[0], *left[1]]


def _grouped(names: dict[Path, str], key: Callable[[str], str]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for path, name in names.items():
        groups[key(name)].append(path)
    return groups


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
