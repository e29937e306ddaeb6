import numpy as np
import pytest
import tensorflow as tf

from sar_keras.data import scaling
from sar_keras.data.scaling import add_speckle
from sar_keras.io.sar import Scale, fit_scale, guess_units


def test_eight_bits_use_the_whole_range():
    image = np.array([[[0], [51], [255]]], np.uint8)
    np.testing.assert_allclose(Scale().to_unit(image).ravel(), [-1.0, -0.6, 1.0], atol=1e-6)


def test_decibel_is_clipped_and_nodata_is_dark():
    scale = Scale("db", -25.0, 0.0)
    image = np.array([[[-25.0], [-12.5], [0.0], [7.0], [-np.inf], [np.nan]]])
    np.testing.assert_allclose(scale.to_unit(image).ravel(), [-1, 0, 1, 1, -1, -1], atol=1e-6)


def test_linear_power_and_decibel_meet():
    scale = Scale("db", -20.0, 0.0)
    power = np.array([[[0.01], [0.1], [1.0], [0.0]]], np.float32)
    # 10 log10 of 0.01, 0.1 and 1 is -20, -10 and 0 dB; no power at all is darkest.
    np.testing.assert_allclose(scale.to_unit(power, "linear").ravel(), [-1, 0, 1, -1], atol=1e-5)


def test_sixteen_bits_for_an_eight_bit_model_are_stretched_not_black(random):
    image = random.integers(100, 900, (64, 64, 1)).astype(np.uint16)
    unit = Scale().to_unit(image)
    assert unit.min() == -1 and unit.max() == 1 and abs(unit.mean()) < 0.1


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (np.array([0, 255], np.uint8), "uint8"),
        (np.array([0, 4000], np.uint16), "amplitude"),
        (np.array([-2400, 100], np.int16), "db"),
        (np.array([-22.0, -3.0, np.nan]), "db"),
        (np.array([-0.5, 0.9]), "unit"),
        (np.array([0.02, 0.1, 3.0]), "linear"),
        (np.array([0.0, 120.0, 255.0]), "uint8"),
        (np.array([0.0, 120.0, 3000.0]), "amplitude"),
    ],
)
def test_units_are_told_by_dtype_and_statistics(values, units):
    assert guess_units(values) == units


@pytest.mark.parametrize(
    ("values", "scale", "units"),
    [
        ([0.02, 0.1, 3.0], Scale("db", -25.0, 0.0), "linear"),
        ([-0.5, -0.1, -0.9], Scale("db", -25.0, 0.0), "db"),
        ([0.1, 0.2, 1.0], Scale("unit", -1.0, 1.0), "unit"),
        ([0.1, 0.2, 3.0], Scale("unit", -1.0, 1.0), "linear"),
        # Most of a tile may lie beyond the border of the scene.
        ([0.0, 0.0, 0.0, 90.0, 400.0], Scale("amplitude", 30.0, 2e3), "amplitude"),
        ([0.02, 0.1, 3.0], Scale("amplitude", 30.0, 2e3), "linear"),
        ([-22.0, -3.0, 400.0], Scale("amplitude", 30.0, 2e3), "db"),
    ],
)
def test_floats_are_what_the_model_was_trained_on_where_they_can_be(values, scale, units):
    assert guess_units(np.array(values), scale) == units


def test_scale_of_a_training_set_ignores_the_bright_tail(random):
    values = random.normal(-12, 3, 100_000)
    values[:500] = 20.0
    scale = fit_scale(values, "db")
    assert scale.units == "db"
    # The 1st and 99th percentile of a normal distribution lie 2.33 standard deviations from its mean.
    assert scale.low == pytest.approx(-12 - 2.33 * 3, abs=0.5)
    assert scale.high == pytest.approx(-12 + 2.33 * 3, abs=1.5)


def test_scale_of_linear_power_is_in_decibel():
    scale = fit_scale(np.repeat(np.float32([0.1, 0.01]), 100), "linear")
    assert (scale.units, scale.low, scale.high) == ("db", pytest.approx(-20), pytest.approx(-10))


@pytest.mark.parametrize("looks", [1, 4])
def test_speckle_has_the_moments_of_the_gamma_distribution(looks):
    scale = Scale("db", -40.0, 40.0)  # wide, so that nothing is clipped
    flat = tf.zeros((400, 400, 1))
    speckled = add_speckle(flat, looks, scale, [1, 2])
    power = 10 ** (speckled.numpy() * 40 / 10)
    assert power.mean() == pytest.approx(1, abs=0.02)
    assert power.var() == pytest.approx(1 / looks, rel=0.05)
    digital = add_speckle(flat, looks, Scale("amplitude", 0.0, 2e3), [1, 2])
    amplitude = np.minimum(1e3 * np.sqrt(power), 2e3)
    np.testing.assert_allclose((digital.numpy() + 1) * 1e3, amplitude, rtol=1e-3, atol=10)  # -40 dB is 10


@pytest.mark.parametrize(
    ("scale", "units", "dtype"),
    [
        (Scale(), "uint8", "uint8"),
        (Scale(), "amplitude", "uint16"),
        (Scale(), "linear", "float32"),
        (Scale("db", -23.5, 1.25), "linear", "float64"),
        (Scale("db", -23.5, 1.25), "db", "float32"),
        (Scale("amplitude", 12, 700), "amplitude", "float32"),
        (Scale(), "unit", "float32"),
        (Scale("reflectance", 0, 3000), "reflectance", "uint16"),
    ],
)
def test_arrays_and_tensors_become_the_same(scale, units, dtype, random):
    span = {"db": (-30, 5), "unit": (-1, 1), "linear": (0, 1), "reflectance": (0, 3500)}.get(units, (0, 250))
    values = random.uniform(*span, (40, 30, 2)).astype(dtype)
    if np.issubdtype(values.dtype, np.floating):
        values[3, 4], values[5, 6] = np.nan, -np.inf
    ours, theirs = scale.to_unit(values, units), scaling.to_unit(scale, tf.constant(values), units).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert ours.dtype == np.float32 and ours.std() > 0.1 and np.abs(ours).max() <= 1
