"""How far each pixel of a generated image may be off: SAR does not determine colour, so some of it is a guess.

The estimate is the error that the model made where it gave the same colour to held-out pairs. Of what we compared
(`benchmarks/confidence.py`) this ranks the real error best, before Monte-Carlo dropout, the spread over flipped and
turned inputs, and a network that predicts the error; and it costs no further pass through the network.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.errors import ModelError
from sar_keras.inference.metadata import metadata_of
from sar_keras.networks.sizes import any_size

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
        generated = generator(sar, training=False)[:, ::_EVERY, ::_EVERY]
        error = tf.reduce_mean(tf.abs(generated - optical[:, ::_EVERY, ::_EVERY]), -1) / 2
        colours.append(generated.numpy().reshape(-1, 3))
        errors.append(error.numpy().ravel())
    colours = np.concatenate(colours)
    low, high = np.percentile(colours, [1, 99], axis=0)
    colours = np.clip(colours, low, high)
    terms = np.stack([colours[:, term].prod(-1) for term in _TERMS], axis=-1)
    coefficients, *_ = np.linalg.lstsq(terms, np.concatenate(errors), rcond=None)
    return ExpectedError(coefficients.tolist(), low.tolist(), high.tolist())


def with_uncertainty(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The model as a function that also tells how far each pixel may be off.

    Args:
        model: A model from `sar_keras.load_model`.

    Returns:
        A function of SAR (N, H, W, channels), float32 in [-1, 1], of any height and width that the network takes, to
        the model's optical (N, H, W, 3) in [-1, 1] and the expected absolute error of each pixel, mean over red, green
        and blue as fractions of 1: (N, H, W, 1), at least 0.

    Raises:
        ModelError: the model carries no estimate of its error.
    """
    return uncertainty_function(model, check_knows_its_error(model))


def check_knows_its_error(model: keras.Model) -> ExpectedError:
    """The expected error of a model.

    Raises:
        ModelError: it has none.
    """
    expected_error = metadata_of(model).expected_error
    if expected_error is None:
        raise ModelError(
            "the model does not know its error: it had no validation pairs, or its training has not ended; "
            "sar-keras fit --resume ends it, data.ratios sets validation pairs aside"
        )
    return expected_error


def uncertainty_function(
    network: keras.Model, expected_error: ExpectedError
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """`with_uncertainty` of a network whose expected error is given."""
    network = any_size(network)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, network.input_shape[-1]), tf.float32)])
    def run(sar):
        optical = network(sar, training=False)
        return optical, expected_error(optical)

    run.network = network  # Keeps the layers alive, which a tf.function does not.
    return run
