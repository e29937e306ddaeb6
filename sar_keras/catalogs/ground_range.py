"""Sentinel-1's ground range images (GRD), which are neither calibrated nor on a map.

Gamma nought is the square of digital number over the product's calibration vector `gamma`. It holds for flat ground:
slopes stay bright and displaced, which a terrain-corrected image (RTC) mends.
https://sentiwiki.copernicus.eu/web/s1-products, "Radiometric Calibration of Level-1 Products"
"""

from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.windows import Window

from sar_keras.catalogs.assets import on_ground, signed
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.items import Item, read_text
from sar_keras.errors import DataError


class Calibrated:
    """A band of a GRD image as gamma nought on a ground; it is read as a raster of one band.

    Raises:
        DataError: the item has no calibration, or what is none.
    """

    def __init__(self, source: rasterio.DatasetReader, item: Item, polarisation: str, ground: Ground):
        vectors = read_vectors(read_text(signed(item.asset(f"schema-calibration-{polarisation.lower()}"))), item.id)
        self._numbers = on_ground(source, ground, 0, Resampling.bilinear)
        self._memory = rasterio.MemoryFile()
        self._factors_raster = _as_raster(self._memory, source, *vectors)
        self._factors = on_ground(self._factors_raster, ground, 0, Resampling.bilinear)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self._numbers, self._factors, self._factors_raster, self._memory):
            each.close()

    def read(self, band: int, window: Window) -> np.ndarray:
        """(h, w), float32; 0 without data."""
        numbers, factors = (each.read(band, window=window).astype("float32") for each in (self._numbers, self._factors))
        return np.where(factors > 0, (numbers / np.maximum(factors, 1e-6)) ** 2, 0)


def read_vectors(text: bytes, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines (n,), pixels (m,) and what the numbers there are to be divided by (n, m), from a calibration annotation.

    Raises:
        DataError: it is none.
    """
    try:
        vectors = ElementTree.fromstring(text).findall(".//calibrationVector")
        lines = np.array([float(vector.findtext("line", "")) for vector in vectors])
        rows = [[np.array(vector.findtext(tag, "").split(), float) for tag in ("pixel", "gamma")] for vector in vectors]
        pixels = rows[0][0]
        # Most vectors have the pixels of the first one.
        factors = np.array([np.interp(pixels, *row) for row in rows])
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        raise DataError(f"{name}: its calibration is no annotation of Sentinel-1") from error
    if min(factors.shape) < 2:
        raise DataError(f"{name}: its calibration has no vectors")
    return lines, pixels, factors


def _as_raster(memory, source, lines: np.ndarray, pixels: np.ndarray, factors: np.ndarray) -> rasterio.DatasetReader:
    """Calibration vectors as a small raster that lies where the image lies."""
    points, crs = source.gcps
    if not points:
        raise DataError(f"{source.name}: has no ground control points")
    shape = factors.shape
    moved = [
        GroundControlPoint(
            np.interp(point.row, lines, np.arange(shape[0])) + 0.5,
            np.interp(point.col, pixels, np.arange(shape[1])) + 0.5,
            *(point.x, point.y, point.z),
        )
        for point in points
    ]
    with memory.open(driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="float32") as raster:
        raster.gcps = moved, crs
        raster.write(factors.astype("float32"), 1)
    return memory.open()
