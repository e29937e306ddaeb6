import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import one_convolution, small_discriminator

from sar_keras import color
from sar_keras.models.cyclegan import CycleGAN, ImagePool


def test_the_pool_collects_then_hands_back_half():
    pool = ImagePool(10, (1, 1, 1), seed=3)
    exchange = tf.function(pool.exchange)
    returned = []
    for step in range(500):
        images = np.array([[2 * step], [2 * step + 1]], "float32").reshape(2, 1, 1, 1)
        given = exchange(tf.constant(images), tf.constant(step)).numpy()
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
        discriminators = small_discriminator(3), small_discriminator(1)
        model = CycleGAN(one_convolution(1, 3), one_convolution(3, 1), *discriminators, discriminator_factor=0.3)
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
        return model

    model, reference = make(), make()
    sar, optical = (tf.constant(random.uniform(-1, 1, (2, 16, 16, c)), tf.float32) for c in (1, 3))

    def distance(a, b):
        return tf.reduce_mean(tf.abs(a - b))

    def least_squares(scores, wanted):
        return tf.reduce_mean((scores - wanted) ** 2)

    with tf.GradientTape(persistent=True) as tape:
        generated, generated_sar = reference.generator(sar, training=True), reference.back(optical, training=True)
        cycle = distance(reference.back(generated), sar) + distance(reference.generator(generated_sar), optical)
        identity = distance(reference.generator(color.luminance(optical)), optical)
        identity += distance(reference.back(tf.repeat(sar, 3, -1)), sar)
        judged = [(reference.discriminator, optical, generated), (reference.back_discriminator, sar, generated_sar)]
        adversarial = sum(least_squares(judge(fake), 1) for judge, _, fake in judged)
        total = adversarial + 10 * cycle + 5 * identity
        of_discriminators = 0.3 * sum(
            least_squares(judge(real), 1) + least_squares(judge(fake), 0) for judge, real, fake in judged
        )

    def after_a_step(loss, networks):
        weights = [weight for network in networks for weight in network.trainable_variables]
        return [w - 0.01 * g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]

    expected = after_a_step(total, (reference.generator, reference.back))
    expected += after_a_step(of_discriminators, (reference.discriminator, reference.back_discriminator))
    logs = model.train_on_batch(sar, optical, return_dict=True)
    assert float(logs["generator_loss"]) == pytest.approx(float(total), rel=1e-4)
    assert float(logs["discriminator_loss"]) == pytest.approx(float(of_discriminators), rel=1e-4)
    networks = model.generator, model.back, model.discriminator, model.back_discriminator
    actual = [weight for network in networks for weight in network.trainable_variables]
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
