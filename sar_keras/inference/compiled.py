"""Keras models as functions of arrays, in a precision and on an engine, kept for the next call."""

import copy
import functools
import threading
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
from sar_keras.networks.rewriting import for_inference, with_given_scales
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

# Model to what is kept for it: a function that samples its weights, and what was made of it, how, to what its weights
# were and what it is.
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
        self.patch = patch_size(model)
        self._run: Callable[..., np.ndarray] | None = None  # in place of the model's own, see `normalized_as`

    # Scenes ask for these, which take a small network's own time to find.

    @functools.cached_property
    def multiple(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] - never written
        return multiple_of_sides(self._model)

    @functools.cached_property
    def normalizes_each(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return normalizes_each(self._model)

    def weights_hash(self) -> str:
        return sha256_of_arrays(self._model.get_weights())

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None, exact: bool = False) -> np.ndarray:
        if self._run:
            return self._run(sar, hint)
        exact = exact and (self.engine, self.precision) == ("tensorflow", "float32")
        return _kept_for(self._model, _function, self.engine, self.precision, exact, follows=exact)(sar, hint)

    def normalized_as(self, sar: np.ndarray, hint: np.ndarray | None = None) -> Network:
        network = copy.copy(self)
        network.normalizes_each = False
        if self.engine == "openvino":
            compiled = _kept_for(self._model, _function, self.engine, self.precision, False)
            network._run = compiled.normalized_as(sar, hint)
        else:
            normalizing = _kept_for(self._model, _Normalizing, self.precision)
            network._run = normalizing.as_of(inputs_of(self._model, sar, hint))
        return network


class _Normalizing:
    """A model on TensorFlow whose normalisation is told; both are traced once, whatever the scenes."""

    def __init__(self, model: keras.Model, precision: str):
        self._scales_of, self._network = with_given_scales(for_inference(model, precision))
        self._run = _on_tensorflow(self._network)
        self._one_at_a_time = threading.Lock()

    def as_of(self, inputs) -> Callable[..., np.ndarray]:
        scales = {name: [each.numpy() for each in scale] for name, scale in self._scales_of(inputs).items()}

        def run(sar: np.ndarray, hint: np.ndarray | None) -> np.ndarray:
            with self._one_at_a_time:
                for name, scale in scales.items():
                    self._network.get_layer(name).set_weights(scale)
                return self._run(sar, hint)

        return run


def _kept_for(model: keras.Model, make: Callable, *options, follows: bool = False):
    """`make(model, *options)`, made anew where the model's weights have changed, unless it `follows` them by itself."""
    weights = b"" if follows else _sample(model)
    kept, key = _kept.setdefault(model, {}), (make, *options)
    before, made = kept.get(key, (None, None))
    if made is None or before != weights:
        made = make(model, *options)
        kept[key] = weights, made
    return made


def _function(model: keras.Model, engine: str, precision: str, exact: bool) -> Callable[..., np.ndarray]:
    if engine == "openvino":
        return Compiled(converted(model), precision)
    return _on_tensorflow(any_size(model if exact else for_inference(model, precision)))


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
