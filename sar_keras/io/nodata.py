"""SAR values that are no data though no tag of the file says so: one rule for scenes and for training."""

import numpy as np

# No instrument measures so little, in whatever units.
_LEAST = -999.0
# What writers put where nothing was measured. A scale tag may turn it into a number that could be a measurement.
_SENTINELS = (-9999, -32768, -99999)
# A single dark pixel may be exactly zero, or a bright one 0 dB: only areas of so many pixels a side are no data.
ZERO_AREA = 9
# Where an area lies aslant, zeros next to its squares belong to it. So many pixels around a window tell its areas.
ZERO_REACH = 2 * (ZERO_AREA - 1)
# In 8-bit images and in [-1, 1] zero is a grey level like others.
UNITS_WITHOUT_ZERO = ("amplitude", "db", "linear")


def is_measured(stored: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
    """Where `stored`, of any shape and dtype, can be measurements: finite, and no sentinel such as -9999 or -32768.

    `values` are what they stand for, where the file has a scale tag.
    """
    values = stored if values is None else values
    measured = np.ones(stored.shape, bool)
    if stored.dtype.kind != "u":
        for sentinel in _SENTINELS:
            measured &= stored != sentinel
    if np.issubdtype(values.dtype, np.floating):
        measured &= np.isfinite(values) & (values > _LEAST)
    return measured


def zero_areas(values: np.ndarray) -> np.ndarray:
    """Where all bands (bands, H, W) are zero in an area of ZERO_AREA pixels a side, or more: (H, W), bool."""
    zero = (values == 0).all(0)
    if not zero.any():
        return zero
    squares = np.pad(zero, ZERO_AREA // 2, constant_values=True)
    for distance in (1, 2, 4, ZERO_AREA - 8):  # together all pixels of a square, first of its columns, then of its rows
        squares = squares[:-distance] & squares[distance:]
    for distance in (1, 2, 4, ZERO_AREA - 8):
        squares = squares[:, :-distance] & squares[:, distance:]
    if not squares.any():
        return squares
    for _ in range(ZERO_REACH):
        before, squares = squares, _widened(_widened(squares).T).T & zero
        if (squares == before).all():
            break
    return squares


def _widened(areas: np.ndarray) -> np.ndarray:
    """Areas with the pixels above and below them."""
    wider = areas.copy()
    wider[1:] |= areas[:-1]
    wider[:-1] |= areas[1:]
    return wider


def blank_zero_areas(sar: np.ndarray) -> None:
    """Make areas of zeros not-a-number, in place, in decibels (H, W, bands), where zero would be a bright target."""
    if np.issubdtype(sar.dtype, np.floating):
        sar[zero_areas(np.moveaxis(sar, -1, 0))] = np.nan
