"""Pairs of files to a `tf.data.Dataset` of (sar, optical): float32 in [-1, 1], NHWC.

What a training batch holds is a function of (seed, position in the run) alone, so that a run can be repeated, and
resumed in the middle, exactly.
"""

import dataclasses
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio.windows
import tensorflow as tf

from sar_keras.data.pairs import Pair
from sar_keras.errors import ConfigError, DataError
from sar_keras.images import read_optical, read_sar, refuse_bomb
from sar_keras.sar import Scale, add_speckle, fit_scale, guess_units

# Jitter: enlarged by this before a random crop, as pix2pix does (286 for 256).
_JITTER = 286 / 256
# Images read to find the range of values that are not 8-bit.
_SCALE_SAMPLES = 64
# Values of them that count.
_SCALE_VALUES = 1_000_000
# Share of the pairs that `on_error="skip"` leaves out before it stops after all.
_MOST_SKIPPED = 0.01
# Bit depth and colour type of a PNG's header, by channels, https://www.w3.org/TR/png/#11IHDR.
_PLAIN = {1: b"\x08\x00", 3: b"\x08\x02"}
# Pairs under way at once: more than cores, since those that read wait for each other, and for the disk.
_PARALLEL = 2 * (os.cpu_count() or 1)
_ONE_DEVICE = tf.distribute.InputContext()


