"""Cuts pairs of co-registered GeoTIFF scenes into windows, the patches that a network is trained and tested on."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
import rasterio.windows
from rasterio.enums import MaskFlags
from rasterio.transform import xy

from sar_keras.errors import DataError
from sar_keras.io.images import is_gdals, refuse_bomb_blocks, refuse_complex, refuse_name
from sar_keras.io.nodata import is_measured
from sar_keras.io.zips import gdal_name

# Images at least so many patches and pixels high and wide are scenes, if nothing else tells what they are. Patches are
# published in up to 512 pixels.
_LARGE, _LARGE_PIXELS = 3, 768
# Windows in which more than this share of the pixels holds no data are left out; so are patches.
MOST_MISSING = 0.1
# Pixels looked at along each side of a window to find that share.
_SAMPLES = 16
# Megabytes of a scene that GDAL keeps; by itself it takes a twentieth of the memory there is.
_CACHE = 128


Window = tuple[int, int, int, int]
Box = tuple[float, float, float, float]


class NoWindows(DataError):
    """A pair of scenes of which no window holds data."""


def cut(
    sar: Path, optical: Path, size: int, more_sar: Sequence[Path] = (), beside: Sequence[Path] = ()
) -> list[tuple[Window, Box | None]]:
    """Cut a pair of scenes into a grid of windows side by side, without those that are nodata for the most part.

    Where the optical scene has a mask or a nodata value, a window is left out if a single masked pixel lies in it or
    within half its size around it, where training patches reach: that pixel's colour, perhaps a cloud's, is not known.

    Keeps some pixels of each window only, so that memory does not grow with the scenes.

    Args:
        sar: A SAR scene.
        optical: The RGB scene on the same grid.
        size: Height and width of the windows in pixels.
        more_sar: Further files of the SAR scene, where each polarisation has one.
        beside: Images of another date on the same grid, which may lack data.

    Returns:
        For each window (column, row, width, height) in pixels, and (west, south, east, north) in degrees, or None where
        the scene is not georeferenced.

    Raises:
        NoWindows: no window holds data.
        DataError: a file cannot be read, the scenes are not on one grid, or are smaller than a window.
    """
    paths = [sar, *more_sar, optical]
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE), contextlib.ExitStack() as opened:
            scenes = []
            for path in [*paths, *beside]:
                refuse_name(path)
                scenes.append(opened.enter_context(rasterio.open(gdal_name(path), driver="GTiff")))
                refuse_bomb_blocks(path, scenes[-1])
                refuse_complex(path, scenes[-1].dtypes)
            for path, scene in zip([*paths[1:], *beside], scenes[1:], strict=True):
                _check_grid(scenes[0], scene, sar, path)
            columns, rows = scenes[0].width // size, scenes[0].height // size
            if not min(columns, rows):
                raise DataError(
                    f"{sar}: has {scenes[0].width}x{scenes[0].height} pixels, less than a patch of {size} "
                    "(data.image_size)"
                )
            missing = np.zeros((rows * _SAMPLES, columns * _SAMPLES), bool)
            for path, scene in zip(paths, scenes[: len(paths)], strict=True):
                # Power and digital numbers are never zero, but an 8-bit image of calm water is.
                zero_is_missing = path == optical or scene.dtypes[0] != "uint8"
                missing |= _missing(scene, columns, rows, size, zero_is_missing)
            boxes = _boxes(scenes[0], columns, rows, size)
            masked = _near_masked(scenes[len(paths) - 1], columns, rows, size)
    except Exception as error:
        if not is_gdals(error):
            raise
        raise DataError(f"{sar} and {optical.name}: cannot be read as GeoTIFF ({error})") from error
    share = missing.reshape(rows, _SAMPLES, columns, _SAMPLES).mean((1, 3))
    windows = [
        ((column * size, row * size, size, size), boxes[row * columns + column] if boxes else None)
        for row in range(rows)
        for column in range(columns)
        if share[row, column] <= MOST_MISSING and not masked[row, column]
    ]
    if not windows:
        raise NoWindows(f"{sar}: no window of {size} x {size} pixels holds data there and in {optical.name}")
    return windows


def is_large_scene(path: Path, size: int) -> bool:
    """Whether a file is a GeoTIFF of a place on Earth, and much larger than a patch of `size` pixels."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with rasterio.open(gdal_name(path), driver="GTiff") as scene:
            has_place = scene.crs is not None and not scene.transform.is_identity
            return has_place and min(scene.shape) >= max(_LARGE * size, _LARGE_PIXELS)
    except Exception as error:
        if not is_gdals(error):
            raise
        return False  # who reads it will say so


