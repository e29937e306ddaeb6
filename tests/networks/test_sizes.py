import keras
import pytest
import tensorflow as tf

from sar_keras.networks.guided import GuidedGenerator
from sar_keras.networks.resnet import ResNetGenerator
from sar_keras.networks.sizes import any_size, multiple_of_sides
from sar_keras.networks.unet import UNetGenerator


@keras.saving.register_keras_serializable("tests")
class Halving(keras.layers.Layer):
    """Halves an image and doubles it again, which its shapes do not show."""

    def call(self, images):
        return tf.repeat(tf.repeat(images[:, ::2, ::2], 2, 1), 2, 2)


def own(side):
    image = keras.Input((side, side, 1))
    small = keras.layers.Conv2D(2, 3, 2, "same")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(keras.layers.UpSampling2D(2)(small)))


def with_a_foreign_layer():
    image = keras.Input((64, 64, 1))
    return keras.Model(image, keras.layers.Conv2D(3, 1)(Halving()(image)))


def nested():
    image = keras.Input((64, 64, 1))
    return keras.Model(image, UNetGenerator((64, 64, 1), 2)(image))


@pytest.mark.parametrize(
    ("make", "multiple"),
    [
        (lambda: UNetGenerator((64, 64, 1), 2, depth=3), 8),
        (lambda: UNetGenerator((128, 128, 2), 2), 128),
        (lambda: ResNetGenerator((64, 64, 1), 2, blocks=1, normalization="batch"), 4),
        (lambda: GuidedGenerator((64, 64, 1), 2, depth=3), 32),
        (lambda: own(64), 2),
        (lambda: own(None), 256),
        (with_a_foreign_layer, 64),
        (nested, 64),
    ],
)
def test_what_sides_must_be_multiples_of(make, multiple):
    model = make()
    assert multiple_of_sides(model) == multiple
    if isinstance(model.input, dict) or multiple in (256, model.input_shape[1]):
        return
    channels = model.input_shape[-1]
    shape = 1, 2 * multiple, 5 * multiple
    assert any_size(model)(tf.zeros((*shape, channels))).shape == (*shape, 3)
