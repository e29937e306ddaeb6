"""Which bands of a file are red, green and blue, and which polarisations a model takes: one rule for every input."""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import rasterio
from rasterio.enums import ColorInterp

from sar_keras.errors import DataError

# In the order in which models take them.
POLARISATIONS = ("VV", "VH", "HH", "HV")
_COLOURS = (("red", "r", "b4"), ("green", "g", "b3"), ("blue", "b", "b2"))
_INTERPRETATIONS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# Words that make another band of a colour's name, such as "red edge".
_OTHERS = {"edge", "coastal", "ultra", "near", "infra"}
# Sentinel-2 from B1 on: the 13 bands of L1C and SEN12MS, and the 12 of L2A, which has no B10.
_SENTINEL_2 = {12: (4, 3, 2), 13: (4, 3, 2)}


class Choice(NamedTuple):
    """Numbers of bands; a line for people where they were guessed and others might be meant; names of SAR bands.

    A name is the polarisation, or else the whole description; empty where there is none.
    """

    numbers: tuple[int, ...]
    said: str | None = None
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Bands:
    """What a file says of its bands, transparency apart: numbers from 1, descriptions ("" if none), interpretations."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    kinds: tuple[ColorInterp, ...]

    @classmethod
    def of(cls, source: rasterio.DatasetReader) -> "Bands":
        numbers = [n for n, kind in enumerate(source.colorinterp, start=1) if kind != ColorInterp.alpha]
        names = [(source.descriptions[n - 1] or "").strip() for n in numbers]
        return cls(tuple(numbers), tuple(names), tuple(source.colorinterp[n - 1] for n in numbers))

    @classmethod
    def of_files(cls, files: Sequence["Bands"]) -> "Bands":
        """Join the bands of several files, one after the other."""
        count = sum(len(bands.numbers) for bands in files)
        names, kinds = ([said for bands in files for said in getattr(bands, what)] for what in ("names", "kinds"))
        return cls(tuple(range(1, count + 1)), tuple(names), tuple(kinds))

    @classmethod
    def unnamed(cls, count: int) -> "Bands":
        return cls(tuple(range(1, count + 1)), ("",) * count, (ColorInterp.undefined,) * count)

    def find(self, *names: str) -> list[int]:
        """Numbers of the bands that have one of these names, in lower case; if there are none, such a word in it."""
        words = {number: _words(name) for number, name in zip(self.numbers, self.names, strict=True)}
        whole = [number for number in words if len(words[number]) == 1 and words[number] <= set(names)]
        long = {name for name in names if len(name) > 1}
        return whole or [number for number in words if words[number] & long and not words[number] & _OTHERS]

    def wanted(self, path, bands: Sequence[int | str], option: str) -> tuple[int, ...]:
        """The numbers of bands that a person gave by number or name.

        Raises:
            DataError: no such band, or several.
        """
        numbers = []
        for band in bands:
            text = str(band).strip().lower()
            alike = [number for number, name in zip(self.numbers, self.names, strict=True) if name.lower() == text]
            if text.isdigit():
                found = [int(text)] if int(text) in self.numbers else []
            else:
                found = alike or self.find(*(_words(text) if len(_words(text)) == 1 else []))
            if len(found) != 1:
                raise DataError(
                    f"{path}: has {'several bands' if found else 'no band'} {band} ({option}); it has {self}"
                )
            numbers += found
        return tuple(numbers)

    def __str__(self) -> str:
        if not any(self.names):
            return f"{len(self.numbers)} band(s) without names"
        return ", ".join(f"{n} {name}".strip() for n, name in zip(self.numbers, self.names, strict=True))


def _words(name: str) -> set[str]:
    """The words of a description in lower case, with B4 for B04."""
    return {re.sub(r"^b0(\d)", r"b\1", word) for word in re.findall("[a-z0-9]+", name.lower())}


def choose_optical(path, bands: Bands, wanted: Sequence[int | str] | None = None) -> Choice:
    """The red, the green and the blue band, or a single grey one.

    By the descriptions of the bands, else by their colour interpretation, else by the known orders of 12 and 13 bands.
    Up to four bands of which nothing tells the colours are red, green and blue in this order. `wanted`, three numbers
    or names, overrules (`data.optical_bands`).

    Raises:
        DataError: no such band; or more than four bands of which nothing tells the colours.
    """
    if wanted:
        return Choice(bands.wanted(path, wanted, "data.optical_bands"))
    guesses = {
        "by their names": [bands.find(*names) for names in _COLOURS],
        "by their colour interpretation": [
            [number for number, kind in zip(bands.numbers, bands.kinds, strict=True) if kind == colour]
            for colour in _INTERPRETATIONS
        ],
        "as in all files of Sentinel-2 with so many bands": [[number] for number in _known_order(bands)],
    }
    for how, colours in guesses.items():
        if [len(found) for found in colours] == [1, 1, 1]:
            numbers = tuple(number for (number,) in colours)
            said = f"bands {', '.join(map(str, numbers))} of {bands} are red, green and blue, {how}"
            return Choice(numbers, f"{said}; data.optical_bands overrules" if numbers != bands.numbers[:3] else None)
    if len(bands.numbers) > 4:
        raise DataError(
            f"{path}: has {len(bands.numbers)} bands, and nothing tells which are red, green and blue; say so with "
            "data.optical_bands, such as [4, 3, 2]"
        )
    return Choice(bands.numbers[:3] if len(bands.numbers) > 2 else bands.numbers[:1], None)


def _known_order(bands: Bands) -> tuple[int, ...]:
    """The colours among as many bands as Sentinel-2 has, where names tell nothing: they are all alike, or numbers."""
    numbered = all(re.fullmatch(rf"(band[ _]?|b)0?{n}", name.lower()) for n, name in enumerate(bands.names, start=1))
    order = _SENTINEL_2.get(len(bands.numbers), ()) if numbered or len(set(bands.names)) == 1 else ()
    return tuple(bands.numbers[n - 1] for n in order)


_POLARISATION = re.compile(rf"(?<![A-Za-z])({'|'.join(POLARISATIONS)})(?![A-Za-z])", re.IGNORECASE)


def polarisation(name: str) -> str | None:
    """The polarisation that a band's description, or the name of a file with a single band, tells."""
    found = _POLARISATION.findall(name.upper())
    return found[0] if len(set(found)) == 1 else None


