"""Opens the files of items, over a network where they lie there, and lays them upon the grid of a ground."""

import contextlib
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.items import Item, without_secrets
from sar_keras.errors import ConfigError, DataError, first_line
from sar_keras.io import inputs
from sar_keras.io.images import is_gdals

# Planetary Computer's files lie there, and are read with a signature that it gives to everybody for an hour.
_SIGNED = ".blob.core.windows.net"
# What GDAL's messages mean, where they do not say what to do.
_MEANINGS = {
    r"HTTP\D*40[139]\b|not authorized|AccessDenied": "access is refused: a signature that has expired, or "
    "credentials that lack; ask the catalog again",
    r"HTTP\D*404\b|No such file|does not exist": "there is no such file",
    "Range downloading not supported": "its server cannot give parts of files (HTTP Range); download the file",
    r"TIFF\w+:|IReadBlock|Read error": "cannot be read to its end, cut off or broken",
}


def one_at_a_time() -> rasterio.Env:
    """Let this thread ask a server for one part of a file at a time; by itself GDAL asks for several."""
    return rasterio.Env(GDAL_HTTP_MULTIRANGE="SERIAL")


def signed(address: str | Path) -> str | Path:
    """The address with the signature that its server wants.

    Raises:
        DataError: Planetary Computer gives none.
    """
    host = urllib.parse.urlsplit(str(address)).hostname or ""
    if isinstance(address, Path) or not host.endswith(_SIGNED):
        return address
    try:
        import planetary_computer
        import requests
    except ImportError as error:
        raise ConfigError('files of Planetary Computer need the extra stac: pip install ".[stac]"') from error
    try:
        return planetary_computer.sign(address)
    except requests.RequestException as error:
        raise DataError(f"Planetary Computer gives no signature: {without_secrets(first_line(error))}") from error


def open_asset(item: Item, *names: str) -> rasterio.DatasetReader:
    """Open the asset that has one of these names.

    Raises:
        DataError: the item has none, or it cannot be opened.
    """
    address = signed(item.asset(*names))
    with reading(item, names[0]):
        source = inputs.single(address).open()
        if source.driver == "VRT":
            source.close()
            raise DataError("is a VRT, which may name files of this computer; download what it names")
        return source


@contextlib.contextmanager
def reading(item: Item, name: str) -> Iterator[None]:
    """Raise DataError, in one line without the signatures of addresses, for what goes wrong with an item's asset."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, DataError) and not is_gdals(error):
            raise
        # What is under GDAL's errors says most.
        causes: list[BaseException] = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        said = [without_secrets(first_line(cause)) for cause in causes]
        meanings = (why for pattern, why in _MEANINGS.items() for line in said if re.search(pattern, line))
        why = next(meanings, f"cannot be read: {said[-1]}")
        raise DataError(f"{item.id}: its {name.upper()}: {why}") from error


def on_ground(
    source: rasterio.DatasetReader, ground: Ground, nodata: float, resampling: Resampling, margin: int = 0
) -> WarpedVRT:
    """A raster, of any projection, on the grid of a ground with `margin` pixels around it.

    Args:
        source: The raster.
        ground: The ground.
        nodata: What is no data where the file does not say so; and what is not covered becomes.
        resampling: How.
        margin: Pixels.
    """
    nodata = nodata if source.nodata is None else source.nodata
    place = ground.transform
    edge = rasterio.Affine(place.a, 0, place.c - margin * place.a, 0, place.e, place.f - margin * place.e)
    return WarpedVRT(
        source,
        src_crs=source.crs or source.gcps[1],
        crs=ground.crs,
        transform=edge,
        width=ground.width + 2 * margin,
        height=ground.height + 2 * margin,
        resampling=resampling,
        src_nodata=nodata,
        nodata=nodata,
    )
