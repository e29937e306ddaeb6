"""Functions that run a generator in a precision and on an engine, kept for the next call."""

import weakref
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.inference.openvino import on_engine
from sar_keras.networks.rewriting import for_inference

# Values of each weight that tell whether it has changed.
_SAMPLE = 256

# Model to what is kept for it: a function that samples its weights, and (name, precision, engine) to what its weights
# were and the function that was made of them.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def compiled(
    model: keras.Model,
    make: Callable[[keras.Model], Callable],
    name: str,
    precision: str,
    engine: str,
    exact: bool = False,
) -> Callable[[np.ndarray], np.ndarray]:
    """`make` of a network that computes what the model does, faster, as a function of an array.

    It is made once for each name, precision and engine. The colours are always those of the weights that the model has
    at the call: where these have changed, it is made anew. Whether they have is read from 256 values of each weight,
    which a step of training, or loading other weights, changes. `exact` runs the model itself, which follows its
    weights anyway, in float32 on TensorFlow: the colours are those of `model.predict` to the bit.
    """
    if exact and (precision, engine) == ("float32", "tensorflow"):
        weights, network = b"", lambda: model
    else:
        weights, network = _sample(model), lambda: for_engine(model, precision, engine)
    functions = _kept.setdefault(model, {})
    before, function = functions.get((name, precision, engine), (None, None))
    if function is None or before != weights:
        function = on_engine(make(network()), engine, precision)
        functions[name, precision, engine] = weights, function
    return function


def for_engine(model: keras.Model, precision: str, engine: str) -> keras.Model:
    if engine == "openvino":
        # It rounds by itself, but whatever comes after the last plain convolution it leaves in float32: of a U-Net with
        # transposed ones the whole decoder.
        return for_inference(model, without_transposed=True)
    return for_inference(model, precision)


def _sample(model: keras.Model) -> bytes:
    functions = _kept.setdefault(model, {})
    if "sample" not in functions:
        weights = [weight if isinstance(weight, tf.Variable) else weight.value for weight in model.weights]

        @tf.function(autograph=False)
        def sample():
            return tf.concat([_spread(tf.reshape(weight, [-1])) for weight in weights], 0)

        functions["sample"] = sample
    return functions["sample"]().numpy().tobytes()


def _spread(values: tf.Tensor) -> tf.Tensor:
    count = values.shape[0] or 0  # known, since weights have a shape
    return tf.cast(values[:: max(1, count // _SAMPLE)], tf.float32)
