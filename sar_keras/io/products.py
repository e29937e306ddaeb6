"""The scenes in a folder or a zip: rasters, and products of Sentinel-1 as ESA, SNAP and others leave them."""

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath

from sar_keras.errors import DataError
from sar_keras.io import inputs
from sar_keras.io.bands import POLARISATIONS, polarisation
from sar_keras.io.files import counts, walk
from sar_keras.io.inputs import Input

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img")
# What SNAP calls bands of backscatter, what is calibrated first. Others are angles, heights, or halves of complex ones.
_BACKSCATTER = ("sigma0", "gamma0", "beta0", "intensity", "amplitude")


def find_inputs(given: Path | str) -> list[Input]:
    """The scenes that a name stands for: one, or those in a folder or a zip.

    A .SAFE folder, its manifest.safe and SNAP's .dim and .data are one each, whose bands come in a file each.

    Raises:
        DataError: a .dim without its folder, or a zip that is none.
    """
    if isinstance(given, str):
        return [inputs.single(given)]
    if given.name.lower() == "manifest.safe" and given.is_file():
        given = given.absolute().parent if given.parent == Path() else given.parent
    if given.suffix.lower() == ".dim" and given.is_file():
        data = given.with_suffix(".data")
        if not data.is_dir():
            raise DataError(f"{given}: lacks {data.name}, the folder in which SNAP keeps the bands; copy it as well")
        given = data
    if given.is_dir():
        return list(_Folder(given, _names_in_folder(given)).scenes())
    if given.suffix.lower() == ".zip":
        return list(_Folder(given, _names_in_zip(given), is_zip=True).scenes())
    return [inputs.single(given)]


@dataclasses.dataclass(frozen=True)
class _Folder:
    """The files of a folder, or of a zip, which is read in place."""

    path: Path
    names: list[PurePosixPath]
    is_zip: bool = False

    def scenes(self) -> Iterator[Input]:
        folders = {folder for name in self.names for folder in name.parents}
        taken: list[PurePosixPath] = []
        for folder in sorted(folders):
            if any(other in (folder, *folder.parents) for other in taken):
                continue
            layers = self._safe(folder)
            if layers is None:
                layers = self._dimap(folder)
            if layers is not None:
                taken.append(folder)
                yield self._product(folder, layers)
        for name in self.names:
            if any(folder in name.parents for folder in taken):
                continue
            if name.suffix.lower() in SUFFIXES:
                where = self._at(name)
                if isinstance(where, Path):
                    yield inputs.single(where, name, self.path)
                else:
                    yield dataclasses.replace(inputs.single(where, name, self.path), files=(self.path,))
            elif name.suffix.lower() == ".zip" and not self.is_zip and zipfile.is_zipfile(self.path / name):
                for scene in _Folder(self.path / name, _names_in_zip(self.path / name), is_zip=True).scenes():
                    yield dataclasses.replace(scene, place=name.with_suffix("") / scene.place)

    def _product(self, folder: PurePosixPath, layers: dict[str, PurePosixPath]) -> Input:
        """One that lacks bands fails when it is opened, so that the others of the folder are done."""
        where = {band: self._at(name) for band, name in layers.items()}
        files = [self.path] if self.is_zip else [path for path in where.values() if isinstance(path, Path)]
        place = folder if folder.parts else PurePath(self.path.absolute().name)
        return inputs.bands(str(self.path / folder), place, where, tuple(files), self.path)

    def _at(self, name: PurePosixPath) -> Path | str:
        return f"/vsizip/{{{self.path.absolute()}}}/{name}" if self.is_zip else self.path / name

    def _inside(self, folder: PurePosixPath, *suffixes: str) -> list[PurePosixPath]:
        return [name for name in self.names if name.parent == folder and name.suffix.lower() in suffixes]

    def _called(self, folder: PurePosixPath) -> str:
        return (folder.name or self.path.absolute().name).lower()

    def _safe(self, folder: PurePosixPath) -> dict[str, PurePosixPath] | None:
        """The images of a Sentinel-1 product by their polarisation, of several swaths the first; None if it is none.

        https://sentiwiki.copernicus.eu/web/safe-format
        """
        measured = self._inside(folder / "measurement", ".tiff", ".tif")
        if folder / "manifest.safe" not in self.names and not (measured and self._called(folder).endswith(".safe")):
            return None
        images = {polarisation(name.stem): name for name in measured[::-1]}
        return {name: images[name] for name in POLARISATIONS if name in images}

    def _dimap(self, folder: PurePosixPath) -> dict[str, PurePosixPath] | None:
        """The bands of SNAP's BEAM-DIMAP that hold backscatter, by their names, without its grids of tie points."""
        images = self._inside(folder, ".img")
        if not self._called(folder).endswith(".data") or not images:
            return None
        ranks = {}
        for name in images:
            kind, _, _ = name.stem.lower().partition("_")
            if kind in _BACKSCATTER and polarisation(name.stem):
                ranks[name] = _BACKSCATTER.index(kind), POLARISATIONS.index(str(polarisation(name.stem)))
        return {name.stem: name for name in sorted(ranks, key=lambda name: ranks[name])}


def _names_in_folder(folder: Path) -> list[PurePosixPath]:
    return sorted(PurePosixPath(where.relative_to(folder), name) for where, names in walk(folder) for name in names)


def _names_in_zip(path: Path) -> list[PurePosixPath]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = (PurePosixPath(entry.filename) for entry in archive.infolist() if not entry.is_dir())
            # A name may lead out of the zip.
            return sorted(name for name in names if not name.is_absolute() and all(map(counts, name.parts)))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a zip, or a broken one; copy it again") from error
