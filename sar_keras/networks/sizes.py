"""What a generator takes: the sizes of images, SAR bands, and whether a hint."""

import keras
import tensorflow as tf


def patch_size(model: keras.Model) -> int:
    """The side of the images that a generator was made for; 256 for one that takes any size."""
    return shapes_of_inputs(model)["sar"][1] or 256


def multiple_of_sides(model: keras.Model) -> int:
    """What the sides of an image must be multiples of: as often as a generator halves it, at most its patch.

    What layers of others do to an image is not known, nor what they do to one of any size: then it is the patch.
    """
    patch = patch_size(model)
    known = all(type(layer).__module__.startswith(("keras.src.layers", "sar_keras.")) for layer in model.layers)
    shapes = [tensor.shape for layer in model.layers for tensor in tf.nest.flatten(layer.output)]
    sides = [shape[1] for shape in shapes if len(shape) == 4]
    if not known or None in sides or patch % min(sides):
        return patch
    # A guided one also compares areas of 32 pixels, see `sar_keras.networks.guided.ColoursFromHint`.
    return max(patch // min(sides), 32 if takes_hint(model) else 1)


def sar_channels(model: keras.Model) -> int:
    """The number of SAR bands that a generator takes."""
    return shapes_of_inputs(model)["sar"][-1]


def takes_hint(model: keras.Model) -> bool:
    """Whether a generator has a second input, see `sar_keras.networks.guided.GuidedGenerator`."""
    return isinstance(model.input, dict)


def shapes_of_inputs(model: keras.Model) -> dict[str, tuple]:
    """The shapes (N, H, W, c) of a generator's inputs: "sar", and "hint" of one that takes a hint."""
    if takes_hint(model):
        return {name: tuple(tensor.shape) for name, tensor in dict(model.input).items()}
    return {"sar": tuple(model.input_shape)}


def any_size(model: keras.Model) -> keras.Model:
    """The same layers and weights (shared, not copied) behind an input of any height and width.

    Which sizes then work is up to the network: a U-Net wants multiples of `2**depth`.
    """
    return keras.models.clone_model(
        model,
        # Keras versions differ in whether the input of a model is a tensor or a list of one.
        input_tensors=tf.nest.map_structure(
            lambda tensor: keras.Input((None, None, tensor.shape[-1]), name=tensor.name.partition(":")[0]), model.input
        ),
        clone_function=lambda layer: layer,
    )


def normalizes_each(model: keras.Model) -> bool:
    """Whether a generator normalises each image by itself (instance or group normalisation)."""
    return any(is_group_normalization(layer) for layer in model.layers)


def is_group_normalization(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a group normalisation of images over their last axis; instance normalisation is one."""
    is_one = type(layer) is keras.layers.GroupNormalization and layer.axis == -1
    return bool(is_one and len(tf.nest.flatten(layer.output)[0].shape) == 4)
