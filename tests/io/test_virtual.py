import numpy as np
import pytest
import rasterio
from helpers import UTM, write_scene
from rasterio.transform import Affine

from sar_keras.errors import DataError
from sar_keras.io import inputs


def tile(path, values, column=0, row=0, **profile):
    """A tile whose first pixel is (column, row) of a grid."""
    x, y = 500_000 + 10 * column, 5_400_000 - 10 * row
    return inputs.single(write_scene(path, values, **{"transform": Affine(10, 0, x, 0, -10, y), **profile}))


def read(scene):
    """Values (bands, H, W), and where all bands hold data."""
    with scene.open() as source:
        return source.read(), source.read_masks().all(0)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int64", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2])
def test_tiles_cut_from_a_raster_are_that_raster(tmp_path, random, kind, bands):
    whole = random.integers(1, 200, (bands, 90, 130)).astype(kind)
    tiles = []
    # Of unequal sizes, in any order, some overlapping.
    for number, (rows, columns) in enumerate(
        [((30, 90), (50, 130)), ((0, 40), (0, 60)), ((0, 35), (60, 130)), ((40, 90), (0, 55))]
    ):
        part = whole[:, slice(*rows), slice(*columns)]
        name = tmp_path / f"a & <b> {number}.tif"  # which an XML document must not take for its own
        tiles.append(tile(name, part, columns[0], rows[0], descriptions=["VV", "VH"][:bands]))
    values, valid = read(inputs.mosaic(tiles))
    np.testing.assert_array_equal(values, whole)
    assert valid.all()
    with inputs.mosaic(tiles).open() as source:
        assert source.transform == Affine(10, 0, 500_000, 0, -10, 5_400_000) and source.crs == UTM["crs"]
        assert source.descriptions == ("VV", "VH")[:bands] and source.dtypes == (kind,) * bands


@pytest.mark.parametrize("way", ["nodata", "nan", "mask", "two values", "alpha", "zeros"])
def test_what_no_tile_covers_or_has_data_of_is_masked(tmp_path, random, way):
    whole = random.integers(1, 200, (60, 90)).astype("float32")
    hole = np.zeros((60, 90), bool)
    hole[20:40, 30:60] = True
    tiles = []
    for number, (first, last) in enumerate([(0, 35), (30, 55), (65, 90)]):
        part, missing = whole[:, first:last].copy(), hole[:, first:last]
        options = {}
        if way == "nodata":
            part[missing], options["nodata"] = -99, -99
        elif way == "nan":
            part[missing], options["nodata"] = np.nan, np.nan
        elif way == "two values":
            part[missing] = options["nodata"] = -99 - number
        elif way == "mask":
            options["mask"] = ~missing
        elif way == "alpha":
            part = np.stack([part, np.where(missing, 0, 255).astype("float32")])
            options = {"photometric": "MINISBLACK", "alpha": "YES"}
        else:
            part[missing] = 0
        tiles.append(tile(tmp_path / f"{number}.tif", part, first, **options))
    values, valid = read(inputs.mosaic(tiles))
    expected = ~hole
    expected[:, 55:65] = False
    if way == "alpha":
        valid = values[1] > 0
    if way == "zeros":
        valid &= values[0] > 0
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(values[0][expected], whole[expected])


@pytest.mark.parametrize("way", ["nodata", "zeros", "mask", "nan"])
def test_where_the_last_tile_has_no_data_the_one_below_shows(tmp_path, way):
    below, above = np.full((20, 30), 5, "float32"), np.full((20, 30), 7, "float32")
    missing = np.zeros((20, 30), bool)
    missing[:, :12] = True
    if way != "mask":
        above[missing] = np.nan if way == "nan" else 0
    options = {"nodata": {"nodata": 0}, "zeros": {}, "mask": {"mask": ~missing}, "nan": {}}[way]
    tiles = [
        tile(tmp_path / "a.tif", below, nodata=options.get("nodata")),
        tile(tmp_path / "b.tif", above, 8, **options),
    ]
    values, valid = read(inputs.mosaic(tiles))
    assert (values[0, :, :20] == 5).all() and (values[0, :, 20:] == 7).all() and valid.all()


