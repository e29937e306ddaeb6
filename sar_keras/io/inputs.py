"""What people name as a scene: a file, an address, one of GDAL's own names, bands in a file each, or tiles."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import rasterio

from sar_keras.errors import DataError
from sar_keras.io import virtual
from sar_keras.io.bands import POLARISATIONS, polarisation_of_file, without_polarisation
from sar_keras.io.opening import open_raster
from sar_keras.io.zips import archive_of

# How GDAL calls what is reached over a network; signed addresses go on after "?".
# https://gdal.org/en/stable/user/virtual_file_systems.html
_NETWORKS = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/", "gs://": "/vsigs/"}
_LAYER = re.compile(r'HDF5:"?(?P<file>[^"]+)"?:/(?P<layer>/.+)')


@dataclasses.dataclass(frozen=True)
class Input:
    """A scene that a person has named, or that was found in a folder.

    Attributes:
        name: What messages call it.
        place: Where its colours belong below a folder of outputs, but for the suffix.
        open: Opens it, with all of its bands, as GDAL does.
        files: The local files that it is made of, as far as they are known before it is opened.
        folder: The folder that it was found in, or None where a person named it.
        is_product: Whether it is of several files.
    """

    name: str
    place: PurePath
    open: Callable[[], rasterio.DatasetReader]
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    is_product: bool = False

    @property
    def path(self) -> PurePath:
        """Its name without what follows "?", such as a signature."""
        return PurePath(self.name.partition("?")[0])

    @property
    def polarisation(self) -> str | None:
        """The polarisation that its name tells, if it has a single band."""
        return None if self.is_product else polarisation_of_file(self.path)


def single(name: Path | str, place: PurePath | None = None, folder: Path | None = None) -> Input:
    """A file, or one of GDAL's names, which may be an address."""
    if isinstance(name, Path):
        place = place or PurePath(name.name)
        return Input(str(name), place, functools.partial(_open_file, name), (archive_of(name) or name,), folder)
    last = re.split(r"[/\\:]", name.partition("?")[0])[-1]
    layer = _LAYER.fullmatch(name)
    if layer:  # the name of the file as well, since many have layers of one name
        file = PurePath(layer["file"])
        last = f"{file.stem}_{last}{file.suffix}"
    return Input(name, place or PurePath(last), functools.partial(_open_name, name), folder=folder)


def bands(name: str, place: PurePath, layers: Mapping[str, Path], folder: Path | None = None) -> Input:
    """Bands that come in a file each: what they are called, and the file of each."""
    files = tuple(dict.fromkeys(archive_of(path) or path for path in layers.values()))
    return Input(name, place, functools.partial(_open_bands, name, layers), files, folder, is_product=True)


def joined(files: Sequence[Input]) -> Input:
    """Files that hold a polarisation each as one scene; their own order is that of the bands."""
    layers = {str(scene.polarisation): scene for scene in files}
    name = " and ".join([files[0].name, *(scene.path.name for scene in files[1:])])
    opening = functools.partial(_open_joined, name, layers)
    paths = tuple(path for scene in files for path in scene.files)
    return Input(name, without_polarisation(files[0].place), opening, paths, files[0].folder, is_product=True)


def mosaic(tiles: Sequence[Input]) -> Input:
    """Tiles on one grid as one scene; of what overlaps the last one is on top."""
    files = tuple(file for tile in tiles for file in tile.files)
    name = f"mosaic of {tiles[0].name} to {tiles[-1].name} ({len(tiles)})"
    place = PurePath(f"{tiles[0].place.stem}_mosaic.tif")
    return Input(name, place, functools.partial(_open_mosaic, name, tuple(tiles)), files, is_product=True)


def _open_name(name: str) -> rasterio.DatasetReader:
    layer = _LAYER.fullmatch(name)
    if layer:
        # GDAL's driver for netCDF knows where a layer lies, the one for HDF5 does not. Without a georeference they
        # disagree about which row is the first.
        with contextlib.suppress(DataError):
            source = open_raster(f'NETCDF:"{layer["file"]}":{layer["layer"]}', name)
            if source.crs:
                return source
            source.close()
    for scheme, prefix in _NETWORKS.items():
        if name.lower().startswith(scheme):
            return open_raster(prefix + name[len(scheme) :], name)
    return open_raster(name, name)


def _open_file(path: Path) -> rasterio.DatasetReader:
    source = open_raster(path)
    layers = {} if source.count else _radar_layers(source.subdatasets)
    if not layers:
        return source
    source.close()
    return _open_bands(str(path), layers)


def _radar_layers(names: Sequence[str]) -> dict[str, str]:
    """The layers of a container that hold backscatter, by their polarisation.

    They are called VV or, where they are elements of a covariance matrix as those of NISAR, VVVV. Of several groups of
    layers the first by name counts.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        group, _, layer = name.rpartition("/")
        half = layer[: len(layer) // 2] if len(layer) == 4 and layer[:2] == layer[2:] else layer
        if half in POLARISATIONS:
            groups.setdefault(group, {})[half] = name
    first = groups[min(groups)] if groups else {}
    return {name: first[name] for name in POLARISATIONS if name in first}


def _open_bands(name: str, layers: Mapping[str, Path | str]) -> rasterio.DatasetReader:
    if not layers:
        raise DataError(
            f"{name}: holds no image of a polarisation that is an amplitude, an intensity, or sigma, gamma or beta "
            "nought; give the file of the band to use"
        )
    return _open_joined(name, {band: single(where) for band, where in layers.items()})


def _open_joined(name: str, layers: Mapping[str, Input]) -> rasterio.DatasetReader:
    with contextlib.ExitStack() as opened:
        rasters = [opened.enter_context(layer.open()) for layer in layers.values()]
        document = virtual.stack(name, rasters, list(layers))
    return open_raster(document, name)


def _open_mosaic(name: str, tiles: Sequence[Input]) -> rasterio.DatasetReader:
    with contextlib.ExitStack() as opened:
        rasters = [opened.enter_context(tile.open()) for tile in tiles]
        document = virtual.mosaic(name, rasters, [tile.name for tile in tiles])
    return open_raster(document, name)
