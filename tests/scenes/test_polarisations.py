"""Which bands a model gets: by name, in the order of its training, and from a file for each polarisation."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import names, read_scene, speckle, tiny, write_scene, write_tiff
from PIL import Image

import sar_keras
from sar_keras.errors import ModelError
from sar_keras.inference.metadata import ModelMetadata, attach, metadata_of
from sar_keras.inference.model_file import save_model
from sar_keras.io.sar import Scale
from sar_keras.scenes import colorize as scenes

# Scenes in other units than 8 bits warn, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")
VV, VH, OTHER = speckle((64, 64), 1), speckle((64, 64), 2), speckle((64, 64), 3)


def generator(channels):
    """One whose colours tell the order of its bands."""
    keras.utils.set_random_seed(channels)
    sar = keras.Input((64, 64, channels))
    return keras.Model(sar, keras.layers.Conv2D(3, 1, activation="tanh", kernel_initializer="random_normal")(sar))


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """The file of a model that was trained on bands of some names; () is one that does not know."""
    folder = tmp_path_factory.mktemp("models")

    def save(channels, sar_bands=()):
        path = folder / f"{channels}{''.join(sar_bands)}.keras"
        save_model(generator(channels), path, ModelMetadata(sar_bands=sar_bands))
        return path

    return save


def colours(model, source, tmp_path, **options):
    return read_scene(scenes.colorize_scene(model, source, tmp_path / "c.tif", **options))[0].astype(int)


def expected(path, *bands):
    return sar_keras.colorize(sar_keras.load_model(path), np.stack(bands, -1)).astype(int)


def test_a_model_remembers_its_bands(save, tmp_path):
    assert metadata_of(sar_keras.load_model(save(2, ("VV", "VH")))).sar_bands == ("VV", "VH")
    assert metadata_of(sar_keras.load_model(save(2))).sar_bands == ()
    save_model(generator(1), tmp_path / "odd.keras", ModelMetadata(sar_bands=5))
    with pytest.raises(ModelError, match=r"odd.keras"):
        sar_keras.load_model(tmp_path / "odd.keras")


@pytest.mark.parametrize(
    ("bands", "descriptions", "trained_on"),
    [
        ([VV, VH], ("VV", "VH"), ()),
        ([VH, VV], ("VH", "VV"), ()),
        ([VH, VV], ("VH", "VV"), ("VV", "VH")),
        ([VH, VV], ("vh", "vv"), ("VV", "VH")),
        ([VH, VV], ("Sigma0_VH_db", "Sigma0_VV_db"), ()),
        ([OTHER, VH, VV], ("angle", "VH", "VV"), ("VV", "VH")),
        ([VH, OTHER, VV, OTHER], ("VH", "HH", "VV", "HV"), ()),
    ],
)
def test_bands_are_put_in_order_by_their_names(save, tmp_path, trained_on, bands, descriptions):
    path, lines = save(2, trained_on), []
    # Four bands would be a colour image with transparency.
    source = write_scene(tmp_path / "a.tif", np.stack(bands), descriptions=descriptions, photometric="MINISBLACK")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = colours(path, source, tmp_path, log=lines.append)
    assert np.abs(found - expected(path, VV, VH)).max() <= 1
    numbers = [descriptions.index(name) + 1 for name in descriptions if "v" in name.lower() and "h" not in name.lower()]
    assert f"bands {numbers[0]}, " in lines[0] and "(VV, VH)" in lines[0] and "change it by band, units" in lines[0]
    # What is asked for overrules.
    other = colours(path, source, tmp_path, band="1,2")
    assert np.abs(other - expected(path, *bands[:2])).max() <= 1


@pytest.mark.parametrize(
    "descriptions", [("VH", "VH"), ("", ""), ("VVVH", "VHVV"), ("first", "second"), ("VV/VH", "VH/VV")]
)
def test_bands_whose_names_tell_no_polarisation_keep_their_order(save, tmp_path, descriptions):
    path = save(2, ("VV", "VH"))
    source = write_scene(tmp_path / "a.tif", np.stack([VH, VV]), descriptions=descriptions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.abs(colours(path, source, tmp_path) - expected(path, VH, VV)).max() <= 1


def test_a_model_that_was_trained_on_another_order_or_polarisation_gets_it(save, tmp_path):
    both = write_scene(tmp_path / "a.tif", np.stack([VV, VH]), descriptions=("VV", "VH"))
    for trained_on, wanted in ((("VH", "VV"), (VH, VV)), (("VH",), (VH,)), (("VV",), (VV,)), ((), (VV,))):
        path = save(max(len(trained_on), 1), trained_on)
        assert np.abs(colours(path, both, tmp_path) - expected(path, *wanted)).max() <= 1


@pytest.mark.parametrize(
    ("trained_on", "name", "descriptions", "band", "warned"),
    [
        (("VV",), "a_VH.tif", None, None, True),
        (("VV",), "a.tif", ("VH",), None, True),
        (("VV",), "a.tif", ("VV", "VH"), "VH", True),
        (("VV", "VH"), "a.tif", ("HH", "HV"), None, True),
        (("VV", "VH"), "a.tif", ("VV", "VH"), "VH,VV", True),
        (("VV",), "a_VV.tif", None, None, False),
        (("VV",), "a.tif", None, None, False),
        ((), "a_VH.tif", None, None, False),
        (("VH",), "a_vh.tif", None, None, False),
        (("VV", "VH"), "a.tif", ("VH", "VV"), None, False),
    ],
)
def test_other_polarisations_than_those_of_the_training_are_warned_of(
    save, tmp_path, trained_on, name, descriptions, band, warned
):
    path = save(max(len(trained_on), 1), trained_on)
    source = write_scene(tmp_path / name, np.stack([VV, VH][: len(descriptions or "1")]), descriptions=descriptions)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        scenes.colorize_scene(path, source, tmp_path / "c.tif", band=band)
        if band is None:
            sar_keras.colorize(path, source)  # as an image
    said = [str(one.message) for one in caught if "the model was trained on V" in str(one.message)]
    assert len(said) == (0 if not warned else 1 if band else 2)
    assert all(str(source) in line and "colours may be off" in line for line in said)


@pytest.mark.parametrize(
    ("vv", "vh", "place", "way"),
    [
        ("S1A_IW_RT30_D7B1_VV.tif", "S1A_IW_RT30_D7B1_VH.tif", "S1A_IW_RT30_D7B1.tif", "folder"),  # HyP3
        ("OPERA_S1_T069_v1.0_VV.tif", "OPERA_S1_T069_v1.0_VH.tif", "OPERA_S1_T069_v1.0.tif", "folder"),
        ("iw-vv.rtc.tiff", "iw-vh.rtc.tiff", "iw.rtc.tif", "folder"),  # Planetary Computer
        ("s1a-iw-grd-vv-2018-001.tiff", "s1a-iw-grd-vh-2018-002.tiff", "s1a-iw-grd-2018-001.tif", "folder"),
        ("VV/a.tif", "VH/a.tif", "a.tif", "folder"),
        ("deep/er/VV_a.tif", "deep/er/VH_a.tif", "deep/er/a.tif", "folder"),
        ("VV.tif", "VH.tif", "image.tif", "folder"),
        ("VV.tif", "VH.tif", "image.tif", "named"),
        ("VV.tif", "VH.tif", "image.tif", "reversed"),
    ],
)
def test_a_file_for_each_polarisation_is_one_scene(command, save, tmp_path, vv, vh, place, way):
    path, folder = save(2, ("VV", "VH")), tmp_path / "in"
    files = [write_scene(folder / name, image) for name, image in ((vv, VV), (vh, VH))]
    given = {"folder": [folder], "named": files, "reversed": files[::-1]}[way]
    code, _, err = command("colorize", path, *given, "-o", tmp_path / "out")
    assert code == 0 and err.startswith(f"{files[0]} and {files[1].name}: bands 1, 2 (VV, VH), ")
    found = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.tif")]
    assert found == [place if way == "folder" else Path(place).name]
    for output in (tmp_path / "out" / found[0], tmp_path / "one.tif"):
        assert np.abs(read_scene(output)[0].astype(int) - expected(path, VV, VH)).max() <= 1
        assert command("colorize", path, *given, "-o", tmp_path / "one.tif")[0] == 0
    assert np.abs(colours(path, files[::-1], tmp_path) - expected(path, VV, VH)).max() <= 1


@pytest.mark.parametrize(
    "files",
    [
        ["a_20200101_VV.tif", "a_20200113_VH.tif"],
        ["a_VV.tif", "b_VH.tif"],
        ["a_VV.tif", "deep/a_VH.tif"],
        ["a_VV.tif", "a.tif"],
        ["aVV.tif", "aVH.tif"],
    ],
)
def test_files_that_do_not_belong_together_stay_apart(command, save, tmp_path, files):
    for name in files:
        write_scene(tmp_path / "in" / name, VV)
    code, _, err = command("colorize", save(2), tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and "2 of 2 scenes failed" in err and err.count("has 1 band(s), the model takes 2") == 2


def test_files_of_two_bands_are_scenes_of_their_own(command, save, tmp_path):
    for name in ("a_VV", "a_VH"):
        write_scene(tmp_path / f"in/{name}.tif", np.stack([VV, VH]), descriptions=("VV", "VH"))
    assert command("colorize", save(2), tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["a_VH.tif", "a_VV.tif"]


def test_a_model_of_one_band_takes_each_file_by_itself(command, save, tmp_path):
    for name in ("a_VV", "a_VH"):
        write_scene(tmp_path / f"in/{name}.tif", VV)
    with pytest.warns(UserWarning, match=r"a_VH.tif holds VH, the model was trained on VV: colours may be off"):
        scenes.colorize_scene(save(1, ("VV",)), tmp_path / "in/a_VH.tif", tmp_path / "c.tif")
    assert command("colorize", save(1), tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["a_VH.tif", "a_VV.tif"]


def test_bands_on_two_grids_are_one_line(command, save, tmp_path):
    write_scene(tmp_path / "in/a_VV.tif", VV)
    write_scene(tmp_path / "in/a_VH.tif", VH[:, :60])
    code, _, err = command("colorize", save(2), tmp_path / "in", "-o", tmp_path / "out")
    assert code == 2 and "its bands VV and VH are not on one grid" in err.splitlines()[-1]


def test_layers_beside_radar_images_are_passed_over(command, save, tmp_path):
    folder = tmp_path / "in"
    radar = ["S1A_RT30_VV.tif", "S1A_RT30_VH.tif", "area_S1_VV.tif", "plain_mask.tif", "S1A_RT30_summer.tif"]
    beside = ["S1A_RT30_dem.tif", "S1A_RT30_inc_map.tif", "S1A_RT30_ls_map.tif", "area_S1_mask.tif"]
    for name in radar + beside:
        write_scene(folder / name, VV)
    code, _, err = command("colorize", save(1), folder, "-o", tmp_path / "out")
    assert code == 0 and names(tmp_path / "out") == sorted(radar)
    (line,) = [line for line in err.splitlines() if "passes over" in line]
    assert all(name in line for name in beside) and "give its name" in line
    assert command("colorize", save(1), folder / beside[0], "-o", tmp_path / "c.tif")[0] == 0


@pytest.mark.parametrize("named", [True, False])
def test_images_of_a_polarisation_each_are_one_image(command, save, tmp_path, named, save_png):
    path, folder = save(2), tmp_path / "in"
    files = [save_png(folder / f"patch_{name}.png", image) for name, image in (("VH", VH), ("VV", VV))]
    given = files if named else [folder]
    assert command("colorize", path, *given, "-o", tmp_path / ("c.png" if named else "out"))[0] == 0
    found = tmp_path / ("c.png" if named else "out/patch.png")
    np.testing.assert_array_equal(np.asarray(Image.open(found)), expected(path, VV, VH))
    np.testing.assert_array_equal(sar_keras.colorize(path, files), expected(path, VV, VH))
    np.testing.assert_array_equal(sar_keras.colorize(path, [str(file) for file in files[::-1]]), expected(path, VV, VH))


@pytest.mark.slow
def test_what_a_run_was_trained_on_is_kept_and_used(tmp_path):
    random = np.random.default_rng(0)
    for number in range(12):
        sar = random.normal(-12, 3, (2, 64, 64)).astype("float32")
        name = f"ROIs1868_summer_{{}}_{number % 4}_p{number}.tif"
        write_tiff(tmp_path / "data/s1" / name.format("s1"), sar, crs=None, names=["VH", "VV"])
        optical = random.integers(0, 255, (3, 64, 64)).astype("uint8")
        write_tiff(tmp_path / "data/s2" / name.format("s2"), optical, crs=None)
    settings = [f"data.root={tmp_path / 'data'}", "data.limit=null", "model.channels=2"]
    settings += ["train.epochs=1", "train.steps_per_epoch=1", "train.batch_size=2"]
    model = sar_keras.load_model(sar_keras.fit(tiny("l1", *settings), tmp_path / "run"))
    metadata = metadata_of(model)
    assert metadata.sar_bands == ("VV", "VH") and metadata.sar_scale.units == "db"
    found = []
    for name, order in (("one", [1, 0]), ("other", [0, 1])):
        source = write_scene(tmp_path / f"{name}.tif", sar[order], descriptions=[["VH", "VV"][n] for n in order])
        found.append(colours(model, source, tmp_path))
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(
        colours(attach(model, ModelMetadata(Scale("db", -20, 0))), source, tmp_path, band="VV,VH"),
        colours(attach(model, ModelMetadata(Scale("db", -20, 0))), source, tmp_path),
    )
