import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import sar_keras
from sar_keras.errors import DataError
from sar_keras.inference.locate import DEMO
from sar_keras.inference.metadata import metadata_of
from sar_keras.io.sar import Scale


@pytest.fixture(scope="module")
def model(model_file):
    return sar_keras.load_model(model_file)


def test_predict_takes_and_gives_the_documented_tensors(model, random):
    sar = random.uniform(-1, 1, (3, 64, 64, 1)).astype("float32")
    optical = model.predict(sar, verbose=0)
    assert optical.shape == (3, 64, 64, 3) and optical.dtype == np.float32 and np.abs(optical).max() <= 1
    np.testing.assert_allclose(model.predict(sar[1:2], verbose=0), optical[1:2], atol=1e-5)


def test_colorize_is_predict_for_an_image_of_the_models_size(model, random):
    image = random.integers(0, 256, (64, 64), np.uint8)
    predicted = model.predict((image / 127.5 - 1).astype("float32")[None, ..., None], verbose=0)[0]
    expected = np.rint((predicted + 1) * 127.5)
    assert np.abs(sar_keras.colorize(model, image) - expected).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (63, 65), (64, 200), (130, 70)])
def test_any_size_gives_that_size(model, random, shape):
    colour = sar_keras.colorize(model, random.integers(0, 256, shape, np.uint8))
    assert colour.shape == (*shape, 3) and colour.dtype == np.uint8


def test_padding_mirrors_the_image(model, random):
    image = random.integers(0, 256, (40, 64), np.uint8)
    mirrored = np.pad(image, ((0, 24), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(sar_keras.colorize(model, image), sar_keras.colorize(model, mirrored)[:40])


def test_path_pil_array_and_decibel_agree(model, tmp_path, save_png, random):
    image = random.integers(0, 256, (64, 80), np.uint8)
    path = save_png(tmp_path / "a.png", image)
    expected = sar_keras.colorize(model, image)
    for same in (path, str(path), Image.fromarray(image), image[..., None], Image.open(path).convert("RGB")):
        np.testing.assert_array_equal(sar_keras.colorize(model, same), expected)
    unit = (image / 127.5 - 1).astype("float32")
    assert np.abs(sar_keras.colorize(model, unit).astype(int) - expected).max() <= 1
    with pytest.warns(UserWarning, match="db values"):
        decibel = sar_keras.colorize(model, image / 255.0 * 25 - 25)
    assert np.abs(decibel.astype(int) - expected).max() <= 1


def test_units_that_do_not_exist(model):
    with pytest.raises(DataError, match=r"units: must be auto or one of uint8, .*'dB'"):
        sar_keras.colorize(model, np.zeros((8, 8)), units="dB")


def test_a_folder_inside_its_own_input_is_not_colorized_again(command, model_file, tmp_path, save_png):
    save_png(tmp_path / "in" / "a.png", np.zeros((64, 64), np.uint8))
    save_png(tmp_path / "in" / ".b-0123abcd.png", np.zeros((64, 64), np.uint8))  # of a run that was killed
    for _ in range(2):
        assert command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in" / "out")[0] == 0
    assert [path.name for path in (tmp_path / "in" / "out").rglob("*")] == ["a.png"]


def test_sixteen_bits_are_not_black(model, random):
    with pytest.warns(UserWarning, match="amplitude values"):
        deep = sar_keras.colorize(model, random.integers(0, 3000, (64, 64)).astype(np.uint16))
    shallow = sar_keras.colorize(model, random.integers(0, 256, (64, 64), np.uint8))
    assert abs(deep.mean() - shallow.mean()) < 10


@pytest.mark.parametrize("image", [np.zeros((4,)), np.zeros((0, 4)), np.zeros((4, 4, 0))])
def test_arrays_that_are_no_images(model, image):
    with pytest.raises(DataError, match="shape"):
        sar_keras.colorize(model, image)


def test_generators_of_others(tmp_path, random):
    """They may take any size, and have a batch normalisation that does not scale."""
    layers = [keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization(scale=False)]
    layers += [keras.layers.Conv2D(3, 3, padding="same", activation="tanh")]
    keras.Sequential([keras.Input((None, None, 1)), *layers]).save(tmp_path / "other.keras")
    with pytest.warns(UserWarning, match="taken for 8-bit"):
        model = sar_keras.load_model(tmp_path / "other.keras")
    image = random.integers(0, 256, (70, 90), np.uint8)
    images = [
        sar_keras.colorize(model, image, precision=precision).astype(int) for precision in ("float32", "bfloat16")
    ]
    assert images[0].shape == (70, 90, 3) and np.abs(images[0] - images[1]).mean() < 2


def test_bfloat16_gives_nearly_the_same_colours(model, random):
    image = random.integers(0, 256, (70, 130), np.uint8)
    whole, lower = (sar_keras.colorize(model, image, precision=name).astype(int) for name in ("float32", "bfloat16"))
    assert lower.shape == (70, 130, 3)
    assert 0 < np.abs(whole - lower).mean() < 2
    with pytest.raises(DataError, match="precision: must be one of float32, bfloat16"):
        sar_keras.colorize(model, image, precision="bf16")


def test_demo_colorizes_right_after_installing(command, random, save_png, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # no run, so that the name still means the model
    image = save_png(tmp_path / "image.png", random.integers(0, 256, (300, 200), np.uint8))
    code, out, _ = command("colorize", "demo", image, "-o", tmp_path / "colour.png")
    colour = np.asarray(Image.open(tmp_path / "colour.png"))
    assert code == 0 and out.strip() == str(tmp_path / "colour.png")
    assert colour.shape == (300, 200, 3) and colour.std() > 1
    model = sar_keras.load_model("demo")
    about = metadata_of(model)
    assert DEMO.stat().st_size < 10e6 and about.sar_scale == Scale() and about.expected_error


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_an_optical_image_is_told_from_sar(model, tmp_path, suffix, random):
    grey = np.repeat(random.integers(0, 256, (64, 64, 1), np.uint8), 3, -1)
    coloured = np.clip(grey.astype(int) + np.array([0, 20, 40]), 0, 255).astype(np.uint8)
    for name, image in (("grey", grey), ("coloured", coloured)):
        Image.fromarray(image).save(tmp_path / f"{name}.{suffix}")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*as those of an optical")
        sar_keras.colorize(model, tmp_path / f"grey.{suffix}")
        sar_keras.colorize(model, grey)
    for given in (tmp_path / f"coloured.{suffix}", coloured):
        with pytest.warns(UserWarning, match="as those of an optical image do"):
            sar_keras.colorize(model, given)
