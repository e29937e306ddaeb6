"""Functional Keras networks, in the style of keras.applications: no files, no runs, no training logic."""

import keras
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


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """A copy of the model that computes under a dtype policy, such as "mixed_bfloat16", for inference.

    The output layer, and layers that are not Keras' own, stay float32.
    """
    last = {layer.name for layer in model.layers if any(layer.output is output for output in model.outputs)}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        stock = type(layer).__module__.startswith("keras.")
        if stock and layer.name not in last and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = policy
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied
