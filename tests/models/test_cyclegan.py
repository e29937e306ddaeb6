import keras
import numpy as np
import pytest
import tensorflow as tf

from sar_keras import color
from sar_keras.models.cyclegan import CycleGAN, ImagePool
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.resnet import ResNetGenerator


def test_the_pool_collects_then_hands_back_half():
    pool = ImagePool(10, (1, 1, 1), seed=3)
    returned = []
    for step in range(500):
        images = np.array([[2 * step], [2 * step + 1]], "float32").reshape(2, 1, 1, 1)
        given = pool.exchange(tf.constant(images), tf.constant(step)).numpy()
        if step < 5:
            np.testing.assert_array_equal(given, images)
        else:
            returned += (given == images).ravel().tolist()
        # No image is ever twice in the pool, and none comes back that was handed out.
        inside = pool.images.numpy().ravel()
        assert len(set(inside[inside > 0])) == len(inside[inside > 0])
        assert not set(given.ravel()) & set(inside[inside > 0]) - set(images.ravel())
    assert np.mean(returned) == pytest.approx(0.5, abs=0.05)


def test_the_objective_is_the_sum_of_its_terms_and_both_generators_follow_it(random):
    def make():
        keras.utils.set_random_seed(1)
        common = {"normalization": "instance", "blocks": 1, "filters": 4}
        model = CycleGAN(
            ResNetGenerator((32, 32, 1), **common),
            ResNetGenerator((32, 32, 3), **common, output_channels=1),
            PatchDiscriminator((32, 32, 3), 4, "instance"),
            PatchDiscriminator((32, 32, 1), 4, "instance"),
        )
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
        return model

    model, twin = make(), make()
    sar, optical = (tf.constant(random.uniform(-1, 1, (2, 32, 32, c)), tf.float32) for c in (1, 3))

    def distance(a, b):
        return tf.reduce_mean(tf.abs(a - b))

    with tf.GradientTape() as tape:
        generated, generated_sar = twin.generator(sar, training=True), twin.back(optical, training=True)
        cycle = distance(twin.back(generated), sar) + distance(twin.generator(generated_sar), optical)
        identity = distance(twin.generator(color.luminance(optical)), optical)
        identity += distance(twin.back(tf.repeat(sar, 3, -1)), sar)
        verdicts = twin.discriminator(generated), twin.back_discriminator(generated_sar)
        adversarial = sum(tf.reduce_mean((verdict - 1) ** 2) for verdict in verdicts)
        total = adversarial + 10 * cycle + 5 * identity
    weights = twin.generator.trainable_variables + twin.back.trainable_variables
    expected = [w - 0.01 * g for w, g in zip(weights, tape.gradient(total, weights), strict=True)]
    logs = model.train_on_batch(sar, optical, return_dict=True)
    assert float(logs["generator_loss"]) == pytest.approx(float(total), rel=1e-4)
    actual = model.generator.trainable_variables + model.back.trainable_variables
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
