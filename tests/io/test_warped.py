import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

from sar_keras.errors import DataError
from sar_keras.io.warped import open_on_grid, read_mirrored

CRS = "EPSG:32633"


def write(path, levels, pixel=10.0, crs=CRS, east=0.0, **profile):
    count, height, width = levels.shape
    transform = from_origin(500_000 + east, 5_000_000, pixel, pixel) if crs else None
    settings = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": levels.dtype}
    with rasterio.open(path, "w", crs=crs, transform=transform, **settings | profile) as file:
        file.write(levels)
    return path


@pytest.fixture
def grid(tmp_path):
    with rasterio.open(write(tmp_path / "grid.tif", np.ones((1, 1000, 1000), "uint8"))) as raster:
        yield raster


def test_a_small_overlap_is_one(grid, tmp_path):
    small = np.full((3, 3, 3), 90, "uint8")
    with open_on_grid(write(tmp_path / "small.tif", small, east=5010), grid, "grid.tif") as there:
        values, valid = read_mirrored(there, [1, 2, 3], 0, 0, 1000, 1000)
        assert valid.sum() == 9 and valid[:3, 501:504].all() and (values[valid] == 90).all()
    # Its bounds overlap, its data does not.
    empty = write(tmp_path / "empty.tif", small * 0, east=5010, nodata=0)
    beside = write(tmp_path / "beside.tif", small, east=10_000)
    for path in (empty, beside):
        with pytest.raises(DataError, match=rf"{path.name}: does not overlap grid\.tif"):
            open_on_grid(path, grid, "grid.tif")


def test_black_that_is_empty_does_not_darken_what_is_beside_it(grid, tmp_path):
    levels = np.stack([np.full((10, 10), level, "uint8") for level in (0, 120, 200)])  # red is 0 everywhere
    levels[:, 4:6, 4:6] = 0
    for profile in ({}, {"nodata": 0}):
        path = write(tmp_path / "coarse.tif", levels, pixel=1000.0, **profile)
        with open_on_grid(path, grid, "grid.tif", black_is_empty=True) as there:
            values, valid = read_mirrored(there, [1, 2, 3], 0, 0, 1000, 1000)
        assert not valid[420:580, 420:580].any() and valid[:380].all()
        assert (values[valid] == [0, 120, 200]).all()


def test_what_does_not_say_where_it_lies(grid, tmp_path):
    plain = write(tmp_path / "plain.tif", np.ones((3, 8, 8), "uint8"), crs=None)
    with pytest.raises(DataError, match=r"plain\.tif: does not say where on a map it lies; georeference it with"):
        open_on_grid(plain, grid, "grid.tif")
    with rasterio.open(write(tmp_path / "other.tif", np.ones((1, 9, 7), "uint8"), crs=None)) as other:
        with pytest.raises(DataError, match=r"plain\.tif: has 8x8 pixels, other\.tif 7x9, and neither says where"):
            open_on_grid(plain, other, "other.tif")
        points = [GroundControlPoint(row, column, 15 + column, 45 - row) for row in (0, 8) for column in (0, 8)]
        radar = write(tmp_path / "radar.tif", np.ones((3, 8, 8), "uint8"), crs=None)
        with rasterio.open(radar, "r+") as file:
            file.gcps = points, "EPSG:4326"
        with pytest.raises(
            DataError, match=r"radar\.tif: .* bring it from its control points onto a map with gdalwarp"
        ):
            open_on_grid(radar, grid, "grid.tif")
