import math

import pytest
import tensorflow as tf

from sar_keras import losses


def test_binary_crossentropy_by_hand():
    logits = tf.constant([[0.0], [2.0]])
    real = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    fake = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert float(losses.binary_crossentropy([logits], real=True)) == pytest.approx(real, rel=1e-6)
    assert float(losses.binary_crossentropy([logits], real=False)) == pytest.approx(fake, rel=1e-6)


def test_mean_absolute_error_by_hand_also_of_bfloat16():
    a, b = tf.constant([[1.0, -1.0]]), tf.constant([[0.5, 1.0]])
    assert float(losses.mean_absolute_error(a, b)) == 1.25
    low = losses.mean_absolute_error(tf.cast(a, tf.bfloat16), tf.cast(b, tf.bfloat16))
    assert low.dtype == tf.float32 and float(low) == 1.25
