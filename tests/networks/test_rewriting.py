"""Faster copies of networks against the networks of stock layers that they stand for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sar_keras import compat
from sar_keras.config import load_config
from sar_keras.models import losses
from sar_keras.networks.epcgan import EPCGenerator
from sar_keras.networks.faster_layers import (
    ChannelGroupNormalization,
    FusedBatchNormalization,
    MatrixConvolution,
    MatrixTransposedConvolution,
    ResizeConvolution,
)
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.resnet import ResNetGenerator
from sar_keras.networks.rewriting import for_inference, for_training, image_by_image, with_given_scales
from sar_keras.networks.sizes import any_size
from sar_keras.networks.unet import UNetGenerator
from sar_keras.networks.vgg16 import VGG16Features
from sar_keras.training.build import build_model


def filled(network, random):
    """The model with weights as of a trained one: none is what it began with."""
    for weight in network.weights:
        weight.assign(
            random.uniform(0.5, 1.5, weight.shape) if len(weight.shape) == 1 else random.normal(0, 0.1, weight.shape)
        )
    return network


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNetGenerator((64, 64, 1), 4, dropout=0),
        lambda: UNetGenerator((64, 64, 1), 4, dropout=0, upsampling="transpose"),
        lambda: EPCGenerator((64, 64, 1), 4, 1),
        lambda: ResNetGenerator((64, 64, 1), 4, 1),
        lambda: PatchDiscriminator((64, 64, 1), 4, scales=2),
    ],
)
def test_for_training_computes_the_same_with_the_same_gradients(build, random):
    stock = filled(build(), random)
    fast = for_training(stock)
    sar = tf.constant(random.uniform(-1, 1, (3, 64, 64, 1)), tf.float32)
    gradients = []
    for network in (stock, fast):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(out**2) for out in tf.nest.flatten(network(sar, training=True))])
        gradients.append(tape.gradient(loss, network.trainable_variables))
    assert [weight.shape for weight in stock.weights] == [weight.shape for weight in fast.weights]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * float(tf.reduce_max(tf.abs(one))) + 1e-6)
    for one, other in zip(stock.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    # And with what it has learnt of statistics, at inference.
    for one, other in zip(*(tf.nest.flatten(n(sar, training=False)) for n in (stock, fast)), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.skipif(compat.KERAS_2, reason="Keras 2 fuses by itself, and keeps n / (n - 1) of the variance")
@pytest.mark.parametrize("shape", [(6, 2, 2, 16), (3, 32, 32, 4)])
def test_fused_batch_normalisation_has_the_same_values_gradients_and_statistics(shape, random):
    images, upstream = (tf.constant(random.normal(mean, 1, shape), tf.float32) for mean in (0.5, 0))
    results = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-5)
        layer.build(shape)
        layer.set_weights([np.linspace(low, low + 1, shape[-1]) for low in (0.5, -1, 0, 1)])
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layer(images, training=True) * upstream)
        gradients = tape.gradient(loss, [images, *layer.trainable_variables])
        layer.trainable = False  # Frozen, it neither learns nor uses the batch's statistics.
        results.append([*gradients, *layer.get_weights(), layer(images, training=True), *layer.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_a_resize_convolution_is_one_on_the_enlarged_image(random):
    images = tf.constant(random.normal(0, 1, (2, 5, 7, 3)), tf.float32)
    layer = ResizeConvolution(4, 3, padding="same", bias_initializer="normal")
    ours = layer(images)
    stock = keras.layers.Conv2D(4, 3, padding="same")
    enlarged = tf.repeat(tf.repeat(images, 2, 1), 2, 2)
    stock.build(enlarged.shape)
    stock.set_weights(layer.get_weights())
    np.testing.assert_allclose(ours, stock(enlarged), atol=1e-5)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 4)


@pytest.mark.parametrize(
    ("fast", "stock", "size", "stride"),
    [
        (MatrixConvolution, keras.layers.Conv2D, 4, 2),
        (MatrixConvolution, keras.layers.Conv2D, 3, 1),
        (MatrixTransposedConvolution, keras.layers.Conv2DTranspose, 4, 2),
    ],
)
def test_a_convolution_as_a_matrix_product(fast, stock, size, stride, random):
    images = tf.constant(random.normal(0, 1, (2, 6, 8, 3)), tf.float32)
    kernel, results = None, []
    for kind in (fast, stock):
        layer = kind(5, size, stride, "same", activation="tanh")
        layer.build(images.shape)
        kernel = random.normal(0, 0.1, layer.kernel.shape) if kernel is None else kernel
        layer.set_weights([kernel, np.linspace(-1, 1, 5)])
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            loss = tf.reduce_sum(outputs**3)
        results.append([outputs, *tape.gradient(loss, [images, *layer.trainable_variables])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(tf.reduce_max(tf.abs(other))))


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNetGenerator((64, 64, 1), 4),
        lambda: UNetGenerator((64, 64, 1), 4, upsampling="transpose"),
        lambda: UNetGenerator((64, 64, 1), 4, normalization="instance"),
        lambda: UNetGenerator((64, 64, 1), 4, normalization="group"),
        lambda: ResNetGenerator((64, 64, 1), 4, 1),
        lambda: EPCGenerator((64, 64, 1), 4, 1),
    ],
)
def test_inference_in_bfloat16(build, random):
    generator = filled(build(), random)
    lower = any_size(for_inference(generator, "bfloat16"))
    sar = tf.constant(random.uniform(-1, 1, (1, 64, 128, 1)), tf.float32)
    optical = any_size(generator)(sar, training=False).numpy()
    assert optical.std() > 0.05
    assert lower(sar, training=False).dtype == tf.float32
    assert 0 < np.abs(lower(sar, training=False) - optical).mean() < 0.02


@pytest.mark.parametrize("groups", [1, 4, 8, -1])
def test_group_normalisation_of_channels(groups, random):
    stock = keras.layers.GroupNormalization(groups, epsilon=1e-5)
    # Among them an image whose mean is much larger than its deviation.
    images = random.normal(2, 1, (3, 16, 24, 8)) * np.arange(1, 9) + np.array([0, 0, 1000]).reshape(3, 1, 1, 1)
    images = tf.constant(images, tf.float32)
    fast = ChannelGroupNormalization.from_config(stock.get_config())
    for layer in (stock, fast):
        layer.build(images.shape)
        layer.set_weights([np.linspace(0.5, 1.5, 8), np.arange(8) / 8])
    expected = stock(images)
    assert np.std(expected) > 0.5
    np.testing.assert_allclose(fast(images), expected, atol=2e-3)


def test_group_normalisation_as_of_other_images(random):
    inputs = keras.Input((16, 16, 4))
    model = keras.Model(inputs, keras.layers.GroupNormalization(2, epsilon=1e-5, name="norm")(inputs))
    gamma, beta = np.linspace(0.5, 1.5, 4), np.arange(4) / 4
    model.get_layer("norm").set_weights([gamma, beta])
    of, others = random.normal(3, 2, (1, 16, 16, 4)).astype("float32"), random.normal(0, 1, (3, 16, 16, 4))
    mean, deviation = (
        np.repeat([statistic(of[..., first : first + 2]) for first in (0, 2)], 2) for statistic in (np.mean, np.std)
    )
    scales_of, network = with_given_scales(for_inference(model))
    network.get_layer("norm").set_weights([scale.numpy() for scale in scales_of(of)["norm"]])
    found = network(others.astype("float32"))
    np.testing.assert_allclose(found, (others - mean) / deviation * gamma + beta, atol=1e-4)


def test_what_is_enlarged_last_stays_so(random):
    """Nothing reads the enlargement, or somebody beside the convolution does: both must be left as they are."""
    image = keras.Input((8, 8, 1))
    enlarged = keras.layers.UpSampling2D(2)(keras.layers.Conv2D(3, 3, padding="same")(image))
    sar = tf.constant(random.normal(0, 1, (1, 8, 8, 1)), tf.float32)
    for outputs in (enlarged, [keras.layers.Conv2D(3, 3, padding="same")(enlarged), enlarged]):
        network = keras.Model(image, outputs)
        for fast in (for_training(network), for_inference(network)):
            for one, other in zip(tf.nest.flatten(network(sar)), tf.nest.flatten(fast(sar)), strict=True):
                np.testing.assert_allclose(other, one, atol=1e-5)


def test_fit_trains_the_faster_copies():
    config = load_config("quick", ["model.filters=2", "model.discriminator_filters=2", "data.image_size=64"])
    model = build_model(config, "mixed_bfloat16")
    kinds = {type(layer).__name__ for layer in model.generator.layers}
    assert {"ResizeConvolution", "MatrixConvolution"} <= kinds
    # What is still enlarged is of few pixels, which a MatrixConvolution reads.
    enlarged = [layer.output.shape for layer in model.generator.layers if "UpSampling2D" in type(layer).__name__]
    assert enlarged and all(height * width <= 256 for _, height, width, _ in enlarged)
    if not compat.KERAS_2:
        assert "FusedBatchNormalization" in kinds


def test_image_by_image_the_perceptual_distance_and_its_gradient_are_those_of_the_batch(random):
    images, features = tf.TensorSpec((None, 16, 16, 3)), VGG16Features("block2_conv1")

    @tf.function(input_signature=(images, images))
    def with_gradients(generated, optical):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(generated)
            whole = losses.perceptual_distance(features, generated, optical)
            ours = image_by_image(losses.perceptual_distance)(features, generated, optical)
            doubled = 2.0 * ours
        return whole, ours, 2.0 * tape.gradient(whole, generated), tape.gradient(doubled, generated)

    pair = (tf.constant(random.uniform(-1, 1, (3, 16, 16, 3)), tf.float32) for _ in range(2))
    whole, ours, expected, gradient = with_gradients(*pair)
    assert float(ours) == pytest.approx(float(whole), rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * float(tf.reduce_max(tf.abs(expected))))
