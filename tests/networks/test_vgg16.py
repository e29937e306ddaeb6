import keras
import numpy as np
import pytest

from sar_keras.networks.vgg16 import SHIPPED, WEIGHTS, VGG16Features


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv3"])
def test_features_agree_with_keras_applications(layer, random):
    reference = keras.applications.VGG16(include_top=False, weights=None)
    with np.load(WEIGHTS) as weights:
        for name in SHIPPED:
            reference.get_layer(name).set_weights([weights[f"{name}_k"], weights[f"{name}_b"]])
    reference = keras.Model(reference.inputs, reference.get_layer(layer).output)
    rgb = random.integers(0, 256, (2, 64, 48, 3)).astype("float32")
    expected = reference(keras.applications.vgg16.preprocess_input(rgb.copy()))
    actual = VGG16Features(layer)(rgb / 127.5 - 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-2)


def test_shipped_weights_are_the_published_ones(shared):
    with np.load(shared / "weights/vgg16_imagenet_blocks1-3.npz") as published, np.load(WEIGHTS) as shipped:
        for name in SHIPPED:
            np.testing.assert_allclose(shipped[f"{name}_k"], published[f"{name}/k"], rtol=1e-3, atol=1e-6)
            np.testing.assert_allclose(shipped[f"{name}_b"], published[f"{name}/b"], rtol=1e-3, atol=1e-6)


def test_features_are_frozen():
    features = VGG16Features("block2_conv1")
    assert features.trainable_weights == [] and len(features.weights) == 6


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match="block1_conv1, block1_conv2, block2_conv1"):
        VGG16Features("block1_conv3")
