"""Functional Keras networks, in the style of keras.applications: no files, no runs, no training logic."""

import keras


def any_size(model: keras.Model) -> keras.Model:
    """The same layers and weights (shared, not copied) behind an input of any height and width.

    Which sizes then work is up to the network: a U-Net wants multiples of `2**depth`.
    """
    channels = model.input_shape[-1]
    return keras.models.clone_model(
        model,
        # Keras versions differ in whether the input of a model is a tensor or a list of one.
        input_tensors=keras.tree.map_structure(lambda _: keras.Input((None, None, channels), name="sar"), model.input),
        clone_function=lambda layer: layer,
    )
