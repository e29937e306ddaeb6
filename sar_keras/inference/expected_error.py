"""The error to expect of a colour: what a model made where it gave the same colour to pairs whose colours are known."""

import dataclasses
import itertools
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.networks.guided import KINDS, kinds_of
from sar_keras.networks.sizes import takes_hint

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
        hints: For a guided model the same where there is a hint, by its kind, one of `sar_keras.networks.guided.KINDS`.
    """

    coefficients: list[float]
    low: list[float]
    high: list[float]
    hints: dict[str, "ExpectedError"] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        # It may come out of somebody's model file.
        numbers = np.concatenate([self.coefficients, self.low, self.high]).astype(float)
        if (len(self.coefficients), len(self.low), len(self.high)) != (len(_TERMS), 3, 3) or not all(
            np.isfinite(numbers)
        ):
            raise ValueError("not an expected error: ten coefficients and two ranges of three numbers")
        if not set(self.hints) <= set(KINDS):
            raise ValueError(f"not an expected error: hints other than {', '.join(KINDS)}")

    def __call__(self, optical: tf.Tensor, hint: tf.Tensor | None = None) -> tf.Tensor:
        """Optical (N, H, W, 3) in [-1, 1] to the expected error (N, H, W, 1), of RGB in [0, 1]; at least 0.

        `hint` (N, H, W, hint_channels) are the planes that a guided model was given.
        """
        channels = tf.unstack(tf.clip_by_value(optical, self.low, self.high), axis=-1)
        terms = [
            weight * tf.math.reduce_prod(tf.stack([tf.ones_like(channels[0]), *(channels[i] for i in term)]), axis=0)
            for weight, term in zip(self.coefficients, _TERMS, strict=True)
        ]
        expected = tf.expand_dims(tf.nn.relu(tf.add_n(terms)), -1)
        if hint is not None:
            for kind, where in zip(KINDS, tf.split(kinds_of(hint), len(KINDS), -1), strict=True):
                if kind in self.hints:
                    expected += where * (self.hints[kind](optical) - expected)
        return expected

    @classmethod
    def from_json(cls, tree: dict) -> "ExpectedError":
        """What `dataclasses.asdict` made of one. Raises ValueError or TypeError where it did not."""
        hints = {kind: ExpectedError(**of_kind) for kind, of_kind in tree.get("hints", {}).items()}
        return cls(hints=hints, **{name: value for name, value in tree.items() if name != "hints"})


def fit_expected_error(generator: keras.Model, pairs: Iterable) -> ExpectedError:
    """Fit the expected error to a model's errors, by least squares.

    Args:
        generator: SAR (N, H, W, c) in [-1, 1], or what a guided model takes, to optical (N, H, W, 3) in [-1, 1].
        pairs: Batches of (what it is called with, optical). Some of them it should not have been trained on, because
            on training images it errs less.
    """
    colours, errors, kinds = [], [], []
    for inputs, optical in pairs:
        generated = generator(inputs, training=False)[:, ::_EVERY, ::_EVERY]
        error = tf.reduce_mean(tf.abs(generated - optical[:, ::_EVERY, ::_EVERY]), -1) / 2
        colours.append(generated.numpy().reshape(-1, 3))
        errors.append(error.numpy().ravel())
        if takes_hint(generator):
            kinds.append(np.reshape(kinds_of(inputs["hint"])[:, ::_EVERY, ::_EVERY], (-1, len(KINDS))))
    colours, errors = np.concatenate(colours), np.concatenate(errors)
    if not kinds:
        return polynomial(colours, errors)
    there = np.concatenate(kinds) > 0
    none = ~there.any(-1)
    # Without any pixel of a kind its error is that without a hint.
    hints = {
        kind: polynomial(colours[of_kind], errors[of_kind])
        for kind, of_kind in zip(KINDS, there.T, strict=True)
        if of_kind.any()
    }
    where = none if none.any() else ~none
    return dataclasses.replace(polynomial(colours[where], errors[where]), hints=hints)


def polynomial(colours: np.ndarray, errors: np.ndarray) -> ExpectedError:
    """The expected error of colours (n, 3) in [-1, 1] with errors (n,), by least squares."""
    low, high = np.percentile(colours, [1, 99], axis=0)
    colours = np.clip(colours, low, high)
    terms = np.stack([colours[:, term].prod(-1) for term in _TERMS], axis=-1)
    coefficients, *_ = np.linalg.lstsq(terms, errors, rcond=None)
    return ExpectedError(coefficients.tolist(), low.tolist(), high.tolist())
