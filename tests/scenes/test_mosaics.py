"""Tiles of one product: scaled alike, or one scene."""

import itertools
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
from helpers import names, one_line, read_scene, speckle, write_scene
from rasterio.transform import Affine

from sar_keras.io import inputs
from sar_keras.scenes import colorize as scenes
from sar_keras.scenes.inputs import adjoining

# Scenes in other units than the tiny model's 8 bits warn, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")


def place(column, row=0, size=10):
    """The transform of a tile whose first pixel is (column, row) of a grid."""
    return Affine(size, 0, 500_000 + size * column, 0, -size, 5_400_000 - size * row)


def cut(folder, whole, edges, name="tile-{:010}.tif", **profile):
    """Tiles of a scene (H, W), as Earth Engine exports them: side by side, the number of the column in the name."""
    return [
        write_scene(folder / name.format(first), whole[:, first:last], transform=place(first), **profile)
        for first, last in itertools.pairwise(edges)
    ]


def counts(shape=(100, 200)):
    """Digital numbers that grow from left to right: the tiles of a scene differ in their ranges."""
    return (speckle(shape).astype(int) + np.linspace(100, 3000, shape[1]).astype(int)).astype("uint16")


@pytest.mark.parametrize("kind", ["uint16", "db"])
def test_a_mosaic_is_what_its_vrt_and_the_whole_scene_give(command, model, model_file, tmp_path, kind):
    whole = counts() if kind == "uint16" else (speckle((100, 200)) / 12 - 24).astype("float32")
    hole = np.zeros(whole.shape, bool)
    hole[30:60, 80:120] = True
    whole[hole] = 0
    tiles = cut(tmp_path / "in", whole, [0, 70, 110, 200])
    options = ["--tile", "64", "--overlap", "16"]
    code, out, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "c.tif", "--mosaic", *options)
    assert (code, out) == (0, f"{tmp_path}/c.tif\n") and "mosaic of" in one_line(err)
    colours, valid = read_scene(tmp_path / "c.tif")
    np.testing.assert_array_equal(valid, ~hole)
    sources = "".join(
        f"<SimpleSource><SourceFilename>{escape(str(path))}</SourceFilename><SourceBand>1</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="100"/>'
        f'<DstRect xOff="{first}" yOff="0" xSize="{width}" ySize="100"/></SimpleSource>'
        for path, first, width in zip(tiles, (0, 70, 110), (70, 40, 90), strict=True)
    )
    (tmp_path / "tiles.vrt").write_text(
        '<VRTDataset rasterXSize="200" rasterYSize="100"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>500000, 10, 0, 5400000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="{"UInt16" if kind == "uint16" else "Float32"}" band="1">{sources}'
        "</VRTRasterBand></VRTDataset>"
    )
    one = write_scene(tmp_path / "whole.tif", whole, transform=place(0))
    for source in (tmp_path / "tiles.vrt", one):
        scenes.colorize_scene(model, source, tmp_path / "d.tif", tile=64, overlap=16)
        expected, expected_valid = read_scene(tmp_path / "d.tif")
        np.testing.assert_array_equal(valid, expected_valid)
        assert np.abs(colours.astype(int) - expected).max() <= 1
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.transform == place(0) and file.tags()["SAR_KERAS_INPUT"] == "tile-0000000000_mosaic.tif, band 1"


def test_a_mosaic_of_bands_in_products(command, model, model_file, tmp_path):
    image = counts((64, 128))
    for first, name in ((0, "west"), (64, "east")):
        for band, factor in (("VV", 1), ("VH", 2)):
            where = {"transform": place(first), "driver": "ENVI"}
            write_scene(tmp_path / f"in/{name}.data/Sigma0_{band}.img", image[:, first : first + 64] // factor, **where)
    assert command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out/", "--mosaic", "--band", "VH")[0] == 0
    scenes.colorize_scene(model, write_scene(tmp_path / "vh.tif", image // 2, transform=place(0)), tmp_path / "d.tif")
    (path,) = [*(tmp_path / "out").iterdir()]
    assert path.name == "east_mosaic.tif"
    assert np.abs(read_scene(path)[0].astype(int) - read_scene(tmp_path / "d.tif")[0]).max() <= 1


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"transform": place(64, size=20)}, "not on one grid"),
        ({"transform": place(64.5)}, "not on one grid"),
        ({"transform": place(64), "crs": "EPSG:32633"}, "not on one grid"),
        ({"transform": None, "crs": None}, "lies on no map"),
        ({"transform": place(64), "kind": "float32"}, "differ in their bands"),
        ({"transform": place(64), "name": "b_VH.tif"}, "of one polarisation, here are VH, VV"),
    ],
)
def test_what_is_no_mosaic_is_one_line_and_leaves_nothing(command, model_file, tmp_path, second, message):
    first = write_scene(tmp_path / "a_VV.tif", counts((64, 64)), transform=place(0))
    second = {"name": "b_VV.tif", "kind": "uint16", **second}
    path = tmp_path / second.pop("name")
    write_scene(path, counts((64, 64)).astype(second.pop("kind")), **second)
    code, out, err = command("colorize", model_file, first, path, "-o", tmp_path / "c.tif", "--mosaic")
    assert (code, out) == (2, "") and message in one_line(err)
    assert names(tmp_path) == ["a_VV.tif", path.name]


