"""Images of pairs to a `tf.data.Dataset` of (sar, optical): float32 in [-1, 1], NHWC.

What a training batch holds is a function of (seed, position in the run) alone, so that a run can be repeated, and
resumed in the middle, exactly.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from sar_keras.config import DataConfig
from sar_keras.data.hints import Beside, OtherDate, draw_hint
from sar_keras.data.loading import Images
from sar_keras.data.pairs import evenly
from sar_keras.data.references import References
from sar_keras.data.scaling import add_speckle
from sar_keras.hint_planes import has_data, hint_channels, kinds_of
from sar_keras.io.sar import Scale

# Jitter: enlarged by this before a random crop, as pix2pix does (286 for 256).
_JITTER = 286 / 256
# Pairs under way at once: more than cores, since those that read wait for each other, and for the disk.
_PARALLEL = 2 * (os.cpu_count() or 1)
# Batches made ready while the network works on one.
_AHEAD = 2
_ONE_DEVICE = tf.distribute.InputContext()


def training_dataset(
    images: Images,
    indices: list[int],
    batch_size: int,
    seed: int,
    config: DataConfig,
    first_step: int = 0,
    paired: bool = True,
    context: tf.distribute.InputContext = _ONE_DEVICE,
    references: References | None = None,
) -> tf.data.Dataset:
    """An endless dataset of full batches, beginning at step `first_step` of the run.

    Each pass over the data has an order of its own; batches run on across the border of two passes. Not `paired`, the
    optical images have another order and another augmentation than the SAR images beside them.

    `config.augment` flips, turns and enlarges patches. `config.speckle` adds speckle of 1 to 16 looks to half of the
    SAR patches. Each SAR patch is brightened or darkened as a whole by up to `config.radiometric_jitter`, in units of
    [-1, 1], and its contrast changed by up to that share. The mean colour of each optical patch is moved towards that
    of (at most 500 of) all by the share `config.to_mean_colour`, as far as no hint tells it. Pixels without data stay
    as they are.

    With `references` the batches are ({"sar": sar, "hint": hint}, optical), see `sar_keras.data.hints`.

    Of several devices each gets an equal part of a batch, in their order: `context`, which
    `tf.distribute.Strategy.distribute_datasets_from_function` gives, says which of them this process feeds, in turn.
    """
    chosen, count = tf.constant(indices, tf.int64), len(indices)
    mean = mean_colour(images, evenly(indices, 500)) if config.to_mean_colour else None
    colours = tf.constant(colours_of_places(images, indices)) if references else None

    def patch_of(stored, draw):
        sar, optical = _patch(stored[0], stored[1], images, draw, config.augment)
        if config.speckle:
            sar = _speckled(sar, images.sar_scale, draw)
        if config.radiometric_jitter:
            sar = _jittered(sar, config.radiometric_jitter, draw)
        return sar, optical

    def near_mean(optical, share: float | tf.Tensor = 1.0):
        return _moved(optical, mean, share * config.to_mean_colour) if mean is not None else optical

    def load_pair(position, stream):
        index = chosen[_shuffled(position, count, seed, stream)]
        # Another stream than the order's, one number a position.
        draw = tf.stack([tf.constant(seed + (stream + 1) * 2**31, tf.int64), position])
        stored = images.read(index)
        sar, optical = patch_of(stored, draw)
        if references is None:
            return sar, near_mean(optical)
        of_dates = references

        def other_date():
            *pair, has_sar, has_optical = of_dates.read(index, *stored)
            return OtherDate(*patch_of(pair, draw), has_sar, has_optical)

        def elsewhere():
            return patch_of(images.read(chosen[_shuffled(position, count, seed, stream=2)]), draw)

        beside = Beside(tf.gather(colours, index), other_date, elsewhere)
        hint, optical = draw_hint(sar, optical, beside, config.hints.shares(), draw + 2**35)
        # Colours of today need no guess; those of another date are half of one.
        told = tf.reduce_max(kinds_of(hint), [0, 1])
        return {"sar": sar, "hint": hint}, near_mean(optical, 1.0 - tf.reduce_sum(told * [1.0, 1.0, 0.5]))

    def load_one(position):
        if paired:
            return load_pair(position, stream=0)
        return load_pair(position, stream=0)[0], load_pair(position, stream=1)[1]

    share, global_position = _share(batch_size, context)
    positions = tf.data.Dataset.counter(first_step * share)
    dataset = _mapped(positions, lambda position: load_one(global_position(position)))
    size = context.get_per_replica_batch_size(batch_size)
    return _with_options(dataset.batch(size, drop_remainder=True).prefetch(_AHEAD))


def validation_dataset(
    images: Images,
    indices: list[int],
    batch_size: int,
    context: tf.distribute.InputContext = _ONE_DEVICE,
    guided: bool = False,
) -> tf.data.Dataset:
    """The pairs at `indices`, over and over, as (sar, optical, weight), cropped at their centre, in full batches.

    Images that fill up the last batch have weight 0, the others 1, so that every device has as many batches, of one
    shape. `context` is as for `training_dataset`. `guided`, they are for a guided model, without a hint.
    """
    padded = tf.constant([*indices, *[indices[-1]] * (-len(indices) % batch_size)], tf.int64)
    share, global_position = _share(batch_size, context)

    def load_one(position):
        position = global_position(position)
        sar, optical = _patch(*images.read(padded[position]), images)
        if guided:
            sar = {"sar": sar, "hint": tf.zeros((images.size, images.size, hint_channels(images.channels)))}
        return sar, optical, tf.cast(position < len(indices), tf.float32)

    dataset = tf.data.Dataset.range(len(padded) // batch_size * share).repeat()
    dataset = _mapped(dataset, load_one)
    size = context.get_per_replica_batch_size(batch_size)
    return _with_options(dataset.batch(size, drop_remainder=True).prefetch(_AHEAD))


def _share(batch_size: int, context: tf.distribute.InputContext) -> tuple[int, Callable[[tf.Tensor], tf.Tensor]]:
    """How many images of each batch this process reads, and where in the run the one is that it reads as its n-th."""
    share = batch_size // context.num_input_pipelines
    first = context.input_pipeline_id * share
    return share, lambda n: n // share * batch_size + first + n % share


def _shuffled(position: tf.Tensor, count: int, seed: int, stream: int) -> tf.Tensor:
    """Which of `count` items stands at a position of an endless sequence of passes; each pass has its own order."""
    # Of a seed, index_shuffle uses the lower bits only, so that the streams must differ there.
    once_through = (position // count, -1 - position // count, 2**20 + position // count)[stream]
    return tf.random.experimental.index_shuffle(  # pyright: ignore[reportAttributeAccessIssue]
        tf.math.floormod(position, count), tf.stack([tf.constant(seed, tf.int64), once_through]), count - 1
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


def _mapped(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    # AutoGraph would take a second and more to find nothing to convert.
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=_PARALLEL, deterministic=True)


def evaluation_dataset(images: Images, indices: list[int], batch_size: int) -> tf.data.Dataset:
    """The pairs at `indices` in that order, cropped at their centre, not augmented; the last batch may be smaller."""

    def load_one(index):
        sar, optical = images.read(index)
        return _patch(sar, optical, images)

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    dataset = _mapped(dataset, load_one)
    return _with_options(dataset.batch(batch_size).prefetch(_AHEAD))


def centre(images: Images, sar, optical) -> tuple[tf.Tensor, tf.Tensor]:
    """What evaluation sees of a pair as stored: (size, size, c), float32 in [-1, 1]."""
    return _patch(tf.convert_to_tensor(sar), tf.convert_to_tensor(optical), images)


def colours_of_places(images: Images, indices: list[int]) -> np.ndarray:
    """For each pair of `images` the mean colour (3,) in [-1, 1] of its place, (pairs, 3); of those at `indices` alone.

    The terrains of a scene are places of their own, and so is a pair without a scene.
    """
    of_place: dict = defaultdict(list)
    for index, (_, optical) in zip(indices, evaluation_dataset(images, indices, 1), strict=True):
        pair = images.pairs[index]
        of_place[pair.ground, pair.terrain].append((index, tf.reduce_mean(optical, [0, 1, 2]).numpy()))
    colours = np.zeros((len(images.pairs), 3), "float32")
    for members in of_place.values():
        colours[[index for index, _ in members]] = np.mean([colour for _, colour in members], axis=0)
    return colours


def mean_colour(images: Images, indices: list[int] | None = None) -> np.ndarray:
    """The mean colour (3,), in [-1, 1], of the optical images at `indices`, or of all; empty pixels count as black."""
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
    if augment and draws is not None:
        side = tf.where(draws[0] < 0.5, tf.cast(tf.math.ceil(tf.cast(side, tf.float32) / _JITTER), tf.int32), side)
    room = height_width - side
    corner = room // 2 if draws is None else tf.cast(draws[1:3] * tf.cast(room + 1, tf.float32), tf.int32)
    row, column = corner[0], corner[1]
    # What can be done with stored values, which are often bytes, is done before they become floats.
    pair = [image[row : row + side, column : column + side] for image in pair]
    if augment and draws is not None:
        # Two mirrorings and an exchange of the axes make up all flips and quarter turns.
        flips, swap = tf.concat([draws[3:5] < 0.5, [False]], 0), tf.cast(draws[5] < 0.5, tf.int32)
        pair = [tf.raw_ops.Reverse(tensor=image, dims=flips) for image in pair]
        pair = [tf.transpose(image, tf.stack([swap, 1 - swap, 2])) for image in pair]
    if not images.resize:
        pair = images.to_unit(*pair)
    sar, optical = (tf.image.resize(image, [size, size]) for image in pair)
    return tf.ensure_shape(sar, (size, size, images.channels)), tf.ensure_shape(optical, (size, size, 3))


def _speckled(sar: tf.Tensor, scale: Scale, seed: tf.Tensor) -> tf.Tensor:
    # Another stream than the augmentation's.
    seeds = tf.random.experimental.stateless_split(seed + 2**33, 2)  # pyright: ignore[reportAttributeAccessIssue]
    draw = tf.random.stateless_uniform([2], seeds[0])
    noisy = tf.cond(draw[0] < 0.5, lambda: add_speckle(sar, tf.pow(16.0, draw[1]), scale, seeds[1]), lambda: sar)
    return tf.where(has_data(sar), noisy, sar)


def _jittered(sar: tf.Tensor, most: float, seed: tf.Tensor) -> tf.Tensor:
    """Shift the backscatter as another place, season or incidence angle would, so that its level tells less."""
    level, contrast = tf.unstack(tf.random.stateless_uniform([2], seed + 2**34, -most, most))
    return tf.where(has_data(sar), tf.clip_by_value(sar * (1 + contrast) + level, -1.0, 1.0), sar)


def _moved(optical: tf.Tensor, mean: np.ndarray, share: float | tf.Tensor) -> tf.Tensor:
    """Move colours towards the mean, which holds guesses back: radar seldom tells which colour a place has."""
    valid = has_data(optical)
    count = tf.maximum(tf.reduce_sum(tf.cast(valid, tf.float32)), 1.0)
    mean_of_patch = tf.reduce_sum(tf.where(valid, optical, 0.0), [0, 1]) / count
    return tf.where(valid, tf.clip_by_value(optical + share * (mean - mean_of_patch), -1.0, 1.0), optical)


def _with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # There are no files in the graph to share out among workers: a strategy splits each batch instead.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune, and the end of an iterator, at each validation, would wait for the tuning thread's next
    # look at it, up to 20 seconds.
    options.autotune.enabled = False
    return dataset.with_options(options)
