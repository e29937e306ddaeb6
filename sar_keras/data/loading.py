"""Images of pairs of files: read, checked, and kept in memory where they fit, with the scales that they need."""

import contextlib
import dataclasses
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import rasterio
import tensorflow as tf

from sar_keras.data.memory import memory_limit
from sar_keras.data.pairs import Pair, evenly
from sar_keras.data.reading import PairReader
from sar_keras.data.scaling import to_unit
from sar_keras.data.windows import MOST_MISSING
from sar_keras.errors import ConfigError, DataError
from sar_keras.io.ahead import ahead
from sar_keras.io.images import FAST_PNG, is_grey
from sar_keras.io.nodata import blank_zero_areas, is_measured
from sar_keras.io.sar import Scale, fit_scale, guess_units

# Images read to find the range of values that are not 8-bit.
_SCALE_SAMPLES = 64
# Values of them that count.
_SCALE_VALUES = 1_000_000
# Share of the pairs that `on_error="skip"` leaves out before it stops after all.
_MOST_SKIPPED = 0.01
# Pairs that are read before they are looked at.
_AHEAD = 4 * (os.cpu_count() or 4)


class _LacksData(DataError):
    """A pair of patches of which much holds no data."""


_Read = tuple[np.ndarray, np.ndarray] | DataError