def test_tiles_of_one_call_share_one_range_and_show_no_seam(command, model_file, tmp_path):
    whole = counts()
    cut(tmp_path / "in", whole, [0, 64, 136, 200])
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0
    low, high = np.percentile(whole, [1, 99])
    (line,) = [line for line in err.splitlines() if "share one range" in line]
    assert line.startswith(f"3 adjoining tiles, {tmp_path}/in/tile-0000000000.tif to ") and "(--range tells" in line
    said = [float(number) for number in line.split("range: ")[1].split(" (")[0].split("..")]
    np.testing.assert_allclose(said, [low, high], rtol=0.02)
    decided = [line for line in err.splitlines() if "to -1..1" in line]
    assert len({line.split("; ")[1] for line in decided}) == 1
    tags = []
    for path in sorted((tmp_path / "out").iterdir()):
        with rasterio.open(path) as file:
            tags.append(file.tags()["SAR_KERAS_SCALE"])
    assert len(set(tags)) == 1 and len(tags) == 3
    # A range that was told is the range.
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "b", "--range", "100", "3000")
    assert code == 0 and "share one range" not in err and err.count("100..3000 to -1..1") == 3


def test_single_scenes_in_one_call_keep_their_own_ranges(command, model_file, tmp_path):
    write_scene(tmp_path / "in/a.tif", counts((64, 64)), transform=place(0))
    write_scene(tmp_path / "in/b.tif", counts((64, 64)) * 3, transform=place(700))
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0 and "share one range" not in err
    assert len({line.split("; ")[1] for line in err.splitlines() if "to -1..1" in line}) == 2


@pytest.mark.parametrize("linear", [[0], [1, 2]])
def test_decibels_beside_linear_power_keep_their_own_ranges(command, model_file, tmp_path, linear):
    values = (speckle((100, 200)) / 12 - 24).astype("float32")
    tiles = cut(tmp_path / "in", values, [0, 64, 136, 200])
    for number in linear:
        with rasterio.open(tiles[number], "r+") as file:
            file.write(10 ** (file.read() / 10))
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0 and "share one range" not in err
    decided = [line for line in err.splitlines() if "to -1..1" in line]
    assert [number for number, line in enumerate(decided) if "linear power" in line] == linear


def test_a_tile_that_cannot_be_read_does_not_stop_the_others(command, model_file, tmp_path):
    cut(tmp_path / "in", counts(), [0, 64, 136, 200])
    broken = tmp_path / "in/tile-0000000136.tif"
    broken.write_bytes(broken.read_bytes()[:2000])
    (tmp_path / "in/text.tif").write_text("no raster")
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and "2 of 4 scenes failed" in err and "share one range" in err
    assert names(tmp_path / "out") == ["tile-0000000000.tif", "tile-0000000064.tif"]


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ([{}, {"column": 40}, {"column": 80}], [[0, 1, 2]]),
        ([{}, {"column": 80}, {"column": 40}], [[0, 1, 2]]),
        ([{}, {"row": 40}, {"column": 40}, {"column": 40, "row": 40}], [[0, 1, 2, 3]]),
        ([{}, {"column": 40, "row": 40}], [[0, 1]]),  # corner to corner
        ([{}, {"column": 25}], [[0, 1]]),  # they overlap
        ([{}, {"column": 40}, {"column": 200}, {"column": 240}], [[0, 1], [2, 3]]),
        ([{}, {"column": 41}], []),  # a gap
        ([{}, {"column": 15}], []),  # more than half is of one place: at two times
        ([{}, {}], []),
        ([{}, {"column": 40, "kind": "uint8"}], []),
        ([{}, {"column": 40, "crs": "EPSG:32633"}], []),
        ([{}, {"column": 40.5}], []),
        ([{}, {"column": 40, "descriptions": ["VV"]}], []),
        ([{"crs": None, "transform": None}, {"crs": None, "transform": None}], []),
        ([{"name": "S1_20200101_a"}, {"name": "S1_20200101_b", "column": 40}], [[0, 1]]),
        ([{"name": "S1_20200101_a"}, {"name": "S1_20200113_a", "column": 40}], []),
        ([{"name": "S1_2020-01-01"}, {"name": "S1_2020-01-13", "column": 40}], []),
        ([{"name": "vv_2020_01_01"}, {"name": "vv_2020_01_02", "column": 40}], [[0, 1]]),  # rows and columns of tiles
        ([{"name": "2020-01-01-0000000000"}, {"name": "2020-01-01-0000000040", "column": 40}], [[0, 1]]),
        (
            [{"name": "a_VV"}, {"name": "b_VV", "column": 40}, {"name": "a_VH"}, {"name": "b_VH", "column": 40}],
            [[0, 1], [2, 3]],
        ),
        ([{}, {"column": 40, "units": "dB"}], []),
        ([{}, {"column": 20, "size": 20}], []),  # it touches
    ],
)
def test_tiles_are_told_from_scenes_of_other_places_and_times(tmp_path, changes, groups):
    found = []
    for number, change in enumerate(changes):
        change = {"name": f"t{number}", "column": 0, "row": 0, "size": 10, "kind": "uint16", "units": "", **change}
        path = tmp_path / f"{change.pop('name')}.tif"
        values = np.full((40, 40), 300).astype(change.pop("kind"))
        where, units = place(change.pop("column"), change.pop("row"), change.pop("size")), change.pop("units")
        write_scene(path, values, **{"transform": where, **change})
        if units:
            with rasterio.open(path, "r+") as file:
                file.units = [units]
        found.append(inputs.single(path))
    assert [[found.index(scene) for scene in group] for group in adjoining(found)] == groups
