"""The scenes in a folder or a zip: rasters, and products of Sentinel-1 as ESA, SNAP and others leave them."""

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sar_keras.errors import DataError
from sar_keras.io import inputs
from sar_keras.io.bands import POLARISATIONS, polarisation
from sar_keras.io.files import walk
from sar_keras.io.inputs import Input
from sar_keras.io.zips import archive_of, file_size, is_zip

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
    is_file = file_size(given) is not None
    if is_file and given.name.lower() == "manifest.safe":
        return list(_scenes(given.parent))
    if is_file and given.suffix.lower() == ".dim":
        data = given.with_suffix(".data")
        found = list(_scenes(data))
        if not found:
            raise DataError(f"{given}: lacks {data.name}, the folder in which SNAP keeps the bands; copy it as well")
        return found
    if given.is_dir() or is_zip(given) or (archive_of(given) and not is_file):
        return list(_scenes(given))
    return [inputs.single(given)]


def _scenes(root: Path) -> Iterator[Input]:
    """The products and rasters in a folder or a zip, and in zips in a folder, in the order of their names."""
    files = {folder: [folder / name for name in names] for folder, names in walk(root)}
    taken: list[Path] = []
    for folder in sorted({parent for known in files for parent in (known, *known.parents)}):
        if folder != root and root not in folder.parents:
            continue
        layers = _safe(folder, files)
        if layers is None:
            layers = _dimap(folder, files)
        if layers is not None and not any(product in folder.parents for product in taken):
            taken.append(folder)
            place = folder.relative_to(root) if folder != root else Path(folder.absolute().name)
            # One that lacks bands fails when it is opened, so that the others of the folder are done.
            yield inputs.bands(str(folder), place, layers, root)
    for path in sorted(path for paths in files.values() for path in paths):
        if any(product in path.parents for product in taken):
            continue
        if path.suffix.lower() in SUFFIXES:
            yield inputs.single(path, path.relative_to(root), root)
        elif path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
            for scene in _scenes(path):
                place = path.relative_to(root).with_suffix("") / scene.place
                yield dataclasses.replace(scene, place=place, folder=root)


def _safe(folder: Path, files: dict[Path, list[Path]]) -> dict[str, Path] | None:
    """The images of a Sentinel-1 product by their polarisation, of several swaths the first; None if it is none.

    https://sentiwiki.copernicus.eu/web/safe-format
    """
    measured = _with_suffix(files.get(folder / "measurement", []), ".tiff", ".tif")
    is_product = folder / "manifest.safe" in files.get(folder, [])
    if not is_product and not (measured and folder.absolute().suffix.lower() == ".safe"):
        return None
    images = {polarisation(path.stem): path for path in sorted(measured, reverse=True)}
    return {name: images[name] for name in POLARISATIONS if name in images}


def _dimap(folder: Path, files: dict[Path, list[Path]]) -> dict[str, Path] | None:
    """The bands of SNAP's BEAM-DIMAP that hold backscatter, by their names, without its grids of tie points."""
    images = _with_suffix(files.get(folder, []), ".img")
    if not images or folder.absolute().suffix.lower() != ".data":
        return None
    ranks = {}
    for path in images:
        kind, told = path.stem.lower().partition("_")[0], polarisation(path.stem)
        if kind in _BACKSCATTER and told:
            ranks[path] = _BACKSCATTER.index(kind), POLARISATIONS.index(told), path.name
    return {path.stem: path for path in sorted(ranks, key=ranks.__getitem__)}


def _with_suffix(paths: list[Path], *suffixes: str) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in suffixes]
