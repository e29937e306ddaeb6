"""The same mathematics, faster: copies of a network for training and for inference, and a loss in less memory.

All tricks for speed and memory stand here and in `faster_layers.py`, so that `models/` can state the objectives alone.
What each brought on two cores when it was measured, in images/s of a whole step or of inference (docs/performance.md):

- convolutions of few pixels as products of matrices: training of `paper` + 45 %, of `pix2pix_perceptual` + 25 %;
- resize convolutions on the smaller image, with the next one: `default` + 28 %, `pix2pix_perceptual` + 23 %;
- batch normalisation as one operation: `default` + 15 to 20 %, `paper` + 3 to 4 %;
- inference without batch normalisations, with weights stored in bfloat16: + 16 %;
- transposed convolutions as plain ones for OpenVINO: an image in 36 in place of 75 ms;
- VGG16 on one image after another: 130 of 2470 MB of peak memory, and no slower.
"""

import collections
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.compat import KERAS_2
from sar_keras.networks.faster_layers import (
    ChannelGroupNormalization,
    FusedBatchNormalization,
    MatrixConvolution,
    MatrixTransposedConvolution,
    ResizeConvolution,
    ScaledChannels,
    SubPixelConvolution,
    sub_pixel_kernel,
    sub_pixel_kernel_of_transposed,
)
from sar_keras.networks.sizes import any_size, is_group_normalization


def for_training(model: keras.Model) -> keras.Model:
    """A copy, of the same weights in the same order, that computes the same but for rounding, faster, for training.

    A resize convolution works on the smaller image, batch normalisation is one operation, and on a CPU convolutions of
    few pixels are products of matrices, for images of the model's own size. What is saved should be a network of stock
    layers: copy the weights back with `get_weights` and `set_weights`.
    """
    of_few_pixels = [] if tf.config.list_logical_devices("GPU") else _convolutions_of_few_pixels(model)
    resizes = {
        name: enlargement for name, enlargement in _resize_convolutions(model).items() if name not in of_few_pixels
    }

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in of_few_pixels:
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            return (MatrixTransposedConvolution if transposed else MatrixConvolution).from_config(config)
        if layer.name in resizes:
            return ResizeConvolution.from_config(config)
        if layer.name in resizes.values():
            return _Nothing(name=layer.name, dtype=config["dtype"])
        if type(layer) is keras.layers.BatchNormalization and not KERAS_2:
            return FusedBatchNormalization.from_config(config)
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def for_inference(model: keras.Model, policy: str = "float32", without_transposed: bool = False) -> keras.Model:
    """A copy that computes the same faster, for inference alone, under a dtype policy such as "bfloat16".

    Batch normalisations are folded into the convolutions before them (Jacob et al., CVPR 2018, section 3.2), and resize
    convolutions work on the smaller image; so do transposed convolutions in place of what they are, if wanted. The
    output layer, and layers that are not Keras' own, stay float32.
    """
    last = {layer.name for layer in model.layers if any(layer.output is output for output in model.outputs)}
    folds, resizes = _folds(model), _resize_convolutions(model)
    transposed = _transposed_convolutions(model) if without_transposed else []
    left_out = {*(layer.name for layer in folds.values()), *resizes.values()}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        # Of Keras 3's operations that are no layers, such as `keras.ops.pad`, none has a dtype of its own.
        stock = type(layer).__module__.startswith("keras.") and isinstance(layer, keras.layers.Layer)
        if stock and layer.name not in last and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = policy
        if layer.name in left_out:
            return _Nothing(name=layer.name, dtype=config["dtype"])
        if layer.name in folds:
            config["use_bias"] = True
        if layer.name in resizes or layer.name in transposed:
            return SubPixelConvolution(
                layer.filters, config["use_bias"], layer.activation, name=layer.name, dtype=config["dtype"]
            )
        if is_group_normalization(layer):
            return ChannelGroupNormalization.from_config(config)
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    for layer, copy_of_it in zip(model.layers, copied.layers, strict=True):
        weights = layer.get_weights()
        if layer.name in folds:
            weights = _fold(layer, folds[layer.name])
        if layer.name in resizes:
            weights[0] = sub_pixel_kernel(tf.constant(weights[0])).numpy()
        if layer.name in transposed:
            weights[0] = sub_pixel_kernel_of_transposed(tf.constant(weights[0])).numpy()
        if layer.name not in left_out:
            copy_of_it.set_weights(weights)
    return copied


def with_given_scales(model: keras.Model) -> tuple[Callable[..., dict[str, tuple]], keras.Model]:
    """A copy from `for_inference` in two parts, both for images of any size.

    Returns:
        A function of a model's inputs to what each group normalisation makes of them, by name: factor and addend of
        each channel. And the network, whose other layers are shared with the copy, where `ScaledChannels` of the same
        names stand for the normalisations.
    """
    layers = [layer for layer in model.layers if isinstance(layer, ChannelGroupNormalization)]
    seen_by = any_size(keras.Model(model.input, [layer.input for layer in layers]))

    @tf.function(autograph=False, reduce_retracing=True)
    def scales_of(inputs):
        seen = tf.nest.flatten(seen_by(inputs, training=False))
        return {layer.name: layer.scale_of(images) for layer, images in zip(layers, seen, strict=True)}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        return ScaledChannels(name=layer.name, dtype=layer.dtype_policy) if layer in layers else layer

    return scales_of, any_size(keras.models.clone_model(model, clone_function=copy))


