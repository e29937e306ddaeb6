"""What some images of a data set look like tells which of two is SAR where their names do not: SAR is grey."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sar_keras.errors import DataError
from sar_keras.io.images import read_optical

# Mean distance of the largest from the smallest of red, green and blue, of the largest value; JPEG leaves some in grey.
_GREY = 0.025


def sar_half(paths: Sequence[Path]) -> Literal["left", "right"] | None:
    """Which half of images is grey, where the other is not; None if that cannot be told."""
    halves = (np.array_split(image, 2, axis=1) for image in _readable(paths))
    grey = _grey_one((left, right) for left, right in halves)
    return None if grey is None else ("left", "right")[grey]


def are_squares_side_by_side(paths: Sequence[Path]) -> bool:
    """Whether each image is two squares, one of them grey."""
    shapes = [image.shape for image in _readable(paths)]
    return bool(shapes) and all(width == 2 * height for height, width, _ in shapes) and sar_half(paths) is not None


def second_is_sar(pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Whether, of pairs of images, the second is grey and the first is not."""
    first, second = (_readable([pair[side] for pair in pairs]) for side in (0, 1))
    return _grey_one(zip(first, second, strict=False)) == 1


def _grey_one(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> int | None:
    """Which of two images is grey while the other is not, on average: 0, 1, or None."""
    colours = [[np.ptp(image, axis=-1).mean() / max(image.max(), 1) for image in pair] for pair in pairs]
    if not colours:
        return None
    are_grey = (np.mean(colours, axis=0) < _GREY).tolist()
    return are_grey.index(True) if sum(are_grey) == 1 else None


def _readable(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """The images; those that cannot be read are left to who reads them all."""
    for path in paths:
        try:
            yield read_optical(path).astype("float32")
        except DataError:
            continue
