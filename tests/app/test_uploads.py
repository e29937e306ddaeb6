import shlex
import zipfile

import numpy as np
import pytest
import rasterio
import rasterio.warp
from helpers import write_tiff
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import sar_keras
from sar_keras.app.uploads import (
    Cancelled,
    Settings,
    at_pixel,
    check_upload,
    colorize_upload,
    command_line,
    guess,
    python_lines,
    scene_of,
)
from sar_keras.errors import DataError
from sar_keras.inference.engines import network_of
from sar_keras.io.images import SUFFIXES, max_pixels

pytestmark = pytest.mark.filterwarnings("ignore:.* holds (db|amplitude) values, the model was trained on uint8")


@pytest.fixture
def model(model_file):
    return network_of(model_file)


@pytest.fixture
def patch(tmp_path, random, save_png):
    return save_png(tmp_path / "in" / "patch.png", random.integers(0, 256, (64, 96), dtype="uint8"))


@pytest.fixture
def scene(tmp_path, random):
    """VV and VH in decibel, in the projection of UTM 31 N."""
    decibel = random.uniform(-20, -5, (2, 96, 128)).astype("float32")
    decibel[:, :5] = np.nan
    return write_tiff(tmp_path / "in" / "scene.tif", decibel, names=("VV", "VH"))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_patch_gets_the_colours_that_python_gives(model, patch, out):
    result = colorize_upload(model, patch, Settings(detail=0.5), out)
    expected = sar_keras.colorize(model, patch, detail=0.5)
    assert (result.layers["colours"] == expected).all() and (np.asarray(Image.open(result.file)) == expected).all()
    assert (result.layers["SAR"] == np.asarray(Image.open(patch))[..., None]).all()
    assert result.scene is None and result.errors.shape == (64, 96) and not result.figures


def test_a_scene_keeps_its_place(model, scene, out):
    result = colorize_upload(model, scene, Settings(band="VH", units="db", limits=(-20, -5)), out)
    expected = sar_keras.colorize_scene(model, scene, out / "expected.tif", band="VH", units="db", limits=(-20, -5))
    with rasterio.open(result.file) as got, rasterio.open(expected) as wanted, rasterio.open(scene) as given:
        assert got.crs == given.crs and got.transform == given.transform
        assert (got.read() == wanted.read()).all() and (got.dataset_mask() == wanted.dataset_mask()).all()
        colours = np.moveaxis(wanted.read(), 0, -1)
    assert (result.layers["colours"] == colours).all() and result.shrink == 1
    assert (np.asarray(Image.open(result.picture)) == colours).all()
    assert any("band 2 (VH), db" in line for line in result.said)


def test_a_zip_of_a_product_is_a_scene(model, tmp_path, out, random):
    levels = random.integers(1, 200, (1, 64, 96)).astype("uint16")
    with zipfile.ZipFile(tmp_path / "S1A.zip", "w") as archive:
        archive.writestr("S1A.SAFE/manifest.safe", "")
        for name in ("vv", "vh"):
            image = write_tiff(tmp_path / f"s1a-iw-grd-{name}-20180716-001.tiff", levels)
            archive.write(image, f"S1A.SAFE/measurement/{image.name}")
    result = colorize_upload(model, tmp_path / "S1A.zip", Settings(), out)
    assert result.scene and result.layers["colours"].shape == (64, 96, 3) and result.file.suffix == ".tif"
    assert any("(VV)" in line for line in result.said)


def test_what_is_guessed_of_a_scene_is_what_colorize_takes(model, scene, patch, out):
    found = scene_of(model, scene)
    assert found and scene_of(model, patch) is None
    guessed = guess(model, found)
    assert guessed.bands == ["1 (VV)", "2 (VH)"] and guessed.band == "1 (VV)" and guessed.units == "db"
    by_itself = colorize_upload(model, scene, Settings(), out).layers["colours"]
    told = Settings("1", guessed.units, guessed.limits)
    assert (colorize_upload(model, scene, told, out).layers["colours"] == by_itself).all()


def test_figures_of_a_patch(model, patch, out, tmp_path, random, save_png):
    levels = random.integers(0, 256, (64, 96, 3), dtype="uint8")
    result = colorize_upload(model, patch, Settings(), out, save_png(tmp_path / "in" / "truth.png", levels))
    expected = peak_signal_noise_ratio(levels, result.layers["colours"], data_range=255)
    assert result.figures["psnr"] == pytest.approx(expected, abs=1e-4) and "ssim" in result.figures
    assert (result.layers["truth"] == levels).all()


def test_figures_of_a_scene_count_what_both_show(model, scene, out, tmp_path, random):
    levels = random.integers(1, 256, (3, 96, 64), dtype="uint8")  # the western half
    result = colorize_upload(model, scene, Settings(), out, write_tiff(tmp_path / "in" / "truth.tif", levels))
    both = np.s_[5:, :64]
    truth, colours = np.moveaxis(levels, 0, -1)[5:], result.layers["colours"][both]
    expected = peak_signal_noise_ratio(truth, colours, data_range=255)
    assert result.figures["psnr"] == pytest.approx(expected, abs=1e-4) and "ssim" not in result.figures


def test_a_grey_truth_and_one_of_16_bits(model, scene, out, tmp_path, random):
    levels = random.integers(1, 256, (1, 96, 128), dtype="uint8")
    result = colorize_upload(model, scene, Settings(), out, write_tiff(tmp_path / "in" / "grey.tif", levels))
    assert (result.layers["truth"] == levels[0][..., None]).all()
    deep = write_tiff(tmp_path / "in" / "deep.tif", np.ones((3, 96, 128), "uint16"))
    with pytest.raises(DataError, match=r"deep\.tif: is uint16, not RGB of 8 bits"):
        colorize_upload(model, scene, Settings(), out, deep)


