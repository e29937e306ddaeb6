"""What differs between the newest TensorFlow with Keras 3 and TensorFlow 2.15 with Keras 2, and nothing else.

The older stack is the one that tensorflow-addons works on.
"""

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras.errors import ConfigError

KERAS_2 = keras.__version__.startswith("2.")
LossScaleOptimizer = keras.mixed_precision.LossScaleOptimizer

if keras.backend.image_data_format() != "channels_last":
    raise ConfigError(
        f"{Path(os.environ.get('KERAS_HOME', Path.home() / '.keras'), 'keras.json')}: image_data_format must be "
        "channels_last for sar_keras; change it there, or call "
        "keras.config.set_image_data_format('channels_last') before the import"
    )

if KERAS_2:
    # Dropout whose state is a variable, as in Keras 3, and so part of a checkpoint.
    keras.backend.experimental.enable_tf_random_generator()  # pyright: ignore[reportAttributeAccessIssue] - Keras 2 only


@keras.saving.register_keras_serializable(package="sar_keras")
class Reflect(keras.layers.Layer):
    """Continues images by `edge` reflected pixels on each side."""

    def __init__(self, edge: int, **kwargs):
        super().__init__(**kwargs)
        self.edge = edge

    def call(self, x):
        return tf.pad(x, [[0, 0], [self.edge] * 2, [self.edge] * 2, [0, 0]], "REFLECT")

    def compute_output_shape(self, input_shape):
        count, height, width, channels = input_shape
        sizes = (size and size + 2 * self.edge for size in (height, width))
        return (count, *sizes, channels)

    def get_config(self):
        return super().get_config() | {"edge": self.edge}


def reflect(x, edge: int):
    """Append `Reflect`, or in Keras 3 its own operation of that kind, which needs no layer of ours to load."""
    if KERAS_2:
        return Reflect(edge, dtype=x.dtype)(x)
    return keras.ops.pad(x, [[0, 0], [edge, edge], [edge, edge], [0, 0]], mode="reflect")


def build(optimizer: keras.optimizers.Optimizer, weights: list) -> None:
    """Make an optimizer's variables; those of tensorflow-addons are of the kind before Keras 2.11."""
    if KERAS_2 and isinstance(optimizer, keras.optimizers.legacy.Optimizer):
        optimizer._create_all_weights(weights)
    else:
        optimizer.build(weights)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """The factor by which the loss is to be multiplied before its gradients are taken."""
    one = tf.constant(1.0)
    if KERAS_2:
        return optimizer.get_scaled_loss(one) if isinstance(optimizer, LossScaleOptimizer) else one
    return optimizer.scale_loss(one)


def apply_scaled(optimizer: keras.optimizers.Optimizer, gradients: list, weights: list) -> None:
    """A step with the gradients of the scaled loss."""
    if KERAS_2 and isinstance(optimizer, LossScaleOptimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, weights, strict=True))


def tensorflow_variables(variables: Iterable) -> list[tf.Variable]:
    """What is behind Keras' variables, for checkpoints and tapes."""
    return [variable if KERAS_2 else variable.value for variable in variables]


def untracked_seeds(network: keras.Model) -> list:
    """The states of the random generators in dropout, which a checkpoint of the network leaves out."""
    if KERAS_2:
        dropouts = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
        return [layer._random_generator._generator for layer in dropouts]
    weights = {id(weight) for weight in network.weights}
    return tensorflow_variables(variable for variable in network.variables if id(variable) not in weights)


def write_out(archive, folder: str) -> None:
    """Write the SavedModel of a `keras.export.ExportArchive` without a word."""
    if KERAS_2:
        with contextlib.redirect_stdout(io.StringIO()):
            archive.write_out(folder)
    else:
        archive.write_out(folder, verbose=False)


def registered(name: str) -> type:
    """The class of a registered object such as "Addons>LAMB".

    Raises:
        ConfigError: its package is not there, or has no such object.
    """
    if name.startswith("Addons>"):
        import_addons(name)
    found = keras.saving.get_registered_object(name)
    if found is None:
        raise ConfigError(f"{name}: nothing is registered under this name")
    return found


def import_addons(what: str) -> None:
    """Make the objects of tensorflow-addons known to Keras; `what` needs them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is no longer developed
            importlib.import_module("tensorflow_addons")
    except ImportError as error:
        raise ConfigError(
            f'{what}: needs tensorflow-addons, on Python 3.10 or 3.11: pip install ".[addons]"'
        ) from error
