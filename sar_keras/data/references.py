"""Images of another date, beside the pairs that name one: what a guided model may see."""

import dataclasses
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from sar_keras.data.layouts import BESIDE
from sar_keras.data.loading import Images, margin_of
from sar_keras.data.memory import memory_limit
from sar_keras.errors import DataError, parameter


@dataclasses.dataclass(frozen=True)
class References:
    """The images of another date of those pairs that name one, in memory.

    Attributes:
        images: The pairs, which also say how stored values become [-1, 1].
        optical, sar: What was read, by the pair's index, as stored: (H, W, 3) and (H, W, channels).
        changed: Masks by the pair's index, bool (H, W): where the ground has changed between the dates.
    """

    images: Images
    optical: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    sar: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    changed: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def all_have_sar(self) -> bool:
        """Whether no image of another date lacks its SAR image."""
        return self.sar.keys() == self.optical.keys()

    def read(
        self, index: tf.Tensor, sar: tf.Tensor, optical: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """SAR and optical image of another date as stored, and for each whether there is one; for use in `Dataset.map`.

        Where there is none the pair's own stands in its place: `sar` and `optical`, as `Images.read` gives them.
        """

        images = weakref.proxy(self)  # as in `Images.read`

        def read(index: int, sar: np.ndarray, optical: np.ndarray):
            found = int(index)
            has = np.array(found in images.sar), np.array(found in images.optical)
            return images.sar.get(found, sar), images.optical.get(found, optical), *has

        kinds = [*self.images.dtypes, np.dtype(bool), np.dtype(bool)]
        of_date = tf.numpy_function(read, [index, sar, optical], kinds, stateful=False)
        of_sar, of_optical, has_sar, has_optical = of_date
        return (
            tf.ensure_shape(of_sar, sar.shape),
            tf.ensure_shape(of_optical, optical.shape),
            tf.ensure_shape(has_sar, ()),
            tf.ensure_shape(has_optical, ()),
        )


def load_references(images: Images) -> References:
    """Read the images of another date that pairs name, all of them into memory.

    Raises:
        DataError: a file is missing or broken, or is of another size or dtype than the pair's own image; or they do not
            fit half of the memory.
    """
    found = References(images)
    named = [index for index, pair in enumerate(images.pairs) if pair.reference]
    with ThreadPoolExecutor() as pool:
        for index, (optical, sar, changed) in zip(named, pool.map(lambda n: _read(images, n), named), strict=True):
            if not found.optical:
                size = len(named) * (optical.nbytes + (0 if sar is None else sar.nbytes))
                if size > memory_limit() / 2:
                    raise DataError(
                        f"the images of another date take {size / 2**30:.1f} GB, more than half of the memory; name "
                        f"fewer, or use fewer pairs ({parameter('data.limit')})"
                    )
            found.optical[index] = optical
            if sar is not None:
                found.sar[index] = sar
            if changed is not None:
                found.changed[index] = changed
    return found


def _read(images: Images, index: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    pair = images.pairs[index]
    optical, sar, changed = (images.reader.read_beside(pair, name, margin_of(pair)) for name in BESIDE)
    own_sar, own_optical = images.stored(index)

    def check(path, image: np.ndarray, own: np.ndarray) -> None:
        if image.shape != own.shape or image.dtype != own.dtype:
            raise DataError(
                f"{path}: is {image.shape[1]}x{image.shape[0]} {image.dtype}, its partner {pair.sar.name} "
                f"{own.shape[1]}x{own.shape[0]} {own.dtype}; bring both to one size and type"
            )

    assert optical is not None
    check(pair.reference, optical, own_optical)
    if sar is not None:
        check(pair.reference_sar, sar, own_sar)
    if changed is not None and changed.shape[:2] != own_sar.shape[:2]:
        raise DataError(
            f"{pair.changed}: is {changed.shape[1]}x{changed.shape[0]}, its partner {pair.sar.name} "
            f"{own_sar.shape[1]}x{own_sar.shape[0]}; bring both to one size"
        )
    return optical, sar, None if changed is None else changed[..., 0] > 0
