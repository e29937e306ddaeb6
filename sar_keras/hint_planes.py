"""What a hint looks like: what is known of the colours beside the SAR image. Loads no TensorFlow.

A hint (N, H, W, hint_channels) has these planes, float32, all 0 where nothing is known:

- RGB in [-1, 1];
- one for each of KINDS, 1 where the RGB is of that kind;
- 1 where there is a SAR image of the other date;
- that image in [-1, 1], scaled as the model's SAR images are.

The functions take NumPy arrays and TensorFlow's tensors, and give what they are given.
"""

import functools
import importlib
import operator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Array = TypeVar("Array", "np.ndarray", "tf.Tensor")

# "palette": one colour, the mean of the place. "coarse": colours of this date or of always at a lower resolution,
# enlarged. "other_date": an image of another date.
KINDS = ("palette", "coarse", "other_date")
RGB = 3


def hint_channels(channels: int) -> int:
    """The planes of a hint for SAR images of so many bands."""
    return RGB + len(KINDS) + 1 + channels


def kinds_of(hint: Array) -> Array:
    """The planes of a hint that tell its kind, (..., H, W, 3), in the order of KINDS."""
    return hint[..., RGB : RGB + len(KINDS)]  # pyright: ignore[reportArgumentType] - TensorFlow's stub knows no "..."


def has_data(image: Array) -> Array:
    """(..., H, W, 1): windows of scenes hold -1 in all bands where there is nothing, as the darkest pixels do."""
    values: Any = image  # TensorFlow's stub knows no "..."
    return functools.reduce(operator.or_, [values[..., n : n + 1] > -1.0 for n in range(image.shape[-1] or 0)])


def compose_hint(
    rgb: Array,
    kind: str,
    where: Array | None = None,
    reference_sar: Array | None = None,
    where_sar: Array | None = None,
    channels: int = 1,
) -> Array:
    """A hint (..., H, W, hint_channels), float32.

    Args:
        rgb: (..., H, W, 3) in [-1, 1].
        kind: "palette" (the same colour everywhere), "coarse" (enlarged to the size of the SAR image) or "other_date".
        where: (..., H, W, 1), 1 where `rgb` counts, else 0. None: everywhere.
        reference_sar: (..., H, W, channels) in [-1, 1], the SAR image of the date that `rgb` is of.
        where_sar: As `where`, for `reference_sar`.
        channels: SAR bands of the model.

    Raises:
        ValueError: another kind, or levels in place of [-1, 1].
    """
    if kind not in KINDS:
        raise ValueError(f"kind: must be one of {', '.join(KINDS)}, got {kind!r}")
    dtype: Any = getattr(rgb.dtype, "as_numpy_dtype", rgb.dtype)
    if np.issubdtype(dtype, np.integer):
        raise ValueError(f"rgb: is {rgb.dtype}; it must be in [-1, 1], which levels are after / 127.5 - 1")
    library = library_of(rgb)
    rgb = library.cast(rgb, "float32")
    one = library.ones_like(rgb[..., :1])  # pyright: ignore[reportArgumentType] - TensorFlow's stub knows no "..."
    none = library.zeros_like(one)
    here = one if where is None else library.cast(where, "float32")
    planes = [here if kind == each else none for each in KINDS]
    there, sar = none, [none] * channels
    if reference_sar is not None:
        there = one if where_sar is None else library.cast(where_sar, "float32")
        sar = [library.cast(reference_sar, "float32") * there]
    return library.concat([rgb * here, *planes, there, *sar], -1)


class _NumPy:
    """The few functions of NumPy that TensorFlow calls otherwise, or has not in NumPy 1, by TensorFlow's names."""

    ones_like, zeros_like, minimum, maximum = np.ones_like, np.zeros_like, np.minimum, np.maximum
    concat = staticmethod(np.concatenate)

    @staticmethod
    def cast(values, dtype: str):
        return np.asarray(values, dtype)


def library_of(values) -> Any:
    """TensorFlow for its tensors, for arrays the same functions of NumPy."""
    return _NumPy if isinstance(values, np.ndarray) else importlib.import_module("tensorflow")
