import keras
import numpy as np
import tensorflow as tf
from helpers import small_discriminator

from sar_keras.hint_planes import hint_channels
from sar_keras.models.guided import Guided
from sar_keras.networks.guided import GuidedGenerator
from sar_keras.networks.rewriting import for_inference, for_training


def test_a_step_follows_the_hint_and_the_discriminator_sees_none(random):
    keras.utils.set_random_seed(0)
    model = Guided(GuidedGenerator((16, 16, 1), filters=2), small_discriminator(2), weights={"l1": 1, "adversarial": 1})
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.0))
    sar, optical = (tf.constant(random.uniform(-1, 1, (4, 16, 16, c)), tf.float32) for c in (1, 3))
    hint = tf.constant(random.uniform(-1, 1, (4, 16, 16, hint_channels(1))), tf.float32)
    first = model.train_on_batch({"sar": sar, "hint": hint}, optical, return_dict=True)
    view = tf.concat([sar, tf.reduce_sum(optical * [0.299, 0.587, 0.114], -1, keepdims=True)], -1)
    real = float(tf.reduce_mean(tf.sigmoid(model.discriminator(view))))
    np.testing.assert_allclose(first["d_real"], real, atol=1e-5)
    before = float(tf.reduce_mean(tf.abs(model({"sar": sar, "hint": hint}) - optical)))
    for _ in range(5):
        model.train_on_batch({"sar": sar, "hint": hint}, optical)
    assert float(tf.reduce_mean(tf.abs(model({"sar": sar, "hint": hint}) - optical))) < before


def test_faster_copies_of_a_guided_network_give_the_same(random):
    generator = GuidedGenerator((32, 32, 1), filters=2)
    inputs = {
        "sar": random.uniform(-1, 1, (2, 32, 32, 1)).astype("float32"),
        "hint": random.uniform(-1, 1, (2, 32, 32, hint_channels(1))).astype("float32"),
    }
    expected = generator.predict(inputs, verbose=0)
    for copy in (for_training(generator), for_inference(generator)):
        np.testing.assert_allclose(copy.predict(inputs, verbose=0), expected, atol=1e-5)