def _check_grid(sar_scene, optical_scene, sar: Path, optical: Path) -> None:
    """Raise where the two scenes do not show the same ground pixel for pixel."""
    if sar_scene.shape != optical_scene.shape:
        sizes = " and ".join(f"{scene.width}x{scene.height}" for scene in (sar_scene, optical_scene))
        raise DataError(f"{sar}: differs in size from {optical} ({sizes}); bring both to one grid with gdalwarp")
    if sar_scene.crs != optical_scene.crs:
        systems = " and ".join(str(scene.crs or "none") for scene in (sar_scene, optical_scene))
        raise DataError(
            f"{sar}: differs in its coordinate system from {optical} ({systems}); bring both to one grid with gdalwarp"
        )
    corners = ([0, 0, sar_scene.height], [0, sar_scene.width, 0])
    ground, other = (np.array(xy(scene.transform, *corners, offset="ul")) for scene in (sar_scene, optical_scene))
    pixel = np.hypot(sar_scene.transform.a, sar_scene.transform.d)
    off = np.abs(ground - other).max() / pixel
    if off > 0.5:
        raise DataError(f"{sar}: lies {off:.1f} pixels off {optical}; bring both to one grid with gdalwarp")


def _missing(scene, columns: int, rows: int, size: int, zero_is_missing: bool) -> np.ndarray:
    """Where a scene holds no data, seen at _SAMPLES points along each side of a window: (rows, columns) of points."""
    strips = []
    inside = ((np.arange(_SAMPLES) + 0.5) * size / _SAMPLES).astype(int)
    across = (np.arange(columns)[:, None] * size + inside).ravel()
    # One row of windows at a time, of which GDAL's cache holds all bands and the mask. Read whole: GDAL itself takes
    # thirty times as long to pick pixels (`out_shape`).
    for row in range(rows):
        strip = rasterio.windows.Window(0, row * size, columns * size, size)
        values = scene.read(window=strip)[:, inside][..., across]
        missing = (scene.dataset_mask(window=strip)[inside][:, across] == 0) | ~is_measured(values).all(0)
        if zero_is_missing:
            missing |= (values == 0).all(0)
        strips.append(missing)
    return np.concatenate(strips)


def _near_masked(scene, columns: int, rows: int, size: int) -> np.ndarray:
    """Which windows hold a pixel that a scene's mask hides, or lie less than half their size from one: (rows, columns).

    Zeros that no tag of the file calls nodata are not masked.
    """
    found = np.zeros((rows, columns), bool)
    if all(MaskFlags.all_valid in flags for flags in scene.mask_flag_enums):
        return found
    half, cells = size // 2, []
    for row in range(0, scene.height, half):
        strip = rasterio.windows.Window(0, row, scene.width, min(half, scene.height - row))
        masked = (scene.dataset_mask(window=strip) == 0).any(0)
        cells.append(np.logical_or.reduceat(masked, np.arange(0, scene.width, half)))
    halves = np.array(cells)
    for row, column in np.ndindex(*found.shape):
        around = (slice(max(2 * start - 1, 0), 2 * start + 3) for start in (row, column))
        found[row, column] = halves[tuple(around)].any()
    return found


def _boxes(scene, columns: int, rows: int, size: int) -> list[Box] | None:
    """(west, south, east, north) in degrees of each window, row by row; None without a georeference."""
    if scene.crs is None:
        return None
    row, column = (index.ravel() for index in np.mgrid[:rows, :columns])
    # The four corners of every window, which need not lie along the meridians.
    rows_of_corners = np.concatenate([row, row, row + 1, row + 1]) * size
    columns_of_corners = np.concatenate([column, column + 1, column, column + 1]) * size
    x, y = xy(scene.transform, rows_of_corners, columns_of_corners, offset="ul")
    longitude, latitude = (
        np.reshape(values, (4, -1)) for values in rasterio.warp.transform(scene.crs, "EPSG:4326", x, y)
    )
    # A centimetre; and what is written to a split file reads back the same.
    sides = np.round([longitude.min(0), latitude.min(0), longitude.max(0), latitude.max(0)], 7)
    return [tuple(box) for box in sides.T.tolist()]