def test_a_truth_of_another_size_is_refused(model, patch, out, tmp_path, save_png):
    truth = save_png(tmp_path / "truth.png", np.zeros((64, 64, 3), "uint8"))
    with pytest.raises(DataError, match=r"truth\.png: is not of the SAR image's size \(64 x 64 and 96 x 64\)"):
        colorize_upload(model, patch, Settings(), out, truth)


def test_a_scene_that_is_stopped_leaves_nothing(model, scene, out):
    shares = []
    with pytest.raises(Cancelled):
        colorize_upload(model, scene, Settings(), out, progress=shares.append, is_cancelled=lambda: True)
    assert not list(out.iterdir()) and not shares
    colorize_upload(model, scene, Settings(), out, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1


def test_a_pixel_of_a_scene(model, scene, out):
    result = colorize_upload(model, scene, Settings(band="1"), out)
    known = at_pixel(model, result, 7, 50)
    with rasterio.open(scene) as file:
        east, north = file.xy(50, 7)
        value = file.read(1)[50, 7]
        (longitude,), (latitude,) = rasterio.warp.transform(file.crs, "EPSG:4326", [east], [north])
    assert known["pixel"] == "column 7, row 50" and known["SAR"] == f"{value:.1f} dB"
    assert known["EPSG:32631"] == f"{east:.1f}, {north:.1f}"
    assert known["longitude, latitude"] == f"{longitude:.5f}, {latitude:.5f}"
    red, green, blue = result.layers["colours"][50, 7]
    assert known["colour"].startswith(f"#{red:02x}{green:02x}{blue:02x}")
    assert float(known["expected error"].split()[0]) == pytest.approx(result.errors[50, 7], abs=6e-4)
    assert at_pixel(model, result, 7, 2)["SAR"] == "no data"


def test_a_pixel_of_an_overview_is_one_of_the_scene(model, tmp_path, out, monkeypatch, random):
    monkeypatch.setattr("sar_keras.app.uploads.OVERVIEW", 32)
    values = random.integers(1, 255, (1, 64, 128), dtype="uint8")
    result = colorize_upload(model, write_tiff(tmp_path / "large.tif", values), Settings(), out)
    assert result.layers["colours"].shape == (16, 32, 3) and result.shrink == 4
    known = at_pixel(model, result, 31, 0)
    assert known["pixel"] == "column 126, row 2" and known["SAR"] == f"{values[0, 2, 126]} (uint8)"


@pytest.mark.parametrize("kind", ["patch", "scene"])
def test_command_line_and_python_give_the_same_file(model_file, patch, scene, out, command, monkeypatch, kind):
    settings = Settings(detail=0.25) if kind == "patch" else Settings("VH", "db", (-18.5, -6), 0.25)
    result = colorize_upload(network_of(model_file), patch if kind == "patch" else scene, settings, out)
    with rasterio.open(result.file) as file:
        expected = file.read()
    monkeypatch.chdir(patch.parent)

    def written():
        with rasterio.open(result.file.name) as file:
            return file.read()

    words = shlex.split(command_line(str(model_file), result))
    assert words[0] == "sar-keras" and command(*words[1:])[0] == 0
    assert (written() == expected).all()
    (patch.parent / result.file.name).unlink()
    exec(python_lines(str(model_file), result), {})
    assert (written() == expected).all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", b"<VRTDataset rasterXSize='1'>"),
        ("a.png", b"II*\0"),
        ("a.vrt", b"<VRTDataset"),
        ("a.zip", b"no zip"),
        ("a.tif", b""),
        ("a", b""),
    ],
)
def test_files_that_are_not_what_they_say_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{name}: "):
        check_upload(tmp_path / name)


VRT = b"<VRTDataset rasterXSize='1' rasterYSize='1'><VRTRasterBand><SimpleSource>"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.vrt", VRT)], r"holds x\.vrt"),
        ([("s/measurement/x.tiff", VRT)], r"s/measurement/x\.tiff: is no TIFF"),
        ([("x.img", VRT)], r"holds x\.img"),
        ([("x.jp2", VRT)], r"holds x\.jp2"),
        ([("x.tif", b"II*\0"), ("x.tif.ovr", VRT)], r"holds x\.tif\.ovr"),
        ([("x.tif", b"II*\0"), ("x.tif.aux.xml", VRT)], r"holds x\.tif\.aux\.xml"),
        ([("x.tif", VRT), ("x.tif", b"II*\0")], "holds two files of one name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_holds_nothing_that_names_other_files(tmp_path, members, said):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(DataError, match=rf"a\.zip: {said}"):
        check_upload(tmp_path / "a.zip")


def test_a_tiff_that_names_other_overviews_is_refused(model, scene):
    with rasterio.open(scene, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/other.tif")
    with pytest.raises(DataError, match=r"scene\.tif: keeps its overviews in another file"):
        scene_of(model, scene)


def test_large_images_are_coloured_in_windows(model, patch, out, monkeypatch):
    monkeypatch.setattr("sar_keras.app.uploads._LARGEST_PATCH", 64 * 95)
    shares = []
    result = colorize_upload(model, patch, Settings(), out, progress=shares.append)
    assert result.scene and shares and result.layers["colours"].shape == (64, 96, 3)


def test_all_images_are_taken(tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        Image.new("RGB", (8, 8)).save(path)
        check_upload(path)


def test_a_scene_of_too_many_pixels_is_refused(model, tmp_path):
    side = int(max_pixels() ** 0.5) + 1
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", tiled=True, crs="EPSG:3857", transform=rasterio.Affine(1, 0, 5, 0, -1, 5), **profile):
        pass
    with pytest.raises(DataError, match=r"^huge\.tif: claims"):
        scene_of(model, path)
