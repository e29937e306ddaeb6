import math

import numpy as np
import pytest
import tensorflow as tf
from skimage.filters import sobel_h, sobel_v
from skimage.metrics import structural_similarity

from sar_keras.models import losses


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


def test_several_scales_count_alike_however_many_patches_they_have():
    logits = [tf.zeros((1, 4, 4, 1)), tf.fill((1, 1, 1, 1), 2.0)]
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert float(losses.binary_crossentropy(logits, real=True)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.least_squares(logits, real=True)) == 1.0
    assert float(losses.least_squares(logits, real=False)) == 2.0


def test_ssim_loss_agrees_with_scikit_image(random):
    a, b = (random.random((1, 32, 32, 3)).astype("float32") for _ in range(2))
    inner = structural_similarity(
        a[0],
        b[0],
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1][5:-5, 5:-5].mean()
    assert float(losses.ssim_loss(a * 2 - 1, b * 2 - 1)) == pytest.approx(1 - inner, abs=1e-4)


def test_gradient_magnitude_agrees_with_scikit_image(random):
    rgb = random.random((1, 16, 16, 3)).astype("float32")
    grey = rgb[0] @ np.array([0.299, 0.587, 0.114])
    expected = np.hypot(sobel_h(grey), sobel_v(grey))
    # Twice the values, since [-1, 1] is twice as wide; scikit-image divides by 4, we by 8.
    actual = losses.gradient_magnitude(rgb * 2 - 1)[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(actual, expected[1:-1, 1:-1], atol=2e-3)


def test_feature_matching_by_hand():
    real, generated = [tf.constant([1.0, 2.0]), tf.constant([0.0])], [tf.constant([1.0, 4.0]), tf.constant([3.0])]
    assert float(losses.feature_matching(real, generated)) == 2.0
