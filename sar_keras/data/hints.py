"""The hints that a guided model is trained with, drawn anew for each patch.

What hints look like to the model is told in `sar_keras.hint_planes`. Each kind is drawn as people have it: colours
that are a little off, coarse images of another sensor, images of another date with changes and clouds, and now and then
one of the wrong place, so that the model learns how far to believe it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from sar_keras.hint_planes import compose_hint, has_data, hint_channels

# Pixels a side of the coarse images.
_COARSEST, _FINEST = 4, 64
# How often what is given as another date shows another place.
_WRONG = 0.1


class OtherDate(NamedTuple):
    """A pair of another date, (H, W, c) in [-1, 1], and for each image whether there is one."""

    sar: tf.Tensor
    optical: tf.Tensor
    has_sar: tf.Tensor
    has_optical: tf.Tensor


class Beside(NamedTuple):
    """What is known beside a pair; images are cut and turned as the pair is.

    Attributes:
        colour: (3,) mean colour of the pair's place, in [-1, 1].
        other_date: Reads the same ground at another date.
        elsewhere: Reads SAR and optical image of other ground.
    """

    colour: tf.Tensor
    other_date: Callable[[], OtherDate]
    elsewhere: Callable[[], tuple[tf.Tensor, tf.Tensor]]


class _Draws:
    """Random numbers of one patch, others at each call."""

    def __init__(self, seed: tf.Tensor):
        self._seed, self._calls = seed, 0

    def _next(self) -> tf.Tensor:
        self._calls += 1
        return self._seed + self._calls * 2**36

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: Sequence[int] = ()) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def normal(self, deviation: float, shape: Sequence[int] = ()) -> tf.Tensor:
        return tf.random.stateless_normal(shape, self._next(), 0.0, deviation)

    def happens(self, share: float) -> tf.Tensor:
        return self.uniform() < share

    def blobs(self, size: int, least: float, most: float) -> tf.Tensor:
        """Smooth spots that cover about this share of a square: (size, size, 1), 0 or 1."""
        side = tf.cast(self.uniform(3.0, 9.0), tf.int32)
        smooth = tf.image.resize(self.normal(1.0, (1, 8, 8, 1))[:, :side, :side], [size, size], "bicubic")[0]
        ranks = tf.sort(tf.reshape(smooth[::8, ::8], [-1]))
        first = tf.cast((1 - self.uniform(least, most)) * tf.cast(tf.size(ranks) - 1, tf.float32), tf.int32)
        return tf.cast(smooth > ranks[first], tf.float32)


def draw_hint(
    sar: tf.Tensor, optical: tf.Tensor, beside: Beside, shares: Sequence[float], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw a hint for a pair.

    Where there is one, the colours of the pair change at random, and the hint's with them, so that the model reads the
    hint and does not know the place by heart.

    Args:
        sar: (size, size, channels) in [-1, 1].
        optical: (size, size, 3) in [-1, 1].
        beside: What hints are made of.
        shares: How often none, a palette, a coarse image and another date are drawn, in relation to each other.
        seed: Two integers, as TensorFlow's stateless random functions take them.

    Returns:
        The hint (size, size, hint_channels), and the optical image.
    """
    size, channels = int(sar.shape[0] or 0), int(sar.shape[-1] or 0)
    draws = _Draws(seed)
    ends = tf.math.cumsum(tf.constant(shares, tf.float32)) / sum(shares)
    kind = tf.searchsorted(ends, [draws.uniform()], "right")[0]
    shift, gain = draws.uniform(-0.25, 0.25) + draws.uniform(-0.1, 0.1, (3,)), draws.uniform(-0.2, 0.2)

    def recoloured(colours: tf.Tensor, share: float = 1.0) -> tf.Tensor:
        return tf.clip_by_value(colours * (1 + gain * share) + shift * share, -1.0, 1.0)

    def recoloured_image(image: tf.Tensor, share: float = 1.0) -> tf.Tensor:
        return tf.where(has_data(image), recoloured(image, share), image)

    def composed(rgb: tf.Tensor, kind: str, where: tf.Tensor | None = None, *of_sar: tf.Tensor) -> tf.Tensor:
        holes = draws.blobs(size, 0.1, 0.6) * tf.cast(draws.happens(0.15), tf.float32)
        here = 1 - holes if where is None else (1 - holes) * tf.cast(where, tf.float32)
        return compose_hint(rgb, kind, here, *of_sar, channels=channels)

    def none():
        return tf.zeros((size, size, hint_channels(channels))), optical

    def palette():
        truth = recoloured_image(optical)
        of_patch = tf.reduce_mean(truth, [0, 1])
        colour = tf.where(draws.happens(0.6), recoloured(beside.colour), of_patch) + draws.normal(0.03, (3,))
        return composed(tf.broadcast_to(tf.clip_by_value(colour, -1.0, 1.0), (size, size, 3)), "palette"), truth

    def coarse():
        truth = recoloured_image(optical)
        finest = tf.math.log(tf.constant(float(_FINEST + 1) / _COARSEST))
        side = tf.cast(_COARSEST * tf.exp(draws.uniform() * finest), tf.int32)
        seen = tf.cond(draws.happens(0.5), lambda: truth, lambda: _by_another_sensor(truth, draws))
        return composed(coarsened(seen[None], side)[0], "coarse", has_data(optical)), truth

    def other_date():
        date, (elsewhere_sar, elsewhere) = beside.other_date(), beside.elsewhere()
        reference, reference_sar = tf.cond(
            date.has_optical,
            lambda: (recoloured_image(date.optical, 0.3), date.sar),
            lambda: _changed(sar, optical, elsewhere_sar, elsewhere, draws),
        )
        # Without a real one the SAR image is drawn along with the optical one.
        has_sar = (date.has_sar | tf.logical_not(date.has_optical)) & draws.happens(0.7)
        is_wrong = draws.happens(_WRONG)
        reference = tf.where(is_wrong, elsewhere, reference)
        reference_sar = tf.where(is_wrong, elsewhere_sar, reference_sar)
        where = has_data(reference)
        clouds = draws.blobs(size, 0.05, 0.4) * tf.cast(draws.happens(0.2), tf.float32)
        reference += clouds * (draws.uniform(0.5, 1.0) - reference)
        where_sar = tf.fill((size, size, 1), tf.cast(has_sar, tf.float32))
        return composed(reference, "other_date", where, reference_sar, where_sar), optical

    hint, truth = tf.switch_case(kind, [none, palette, coarse, other_date])
    return tf.ensure_shape(hint, (size, size, hint_channels(channels))), tf.ensure_shape(truth, (size, size, 3))


