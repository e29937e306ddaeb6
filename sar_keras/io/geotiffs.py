"""The GeoTIFFs that a scene's colours are written to, and what GDAL says when it cannot."""

import contextlib
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from sar_keras.errors import OutputError, is_disk_full
from sar_keras.io import images


def create(
    path: Path, like: rasterio.DatasetReader, window: Window, count: int, tags: dict[str, str], step: float = 1.0
) -> None:
    """Create an empty uint8 GeoTIFF over a window of `like`, with its georeference; every pixel is masked out.

    `step` is what one grey level stands for; GDAL knows it as the scale of the bands.
    """
    profile = {
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": count,
        "dtype": "uint8",
        "photometric": "RGB" if count == 3 else "MINISBLACK",
        "interleave": "pixel",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "sparse_ok": True,
        "bigtiff": "IF_SAFER",
        "crs": like.crs,
    }
    if not like.transform.is_identity:
        profile["transform"] = like.window_transform(window)
    with rasterio.open(path, "w", **profile) as file:
        points, crs = like.gcps
        if points:
            file.gcps = [_shifted(point, window) for point in points], crs
        kept = {name: value for name, value in like.tags().items() if name in ("AREA_OR_POINT", "TIFFTAG_DATETIME")}
        file.update_tags(**kept, **tags)
        if step != 1.0:
            file.scales = (step,) * count
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            file.write_mask(np.zeros((1, 1), bool), window=Window(0, 0, 1, 1))


def _shifted(point: GroundControlPoint, window: Window) -> GroundControlPoint:
    return GroundControlPoint(
        point.row - window.row_off, point.col - window.col_off, point.x, point.y, point.z, point.id, point.info
    )


def write(file: DatasetWriter, column: int, row: int, pixels: np.ndarray, valid: np.ndarray) -> None:
    """Write uint8 (h, w, bands), black and masked where not `valid` (h, w), at a position of a file in mode "r+"."""
    window = Window(column, row, *valid.shape[::-1])
    if not valid.all():
        pixels = pixels * valid[..., None]
    file.write(np.moveaxis(pixels, -1, 0), window=window)
    file.write_mask(valid, window=window)


def copy_to_cog(source: Path, destination: Path) -> None:
    """Copy a GeoTIFF to a cloud-optimised one: deflated, with overviews, BigTIFF where it may pass 4 GB."""
    rasterio.shutil.copy(
        source,
        destination,
        driver="COG",
        compress="DEFLATE",
        level=1,  # half the time of the default level, for 6 % more bytes
        predictor="YES",
        overview_resampling="AVERAGE",
        bigtiff="IF_SAFER",
        num_threads="ALL_CPUS",
    )


@contextlib.contextmanager
def writing(destination: Path) -> Iterator[None]:
    """Raise OutputError for what GDAL says of failed writes in this thread.

    It is not enough to wait for exceptions: rasterio only logs it when the last blocks find no place on a full disk.
    """
    said, thread = [], threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record):
            if record.thread == thread:
                said.append(record.getMessage())

    logger, listener = logging.getLogger("rasterio"), Listener(logging.ERROR)
    logger.addHandler(listener)
    failure = None
    try:
        yield
    except Exception as error:
        if not said and not images.is_gdals(error):
            raise
        failure = error
    finally:
        logger.removeHandler(listener)
    if (failure or said) and _is_full(destination.parent):
        raise OutputError(f"{destination}: the disk is full: free some space, or write elsewhere") from failure
    if failure or said:
        raise OutputError(f"{destination}: cannot be written: {said[0] if said else failure}") from failure


def _is_full(folder: Path) -> bool:
    """Whether a few more blocks of a GeoTIFF find no place there; GDAL does not always tell why it failed."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
    except OSError as error:
        return is_disk_full(error)
    return False