@pytest.mark.parametrize("masked", [None, 0, 1, 2])
@pytest.mark.parametrize("bands", [1, 2])
def test_what_is_no_number_stays_only_where_no_tile_has_one(tmp_path, random, masked, bands):
    tiles, expected = [], np.zeros((bands, 40, 60), "float32")
    for number, column in enumerate((0, 10, 20)):
        values = random.normal(-12, 3, (bands, 40, 40)).astype("float32")
        values[:, random.random((40, 40)) < 0.4] = np.nan
        values[:, random.random((40, 40)) < 0.2] = 0
        options = {"nodata": np.nan} if number == masked else {}
        tiles.append(tile(tmp_path / f"{number}.tif", values, column, **options))
        part, has_number = expected[:, :, column : column + 40], np.isfinite(values)
        has_number &= (values != 0) | (number == masked)  # of a tile that declares something else zeros are data
        part[:] = np.where(has_number | (part == 0) & np.isnan(values), values, part)
    values, _ = read(inputs.mosaic(tiles))
    covered = np.isfinite(expected) & (expected != 0)
    assert 0.5 < covered.mean() < 0.95
    np.testing.assert_array_equal(values[covered], expected[covered])
    assert (np.isnan(values) | (values == 0))[~covered].all() and np.isnan(values).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crs": "EPSG:32633"}, "not on one grid"),
        ({"transform": Affine(20, 0, 500_400, 0, -20, 5_400_000)}, "not on one grid"),
        ({"transform": Affine(10, 0, 500_404, 0, -10, 5_400_000)}, "not on one grid"),
        ({"transform": Affine(9.99, 1, 500_400, 1, -9.99, 5_400_000)}, "not on one grid"),
        ({"transform": None, "crs": None}, "b.tif: lies on no map"),
        ({"values": np.ones((2, 40, 40), "float32")}, "differ in their bands"),
        ({"values": np.ones((40, 40), "float64")}, "differ in their bands"),
        ({"descriptions": ["VH"]}, "differ in their bands"),
        ({}, None),
        ({"transform": Affine(10, 0, 500_400.4, 0, -10, 5_399_999.7)}, None),  # what a writer has rounded
    ],
)
def test_other_grids_and_bands_are_refused(tmp_path, change, message):
    first = tile(tmp_path / "a.tif", np.ones((40, 40), "float32"), descriptions=["VV"])
    options = {"values": np.ones((40, 40), "float32"), "column": 40, "descriptions": ["VV"], **change}
    if options["values"].ndim == 3:
        options["descriptions"] = ["VV", "VH"]
    second = tile(tmp_path / "b.tif", **options)
    for tiles in ([first, second], [second, first]):
        if message:
            with pytest.raises(DataError, match=message) as caught:
                inputs.mosaic(tiles).open()
            assert "no map" in message or ("a.tif" in str(caught.value) and "b.tif" in str(caught.value))
        else:
            assert read(inputs.mosaic(tiles))[0].shape == (1, 40, 80)


def test_bands_in_a_file_each_are_one_raster(tmp_path, random):
    values = random.integers(1, 99, (2, 30, 40)).astype("int16")
    tags = {"AREA_OR_POINT": "Point", "TIFFTAG_DATETIME": "2020:01:02 03:04:05"}
    layers = {
        name: write_scene(tmp_path / f"{name}.tif", image, nodata=-1, tags=tags)
        for name, image in zip(("VV", "VH"), values, strict=True)
    }
    with rasterio.open(layers["VH"], "r+") as file:
        file.scales, file.offsets = [0.1], [-3]
    scene = inputs.bands("both", layers["VV"], layers)
    with scene.open() as source:
        np.testing.assert_array_equal(source.read(), values)
        assert source.descriptions == ("VV", "VH") and source.nodatavals == (-1, -1)
        assert source.scales == (1, 0.1) and source.offsets == (0, -3)
        assert source.tags()["AREA_OR_POINT"] == "Point" and source.tags()["TIFFTAG_DATETIME"][:4] == "2020"
        with rasterio.open(layers["VV"]) as alone:
            assert source.transform == alone.transform
    write_scene(layers["VH"], values[1][:, :30])
    with pytest.raises(DataError, match="both: its bands VV and VH are not on one grid"):
        scene.open()
    write_scene(layers["VH"], values[1].astype("complex64"))
    with pytest.raises(DataError, match="complex"):
        scene.open()
