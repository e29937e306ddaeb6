"""The sizes of images that a generator takes."""

import keras
import tensorflow as tf


def patch_size(model: keras.Model) -> int:
    """The side of the images that a generator was made for; 256 for one that takes any size."""
    return model.input_shape[1] or 256


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
