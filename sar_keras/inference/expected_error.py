"""The error to expect of a colour: what a model made where it gave the same colour to held-out pairs."""

import dataclasses
import itertools
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.networks.guided import inputs_of

# The terms of a quadratic polynomial of red, green and blue: the constant, the three, and their six products.
_TERMS = [
    (),
    *itertools.combinations_with_replacement(range(3), 1),
    *itertools.combinations_with_replacement(range(3), 2),
]
_EVERY = 8  # of the rows and columns that count for the fit; neighbours tell much the same


@dataclasses.dataclass(frozen=True)
class ExpectedError:
    """The mean absolute error to expect of a generated colour, a quadratic polynomial of it.

    Attributes:
        coefficients: The coefficients of the constant, r, g, b, rr, rg, rb, gg, gb, bb.
        low, high: The range of each channel among the colours that it was fitted to; beyond it the nearest one counts.
    """

    coefficients: list[float]
    low: list[float]
    high: list[float]

    def __post_init__(self):
        # It may come out of somebody's model file.
        numbers = np.concatenate([self.coefficients, self.low, self.high]).astype(float)
        if (len(self.coefficients), len(self.low), len(self.high)) != (len(_TERMS), 3, 3) or not all(
            np.isfinite(numbers)
        ):
            raise ValueError("not an expected error: ten coefficients and two ranges of three numbers")

    def __call__(self, optical: tf.Tensor) -> tf.Tensor:
        """Optical (N, H, W, 3) in [-1, 1] to the expected error (N, H, W, 1), of RGB in [0, 1]; at least 0."""
        channels = tf.unstack(tf.clip_by_value(optical, self.low, self.high), axis=-1)
        terms = [
            weight * tf.math.reduce_prod(tf.stack([tf.ones_like(channels[0]), *(channels[i] for i in term)]), axis=0)
            for weight, term in zip(self.coefficients, _TERMS, strict=True)
        ]
        return tf.expand_dims(tf.nn.relu(tf.add_n(terms)), -1)


def fit_expected_error(generator: keras.Model, held_out: Iterable) -> ExpectedError:
    """Fit the expected error to a model's errors, by least squares.

    Args:
        generator: SAR (N, H, W, c) in [-1, 1] to optical (N, H, W, 3) in [-1, 1].
        held_out: Batches of (sar, optical) that it was not trained on: on training images it errs less.
    """
    colours, errors = [], []
    for sar, optical in held_out:
        generated = generator(inputs_of(generator, sar), training=False)[:, ::_EVERY, ::_EVERY]
        error = tf.reduce_mean(tf.abs(generated - optical[:, ::_EVERY, ::_EVERY]), -1) / 2
        colours.append(generated.numpy().reshape(-1, 3))
        errors.append(error.numpy().ravel())
    colours = np.concatenate(colours)
    low, high = np.percentile(colours, [1, 99], axis=0)
    colours = np.clip(colours, low, high)
    terms = np.stack([colours[:, term].prod(-1) for term in _TERMS], axis=-1)
    coefficients, *_ = np.linalg.lstsq(terms, np.concatenate(errors), rcond=None)
    return ExpectedError(coefficients.tolist(), low.tolist(), high.tolist())