def image_by_image(distance: Callable) -> Callable:
    """The same `distance(features, generated, optical)`, on a CPU of one image after another, gradient and all.

    What a network of features keeps for its gradient is most of the memory of a training step. `distance` is a mean
    over images, and only `generated` gets a gradient.
    """
    if tf.config.list_logical_devices("GPU"):
        return distance

    def of_batch(features, generated, optical):
        def of_one(pair):
            image, truth = (tf.expand_dims(image, 0) for image in pair)
            with tf.GradientTape() as tape:
                tape.watch(image)
                value = distance(features, image, truth)
            return value, tape.gradient(value, image)[0]

        # Only what does not depend on weights: else the tape around it keeps what each turn of the loop has computed.
        images = tf.stop_gradient(generated), optical
        values, gradients = tf.map_fn(
            of_one, images, fn_output_signature=(tf.float32, generated.dtype), parallel_iterations=1
        )
        gradient = tf.stop_gradient(gradients / tf.cast(tf.size(values), generated.dtype))
        # The sum is zero, and has this gradient.
        without_value = tf.reduce_sum(gradient * (generated - tf.stop_gradient(generated)))
        return tf.stop_gradient(tf.reduce_mean(values)) + tf.cast(without_value, tf.float32)

    return of_batch


class _Nothing(keras.layers.Layer):
    """What stands where a batch normalisation or an enlargement was."""

    def call(self, x, training=None, mask=None):
        return x


def _readers(model: keras.Model) -> dict[int, list[keras.layers.Layer]]:
    """The layers that read a tensor, by its id."""
    readers = collections.defaultdict(list)
    for layer in model.layers:
        for tensor in tf.nest.flatten(layer.input):
            readers[id(tensor)].append(layer)
    return readers


def _resize_convolutions(model: keras.Model) -> dict[str, str]:
    """Names of the 3 x 3 convolutions that alone read an image enlarged by nearest neighbours, with that layer's."""
    readers, outputs, found = _readers(model), {id(output) for output in model.outputs}, {}
    wanted = {"kernel_size": (3, 3), "strides": (1, 1), "padding": "same", "dilation_rate": (1, 1), "groups": 1}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.UpSampling2D) or layer.interpolation != "nearest" or layer.size != (2, 2):
            continue
        reading = readers[id(layer.output)]
        if [type(reader) for reader in reading] != [keras.layers.Conv2D] or id(layer.output) in outputs:
            continue
        if all(getattr(reading[0], name) == value for name, value in wanted.items()):
            found[reading[0].name] = layer.name
    return found


def _transposed_convolutions(model: keras.Model) -> list[str]:
    """Names of those that a `SubPixelConvolution` can stand for: pix2pix's."""
    return [
        layer.name
        for layer in model.layers
        if type(layer) is keras.layers.Conv2DTranspose and _halves_or_doubles(layer)
    ]


def _convolutions_of_few_pixels(model: keras.Model, pixels: int = 256) -> list[str]:
    """Names of those that can be matrix products, and whose smaller image has at most `pixels`."""
    resizes, found = _resize_convolutions(model), []
    for layer in model.layers:
        if (
            layer.name in resizes
            and None not in layer.output.shape[1:3]
            and math.prod(layer.output.shape[1:3]) <= pixels
        ):
            found.append(layer.name)
        if type(layer) in (keras.layers.Conv2D, keras.layers.Conv2DTranspose) and _halves_or_doubles(layer):
            smaller, larger = layer.output.shape[1:3], layer.input.shape[1:3]
            if type(layer) is keras.layers.Conv2DTranspose:
                smaller, larger = larger, smaller
            if None not in larger and larger == tuple(2 * size for size in smaller) and math.prod(smaller) <= pixels:
                found.append(layer.name)
    return found


def _halves_or_doubles(layer: keras.layers.Layer) -> bool:
    """Whether a convolution, transposed or not, is one of 4 x 4 pixels and stride 2, without further options."""
    wanted = {"kernel_size": (4, 4), "strides": (2, 2), "padding": "same", "dilation_rate": (1, 1)}
    return (
        all(getattr(layer, name) == value for name, value in wanted.items())
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "output_padding", None) is None
    )


def _folds(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Names of the convolutions whose only reader is a batch normalisation, with that."""
    convolutions, readers = {}, _readers(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            convolutions[id(layer.output)] = layer
    return {
        layer.name: readers[output][0]
        for output, layer in convolutions.items()
        if layer.activation is keras.activations.linear
        and [type(reader) for reader in readers[output]] == [keras.layers.BatchNormalization]
        and readers[output][0].scale
        and readers[output][0].center
    }


def _fold(convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, *bias = convolution.get_weights()
    gamma, beta, mean, variance = normalization.get_weights()
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    # The kernels of transposed convolutions end with (out, in), the others with (in, out).
    transposed = isinstance(convolution, keras.layers.Conv2DTranspose)
    kernel = kernel * (factor[:, None] if transposed else factor)
    return [kernel, (sum(bias) - mean) * factor + beta]
