import numpy as np
import pytest
import rasterio
import rasterio.warp
from helpers import write_scenes, write_tiff

from sar_keras.data.windows import cut
from sar_keras.errors import DataError


def test_a_grid_of_whole_windows(tmp_path):
    windows = cut(*write_scenes(tmp_path, "a", 150, 200), size=64)
    assert [window for window, _ in windows] == [
        (column, row, 64, 64) for row in (0, 64) for column in (0, 64, 128)
    ]  # what is left at the right and lower border is no window


def test_boxes_are_those_of_rasterio(tmp_path):
    sar, optical = write_scenes(tmp_path, "a", 128, 192)
    with rasterio.open(sar) as scene:
        for (column, row, width, height), box in cut(sar, optical, size=64):
            bounds = scene.window_bounds(rasterio.windows.Window(column, row, width, height))
            expected = rasterio.warp.transform_bounds(scene.crs, "EPSG:4326", *bounds)
            np.testing.assert_allclose(box, expected, atol=2e-7)


def test_without_a_georeference(tmp_path):
    values = np.full((3, 64, 128), 9, np.uint8)
    sar, optical = (write_tiff(tmp_path / f"{n}.tif", values[:n], crs=None) for n in (1, 3))
    assert cut(sar, optical, size=64) == [((0, 0, 64, 64), None), ((64, 0, 64, 64), None)]


@pytest.mark.parametrize("kind", ["nan", "nodata", "zero", "mask"])
def test_windows_without_data_are_left_out(tmp_path, kind):
    # The second of four windows has data in half of its columns, the third in all but a few.
    empty = np.zeros((64, 256), bool)
    empty[:, 96:132] = True
    power = np.random.default_rng(0).uniform(0.1, 1, (1, 64, 256)).astype("float32")
    colour = np.full((3, 64, 256), 80, np.uint8)
    options = {}
    if kind == "nan":
        power[:, empty] = np.nan
    elif kind == "nodata":
        power[:, empty], options = -99, {"nodata": -99}
    elif kind == "zero":
        colour[:, empty] = 0
    sar, optical = write_tiff(tmp_path / "s.tif", power, **options), write_tiff(tmp_path / "o.tif", colour)
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(optical, "r+") as file:
            file.write_mask(~empty)
    # A mask of the optical scene is taken at its word: no masked pixel, nor one within half a window.
    kept = [0, 192] if kind == "mask" else [0, 128, 192]
    assert [window[0] for window, _ in cut(sar, optical, size=64)] == kept


def test_calm_water_in_eight_bits_is_data(tmp_path):
    sar = write_tiff(tmp_path / "s.tif", np.zeros((1, 64, 64), np.uint8))
    assert len(cut(sar, write_tiff(tmp_path / "o.tif", np.full((3, 64, 64), 30, np.uint8)), size=64)) == 1


def test_scenes_that_do_not_fit_together(tmp_path):
    def refused(message, sar=None, optical=None, size=64):
        sar = sar or write_tiff(tmp_path / "sar.tif", np.ones((1, 64, 96), np.uint8))
        optical = optical or write_tiff(tmp_path / "optical.tif", np.ones((3, 64, 96), np.uint8))
        with pytest.raises(DataError, match=message):
            cut(sar, optical, size)

    colour = np.ones((3, 64, 96), np.uint8)
    path = tmp_path / "other.tif"
    refused(
        r"sar\.tif: differs in size from .*other\.tif \(96x64 and 95x64\)", optical=write_tiff(path, colour[..., 1:])
    )
    refused(
        r"sar\.tif.*system from .*other\.tif \(EPSG:32631 and EPSG:3395\)",
        optical=write_tiff(path, colour, crs="EPSG:3395"),
    )
    refused(r"sar\.tif: lies 3\.0 pixels off .*other\.tif", optical=write_tiff(path, colour, west=500_030))
    refused(r"sar\.tif: has 96x64 pixels, less than a patch of 128", size=128)
    refused(r"sar\.tif: no window .*other\.tif", optical=write_tiff(path, 0 * colour))
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    refused(r"sar\.tif and text\.tif: cannot be read", optical=text)
    write_tiff(path, colour, west=500_004)
    assert len(cut(tmp_path / "sar.tif", path, size=64)) == 1


def test_the_real_scenes(shared):
    folder = shared / "data/scenes"
    sar, optical = (folder / f"LA_T11SLT_20201107_{kind}_3072x5120.tif" for kind in ("S1_VH", "S2_RGB"))
    windows = cut(sar, optical, size=256)
    assert len(windows) == 12 * 20 and len({window for window, _ in windows}) == 240
