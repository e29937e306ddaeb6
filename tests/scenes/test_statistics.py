import keras
import numpy as np
import pytest
import rasterio
from helpers import read_scene, speckle, write_scene

import sar_keras
from sar_keras.networks.sizes import any_size

SIDE = 32


@pytest.fixture
def normalising():
    """A group normalisation between convolutions of single pixels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(8, 1)(inputs)
    x = keras.layers.GroupNormalization(4, epsilon=1e-5)(x)
    return keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="tanh")(x))


@pytest.fixture
def scene():
    """Dark on the left, bright on the right, and a part without data."""
    image = speckle((300, 400))
    image[:, :200] //= 4
    image = np.maximum(image, 1)
    valid = np.ones(image.shape, bool)
    valid[:150, :100] = False
    return image, valid


def colours_of(network, image):
    """Those of an image (H, W) of 8 bits that is normalised by itself."""
    answer = any_size(network)((image / 127.5 - 1).astype("float32")[None, ..., None])
    return (np.asarray(answer)[0] + 1) * 127.5


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_all_windows_are_normalised_as_the_scene_is(engine, normalising, scene, tmp_path):
    if engine == "openvino":
        pytest.importorskip("openvino", reason="needs the extra openvino")
    image, valid = scene
    source = write_scene(tmp_path / "a.tif", image, mask=valid)
    options = {"overlap": 16, "engine": engine, "limits": (0, 255)}
    small, large = (
        read_scene(sar_keras.colorize_scene(normalising, source, tmp_path / "c.tif", tile=tile, **options))[0]
        for tile in (64, 160)
    )
    assert np.abs(small.astype(int) - large)[valid].max() <= 1
    whole = colours_of(normalising, image[:, 100:])  # by the statistics of all that has data, nearly
    apart = np.concatenate([colours_of(normalising, image[:, side]) for side in (slice(100, 200), slice(200, 400))], 1)
    away = [np.abs(other - small[:, 100:]).mean() for other in (whole, apart)]
    assert away[0] < 3 and away[1] > 4 * away[0]


@pytest.mark.parametrize(("row", "column"), [(0, 0), (977, 1391), (1500, 700)])
def test_what_has_data_tells_the_statistics(normalising, tmp_path, row, column):
    """Of which there is little, and nowhere else."""
    image = np.zeros((2000, 2400), np.uint8)
    image[row : row + 90, column : column + 110] = np.maximum(speckle((90, 110)), 1)
    valid = image > 0
    source = write_scene(tmp_path / "a.tif", image, mask=valid)
    found, _ = read_scene(sar_keras.colorize_scene(normalising, source, tmp_path / "c.tif", tile=512))
    whole = colours_of(normalising, image[row : row + 90, column : column + 110])
    assert np.abs(found[valid].reshape(whole.shape) - whole).mean() < 4 and whole.std() > 10


@pytest.mark.slow
def test_tiles_of_a_product_are_normalised_alike(command, normalising, scene, tmp_path):
    image, _ = scene
    sar_keras.save_model(normalising, tmp_path / "model.keras", sar_keras.ModelMetadata())
    for n, name in enumerate("ab"):
        place = {"transform": rasterio.Affine(10, 0, 500_000 + 2000 * n, 0, -10, 5_400_000)}
        tile = image[:, 200 * n : 200 * n + 200]
        write_scene(tmp_path / f"in/S1_20200101_vv_{name}.tif", tile, **place)
    options = ["--tile", "64", "--overlap", "16", "--range", "0", "255", "--units", "uint8"]
    command("colorize", tmp_path / "model.keras", tmp_path / "in", "-o", tmp_path / "out", *options)
    together = [read_scene(tmp_path / f"out/S1_20200101_vv_{name}.tif")[0] for name in "ab"]
    name = "S1_20200101_vv_a.tif"
    command("colorize", tmp_path / "model.keras", tmp_path / "in" / name, "-o", tmp_path / "later" / name, *options)
    command("colorize", tmp_path / "model.keras", tmp_path / "in", "-o", tmp_path / "later", *options, "--resume")
    for n, name in enumerate("ab"):  # one that was alone at first is made anew
        np.testing.assert_array_equal(read_scene(tmp_path / f"later/S1_20200101_vv_{name}.tif")[0], together[n])
    source = write_scene(tmp_path / "whole.tif", image)
    whole, _ = read_scene(
        sar_keras.colorize_scene(normalising, source, tmp_path / "c.tif", tile=64, overlap=16, limits=(0, 255))
    )
    alone = [colours_of(normalising, image[:, side]) for side in (slice(0, 200), slice(200, 400))]
    away = [np.abs(np.concatenate(tiles, 1) - whole.astype(int)).mean() for tiles in (together, alone)]
    assert away[0] < 6 and away[1] > 4 * away[0]


def test_a_scene_of_one_window_is_normalised_by_itself(normalising, tmp_path):
    image = speckle((SIDE, SIDE))
    path = sar_keras.colorize_scene(normalising, write_scene(tmp_path / "a.tif", image), tmp_path / "c.tif")
    assert np.abs(read_scene(path)[0].astype(int) - sar_keras.colorize(normalising, image)).max() <= 1