def coarsened(images: tf.Tensor, side) -> tf.Tensor:
    """Images (N, H, W, 3) in [-1, 1] as they are seen with `side` pixels a side, enlarged again."""
    small = tf.image.resize(images, [side, side], "area")
    return tf.clip_by_value(tf.image.resize(small, tf.shape(images)[1:3], "bicubic"), -1.0, 1.0)


def _by_another_sensor(optical: tf.Tensor, draws: _Draws) -> tf.Tensor:
    """Other colours, another contrast, and shifted by up to three pixels."""
    moved = optical
    for axis in (0, 1):
        last = int(optical.shape[axis] or 0) - 1
        shift = tf.cast(tf.round(draws.uniform(-3.0, 3.0)), tf.int32)
        moved = tf.gather(moved, tf.clip_by_value(tf.range(last + 1) + shift, 0, last), axis=axis)
    mean = tf.reduce_mean(moved, [0, 1])
    return mean + (moved - mean) * draws.uniform(0.85, 1.15) + draws.normal(0.05, (3,))


def _changed(
    sar: tf.Tensor, optical: tf.Tensor, elsewhere_sar: tf.Tensor, elsewhere: tf.Tensor, draws: _Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """Optical and SAR image as of another date: other colours as a whole, and spots of other ground."""
    spots = draws.blobs(int(optical.shape[0] or 0), 0.0, 0.4)
    other, other_sar = optical * draws.uniform(0.7, 1.3) + draws.normal(0.15, (3,)), sar + draws.normal(0.1)
    pair = other + spots * (elsewhere - other), other_sar + spots * (elsewhere_sar - other_sar)
    optical, sar = (tf.clip_by_value(image, -1.0, 1.0) for image in pair)
    return optical, sar
