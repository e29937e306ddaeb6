import keras
import numpy as np
import pytest
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
    network = any_size(normalising)

    def colours(part):
        answer = network((part / 127.5 - 1).astype("float32")[None, ..., None])
        return (np.asarray(answer)[0] + 1) * 127.5

    whole = colours(image[:, 100:])  # by the statistics of all that has data, nearly
    apart = np.concatenate([colours(image[:, 100:200]), colours(image[:, 200:])], 1)
    away = [np.abs(other - small[:, 100:]).mean() for other in (whole, apart)]
    assert away[0] < 3 and away[1] > 4 * away[0]


def test_a_scene_of_one_window_is_normalised_by_itself(normalising, tmp_path):
    image = speckle((SIDE, SIDE))
    path = sar_keras.colorize_scene(normalising, write_scene(tmp_path / "a.tif", image), tmp_path / "c.tif")
    assert np.abs(read_scene(path)[0].astype(int) - sar_keras.colorize(normalising, image)).max() <= 1
