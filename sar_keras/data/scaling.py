"""`sar_keras.io.sar` inside TensorFlow's graphs, and speckle for training."""

import numpy as np
import tensorflow as tf

from sar_keras.io.sar import SMALLEST_POWER, USUAL_DB, Scale


def to_unit(scale: Scale, values: tf.Tensor, units: str) -> tf.Tensor:
    """`scale.to_unit` of a tensor (H, W, channels)."""
    may_be_missing = values.dtype.is_floating
    values = tf.cast(values, tf.float32)
    if units == "linear":
        values = _decibel(tf.maximum(values, SMALLEST_POWER))
    is_fitted = units == "amplitude" and scale.units != "amplitude"
    low, high = _percentiles(values) if is_fitted else scale.limits(units, np.zeros(1))
    if may_be_missing:
        values = tf.where(tf.math.is_nan(values), low, values)
    return tf.clip_by_value((values - low) * (2.0 / tf.cast(high - low, tf.float32)) - 1.0, -1.0, 1.0)


def _percentiles(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    ordered = tf.sort(tf.reshape(values, [-1]))
    last = tf.cast(tf.size(ordered) - 1, tf.float32)
    low, high = (ordered[tf.cast(last * part, tf.int32)] for part in (0.01, 0.99))
    return low, tf.maximum(high, low + 1.0)


def _decibel(power: tf.Tensor) -> tf.Tensor:
    return 10.0 * tf.math.log(power) / np.log(10.0).astype("float32")


def add_speckle(unit: tf.Tensor, looks: float | tf.Tensor, scale: Scale, seed: tf.Tensor) -> tf.Tensor:
    """Multiply backscatter power by gamma noise of mean 1 and variance 1 / looks, as fully developed speckle has it.

    Args:
        unit: SAR in [-1, 1], of any shape.
        looks: Equivalent number of looks; 1 is a single look, more is smoother.
        scale: How `unit` was made: it says how many decibels a step is. 8-bit images are taken for 25 dB from 0 to 255.
        seed: Two integers.
    """
    looks = tf.cast(looks, tf.float32)
    noise = tf.random.stateless_gamma(tf.shape(unit), seed, alpha=looks) / looks
    noise = tf.maximum(noise, SMALLEST_POWER)
    half = (scale.high - scale.low) / 2
    if scale.units == "amplitude":
        # Amplitude is the root of power.
        amplitude = (unit + 1) * half + scale.low
        unit = (amplitude * tf.sqrt(noise) - scale.low) / half - 1
    else:
        half = half if scale.units == "db" else (USUAL_DB[1] - USUAL_DB[0]) / 2
        unit += _decibel(noise) / half
    return tf.clip_by_value(unit, -1.0, 1.0)
