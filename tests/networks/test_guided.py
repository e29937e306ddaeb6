import keras
import numpy as np
import pytest
import tensorflow as tf

from sar_keras.hint_planes import KINDS, compose_hint, hint_channels
from sar_keras.networks.guided import ColoursFromHint, GuidedGenerator, inputs_of
from sar_keras.networks.sizes import any_size, patch_size, sar_channels, takes_hint


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(0)
    return GuidedGenerator((32, 32, 2), filters=2)


@pytest.fixture
def sar(random):
    return random.uniform(-1, 1, (2, 32, 32, 2)).astype("float32")


@pytest.fixture
def colours(random):
    return random.uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


def without_difference(generator):
    """A copy whose last convolution gives 0."""
    copy = keras.models.clone_model(generator)
    *weights, kernel, bias = generator.get_weights()
    copy.set_weights([*weights, kernel * 0, bias * 0])
    return copy


@pytest.mark.parametrize(("kind", "trust"), [("palette", 1), ("coarse", 1), ("other_date", 0.5)])
def test_colours_are_the_hint_plus_what_the_network_adds(kind, trust, generator, sar, colours):
    where = np.ones((2, 32, 32, 1), "float32")
    where[:, :16] = 0
    hint = compose_hint(colours, kind, where, channels=2)
    got = without_difference(generator).predict({"sar": sar, "hint": hint}, verbose=0)
    np.testing.assert_allclose(got[:, 16:], colours[:, 16:] * trust, atol=1e-6)
    assert not got[:, :16].any()
    # With a difference it is another image, which SAR decides too.
    one, other = (generator.predict({"sar": image, "hint": hint}, verbose=0) for image in (sar, -sar))
    assert np.abs(one - got).mean() > 1e-3 and np.abs(one - other).max() > 1e-3


def test_most_of_what_a_coarse_hint_tells_is_kept(random):
    smooth = np.asarray(tf.image.resize(random.uniform(-0.5, 0.5, (2, 8, 8, 4)), (256, 256), "bicubic"))
    hint, none = (np.zeros((2, 256, 256, hint_channels(1)), "float32") for _ in range(2))
    hint[..., 3 + KINDS.index("coarse")] = 1
    kept, free = (np.asarray(ColoursFromHint()([planes, smooth])) for planes in (hint, none))
    of_blocks = [image.reshape(2, 8, 32, 8, 32, 3).mean((2, 4)).std() for image in (kept, free)]
    assert of_blocks[0] < of_blocks[1] / 3
    # A finer difference stays.
    fine = random.uniform(-0.5, 0.5, (2, 256, 256, 4)).astype("float32")
    kept, free = (np.asarray(ColoursFromHint()([planes, fine])) for planes in (hint, none))
    assert np.abs(kept - free).mean() < 0.05 * np.abs(free).mean()


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (256, 128)])
def test_what_a_coarse_hint_tells_is_taken_away_as_coarse_as_tensorflow_enlarges_it(size, random):
    x = random.uniform(-0.3, 0.3, (2, *size, 4)).astype("float32")
    hint = np.zeros((2, *size, hint_channels(1)), "float32")
    hint[..., 3 + KINDS.index("coarse")] = 1
    difference = np.tanh(x[..., :3])
    means = difference.reshape(2, size[0] // 32, 32, size[1] // 32, 32, 3).mean((2, 4))
    expected = difference - np.asarray(tf.image.resize(means, size, "bicubic"))
    np.testing.assert_allclose(ColoursFromHint()([hint, x]), expected, atol=1e-5)


def test_where_there_is_no_hint_all_its_planes_are_zero(colours, sar):
    where = np.zeros((2, 32, 32, 1), "float32")
    hint = np.asarray(compose_hint(colours, "other_date", where, sar, where, channels=2))
    assert hint.shape == (2, 32, 32, hint_channels(2)) and not hint.any()
    assert np.asarray(compose_hint(colours, "other_date", None, sar, channels=2)).min((1, 2)).any()


def test_saving_and_other_sizes(generator, sar, tmp_path):
    assert takes_hint(generator) and sar_channels(generator) == 2 and patch_size(generator) == 32
    optical = generator.predict(inputs_of(generator, sar), verbose=0)
    assert optical.shape == (2, 32, 32, 3) and np.abs(optical).max() <= 1
    generator.save(tmp_path / "g.keras")
    again = keras.saving.load_model(tmp_path / "g.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(inputs_of(again, sar), verbose=0), optical, atol=1e-6)
    larger = any_size(again)
    assert larger(inputs_of(larger, np.zeros((1, 64, 96, 2), "float32"))).shape == (1, 64, 96, 3)
