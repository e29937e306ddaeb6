"""A raster of any projection and resolution on the grid of a scene, warped while it is read."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from sar_keras.errors import DataError
from sar_keras.io.opening import open_raster, reading
from sar_keras.io.rasters import mirrored

_LOOKED_AT = 256  # pixels of the longer side that are looked at for an overlap


def open_on_grid(
    path: Path | str,
    grid: rasterio.DatasetReader,
    grid_name: str,
    is_mask: bool = False,
    black_is_empty: bool = False,
) -> rasterio.DatasetReader:
    """Open a raster so that its pixels are those of `grid`; a last band, alpha, says where it has data.

    Both without a georeference have to be of one size. Of a mask a pixel is what lies nearest, or where its own pixels
    are finer the largest of these. `black_is_empty`: where a file does not say what has no data, pixels are empty whose
    bands all are 0.

    Raises:
        DataError: it cannot be read, does not overlap the grid, keeps its colours in a palette, or one of the two does
            not tell where it lies.
    """
    source = open_raster(path)
    try:
        if ColorInterp.palette in source.colorinterp and not is_mask:
            raise DataError(
                f"{path}: keeps its colours in a palette; make it RGB, for example with gdal_translate -expand rgb"
            )
        has_place = [bool(raster.crs) and not raster.transform.is_identity for raster in (source, grid)]
        if not any(has_place) and source.shape == grid.shape:
            return source
        if not any(has_place) and not (source.gcps[0] or grid.gcps[0]):
            raise DataError(
                f"{path}: has {source.width}x{source.height} pixels, {grid_name} {grid.width}x{grid.height}, and "
                "neither says where on a map it lies; give one of the same size and ground"
            )
        if not all(has_place):
            at = has_place.index(False)
            odd, how = (str(path), grid_name)[at], "georeference it with gdal_translate -a_srs -a_ullr"
            if (source, grid)[at].gcps[0]:  # as products in radar geometry have
                how = "bring it from its control points onto a map with gdalwarp"
            raise DataError(
                f"{odd}: does not say where on a map it lies; {how}, so that one can be laid upon the other"
            )
        finer = _pixel_on(grid, source) < 0.5
        alpha = ColorInterp.alpha in source.colorinterp
        tells_empty = alpha or source.nodata is not None or MaskFlags.per_dataset in source.mask_flag_enums[0]
        empty = {}
        if black_is_empty:
            # A pixel is empty where all of its bands are.
            empty = {"UNIFIED_SRC_NODATA": "YES"} | ({} if tells_empty else {"src_nodata": 0})
        smooth = (Resampling.average, Resampling.cubic), (Resampling.max, Resampling.nearest)
        warped = WarpedVRT(
            source,
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width,
            height=grid.height,
            resampling=smooth[is_mask][not finer],
            add_alpha=not alpha,
            **empty,
        )
        with reading(str(path)):
            if not covered(warped, _overlap(grid, source)):
                raise DataError(f"{path}: does not overlap {grid_name}; give one of the same ground")
        return warped
    except BaseException:
        source.close()
        raise


def _overlap(grid, source) -> Window:
    """The part of `grid` that the bounds of `source` cover, in whole pixels."""
    inverse, (west, south, east, north) = ~grid.transform, transform_bounds(source.crs, grid.crs, *source.bounds)
    columns, rows = zip(*(inverse * (x, y) for x in (west, east) for y in (south, north)), strict=True)
    left, right = np.clip([np.floor(min(columns)), np.ceil(max(columns))], 0, grid.width).astype(int).tolist()
    top, bottom = np.clip([np.floor(min(rows)), np.ceil(max(rows))], 0, grid.height).astype(int).tolist()
    return Window(left, top, right - left, bottom - top)


def covered(raster, window: Window | None = None) -> float:
    """The share of a raster, or of a window of it, that has data, seen at a low resolution."""
    window = window or Window(0, 0, raster.width, raster.height)
    sides = int(window.height), int(window.width)
    if not all(sides):
        return 0.0
    shrink = max(1, max(sides) / _LOOKED_AT)
    shape = tuple(max(1, round(side / shrink)) for side in sides)
    alpha = _alpha_band(raster)
    return float((raster.read(alpha, window=window, out_shape=shape) > 0).mean()) if alpha else 1.0


def sampled(raster, bands: list[int]) -> np.ndarray:
    """Pixels (n, 1, bands) that have data, from all over a raster."""
    shape = tuple(min(side, _LOOKED_AT) for side in raster.shape)
    values, alpha = raster.read(bands, out_shape=(len(bands), *shape)), _alpha_band(raster)
    valid = raster.read(alpha, out_shape=shape) if alpha else raster.dataset_mask(out_shape=shape)
    return np.moveaxis(values, 0, -1)[valid > 0][:, None]


def read_mirrored(raster, bands: list[int], column: int, row: int, width: int, height: int):
    """A window, which may reach beyond the raster: there it is mirrored. Values (height, width, bands) and where."""
    rows, columns = mirrored(row, height, raster.height), mirrored(column, width, raster.width)
    left, top = int(columns.min()), int(rows.min())
    window = Window(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
    values = raster.read(bands, window=window)
    alpha = _alpha_band(raster)
    valid = (raster.read(alpha, window=window) if alpha else raster.dataset_mask(window=window)) > 0
    inside = np.ix_(rows - top, columns - left)
    return np.moveaxis(values, 0, -1)[inside], valid[inside]


def _alpha_band(raster) -> int | None:
    kinds = list(raster.colorinterp)
    return kinds.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in kinds else None


def _pixel_on(grid, source) -> float:
    """The side of a pixel of `source`, in pixels of `grid`."""
    west, _, east, _ = transform_bounds(source.crs, grid.crs, *source.bounds)
    return (east - west) / source.width / max(abs(grid.transform.a), abs(grid.transform.b))
