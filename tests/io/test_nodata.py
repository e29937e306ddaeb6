import numpy as np
import pytest
from scipy import ndimage

from sar_keras.io.nodata import ZERO_AREA, ZERO_REACH, is_measured, zero_areas


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("sentinel", [-9999, -32768])
def test_sentinels_are_no_measurements(dtype, sentinel):
    stored = np.array([[-1200, sentinel, 0, 31]], dtype)
    expected = [[True, False, True, True]]
    if dtype.startswith("float"):
        stored /= [100, 1, 1, 1]
    assert is_measured(stored).tolist() == expected
    # A scale tag makes -99.99 dB, or -0.9999, of it.
    for factor in (0.01, 0.0001):
        assert is_measured(stored, stored * np.float32(factor)).tolist() == expected


def test_what_is_no_number_and_what_no_instrument_measures():
    values = np.array([np.nan, np.inf, -np.inf, -3.4e38, -1000, -45, 0, 1e5], np.float32)
    assert is_measured(values).tolist() == [False] * 5 + [True] * 3
    assert is_measured(np.array([0, 255, 65535], np.uint16)).all()


@pytest.mark.parametrize("bands", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "uint16", "int16"])
def test_areas_of_zeros_and_single_ones(bands, dtype, random):
    values = random.integers(1, 100, (bands, 60, 70)).astype(dtype)
    assert not zero_areas(values).any()
    expected = np.zeros((60, 70), bool)
    expected[20:, 40:] = expected[3 : 3 + ZERO_AREA, 2 : 2 + ZERO_AREA] = True
    values[:, expected] = 0
    values[:, 30, 20] = 0
    values[:, 40:48, 10:18] = 0  # one pixel less a side than an area
    values[0, 40:60, 20:35] = 0 if bands == 2 else values[0, 40:60, 20:35]  # of one band only
    assert (zero_areas(values) == expected).all()


@pytest.mark.parametrize("slope", [0, 0.1, 0.35, 1, 2, -0.5])
def test_the_border_of_an_area_that_lies_aslant_belongs_to_it(slope, random):
    rows, columns = np.mgrid[:120, :150]
    outside = columns + slope * rows < 70
    values = np.where(outside, 0, random.normal(-12, 2, (120, 150)))[None]
    values[:, 60, 140] = 0
    assert (zero_areas(values) == outside).all()
    # Around a window so many pixels tell the same.
    part = values[:, 40 - ZERO_REACH :, 40 - ZERO_REACH :]
    assert (zero_areas(part)[ZERO_REACH:, ZERO_REACH:] == outside[40:, 40:]).all()


def test_areas_are_those_of_scipys_morphology(random):
    smooth = ndimage.gaussian_filter(random.normal(size=(150, 170)), 6)
    values = np.where((smooth < 0) | (random.uniform(size=smooth.shape) < 0.02), 0, 1)[None]
    zero = values[0] == 0
    squares = ndimage.minimum_filter(zero, ZERO_AREA)
    expected = ndimage.binary_dilation(squares, np.ones((3, 3)), ZERO_REACH, mask=zero)
    assert squares.any() and (expected != squares).any() and (expected != zero).any()
    assert (zero_areas(values) == expected).all()
