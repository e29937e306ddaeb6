import keras
import numpy as np
import pytest
from helpers import one_convolution

import sar_keras

SIDE = 32


def generator(seed):
    keras.utils.set_random_seed(seed)
    return one_convolution(size=SIDE)


@pytest.mark.parametrize(
    ("precision", "engine"),
    [
        ("float32", "tensorflow"),
        ("bfloat16", "tensorflow"),
        pytest.param("float32", "openvino", marks=pytest.mark.slow),
    ],
)
def test_the_colours_are_those_of_the_weights_at_the_call(precision, engine, random):
    image = random.integers(0, 256, (SIDE, SIDE), np.uint8)
    model, other = generator(0), generator(1)

    def colours(model):
        return sar_keras.colorize(model, image, precision=precision, engine=engine)

    before, wanted = colours(model), colours(other)
    assert (before != wanted).any()
    np.testing.assert_array_equal(colours(model), before)
    model.set_weights(other.get_weights())
    np.testing.assert_array_equal(colours(model), wanted)


def test_one_step_of_training_is_noticed(random):
    image = random.integers(0, 256, (SIDE, SIDE), np.uint8)
    model = generator(0)
    before = sar_keras.colorize(model, image, precision="bfloat16")
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.train_on_batch(*(random.uniform(-1, 1, (1, SIDE, SIDE, c)).astype("float32") for c in (1, 3)))
    after = sar_keras.colorize(model, image, precision="bfloat16").astype(int)
    assert np.abs(after - before).max() > 0
    # bfloat16 has 8 bits.
    assert np.abs(after - sar_keras.colorize(model, image)).max() <= 4


def test_a_path_whose_file_has_changed_is_loaded_again(tmp_path, random):
    image = random.integers(0, 256, (SIDE, SIDE), np.uint8)
    path = tmp_path / "model.keras"
    for seed in (0, 1):
        sar_keras.save_model(generator(seed), path, sar_keras.ModelMetadata())
        wanted = sar_keras.colorize(generator(seed), image)
        np.testing.assert_array_equal(sar_keras.colorize(path, image), wanted)
