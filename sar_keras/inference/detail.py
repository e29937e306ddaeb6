"""The SAR image's own fine structure in the lightness of the colours: roads, canals, field borders that a network blurs.

A Lee filter on a band of the image: what is finer than a few pixels, as far as it is stronger than the speckle around.
How strong that is nobody has to tell: it is what the quietest place nearby has. Of what we compared (docs/results.md)
this keeps flat land flattest, and its lines and edges are most like those of optical images.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, minimum_filter, uniform_filter
from skimage.color import lab2rgb, rgb2lab

from sar_keras.errors import DataError, parameter

# Pixels: the standard deviation of the Gaussian that smooths the image; the sides of the squares over which a mean is
# taken, twice, to get what is coarse, and the energy of what is fine is averaged; and the side of the neighbourhood in
# which the quietest place is looked for.
_SMOOTHED, _COARSE, _AVERAGED, _AROUND = 0.7, 9, 11, 41
# Times that energy of the quietest place that count as speckle: flat land has hardly ever more.
_SPECKLE = 3.0
# How far around a pixel lies what matters to it.
REACH = _AROUND // 2 + _AVERAGED // 2 + 2 * (_COARSE // 2)
# What 1 of the structure is in lightness: the ratio of the standard deviations of both where networks were trained, on
# pairs of ombria that are in the training splits of the seeds 0, 1, 2 and 10. So with all of it the lightness has about
# as much fine structure as that of optical images.
LIGHTNESS = 38.0


def check_detail(detail: float) -> None:
    """
    Raises:
        DataError: not from 0 to 1.
    """
    if not 0 <= detail <= 1:
        raise DataError(f"{parameter('detail')}: must be from 0 to 1, got {detail:g}")


def fine_structure(sar: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """What is finer than a few pixels in a SAR image and stronger than speckle, in the mean of its bands.

    Args:
        sar: (H, W, channels), float32 in [-1, 1].
        valid: Where there is data, bool (H, W); elsewhere the values do not count. None: everywhere.

    Returns:
        (H, W), float32, in the units of `sar`: above 0 on bright lines, 0 on flat land and where there is no data.
    """
    grey = sar.mean(-1)
    weights = None if valid is None or valid.all() else valid.astype("float32")

    def mean(smooth, values, size):
        if weights is None:
            return smooth(values, size, mode="mirror")
        share = smooth(weights, size, mode="mirror")
        return smooth(values * weights, size, mode="mirror") / np.maximum(share, 1e-6)

    coarse = mean(uniform_filter, mean(uniform_filter, grey, _COARSE), _COARSE)
    fine = mean(gaussian_filter, grey, _SMOOTHED) - coarse
    energy = np.maximum(mean(uniform_filter, fine**2, _AVERAGED), 1e-12)
    quietest = minimum_filter(energy if weights is None else np.where(valid, energy, np.inf), _AROUND, mode="mirror")
    structure = fine * np.maximum(1 - _SPECKLE * quietest / energy, 0)
    return structure if weights is None else np.where(valid, structure, np.float32(0))


def add_detail(levels: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """Add to the lightness L of CIE Lab; a and b stay, as far as there is such a colour.

    Args:
        levels: Grey levels of 0..255, float32 (..., 3).
        structure: As much as is wanted of what `fine_structure` gives, (...).

    Returns:
        As `levels`.
    """
    lab = rgb2lab(levels / 255)
    lab[..., 0] = np.clip(lab[..., 0] + LIGHTNESS * structure, 0, 100)
    # Dark colours have a limit to their yellow, beyond which scikit-image warns.
    lab[..., 2] = np.minimum(lab[..., 2], 199 * (lab[..., 0] + 16) / 116)
    return 255 * lab2rgb(lab)