@dataclasses.dataclass(frozen=True)
class Images:
    """Pairs of equal dtype, read into memory where they fit, else from their files at each use.

    Attributes:
        pairs: The pairs, whose order the datasets' indices refer to.
        size: Height and width of the patches that the datasets give.
        channels: SAR bands.
        resize: Bring larger images to `size` whole, instead of cropping.
        sar_scale, optical_scale: How stored values become [-1, 1].
        sar_units: Units of the stored SAR values, see `sar_keras.sar.UNITS`.
        dtypes: Of the SAR and the optical images as stored.
        memory: (sar, optical) as stored, (n, H, W, channels) and (n, H, W, 3), or None.
        on_error: See `load`.
        failed: Indices of pairs that could not be read any more after `load`.
    """

    pairs: list[Pair]
    size: int
    channels: int
    resize: bool
    sar_scale: Scale
    optical_scale: Scale
    sar_units: str
    dtypes: tuple[np.dtype, np.dtype]
    memory: tuple[tf.Tensor, tf.Tensor] | None
    on_error: str = "stop"
    failed: set[int] = dataclasses.field(default_factory=set)

    def read(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The pair at `index` as stored; for use inside `Dataset.map`."""
        if self.memory:
            return tuple(images[index] for images in self.memory)
        sar, optical = tf.numpy_function(self._read_files, [index], self.dtypes, stateful=False)
        return tf.ensure_shape(sar, (None, None, self.channels)), tf.ensure_shape(optical, (None, None, 3))

    def to_unit(self, sar: tf.Tensor, optical: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Stored values as float32 in [-1, 1]."""
        return self.sar_scale.to_unit(sar, self.sar_units), self.optical_scale.to_unit(
            optical, self.optical_scale.units
        )

    def scaled_as(self, generator) -> "Images":
        """The same images with the scales that a model from `load_model` was trained with, as far as it knows them."""
        optical_scale = generator.optical_scale or self.optical_scale
        return dataclasses.replace(self, sar_scale=generator.sar_scale, optical_scale=optical_scale)

    def _read_files(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        while True:
            try:
                return _read(self.pairs[index], self.channels)
            except DataError as error:
                if index not in self.failed or self.on_error == "stop":
                    self.failed.add(int(index))
                    _skip(error, len(self.failed), len(self.pairs), self.on_error)
                # The next of its split takes its place, so that all the others keep theirs.
                split = self.pairs[index].split
                following = [*range(index + 1, len(self.pairs)), *range(index)]
                index = next((i for i in following if self.pairs[i].split == split and i not in self.failed), None)
                if index is None:
                    raise


def load(
    pairs: list[Pair],
    size: int = 256,
    channels: int = 1,
    resize: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
    on_error: str = "stop",
) -> Images:
    """Read and check every pair; keep the images in memory where they are equal in size and fit a quarter of it.

    A window of a scene is read with half its size around it: the centre is what evaluation sees, and training crops
    at random.

    Args:
        pairs: What to read.
        size: Patch size in pixels.
        channels: SAR bands.
        resize: See `Images`.
        progress: Wraps the iteration over the pairs, for a progress bar.
        on_error: "stop", or "skip" to leave out pairs that cannot be read, with a warning that names each; of those
            that can no longer be read later, another of the split takes the place.

    Raises:
        DataError: a file is missing, broken or empty, holds no numbers, or the two images of a pair differ in size; or
            more than 1 % of the pairs are to be skipped.
        ConfigError: windows of scenes are to be resized.
    """
    if resize and any(pair.window for pair in pairs):
        raise ConfigError("data.resize: windows of scenes have the size of a patch already; set it to false")
    memory: tuple[np.ndarray, np.ndarray] | None = None
    samples: list[tuple[np.ndarray, np.ndarray]] = []
    every = max(1, len(pairs) // _SCALE_SAMPLES)
    kept: list[Pair] = []
    first, failures = None, 0
    with ThreadPoolExecutor() as pool:
        # Everything is read once, also where it is not kept: a broken file should stop the run now, not at night.
        results = progress(pool.map(lambda pair: _try_to_read(pair, channels), pairs))
        for pair, images in zip(pairs, results, strict=True):
            error = images if isinstance(images, DataError) else _type_error(pair, images, first or images)
            if error:
                failures += 1
                _skip(error, failures, len(pairs), on_error)
                continue
            if first is None and len(pairs) * sum(image.nbytes for image in images) < _physical_memory() / 4:
                memory = tuple(np.empty((len(pairs), *image.shape), image.dtype) for image in images)
            first = first or images
            if memory and all(image.shape == store.shape[1:] for image, store in zip(images, memory, strict=True)):
                for image, store in zip(images, memory, strict=True):
                    store[len(kept)] = image
            else:
                memory = None
            if len(kept) % every == 0:
                samples.append(images)
            kept.append(pair)
    sar_values, optical_values = (_pool(images) for images in zip(*samples, strict=True))
    sar_units = guess_units(sar_values)
    return Images(
        kept,
        size,
        channels,
        resize,
        fit_scale(sar_values, sar_units),
        fit_scale(optical_values, "uint8" if optical_values.dtype == np.uint8 else "reflectance"),
        sar_units,
        tuple(image.dtype for image in first),
        _on_the_cpu([store[: len(kept)] for store in memory]) if memory else None,
        on_error,
    )


def _try_to_read(pair: Pair, channels: int) -> tuple[np.ndarray, np.ndarray] | DataError:
    try:
        return _read(pair, channels)
    except DataError as error:
        return error


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
    values = np.concatenate([image.ravel() for image in images])
    return values[:: max(1, values.size // _SCALE_VALUES)]


def _on_the_cpu(arrays: Sequence[np.ndarray]) -> tuple[tf.Tensor, ...]:
    with tf.device("CPU:0"):
        return tuple(tf.convert_to_tensor(array) for array in arrays)


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(pair: Pair, channels: int) -> tuple[np.ndarray, np.ndarray]:
    window = pair.window and _with_surroundings(pair.window)
    sar, optical = (None, None) if window else (_plain_png(pair.sar, channels), _plain_png(pair.optical, 3))
    sar = read_sar(pair.sar, channels, window) if sar is None else sar
    optical = read_optical(pair.optical, window) if optical is None else optical
    if pair.window:
        return sar, np.nan_to_num(optical, nan=0.0)  # the few pixels of a window that hold no data
    if sar.shape[:2] != optical.shape[:2]:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (sar, optical))
        raise DataError(f"{pair.sar}: differs in size from its partner {pair.optical.name} ({sizes}); resample one")
    for path, image in ((pair.sar, sar), (pair.optical, optical)):
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise DataError(f"{path}: holds values that are not numbers, or nodata; fill or remove them")
    return sar, optical


def _plain_png(path: Path, channels: int) -> np.ndarray | None:
    """Read a PNG of 8 bits, grey or RGB, in less time than `read_image`; None where it is anything else, or broken."""
    try:
        with path.open("rb") as file:
            content = file.read(26)
            if not content.startswith(b"\x89PNG") or content[24:] != _PLAIN.get(channels):
                return None
            content += file.read()
        refuse_bomb(path, *struct.unpack(">II", content[16:24]))
        return tf.io.decode_png(content, channels).numpy()
    except (OSError, tf.errors.InvalidArgumentError):
        return None  # `read_image` says what is wrong


def _with_surroundings(window: tuple[int, int, int, int]) -> rasterio.windows.Window:
    """A window of a scene with half its size around it, where a training patch may lie: half the gap between splits."""
    column, row, width, height = window
    return rasterio.windows.Window(column - width // 2, row - height // 2, 2 * width, 2 * height)


def training_dataset(
    images: Images,
    indices: list[int],
    batch_size: int,
    seed: int,
    augment: bool,
    first_step: int = 0,
    paired: bool = True,
    speckle: bool = False,
    context: tf.distribute.InputContext = _ONE_DEVICE,
) -> tf.data.Dataset:
    """An endless dataset of full batches, beginning at step `first_step` of the run.

    Each pass over the data has an order of its own; batches run on across the border of two passes. Not `paired`, the
    optical images have another order and another augmentation than the SAR images beside them.
    `speckle` of 1 to 16 looks is added to half of the SAR patches.

    Of several devices each gets an equal part of a batch, in their order: `context`, which
    `tf.distribute.Strategy.distribute_datasets_from_function` gives, says which of them this process feeds, in turn.
    """
    chosen, count = tf.constant(indices, tf.int64), len(indices)

    def load_pair(position, stream):
        sar, optical = images.read(chosen[_shuffled(position, count, seed, stream)])
        # Another stream than the order's, one number a position.
        own = tf.stack([tf.constant(seed + (stream + 1) * 2**31, tf.int64), position])
        sar, optical = _patch(sar, optical, images, own, augment)
        return (_speckled(sar, images.sar_scale, own) if speckle else sar), optical

    def load_one(position):
        if paired:
            return load_pair(position, stream=0)
        return load_pair(position, stream=0)[0], load_pair(position, stream=1)[1]

    own, global_position = _share(batch_size, context)
    dataset = tf.data.Dataset.counter(first_step * own).map(
        lambda position: load_one(global_position(position)), num_parallel_calls=_PARALLEL, deterministic=True
    )
    size = context.get_per_replica_batch_size(batch_size)
    return _without_sharding(dataset.batch(size, drop_remainder=True)).prefetch(tf.data.AUTOTUNE)


def validation_dataset(
    images: Images, indices: list[int], batch_size: int, context: tf.distribute.InputContext = _ONE_DEVICE
) -> tf.data.Dataset:
    """The pairs at `indices`, over and over, as (sar, optical, weight), cropped at their centre, in full batches.

    Images that fill up the last batch have weight 0, the others 1, so that every device has as many batches, of one
    shape. `context` is as for `training_dataset`.
    """
    padded = tf.constant([*indices, *[indices[-1]] * (-len(indices) % batch_size)], tf.int64)
    own, global_position = _share(batch_size, context)

    def load_one(position):
        position = global_position(position)
        sar, optical = images.read(padded[position])
        return *_patch(sar, optical, images), tf.cast(position < len(indices), tf.float32)

    dataset = tf.data.Dataset.range(len(padded) // batch_size * own).repeat()
    dataset = dataset.map(load_one, num_parallel_calls=_PARALLEL, deterministic=True)
    size = context.get_per_replica_batch_size(batch_size)
    return _without_sharding(dataset.batch(size, drop_remainder=True)).prefetch(tf.data.AUTOTUNE)


def _share(batch_size: int, context: tf.distribute.InputContext) -> tuple[int, Callable[[tf.Tensor], tf.Tensor]]:
    """How many images of each batch this process reads, and where in the run the one is that it reads as its n-th."""
    own = batch_size // context.num_input_pipelines
    first = context.input_pipeline_id * own
    return own, lambda n: n // own * batch_size + first + n % own


def _shuffled(position: tf.Tensor, count: int, seed: int, stream: int) -> tf.Tensor:
    """Which of `count` items stands at a position of an endless sequence of passes; each pass has its own order."""
    # Of a seed, index_shuffle uses the lower bits only, so that the streams must differ there.
    once_through = position // count if stream == 0 else -1 - position // count
    return tf.random.experimental.index_shuffle(
        position % count, tf.stack([tf.constant(seed, tf.int64), once_through]), count - 1
    )


def files_of_step(
    images: Images, indices: list[int], batch_size: int, seed: int, step: int, paired: bool = True
) -> list[Path]:
    """The files that step `step`, from 0, of a `training_dataset` with these arguments reads."""
    positions = tf.range(step * batch_size, (step + 1) * batch_size, dtype=tf.int64)
    sar, optical = (
        [images.pairs[indices[int(_shuffled(position, len(indices), seed, stream))]] for position in positions]
        for stream in (0, 0 if paired else 1)
    )
    return [path for a, b in zip(sar, optical, strict=True) for path in (a.sar, b.optical)]


def evaluation_dataset(images: Images, indices: list[int], batch_size: int) -> tf.data.Dataset:
    """The pairs at `indices` in that order, cropped at their centre, not augmented; the last batch may be smaller."""

    def load_one(index):
        sar, optical = images.read(index)
        return _patch(sar, optical, images)

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    dataset = dataset.map(load_one, num_parallel_calls=_PARALLEL, deterministic=True)
    return _without_sharding(dataset.batch(batch_size)).prefetch(tf.data.AUTOTUNE)


def mean_colour(images: Images, indices: list[int] | None = None) -> np.ndarray:
    """The mean colour (3,), in [-1, 1], of the optical images at `indices`, or of all."""
    batches = evaluation_dataset(images, list(range(len(images.pairs))) if indices is None else indices, 1)
    return np.mean([tf.reduce_mean(optical, axis=[0, 1, 2]) for _, optical in batches], axis=0)


def _patch(sar, optical, images: Images, seed=None, augment: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut one patch of images.size from a pair as stored; at random where a seed is given, else at the centre.

    `augment` flips, turns and, in half of the cases, enlarges it, which together with the cut is pix2pix's jitter.
    """
    pair, size = (sar, optical), images.size
    if images.resize:
        pair = [tf.image.resize(image, [size, size], antialias=True) for image in images.to_unit(*pair)]
    height_width = tf.shape(pair[0])[:2]
    # Images smaller than a patch are enlarged until it fits.
    side = tf.minimum(size, tf.reduce_min(height_width))
    # One call for all: it takes longer to call the generator than to draw.
    draws = None if seed is None else tf.random.stateless_uniform([6], seed)
    if augment:
        side = tf.where(draws[0] < 0.5, tf.cast(tf.math.ceil(tf.cast(side, tf.float32) / _JITTER), tf.int32), side)
    room = height_width - side
    corner = room // 2 if draws is None else tf.cast(draws[1:3] * tf.cast(room + 1, tf.float32), tf.int32)
    row, column = corner[0], corner[1]
    # What can be done with stored values, which are often bytes, is done before they become floats.
    pair = [image[row : row + side, column : column + side] for image in pair]
    if augment:
        # Two mirrorings and an exchange of the axes make up all flips and quarter turns.
        flips, swap = tf.concat([draws[3:5] < 0.5, [False]], 0), tf.cast(draws[5] < 0.5, tf.int32)
        pair = [tf.raw_ops.Reverse(tensor=image, dims=flips) for image in pair]
        pair = [tf.transpose(image, [swap, 1 - swap, 2]) for image in pair]
    if not images.resize:
        pair = images.to_unit(*pair)
    sar, optical = (tf.image.resize(image, [size, size]) for image in pair)
    return tf.ensure_shape(sar, (size, size, images.channels)), tf.ensure_shape(optical, (size, size, 3))


def _speckled(sar: tf.Tensor, scale: Scale, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.random.experimental.stateless_split(seed + 2**33, 2)  # another stream than the augmentation's
    draw = tf.random.stateless_uniform([2], seeds[0])
    return tf.cond(draw[0] < 0.5, lambda: add_speckle(sar, 16.0 ** draw[1], scale, seeds[1]), lambda: sar)


def _without_sharding(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """There are no files in the graph to share out among workers: a strategy splits each batch instead."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
