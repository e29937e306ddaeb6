"""`sar-keras colorize` of a STAC item, and of a place and a date."""

import json
import re
from pathlib import PurePath

import numpy as np
import pytest
import rasterio
import rasterio.warp
from helpers import names, one_line
from stac_world import BOX, power_at

from sar_keras.catalogs.scene import scene_of_item
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model
from sar_keras.io.sar import Scale
from sar_keras.networks.guided import GuidedGenerator


@pytest.fixture(scope="session")
def db_model(tmp_path_factory):
    """A generator for VV in decibel whose colours follow the backscatter, and which knows its stretch."""
    import keras

    sar = keras.Input((64, 64, 1))
    model = keras.Model(sar, keras.layers.Conv2D(3, 1, kernel_initializer="ones")(sar))
    path = tmp_path_factory.mktemp("models") / "vv.keras"
    about = ModelMetadata(Scale("db", -15, -5), sar_bands=("VV",), reflectance=(0.0, 0.3))
    save_model(model, path, about)
    return path


@pytest.fixture(scope="session")
def guided_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "guided.keras"
    save_model(GuidedGenerator((32, 32, 1), filters=2), path, ModelMetadata(Scale("db", -15, -5)))
    return path


@pytest.fixture
def place(catalog):
    return ("--bbox", *map(str, BOX), "--catalog", catalog.address)


def test_an_item_in_a_file_and_at_an_address(command, db_model, catalog, tmp_path):
    item = next(item for item in catalog.items if item["id"] == "S1A_0605")
    address = f"{catalog.address}/collections/sentinel-1-rtc/items/S1A_0605"
    (tmp_path / "item.json").write_text(json.dumps(catalog.full(item)))
    (tmp_path / "local.json").write_text(json.dumps(item))
    for path in catalog.folder.glob("S1A_0605_v?.tif"):
        (tmp_path / path.name).symlink_to(path)
    colours = []
    for source in (tmp_path / "item.json", tmp_path / "local.json", address):
        code, out, err = command("colorize", db_model, source, "-o", tmp_path / "c.tif")
        assert (code, out) == (0, f"{tmp_path / 'c.tif'}\n") and "S1A_0605: band 1 (VV), linear power" in err
        with rasterio.open(catalog.folder / "S1A_0605_vv.tif") as sar, rasterio.open(tmp_path / "c.tif") as colour:
            assert (colour.crs, colour.transform, colour.shape) == (sar.crs, sar.transform, sar.shape)
            assert colour.tags()["SAR_KERAS_REFLECTANCE"] == "0 0.3"
            expected = np.clip((10 * np.log10(sar.read(1)) + 15) / 10, 0, 1) * 255
            colours.append(colour.read())
            assert np.abs(colours[-1] - expected).max() <= 2
    np.testing.assert_array_equal(colours[0], colours[1])
    np.testing.assert_array_equal(colours[0], colours[2])


@pytest.mark.parametrize("name", ["../../S1A_X", "/S1A_X", "a/../../../S1A_X", "..\\..\\S1A_X"])
def test_no_id_leads_out_of_the_folder_of_outputs(catalog, tmp_path, name):
    item = catalog.full(catalog.items[0])
    (tmp_path / "item.json").write_text(json.dumps(item | {"id": name}))
    scene = scene_of_item(tmp_path / "item.json")
    assert scene.place.parent == PurePath(".") and scene.place.name.endswith("_S1A_X.tif")
    assert not scene.place.name.startswith(".") and "\\" not in scene.place.name


def test_what_is_no_item_of_sentinel_1(command, db_model, catalog, tmp_path):
    item = next(item for item in catalog.items if item["id"] == "S2_0606")
    (tmp_path / "item.json").write_text(json.dumps(catalog.full(item)))
    code, _, err = command("colorize", db_model, tmp_path / "item.json", "-o", tmp_path / "c.tif")
    assert code == 2 and "S2_0606: is no item of Sentinel-1" in one_line(err)
    address = f"{catalog.address}/collections/sentinel-1-rtc/items/none"
    code, _, err = command("colorize", db_model, address, "-o", tmp_path / "c.tif")
    assert code == 2 and "items/none: cannot be read: HTTP Error 404" in one_line(err)