@dataclasses.dataclass(frozen=True)
class Images:
    """Pairs of equal dtype, read into memory where they fit, else from their files at each use.

    Attributes:
        pairs: The pairs, whose order the datasets' indices refer to.
        size: Height and width of the patches that the datasets give.
        reader: Reads them.
        resize: Bring larger images to `size` whole, instead of cropping.
        sar_scale, optical_scale: How stored values become [-1, 1].
        sar_units: Units of the stored SAR values, see `sar_keras.io.sar.UNITS`.
        dtypes: The dtypes of the SAR and the optical images as stored.
        memory: (sar, optical) as stored, (n, H, W, channels) and (n, H, W, 3), or None. They are the only copy: no
            TensorFlow graph holds them.
        on_error: See `load_images`.
        failed: Indices of pairs that could not be read any more after `load_images`.
    """

    pairs: list[Pair]
    size: int
    reader: PairReader
    resize: bool
    sar_scale: Scale
    optical_scale: Scale
    sar_units: str
    dtypes: tuple[np.dtype, np.dtype]
    memory: tuple[np.ndarray, np.ndarray] | None
    on_error: str = "stop"
    failed: set[int] = dataclasses.field(default_factory=set)

    @property
    def channels(self) -> int:
        """SAR bands."""
        return self.reader.channels

    @property
    def sar_bands(self) -> tuple[str, ...]:
        """What the SAR bands are called, such as ("VV", "VH"); empty where that is not known, or not of all files."""
        return self.reader.sar_names

    def read(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The pair at `index` as stored; for use inside `Dataset.map`."""
        # TensorFlow keeps the function until the process ends, and would keep the images with it. A dataset holds them.
        images = weakref.proxy(self)
        sar, optical = tf.numpy_function(lambda index: images.stored(index), [index], self.dtypes, stateful=False)
        return tf.ensure_shape(sar, (None, None, self.channels)), tf.ensure_shape(optical, (None, None, 3))

    def to_unit(self, sar: tf.Tensor, optical: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Stored values as float32 in [-1, 1]."""
        return to_unit(self.sar_scale, sar, self.sar_units), to_unit(
            self.optical_scale, optical, self.optical_scale.units
        )

    def with_scales(self, sar_scale: Scale, optical_scale: Scale | None) -> "Images":
        """The same images with the scales that a model was trained with; without an optical one they keep theirs."""
        return dataclasses.replace(self, sar_scale=sar_scale, optical_scale=optical_scale or self.optical_scale)

    def stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The pair at `index` as stored, SAR (H, W, channels) and optical (H, W, 3)."""
        if self.memory:
            sar, optical = self.memory
            return sar[index], optical[index]
        while True:
            try:
                # `load_images` has found these files whole. For this thread alone: it is not the main one.
                with rasterio.Env(**FAST_PNG):
                    sar, optical = _read(self.pairs[index], self.reader)
                if self.sar_units == "db":
                    blank_zero_areas(sar)
                return sar, optical
            except DataError as error:
                if index not in self.failed or self.on_error == "stop":
                    self.failed.add(int(index))
                    _skip(error, len(self.failed), len(self.pairs), self.on_error)
                # The next of its split takes its place, so that all the others keep theirs.
                split = self.pairs[index].split
                following = [*range(index + 1, len(self.pairs)), *range(index)]
                others = [i for i in following if self.pairs[i].split == split and i not in self.failed]
                if not others:
                    raise
                index = others[0]


def load_images(
    pairs: list[Pair],
    size: int = 256,
    reader: PairReader | None = None,
    resize: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
    on_error: str = "stop",
) -> Images:
    """Read and check every pair; keep the images in memory where they are equal in size and fit a quarter of it.

    A window of a scene is read with half its size around it: the centre is what evaluation sees, and training crops
    at random.

    Args:
        pairs: The pairs to read.
        size: Patch size in pixels.
        reader: Reads them; None: the first SAR band, and the optical bands that are found by the usual rule.
        resize: See `Images`.
        progress: Wraps the iteration over the pairs, for a progress bar.
        on_error: "stop", or "skip" to leave out pairs that cannot be read, with a warning that names each; of those
            that can no longer be read later, another of the split takes the place.

    Patches of which more than a tenth holds no data are left out, as such windows of scenes are; a warning counts them.

    Raises:
        DataError: a file is missing, broken or empty, all lack data, the two images of a pair differ in size, or more
            than 1 % of the pairs are to be skipped.
        ConfigError: windows of scenes are to be resized.
    """
    if resize and any(pair.window for pair in pairs):
        raise ConfigError("data.resize: windows of scenes have the size of a patch already; set it to false")
    memory: tuple[np.ndarray, np.ndarray] | None = None
    samples: list[tuple[np.ndarray, np.ndarray]] = []
    # A range is learnt, too: not from what is held out.
    sampled = set(evenly([pair for pair in pairs if pair.split == "train"] or pairs, _SCALE_SAMPLES))
    kept: list[Pair] = []
    first: tuple[np.ndarray, np.ndarray] | None = None
    failures, lacking = 0, []
    reader = reader or PairReader()

    def try_to_read(pair: Pair) -> _Read:
        try:
            return _read(pair, reader)
        except DataError as error:
            return error

    # Everything is read once, also where it is not kept: a broken file should stop the run now, not at night.
    with (
        ThreadPoolExecutor() as pool,
        contextlib.closing(ahead(pool, try_to_read, pairs, _AHEAD)) as results,
    ):
        for pair, images in zip(pairs, progress(results), strict=True):
            if not isinstance(images, DataError):
                images = _type_error(pair, images, first or images) or images
            if isinstance(images, _LacksData):
                lacking.append(images)
                continue
            if isinstance(images, DataError):
                failures += 1
                _skip(images, failures, len(pairs), on_error)
                continue
            sar, optical = images
            if first is None and len(pairs) * (sar.nbytes + optical.nbytes) < memory_limit() / 4:
                memory = (
                    np.empty((len(pairs), *sar.shape), sar.dtype),
                    np.empty((len(pairs), *optical.shape), optical.dtype),
                )
            first = first or images
            if memory and all(image.shape == store.shape[1:] for image, store in zip(images, memory, strict=True)):
                for image, store in zip(images, memory, strict=True):
                    store[len(kept)] = image
            else:
                memory = None
            if pair in sampled:
                samples.append(images)
            kept.append(pair)
    if lacking and not kept:
        raise lacking[0]
    if lacking:
        warnings.warn(f"left out: {lacking[0]}; so of {len(lacking)} of {len(pairs)} pairs", stacklevel=2)
    samples = samples or ([first] if first else [])
    sar_samples, optical_samples = zip(*samples, strict=True)
    sar_units, optical_values = guess_units(_pool(sar_samples)), _pool(optical_samples)
    shown = [image for image in optical_samples if image.min() < image.max()]
    if shown and all(map(is_grey, shown)):
        warnings.warn(
            "the optical images are grey: are they SAR images, and the SAR images optical ones?", stacklevel=2
        )
    if sar_units == "db":
        for image in [*sar_samples, *(memory[0][: len(kept)] if memory else [])]:
            blank_zero_areas(image)
    return Images(
        kept,
        size,
        reader,
        resize,
        fit_scale(_pool(sar_samples), sar_units),
        fit_scale(optical_values, "uint8") if optical_values.dtype == np.uint8 else _fit_reflectance(optical_values),
        sar_units,
        (sar_samples[0].dtype, optical_values.dtype),
        (memory[0][: len(kept)], memory[1][: len(kept)]) if memory else None,
        on_error,
    )


def _fit_reflectance(values: np.ndarray) -> Scale:
    measured = values[values != 0]
    return fit_scale(measured if measured.size else values, "reflectance")


def _type_error(pair: Pair, images: Sequence[np.ndarray], first: Sequence[np.ndarray]) -> DataError | None:
    for path, image, before in zip((pair.sar, pair.optical), images, first, strict=True):
        if image.dtype != before.dtype:
            return DataError(f"{path}: is {image.dtype}, those before it are {before.dtype}; convert it")
    return None


def _skip(error: DataError, failures: int, total: int, on_error: str) -> None:
    """Warn of a pair that is left out, unless it is one too many or none is to be.

    Raises:
        DataError
    """
    if on_error == "stop":
        raise error
    if failures > _MOST_SKIPPED * total:
        raise DataError(
            f"{failures} of {total} pairs cannot be read, more than {_MOST_SKIPPED:.0%}: {error}"
        ) from error
    warnings.warn(f"skipped: {error}", stacklevel=2)


def _pool(images: Sequence[np.ndarray]) -> np.ndarray:
    """Every n-th of all values."""
    step, first, chosen = max(1, sum(image.size for image in images) // _SCALE_VALUES), 0, []
    for image in images:
        chosen.append(image.ravel()[first::step])
        first = (first - image.size) % step
    return np.concatenate(chosen)


def margin_of(pair: Pair) -> int:
    """Pixels around a window of a scene in which a training patch may lie: half its size, and half the splits' gap."""
    return pair.window[2] // 2 if pair.window else 0


def _read(pair: Pair, reader: PairReader) -> tuple[np.ndarray, np.ndarray]:
    """A pair as stored, a window of a scene with `margin_of` it."""
    sar, optical = reader.read(pair, margin_of(pair))
    if pair.window:
        return sar, optical
    if sar.shape[:2] != optical.shape[:2]:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (sar, optical))
        raise DataError(f"{pair.sar}: differs in size from its partner {pair.optical.name} ({sizes}); resample one")
    for path, image in ((pair.sar, sar), (pair.optical, optical)):
        missing = ~is_measured(image).all(-1)
        if path == pair.optical and image.dtype != np.uint8:
            missing |= (image == 0).all(-1)  # in 8 bits it is black
        if missing.mean() > MOST_MISSING:
            raise _LacksData(f"{path}: {missing.mean():.0%} of it hold no data, more than {MOST_MISSING:.0%}")
        if image.dtype.kind == "f":
            image[missing] = np.nan
    return sar, optical
