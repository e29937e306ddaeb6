"""The SAR image's own fine structure in the lightness: roads, canals, field borders that a network blurs.

A Lee filter on a band of the image: what is finer than a few pixels, as far as it is stronger than speckle. How strong
speckle is nobody has to tell: the quietest place nearby shows it. All of it is local, so that it does not matter where
a window of a scene lies. Lee filters of a known number of looks, a bilateral filter and total variation, which we tried
too, leave more speckle on flat land of a single look; the latter two are slower than networks.
"""

from collections.abc import Callable

import numpy as np

from sar_keras.errors import DataError, parameter

# Filters made of sums, or minima, of two shifted images, one after the other; the numbers are the shifts' distances. So
# (1, 2, 4) joins the 8 pixels of a row, and the same twice weighs 15 by a triangle.
_SMOOTH = (1, 1)
_COARSE = (1, 2, 4, 1, 2, 4)
_NEARBY = (1, 2, 4, 8, 16, 9)
# Energy in relation to the quietest place nearby that still is speckle: on flat land hardly any place has more.
_SPECKLE = 3.0
# How far around a pixel lies what matters to it.
REACH = (sum(_COARSE) + sum(_COARSE) + sum(_NEARBY)) // 2
# Units of L for each unit of the structure: the ratio of the standard deviations of both, each in the same band, in 101
# pairs of ombria that are in the training split of the seeds 0, 1, 2 and 10. So with all of it the lightness has as
# much fine structure as that of optical images.
LIGHTNESS = 40.0
# Linear sRGB to XYZ in relation to white, IEC 61966-2-1, and back.
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_TO_XYZ = (_TO_XYZ / _WHITE[:, None]).astype("float32")
_TO_RGB = np.linalg.inv(_TO_XYZ)
_AT_ONCE = 2**15  # pixels whose colours stay in a processor's cache


def check_detail(detail: float) -> None:
    """
    Raises:
        DataError: not from 0 to 1.
    """
    if not 0 <= detail <= 1:
        raise DataError(f"{parameter('detail')}: must be from 0 to 1, got {detail:g}")


def fine_structure(sar: np.ndarray, valid: np.ndarray | None = None, margin: int = 0) -> np.ndarray:
    """What is finer than a few pixels in a SAR image and stronger than speckle, in the mean of its bands.

    Args:
        sar: (H, W, channels), float32 in [-1, 1].
        valid: Where there is data, bool (H, W); elsewhere the values do not count. None: everywhere.
        margin: Pixels of its frame that are known, but not asked for; where they are fewer than REACH, the image is
            mirrored.

    Returns:
        (H - 2 margin, W - 2 margin), float32, in the units of `sar`: above 0 on bright lines, 0 on flat land and where
        there is no data.
    """
    valid = np.ones(sar.shape[:2], bool) if valid is None else valid
    grey, valid = (np.pad(image, REACH - margin, "reflect") for image in (sar.mean(-1), valid))
    known = None if valid.all() else valid.astype("float32")
    coarse = _mean(grey, _COARSE, known)
    fine = _inner(_mean(grey, _SMOOTH, known), coarse) - coarse
    energy = np.maximum(_mean(fine**2, _COARSE, None if known is None else _inner(known, fine)), 1e-12)
    if known is not None:
        energy[_inner(known, energy) == 0] = 1e6  # never the quietest
    quietest = _join(np.minimum, energy, _NEARBY)
    structure = _inner(fine, quietest) * np.maximum(1 - _SPECKLE * quietest / _inner(energy, quietest), 0)
    if known is not None:
        structure[_inner(known, structure) == 0] = 0
    return structure


def add_detail(levels: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """Add to the lightness L of CIE Lab; a and b stay, as far as there is such a colour.

    Args:
        levels: Grey levels of 0..255, float32 (..., 3).
        structure: As much as is wanted of what `fine_structure` gives, (...).

    Returns:
        As `levels`, which stay to the bit where there is no structure.
    """
    result = levels.copy()
    changed = structure != 0
    colours, lightness = levels[changed] / 255, LIGHTNESS * structure[changed]
    for start in range(0, len(colours), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        colours[some] = _lighter(colours[some], lightness[some])
    result[changed] = 255 * colours
    return result


def _join(combine: Callable, values: np.ndarray, distances: tuple[int, ...]) -> np.ndarray:
    """The sum or minimum around each pixel, smaller by the sum of the distances in height and width."""
    for distance in distances:
        values = combine(values[:-distance], values[distance:])
    for distance in distances:
        values = combine(values[:, :-distance], values[:, distance:])
    return values


def _mean(values: np.ndarray, distances: tuple[int, ...], known: np.ndarray | None) -> np.ndarray:
    """The weighted mean of those values around each pixel that are known; None: all are."""
    if known is None:
        return _join(np.add, values, distances) * np.float32(0.25 ** len(distances))
    return _join(np.add, values * known, distances) / np.maximum(_join(np.add, known, distances), 1)


def _inner(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The middle of an array that is as large as another."""
    top, left = ((mine - its) // 2 for mine, its in zip(values.shape, like.shape, strict=True))
    return values[top : top + like.shape[0], left : left + like.shape[1]]


def _lighter(rgb: np.ndarray, by: np.ndarray) -> np.ndarray:
    """sRGB (n, 3) in [0, 1] with L of CIE Lab under D65 changed by (n,).

    As by `sar_keras.color`, but many times as fast: all three roots of XYZ change by the same.
    """
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _TO_XYZ.T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    change = np.clip(116 * root[:, 1] - 16 + by, 0, 100) - (116 * root[:, 1] - 16)
    root += change[:, None] / 116
    xyz = np.where(root > 0.206893, root * root * root, (root - 16 / 116) / 7.787)
    linear = xyz @ _TO_RGB.T
    bright = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.clip(np.where(linear > 0.0031308, bright, 12.92 * linear), 0, 1)
