"""The hints that a guided model is trained with, drawn anew for each patch."""

from typing import NamedTuple

import tensorflow as tf

from sar_keras.networks.guided import compose_hint, hint_channels

COARSEST, FINEST = 4, 64  # pixels a side of the coarse images


class Beside(NamedTuple):
    """What is known beside a pair: images (H, W, c) in [-1, 1], cut and turned as the pair is.

    Attributes:
        colour: (3,) mean colour of the pair's place.
        reference: The optical image of another date, or zeros.
        reference_sar: The SAR image of that date, or zeros.
        has_reference, has_reference_sar: Whether there is one.
        elsewhere, elsewhere_sar: A pair of another place.
    """

    colour: tf.Tensor
    reference: tf.Tensor
    reference_sar: tf.Tensor
    has_reference: tf.Tensor
    has_reference_sar: tf.Tensor
    elsewhere: tf.Tensor
    elsewhere_sar: tf.Tensor


class _Draws:
    """Random numbers of one patch, each call with others."""

    def __init__(self, seed):
        self.seed, self.calls = seed, 0

    def _next(self):
        self.calls += 1
        return self.seed + tf.constant([0, self.calls], tf.int64) * 2**36

    def uniform(self, low=0.0, high=1.0, shape=()):
        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def normal(self, deviation=1.0, shape=()):
        return tf.random.stateless_normal(shape, self._next(), 0.0, deviation)

    def happens(self, share):
        return self.uniform() < share

    def blobs(self, size: int, share):
        """Smooth patches that cover about `share` of a square: (size, size, 1), 0 or 1."""
        side = tf.cast(self.uniform(3.0, 9.0), tf.int32)
        noise = self.normal(shape=(1, 8, 8, 1))[:, :side, :side]
        smooth = tf.image.resize(noise, [size, size], "bicubic")[0]
        return tf.cast(smooth > -tf.math.ndtri(tf.cast(share, tf.float32)) * tf.math.reduce_std(smooth), tf.float32)


def draw_hint(sar: tf.Tensor, optical: tf.Tensor, beside: Beside, weights, seed) -> tuple[tf.Tensor, tf.Tensor]:
    """A hint (H, W, hint_channels) for a pair, and the pair's optical image, whose colours change along with it."""
    size, channels, draws = sar.shape[0], sar.shape[-1], _Draws(seed)
    shares = tf.math.cumsum(tf.constant(weights, tf.float32)) / sum(weights)
    kind = tf.searchsorted(shares, [draws.uniform()], "right")[0]

    # As if the place had other colours, of which the hint tells: so that the network reads the hint.
    shift, gain = draws.uniform(-0.25, 0.25) + draws.uniform(-0.1, 0.1, (3,)), draws.uniform(0.8, 1.2)

    def recoloured(image, share=1.0):
        return tf.clip_by_value(image * (1 + (gain - 1) * share) + shift * share, -1.0, 1.0)

    def none():
        return tf.zeros((size, size, hint_channels(channels))), optical

    def palette():
        truth = recoloured(optical)
        colour = tf.where(draws.happens(0.6), recoloured(beside.colour), tf.reduce_mean(truth, [0, 1]))
        colour = tf.clip_by_value(colour + draws.normal(0.03, (3,)), -1.0, 1.0)
        return compose_hint(tf.broadcast_to(colour, (size, size, 3)), "palette", _where(), channels=channels), truth

    def coarse():
        truth = recoloured(optical)
        side = tf.cast(tf.exp(draws.uniform(tf.math.log(float(COARSEST)), tf.math.log(FINEST + 1.0))), tf.int32)
        seen = tf.cond(draws.happens(0.5), lambda: truth, lambda: _of_another_sensor(truth, draws))
        small = tf.image.resize(seen[None], [side, side], "area")
        seen = tf.clip_by_value(tf.image.resize(small, [size, size], "bicubic")[0], -1.0, 1.0)
        return compose_hint(seen, "coarse", _where(), channels=channels), truth

    def other_date():
        truth = recoloured(optical, 0.5)
        reference, reference_sar = tf.cond(
            beside.has_reference,
            lambda: (recoloured(beside.reference, 0.5), beside.reference_sar),
            lambda: _another_date(sar, truth, beside, draws),
        )
        has_sar = tf.cast(beside.has_reference_sar & draws.happens(0.7), tf.float32)
        wrong = draws.happens(0.15)
        reference = tf.where(wrong, beside.elsewhere, reference)
        reference_sar = tf.where(wrong & draws.happens(0.7), beside.elsewhere_sar, reference_sar)
        clouds = draws.blobs(size, 0.2) * tf.cast(draws.happens(0.2), tf.float32)
        reference = reference + clouds * (draws.uniform(0.5, 1.0) - reference)
        where_sar = tf.fill((size, size, 1), has_sar)
        return compose_hint(reference, "other_date", _where(), reference_sar, where_sar, channels), truth

    def _where():
        holes = draws.blobs(size, draws.uniform(0.1, 0.6)) * tf.cast(draws.happens(0.15), tf.float32)
        return 1 - holes

    hint, truth = tf.switch_case(kind, [none, palette, coarse, other_date])
    return tf.ensure_shape(hint, (size, size, hint_channels(channels))), tf.ensure_shape(truth, (size, size, 3))


def _of_another_sensor(optical, draws):
    """Other colours, other contrast, and shifted by up to three pixels."""
    size = optical.shape[0]
    rows, columns = (
        tf.clip_by_value(tf.range(size) + tf.cast(tf.round(draws.uniform(-3.0, 3.0)), tf.int32), 0, size - 1)
        for _ in range(2)
    )
    moved = tf.gather(tf.gather(optical, rows, axis=0), columns, axis=1)
    mean = tf.reduce_mean(moved, [0, 1])
    return mean + (moved - mean) * draws.uniform(0.85, 1.15) + draws.normal(0.05, (3,))


def _another_date(sar, optical, beside: Beside, draws):
    """A pair as of another date: other colours as a whole, and some ground that has changed."""
    size = optical.shape[0]
    changed = draws.blobs(size, draws.uniform(0.0, 0.4))
    other = optical * draws.uniform(0.7, 1.3) + draws.normal(0.15, (3,))
    other_sar = sar + draws.normal(0.1)
    return (
        tf.clip_by_value(other + changed * (beside.elsewhere - other), -1.0, 1.0),
        tf.clip_by_value(other_sar + changed * (beside.elsewhere_sar - other_sar), -1.0, 1.0),
    )
