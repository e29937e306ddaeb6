"""Sentinel-1's ground range images (GRD), which are neither calibrated nor on a map.

Gamma nought is the square of digital number over the product's calibration vector `gamma`. It holds for flat ground:
slopes stay bright and displaced, which a terrain-corrected image (RTC) mends.
https://sentiwiki.copernicus.eu/web/s1-products, "Radiometric Calibration of Level-1 Products"
"""

from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.transform import AffineTransformer, GCPTransformer, xy
from rasterio.warp import transform
from rasterio.windows import Window

from sar_keras.catalogs.assets import signed
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.items import Item, read_text
from sar_keras.errors import DataError

# Where a pixel of the ground lies in the image changes so smoothly that every so many pixels tell it for all.
_STEP = 64


class Calibrated:
    """A band of a GRD image as gamma nought on a ground; it is read as a raster of one band.

    A thin plate spline goes through all of the image's ground control points, because heights differ from one to the
    next, which no polynomial follows.

    Raises:
        DataError: the item has no calibration, or what is none.
    """

    def __init__(self, source: rasterio.DatasetReader, item: Item, polarisation: str, ground: Ground):
        # Here, because it would delay whoever reads terrain-corrected images.
        from scipy.interpolate import RegularGridInterpolator

        address = item.asset(f"schema-calibration-{polarisation.lower()}")
        lines, pixels, factors = read_vectors(read_text(signed(address)), item.id)
        self._source = source
        # None: beyond the last vector they go on as they were; scipy's types do not know it.
        beyond = {"bounds_error": False, "fill_value": None}
        self._factors = RegularGridInterpolator((lines, pixels), factors, **beyond)
        rows, columns = (np.arange(0, size + _STEP, _STEP) for size in (ground.height, ground.width))
        self._places = RegularGridInterpolator((rows, columns), _places(source, ground, rows, columns))

    def read(self, band: int, window: Window) -> np.ndarray:
        """(h, w), float32; 0 without data."""
        from scipy.ndimage import map_coordinates

        rows, columns = (
            np.arange(first, first + count)
            for first, count in ((window.row_off, window.height), (window.col_off, window.width))
        )
        places = self._places(np.stack(np.meshgrid(rows, columns, indexing="ij"), -1))
        low, high = np.floor(places.min((0, 1))).astype(int), np.ceil(places.max((0, 1))).astype(int) + 1
        top, left = np.maximum(low, 0)
        bottom, right = np.minimum(high, self._source.shape)
        if top >= bottom or left >= right:
            return np.zeros((rows.size, columns.size), "float32")
        part = Window(int(left), int(top), int(right - left), int(bottom - top))
        numbers = self._source.read(band, window=part).astype("float32")
        inside = np.moveaxis(places, -1, 0) - np.reshape((top, left), (2, 1, 1))
        # Zero is no data, and must not be mixed with numbers.
        has_data = map_coordinates((numbers > 0).astype("float32"), inside, order=1, cval=0) > 0.999
        return np.where(
            has_data, (map_coordinates(numbers, inside, order=1, cval=0) / self._factors(places)) ** 2, 0
        ).astype("float32")


def _places(source: rasterio.DatasetReader, ground: Ground, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Row and column of the image that show the pixels at `rows` and `columns` of a ground, (n, m, 2).

    Whole numbers are the centres of pixels.
    """
    points, crs = source.gcps
    row, column = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
    degrees = transform(ground.crs, crs or source.crs, *xy(ground.transform, row, column))
    with GCPTransformer(points, tps=True) if points else AffineTransformer(source.transform) as transformer:
        found = transformer.rowcol(*degrees[:2], op=np.asarray)
    return np.stack([np.asarray(each, float) - 0.5 for each in found], -1).reshape(rows.size, columns.size, 2)


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
        factors = np.array([np.interp(pixels, own_pixels, gamma) for own_pixels, gamma in rows])
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        raise DataError(f"{name}: its calibration is no annotation of Sentinel-1") from error
    if min(factors.shape) < 2:
        raise DataError(f"{name}: its calibration has no vectors")
    return lines, pixels, factors