def test_a_signature_is_in_no_message_and_no_output(command, db_model, catalog, tmp_path):
    item = catalog.full(next(item for item in catalog.items if item["id"] == "S1A_0605"))
    for asset in item["assets"].values():
        asset["href"] += "?sig=SECRET"
    (tmp_path / "item.json").write_text(json.dumps(item))
    assert command("colorize", db_model, tmp_path / "item.json", "-o", tmp_path / "c.tif")[0] == 0
    with rasterio.open(tmp_path / "c.tif") as colour:
        assert "SECRET" not in str(colour.tags())
    # Another of the satellites' files, since GDAL remembers those that it has seen.
    (tmp_path / "item.json").write_text(json.dumps(item).replace("S1A_0605", "S1A_0617"))
    catalog.faults["vv.tif"] = "403"
    code, _, err = command("colorize", db_model, tmp_path / "item.json", "-o", tmp_path / "d.tif")
    assert code == 2 and "VV: access is refused: a signature that has expired" in one_line(err) and "SECRET" not in err
    assert "d.tif" not in names(tmp_path)


def test_a_place_and_a_date(command, db_model, place, tmp_path, places):
    code, out, err = command("colorize", db_model, *place, "--date", "2024-06-15", "-o", tmp_path / "c.tif")
    assert (code, out) == (0, f"{tmp_path / 'c.tif'}\n")
    assert "2024-06-17 05:20, descending: S1A_0617" in err
    with rasterio.open(tmp_path / "c.tif") as colour:
        assert colour.crs == "EPSG:32632" and (colour.transform.a, colour.transform.e) == (10, -10)
        assert colour.tags()["SAR_KERAS_INPUT"] == "S1A_0617.tif, band 1"
        bounds = rasterio.warp.transform_bounds("EPSG:4326", colour.crs, *BOX)
        np.testing.assert_allclose(colour.bounds, bounds, atol=10.001)
        levels, (longitude, latitude) = colour.read(), places(colour)
    expected = np.clip((10 * np.log10(power_at(longitude, latitude)[0]) + 15) / 10, 0, 1) * 255
    assert np.abs(levels - expected).max() <= 2
    assert names(tmp_path) == ["c.tif"]


def test_the_clearest_image_is_the_reference(command, guided_model, place, tmp_path, catalog):
    arguments = (*place, "--date", "2024-06-05", "--reference", "auto", "--band", "VV")
    code, _, err = command("colorize", guided_model, *arguments, "-o", tmp_path / "c.tif")
    assert code == 0, err
    assert re.search("reference: 2024-(06-28|07-05), 0% clouds", err)
    assert re.search("hint: .*_reference.tif", err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["PLACE"], "give INPUT, or --bbox and --date"),
        (["--date", "2024-06-15"], "give INPUT, or --bbox and --date"),
        (["PLACE", "--date", "2024-06-15", "scene.tif"], "give INPUT, or --bbox and --date"),
        (["PLACE", "--date", "15.6.2024"], "--date 15.6.2024: must be a day such as 2024-07-14"),
        (["PLACE", "--date", "2020-06-15"], "has no Sentinel-1 images of 2020-06-09/2020-06-21 there"),
        (["PLACE", "--date", "2024-06-15", "--band", "2"], "--band 2: of a catalog's scene it is VV, VH"),
        (["PLACE", "--date", "2024-06-15", "--reference", "auto"], "takes no hint, so --reference has no effect"),
        (["scene.tif", "--reference", "auto"], "--reference auto: finds an image for --bbox and --date"),
    ],
)
def test_what_cannot_be_colorized(command, db_model, place, tmp_path, arguments, said):
    given = [part for each in arguments for part in (place if each == "PLACE" else [each])]
    code, out, err = command("colorize", db_model, *given, "-o", tmp_path / "c.tif")
    assert (code, out) == (2, "") and said in err.splitlines()[-1] and names(tmp_path) == []


def test_an_output_that_is_no_geotiff(command, db_model, place, tmp_path):
    code, _, err = command("colorize", db_model, *place, "--date", "2024-06-15", "-o", tmp_path / "c.png")
    assert code == 2 and "c.png: a scene's colours are a GeoTIFF; use .tif" in one_line(err)
