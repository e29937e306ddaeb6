"""Surface reflectance as 8-bit colours: one stretch, which the files, the models and their colours name in a tag."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rasterio

from sar_keras.io.zips import gdal_name

# The reflectances that 0 and 255 stand for. Beyond is clipped: clouds, snow and the brightest sand are white.
STRETCH = (0.0, 0.3)
TAG = "SAR_KERAS_REFLECTANCE"

Stretch = tuple[float, float]


def to_levels(reflectance: np.ndarray, stretch: Stretch = STRETCH) -> np.ndarray:
    """Reflectance of any shape as uint8, from 1 on: 0 is left for what has no data."""
    low, high = stretch
    return np.clip(np.rint((reflectance - low) * (255 / (high - low))), 1, 255).astype(np.uint8)


def tags_of(stretch: Stretch | None) -> dict[str, str]:
    """The tag of a GeoTIFF of such colours; none where the stretch is not known."""
    return {TAG: f"{stretch[0]:g} {stretch[1]:g}"} if stretch else {}


def common_stretch(paths: Iterable[Path]) -> Stretch | None:
    """The stretch that all of some GeoTIFFs name; None where they differ, or there are none."""
    stretches = {stretch_of(path) for path in dict.fromkeys(paths)}
    return stretches.pop() if len(stretches) == 1 else None


def stretch_of(path: Path) -> Stretch | None:
    """The stretch that a GeoTIFF names; None where it names none."""
    with rasterio.open(gdal_name(path)) as source:
        words = (source.tags().get(TAG) or "").split()
    try:
        low, high = map(float, words)
    except ValueError:
        return None
    return (low, high) if low < high else None
