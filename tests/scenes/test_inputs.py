import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import names, one_line, read_scene, speckle, write_scene

import sar_keras

# Scenes in other units than the tiny model's 8 bits warn, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")


def products(folder):
    """A product as each of the formats, by the command's argument; the first image is VV, the second VH."""
    images = speckle((64, 64), 1), speckle((64, 64), 2)
    for name, image in zip(("vv", "vh"), images, strict=True):
        write_scene(folder / f"S1A.SAFE/measurement/s1a-iw-grd-{name}-20180716-001.tiff", image)
        write_scene(folder / f"S1A_TC.data/Sigma0_{name.upper()}.img", image, driver="ENVI")
        write_scene(folder / f"S1A_TC.data/tie_point_grids/{name}.img", image, driver="ENVI")
    (folder / "S1A.SAFE/manifest.safe").touch()
    (folder / "S1A_TC.dim").touch()
    return images


@pytest.mark.parametrize("given", ["S1A.SAFE", "S1A.SAFE/manifest.safe", "S1A_TC.dim", "S1A_TC.data"])
@pytest.mark.parametrize("band", [None, "VV", "vh"])
def test_a_product_is_one_scene_of_vv_unless_told(command, model, model_file, tmp_path, given, band):
    images = products(tmp_path)
    option = ["--band", band] if band else []
    code, out, err = command("colorize", model_file, tmp_path / given, "-o", tmp_path / "c.tif", *option)
    assert code == 0 and out == f"{tmp_path}/c.tif\n" and ("(VH)" if band == "vh" else "(VV)") in one_line(err)
    expected = sar_keras.colorize(model, images[band == "vh"])
    assert np.abs(read_scene(tmp_path / "c.tif")[0].astype(int) - expected).max() <= 1


def test_a_folder_of_products_gives_one_output_for_each(command, model_file, tmp_path):
    products(tmp_path / "in")
    assert command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["S1A.tif", "S1A_TC.tif"]
    # Colours of an earlier run are no scenes, even where they lie below the inputs.
    for _ in range(2):
        assert command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in/out")[0] == 0
    assert names(tmp_path / "in/out") == ["S1A.tif", "S1A_TC.tif"]
    code, _, err = command("colorize", model_file, tmp_path / "in/S1A.SAFE", tmp_path / "in/S1A_TC.dim", "-o", "c.tif")
    assert code == 2 and "2 scenes need a folder" in one_line(err)


def test_a_polarisation_is_chosen_from_a_folder_and_the_others_are_passed_over(command, model_file, tmp_path):
    image = speckle((64, 64))
    folder = tmp_path / "in"
    for name in ("a_VV", "deep/b_vv", "c_VH", "deep/d-hh.rtc"):
        write_scene(folder / f"{name}.tif", image)
    two = write_scene(folder / "from_VH_onwards.tif", np.stack([image, image]), descriptions=["VH", "VV"])
    code, _, err = command("colorize", model_file, folder, "-o", tmp_path / "out", "--band", "VV")
    assert code == 0
    passed = [line for line in err.splitlines() if "passes over" in line]
    assert passed == [f"--band passes over other polarisations: {folder}/c_VH.tif, {folder}/deep/d-hh.rtc.tif"]
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.tif")}
    assert found == {"a_VV.tif", "deep/b_vv.tif", "from_VH_onwards.tif"}
    assert f"{two}: band 2 (VV)" in err
    # A file that was named is not passed over, and a number is no polarisation.
    code, _, err = command("colorize", model_file, folder / "c_VH.tif", "-o", tmp_path / "c.tif", "--band", "VV")
    assert code == 2 and "has no band VV (--band); it has 1 VH" in one_line(err)
    assert command("colorize", model_file, folder, "-o", tmp_path / "all", "--band", "1")[0] == 0
    assert len([*Path(tmp_path / "all").rglob("*.tif")]) == 5


def test_a_folder_of_another_polarisation_alone_is_one_line(command, model_file, tmp_path):
    for name in ("a_VH", "b_VH"):
        write_scene(tmp_path / f"in/{name}.tif", speckle((64, 64)))
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out", "--band", "VV")
    assert code == 2 and "holds no scene of VV" in one_line(err) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("output", "place"), [("c.tif", "c.tif"), ("folder", "folder/a_layer.tif")])
def test_names_of_gdal_s_are_scenes(command, model, model_file, tmp_path, monkeypatch, output, place):
    image = speckle((64, 64))
    write_scene(tmp_path / "a.tif", image)
    (tmp_path / "a_layer").write_bytes((tmp_path / "a.tif").read_bytes())
    monkeypatch.chdir(tmp_path)
    name = f"/vsisubfile/0,{tmp_path}/a_layer" if output == "folder" else "GTIFF_DIR:1:a.tif"
    assert command("colorize", model_file, name, "-o", output)[0] == 0
    assert np.abs(read_scene(tmp_path / place)[0].astype(int) - sar_keras.colorize(model, image)).max() <= 1
    with rasterio.open(tmp_path / place) as file:
        assert "/" not in file.tags()["SAR_KERAS_INPUT"]


def test_an_address_without_a_server_is_one_line(command, model_file, tmp_path):
    code, _, err = command("colorize", model_file, "http://127.0.0.1:9/a.tif?sig=secret", "-o", tmp_path / "c.tif")
    assert code == 2 and "GDAL cannot open it" in one_line(err) and names(tmp_path) == []


def test_an_optical_scene_is_told_from_sar(model, tmp_path, random):
    image = random.integers(1, 256, (64, 64, 3), np.uint8)
    for name, bands in (("grey", image[..., [0, 0, 0]]), ("coloured", image)):
        path = write_scene(tmp_path / f"{name}.tif", np.moveaxis(bands, -1, 0), photometric="RGB")
        if name == "coloured":
            with pytest.warns(UserWarning, match="coloured.tif: .*as those of an optical image do"):
                sar_keras.colorize_scene(model, path, tmp_path / "out.tif")
        else:
            sar_keras.colorize_scene(model, path, tmp_path / "out.tif")


def test_a_frame_of_zeros_and_units_that_cannot_be_are_warned_of(model, tmp_path):
    image = np.maximum(speckle((100, 120)), 1)
    framed = np.pad(image, 40)
    for nodata, told in ((None, True), (0, False)):
        path = write_scene(tmp_path / f"{nodata}.tif", framed, nodata)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            sar_keras.colorize_scene(model, path, tmp_path / "out.tif")
        assert any("of the values are 0 and count as dark ground" in str(each.message) for each in said) == told
    path = write_scene(tmp_path / "plain.tif", image)
    with pytest.warns(
        UserWarning, match=r"plain.tif: (9\d|100)% of the values lie beyond -25\.\.0; look at units and limits"
    ):
        sar_keras.colorize_scene(model, path, tmp_path / "out.tif", units="linear")
