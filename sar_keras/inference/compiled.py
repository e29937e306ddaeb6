"""Keras models as functions of arrays, in a precision and on an engine, kept for the next call."""

import weakref
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.hint_planes import hint_channels
from sar_keras.inference.converted import converted
from sar_keras.inference.locate import DEMO
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.network import Network
from sar_keras.inference.openvino import Compiled
from sar_keras.io.files import sha256_of_arrays
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.rewriting import for_inference, normalized_as
from sar_keras.networks.sizes import (
    any_size,
    multiple_of_sides,
    normalizes_each,
    patch_size,
    sar_channels,
    takes_hint,
)

# Values of each weight that tell whether it has changed.
_SAMPLE = 256

# Model to what is kept for it: a function that samples its weights, and what a function was asked for with to what its
# weights were and the function that was made of them.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class KerasNetwork(Network):
    """A Keras model.

    The colours are always those of the weights that the model has at the call: where these have changed, what computes
    is made anew. Whether they have is read from 256 values of each weight, which a step of training, or loading other
    weights, changes.

    Args:
        model: The model.
        engine: "tensorflow", or "openvino".
        precision: "float32" or "bfloat16".
        said: For people: why this engine.
    """

    def __init__(self, model: keras.Model, engine: str, precision: str, said: str | None = None):
        self._model = model
        path = metadata_of(model).saved_as
        self.name = model.name if path is None else "demo" if path == DEMO else str(path)
        self.metadata, self.engine, self.precision, self.said = metadata_of(model), engine, precision, said or engine
        self.channels, self.takes_hint = sar_channels(model), takes_hint(model)
        self.patch, self.multiple = patch_size(model), multiple_of_sides(model)
        self.normalizes_each = normalizes_each(model)

    def weights_hash(self) -> str:
        return sha256_of_arrays(self._model.get_weights())

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None, exact: bool = False) -> np.ndarray:
        exact = exact and (self.engine, self.precision) == ("tensorflow", "float32")
        return _function(self._model, self.engine, self.precision, exact)(sar, hint)

    def normalized_as(self, sar: np.ndarray, hint: np.ndarray | None = None) -> Callable[..., np.ndarray]:
        if self.engine == "openvino":
            return Compiled(converted(self._model), self.precision).normalized_as(sar, hint)
        images = inputs_of(self._model, sar, hint)
        return _on_tensorflow(normalized_as(for_inference(self._model, self.precision), images))


def _function(model: keras.Model, engine: str, precision: str, exact: bool) -> Callable[..., np.ndarray]:
    weights = b"" if exact else _sample(model)
    functions = _kept.setdefault(model, {})
    before, function = functions.get((engine, precision, exact), (None, None))
    if function is None or before != weights:
        if engine == "openvino":
            function = Compiled(converted(model), precision)
        else:
            function = _on_tensorflow(any_size(model if exact else for_inference(model, precision)))
        functions[engine, precision, exact] = weights, function
    return function


def _on_tensorflow(network: keras.Model) -> Callable[..., np.ndarray]:
    """A network of any size as a function of arrays."""
    channels = sar_channels(network)
    images = [tf.TensorSpec((None, None, None, count), tf.float32) for count in (channels, hint_channels(channels))]

    def run(*given: tf.Tensor) -> tf.Tensor:
        return network(inputs_of(network, *given), training=False)

    # AutoGraph would take half a second to find nothing to convert.
    alone, hinted = (tf.function(run, input_signature=images[:count], autograph=False) for count in (1, 2))
    return lambda sar, hint: (alone(sar) if hint is None else hinted(sar, hint)).numpy()


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
