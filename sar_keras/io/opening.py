"""Opens rasters as GDAL does, also over a network, and turns what it says into errors."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import rasterio

from sar_keras.errors import DataError, first_line
from sar_keras.io import images  # also silences rasterio's warning of rasters without a georeference
from sar_keras.io.files import path_or_name
from sar_keras.io.zips import archive_of, file_size, gdal_name

# What GDAL reads over a network; it waits for an answer without end by default.
_REMOTE = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsiwebhdfs")
os.environ.setdefault("GDAL_HTTP_CONNECTTIMEOUT", "10")
os.environ.setdefault("GDAL_HTTP_LOW_SPEED_TIME", "60")
os.environ.setdefault("GDAL_HTTP_LOW_SPEED_LIMIT", "1")
# By default it gives up at the first 429 or 503. It waits longer after each failure.
os.environ.setdefault("GDAL_HTTP_MAX_RETRY", "5")
os.environ.setdefault("GDAL_HTTP_RETRY_DELAY", "0.5")

# GDAL's complaints become errors of ours; Python would print those that nobody handles.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


@contextlib.contextmanager
def reading(name: str | os.PathLike) -> Iterator[None]:
    """Raise DataError for what GDAL says of a raster that it has opened."""
    try:
        with rasterio.Env():  # else GDAL itself writes to stderr, in threads of ours
            yield
    except Exception as error:
        if not images.is_gdals(error):
            raise
        if isinstance(path_or_name(os.fspath(name)), str):
            raise DataError(f"{name}: cannot be read to its end: {first_line(error)}") from error
        raise DataError(f"{name}: cannot be read to its end, cut off or broken; copy it again") from error


def open_raster(opens: Path | str, name: str | None = None) -> rasterio.DatasetReader:
    """Open a file, or whatever else GDAL has a name for: /vsizip/..., NETCDF:file:variable, the text of a VRT ...

    Args:
        opens: A file, also one in a zip, as a path; else a name of GDAL's.
        name: How messages call it.

    Raises:
        DataError: no such file, not a raster, or what GDAL says of a name.
    """
    images.refuse_name(opens)
    name = name or str(opens)
    try:
        # Without looking for other files beside it, which over a network takes seconds.
        remote = isinstance(opens, str) and any(mark in opens for mark in _REMOTE)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR") if remote else contextlib.nullcontext():
            source = rasterio.open(gdal_name(opens) if isinstance(opens, Path) else opens)
    except Exception as error:
        if not images.is_gdals(error):
            raise
        if isinstance(opens, str):
            raise DataError(f"{name}: GDAL cannot open it: {first_line(error)}") from error
        if file_size(opens) is None and not opens.exists():
            raise DataError(f"{name}: no such file") from error
        if not os.access(archive_of(opens) or opens, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name) from error
        raise DataError(f"{name}: not a raster that GDAL can read; copy it again or remove it") from error
    try:
        images.refuse_bomb_blocks(name, source)
    except BaseException:
        source.close()
        raise
    return source
