"""The error to expect of a colour: what a model made where it gave the same colour to pairs whose colours are known."""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np

from sar_keras.hint_planes import KINDS, Array, kinds_of, library_of

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
        least, most: The range of the errors that it expects of these colours. Of colours within the range of each
            channel, but not among them, a polynomial may say less than nothing: the less, the more is expected.
        hints: For a guided model the same where there is a hint, by its kind, one of `sar_keras.hint_planes.KINDS`.
    """

    coefficients: list[float]
    low: list[float]
    high: list[float]
    least: float = 0.0
    most: float = 1.0
    hints: dict[str, "ExpectedError"] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        # It may come out of somebody's model file.
        numbers = np.concatenate([self.coefficients, self.low, self.high, [self.least, self.most]]).astype(float)
        if (len(self.coefficients), len(self.low), len(self.high)) != (len(_TERMS), 3, 3) or not all(
            np.isfinite(numbers)
        ):
            raise ValueError("not an expected error: ten coefficients and two ranges of three numbers")
        if not set(self.hints) <= set(KINDS):
            raise ValueError(f"not an expected error: hints other than {', '.join(KINDS)}")

    def __call__(self, optical: Array, hint: Array | None = None) -> Array:
        """Optical (N, H, W, 3) in [-1, 1] to the expected error (N, H, W, 1), of RGB in [0, 1]; at least 0.

        `hint` (N, H, W, hint_channels) are the planes that a guided model was given.
        """
        library, colours = library_of(optical), cast("Any", optical)  # TensorFlow's stub knows no "..."
        channels = [
            library.minimum(library.maximum(colours[..., n : n + 1], low), high)
            for n, (low, high) in enumerate(zip(self.low, self.high, strict=True))
        ]
        expected = library.zeros_like(channels[0]) + self.coefficients[0]
        for weight, term in zip(self.coefficients[1:], _TERMS[1:], strict=True):
            expected = expected + weight * functools.reduce(operator.mul, [channels[n] for n in term])
        # The further below zero, the further the colour is from those that it was fitted to.
        expected = library.maximum(library.maximum(expected, self.least), self.least - expected)
        expected = library.minimum(expected, self.most)
        if hint is not None:
            kinds = cast("Any", kinds_of(hint))
            for n, kind in enumerate(KINDS):
                if kind in self.hints:
                    expected = expected + kinds[..., n : n + 1] * (self.hints[kind](optical) - expected)
        return expected

    @classmethod
    def from_json(cls, tree: dict) -> "ExpectedError":
        """What `dataclasses.asdict` made of one. Raises ValueError or TypeError where it did not."""
        hints = {kind: ExpectedError(**of_kind) for kind, of_kind in tree.get("hints", {}).items()}
        return cls(hints=hints, **{name: value for name, value in tree.items() if name != "hints"})


def fit_expected_error(generator: Callable, pairs: Iterable) -> ExpectedError:
    """Fit the expected error to a model's errors, by least squares.

    Args:
        generator: A Keras model, SAR (N, H, W, c) in [-1, 1], or what a guided one takes, to optical (N, H, W, 3) in
            [-1, 1].
        pairs: Batches of (what it is called with, optical). Some of them it should not have been trained on, because
            on training images it errs less.
    """
    colours, errors, kinds = [], [], []
    for inputs, optical in pairs:
        generated = np.asarray(generator(inputs, training=False))[:, ::_EVERY, ::_EVERY]
        error = np.abs(generated - np.asarray(optical)[:, ::_EVERY, ::_EVERY]).mean(-1) / 2
        colours.append(generated.reshape(-1, 3))
        errors.append(error.ravel())
        if isinstance(inputs, dict):
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
    least, most = np.clip(np.percentile(terms @ coefficients, [1, 99]), 0, 1).tolist()
    return ExpectedError(coefficients.tolist(), low.tolist(), high.tolist(), least, most)
