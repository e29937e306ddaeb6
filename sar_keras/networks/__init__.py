"""Functional Keras networks, in the style of keras.applications: no files, no runs, no training logic."""

import collections

import keras
import numpy as np
import tensorflow as tf


def any_size(model: keras.Model) -> keras.Model:
    """The same layers and weights (shared, not copied) behind an input of any height and width.

    Which sizes then work is up to the network: a U-Net wants multiples of `2**depth`.
    """
    channels = model.input_shape[-1]
    return keras.models.clone_model(
        model,
        # Keras versions differ in whether the input of a model is a tensor or a list of one.
        input_tensors=tf.nest.map_structure(lambda _: keras.Input((None, None, channels), name="sar"), model.input),
        clone_function=lambda layer: layer,
    )


def for_inference(model: keras.Model, policy: str = "float32") -> keras.Model:
    """A copy that computes the same faster, for inference alone, under a dtype policy such as "mixed_bfloat16".

    Batch normalisations are folded into the convolutions before them (Jacob et al., CVPR 2018, section 3.2). The output
    layer, and layers that are not Keras' own, stay float32.
    """
    last = {layer.name for layer in model.layers if any(layer.output is output for output in model.outputs)}
    folds = _folds(model)
    folded = {layer.name for layer in folds.values()}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        stock = type(layer).__module__.startswith("keras.")
        if stock and layer.name not in last and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = policy
        if layer.name in folded:
            return _Nothing(name=layer.name, dtype=config["dtype"])
        if layer.name in folds:
            config["use_bias"] = True
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    for layer, twin in zip(model.layers, copied.layers, strict=True):
        weights = layer.get_weights()
        if layer.name in folds:
            weights = _fold(layer, folds[layer.name])
        if layer.name not in folded:
            twin.set_weights(weights)
    return copied


class _Nothing(keras.layers.Layer):
    """What stands where a batch normalisation was."""

    def call(self, x, training=None, mask=None):
        return x


def _folds(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Names of the convolutions whose only reader is a batch normalisation, with that."""
    convolutions, readers = {}, collections.defaultdict(list)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            convolutions[id(layer.output)] = layer
        for tensor in tf.nest.flatten(layer.input):
            readers[id(tensor)].append(layer)
    return {
        layer.name: readers[output][0]
        for output, layer in convolutions.items()
        if layer.activation is keras.activations.linear
        and [type(reader) for reader in readers[output]] == [keras.layers.BatchNormalization]
    }


def _fold(convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, *bias = convolution.get_weights()
    gamma, beta, mean, variance = normalization.get_weights()
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    # The kernels of transposed convolutions end with (out, in), the others with (in, out).
    transposed = isinstance(convolution, keras.layers.Conv2DTranspose)
    kernel = kernel * (factor[:, None] if transposed else factor)
    return [kernel, (sum(bias) - mean) * factor + beta]
