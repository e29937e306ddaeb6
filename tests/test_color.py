import numpy as np
import pytest
import skimage.color
import tensorflow as tf

from sar_keras import color


def test_lab_agrees_with_scikit_image(random):
    rgb = random.random((1, 32, 32, 3)).astype("float32")
    rgb[0, 0, :3] = [[0, 0, 0], [1, 1, 1], [0.01, 0.02, 0.03]]
    np.testing.assert_allclose(color.rgb_to_lab(rgb * 2 - 1)[0], skimage.color.rgb2lab(rgb[0]), atol=0.02)


def test_lab_has_a_finite_gradient_at_black():
    black = tf.fill((1, 1, 1, 3), -1.0)
    with tf.GradientTape() as tape:
        tape.watch(black)
        lab = color.rgb_to_lab(black)
    assert np.isfinite(tape.gradient(lab, black)).all()


def test_luminance_weighs_the_colours():
    rgb = tf.constant([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(color.luminance(rgb).numpy().ravel(), [2 * 0.299 - 1, 2 * 0.587 - 1, 1.0], atol=1e-6)


@pytest.mark.parametrize("sar_channels", [1, 3])
@pytest.mark.parametrize("kind", color.VIEWS)
def test_views_have_the_channels_they_announce(kind, sar_channels):
    seen = color.view(tf.zeros((1, 8, 8, sar_channels)), tf.zeros((1, 8, 8, 3)), kind)
    assert seen.shape[-1] == color.view_channels(kind, sar_channels)


def test_luma_view_is_the_documented_pair():
    assert color.view_channels("luma", 1) == 2
    seen = color.view(tf.fill((1, 2, 2, 1), 0.25), tf.ones((1, 2, 2, 3)), "luma").numpy()
    np.testing.assert_allclose(seen[0, 0, 0], [0.25, 1.0], atol=1e-6)


def test_ab_view_ignores_brightness():
    grey = color.view(tf.zeros((1, 2, 2, 1)), tf.fill((1, 2, 2, 3), 0.5), "ab")
    np.testing.assert_allclose(grey, 0.0, atol=1e-3)


def test_lab_comes_back_as_rgb_also_what_scikit_image_made(random):
    rgb = random.random((1, 16, 16, 3)).astype("float32")
    lab = skimage.color.rgb2lab(rgb).astype("float32")
    np.testing.assert_allclose(color.lab_to_rgb(lab), rgb * 2 - 1, atol=2e-3)
    assert np.abs(color.lab_to_rgb(np.array([[[[50.0, 120.0, -120.0]]]], "float32"))).max() <= 1
