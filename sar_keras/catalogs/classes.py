"""What Sentinel-2's scene classification (SCL) says is no view of the ground.

https://sentiwiki.copernicus.eu/web/s2-processing, "Scene Classification"
"""

import numpy as np

NO_DATA = 0
# Saturated or defective, cloud shadows, clouds of medium and high probability, thin cirrus, snow.
_HIDDEN = (1, 3, 8, 9, 10, 11)
# What is masked grows by so many pixels of 10 m, because the edges of clouds and their shadows are missed.
GROWTH = 8


def hidden(classes: np.ndarray) -> np.ndarray:
    """Where something else than the bare ground is seen, no data apart: bool."""
    return np.isin(classes, _HIDDEN)


def clear(classes: np.ndarray, growth: int = GROWTH) -> np.ndarray:
    """Where the ground is seen, (H - 2 growth, W - 2 growth), of classes (H, W) with a margin of `growth` pixels."""
    from scipy.ndimage import binary_dilation, generate_binary_structure

    masked = binary_dilation(hidden(classes) | (classes == NO_DATA), generate_binary_structure(2, 2), growth)
    return np.logical_not(masked[growth : classes.shape[0] - growth, growth : classes.shape[1] - growth])