def polarisation_of_file(path: PurePath) -> str | None:
    """The polarisation that the name of a file tells, or else that of its folder."""
    return polarisation(path.stem) or polarisation(path.parent.name)


def choose_sar(
    path,
    bands: Bands,
    channels: int,
    wanted: Sequence[int | str] | None = None,
    trained_on: Sequence[str] = (),
    option: str = "data.sar_bands",
) -> Choice:
    """The SAR bands that a model takes: those that it was trained on, where the file has bands of these names.

    Else, where names tell which they are, VV before VH, HH, HV; else the first. `wanted`, as many numbers or names,
    overrules; messages call it `option`.

    Raises:
        DataError: no such band, or not as many as `channels`.
    """
    told = {number: polarisation(name) for number, name in zip(bands.numbers, bands.names, strict=True)}
    names = {number: told[number] or name for number, name in zip(bands.numbers, bands.names, strict=True)}
    if wanted:
        if len(wanted) != channels:
            raise DataError(f"{path}: {option} names {len(wanted)} band(s), the model takes {channels}")
        numbers = bands.wanted(path, wanted, option)
        return Choice(numbers, names=tuple(names[number] for number in numbers))
    if len(bands.numbers) < channels:
        raise DataError(f"{path}: has {len(bands.numbers)} band(s), the model takes {channels} (model.channels)")
    ordered, known = list(bands.numbers), [name for name in told.values() if name]
    alike = [[number for number, name in names.items() if name == band] for band in trained_on]
    if len(alike) == channels and all(len(numbers) == 1 for numbers in alike):
        ordered = [number for (number,) in alike]
    elif len(set(known)) == len(known):
        ordered.sort(key=lambda number: (*POLARISATIONS, None).index(told[number]))
    numbers = tuple(ordered[:channels])
    said = f"SAR band{'s' * (channels > 1)} {', '.join(map(str, numbers))} of {bands}; {option} overrules"
    # Red, green and blue are a grey image that is stored so.
    is_all = numbers == bands.numbers or ColorInterp.red in bands.kinds
    return Choice(numbers, None if is_all else said, tuple(names[number] for number in numbers))


def warn_if_bands_differ(names: Sequence[str], trained_on: Sequence[str], image: str) -> None:
    """Warn where an image's bands, as far as they have names, are others than those that the model was trained on."""
    if any(name and name != band for name, band in zip(names, trained_on, strict=False)):
        warnings.warn(
            f"{image} holds {' and '.join(name or '?' for name in names)}, the model was trained on "
            f"{' and '.join(trained_on)}: colours may be off",
            stacklevel=3,
        )


def group_polarisations(paths: Sequence[PurePath]) -> list[list[int]]:
    """Which files are one image, whose polarisations are in a file each: indices of `paths`, VV first.

    Their paths differ in the polarisation alone, and in the numbers that Sentinel-1's products give their images. All
    other files are alone.
    """
    groups: dict[tuple, list[int]] = {}
    for index, path in enumerate(paths):
        stem = re.sub(r"(?i)^(s1[a-d]-.*)-00\d", r"\1", path.stem)
        rest = (_POLARISATION.sub("", part) for part in (path.parent.name, stem))
        groups.setdefault((path.parent.parent, *rest, path.suffix), []).append(index)
    found = []
    for group in groups.values():
        told = {polarisation_of_file(paths[index]): index for index in group}
        if None in told or len(told) < len(group):
            found += [[index] for index in group]
        else:
            found.append([told[name] for name in POLARISATIONS if name in told])
    return sorted(found, key=min)


def without_polarisation(path: PurePath) -> PurePath:
    """What the image of such a group of files is called: S1_VV.tif and S1_VH.tif are S1.tif."""
    folder, stem = (
        re.sub(rf"[_.\- ]*{_POLARISATION.pattern}", "", part, flags=re.IGNORECASE).strip("_.- ")
        if _POLARISATION.search(part)
        else part
        for part in (path.parent.name, path.stem)
    )
    return path.parent.parent / folder / f"{stem or 'image'}{path.suffix}"
