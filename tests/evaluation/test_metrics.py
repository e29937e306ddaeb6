import numpy as np
import pytest
import skimage.filters
import skimage.metrics
import tensorflow as tf

from sar_keras.evaluation import metrics
from sar_keras.models.base import psnr
from sar_keras.networks.vgg16 import VGG16Features


def test_psnr_agrees_with_scikit_image(random):
    truth, generated = random.uniform(-1, 1, (2, 3, 32, 32, 3)).astype("float32")
    expected = [
        skimage.metrics.peak_signal_noise_ratio((t + 1) / 2, (g + 1) / 2, data_range=1)
        for t, g in zip(truth, generated, strict=True)
    ]
    np.testing.assert_allclose(psnr(truth, generated), expected, atol=1e-4)


@pytest.fixture
def images(random):
    """Truth and a noisy, tinted version in [0, 1]."""
    truth = skimage.filters.gaussian(random.random((2, 64, 64, 3)), (0, 3, 3, 0)).astype("float32") * 3 - 1
    truth = np.clip(truth, 0, 1)
    return truth, np.clip(0.8 * truth + 0.1 * random.random((2, 64, 64, 3)), 0, 1).astype("float32")


def test_standard_figures_agree_with_scikit_image(images):
    figures = metrics.standard(*images)
    for index, (truth, generated) in enumerate(zip(*images, strict=True)):
        ssim = skimage.metrics.structural_similarity(
            truth,
            generated,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            data_range=1,
        )
        psnr = skimage.metrics.peak_signal_noise_ratio(truth, generated, data_range=1)
        assert figures["ssim"][index] == pytest.approx(ssim, abs=1e-4)
        assert figures["psnr"][index] == pytest.approx(psnr, abs=1e-4)
        assert figures["mse"][index] == pytest.approx(skimage.metrics.mean_squared_error(truth, generated), abs=1e-6)


def test_paper_figures_agree_with_tensorflow(random):
    truth, generated = random.random((2, 1, 256, 256, 3))
    figures = metrics.paper(truth, generated)
    assert figures["psnr"][0] == pytest.approx(float(tf.image.psnr(truth, generated, 1.0)[0]), abs=1e-4)
    # A uniform window of 255 pixels sees nearly the whole image: the formula on the means of the whole comes close.
    x, y = truth[0], generated[0]
    mean_x, mean_y, c1, c2 = x.mean((0, 1)), y.mean((0, 1)), 0.01**2, 0.03**2
    covariance = ((x - mean_x) * (y - mean_y)).mean((0, 1))
    whole = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    whole /= (mean_x**2 + mean_y**2 + c1) * (x.var((0, 1)) + y.var((0, 1)) + c2)
    assert figures["ssim"][0] == pytest.approx(whole.mean(), abs=1e-3)


def test_figures_of_known_images():
    black, white, red = (np.full((1, 32, 32, 3), value, "float32") for value in (0, 1, 0))
    red[..., 0] = 1
    figures = metrics.standard(black, white)
    assert figures["psnr"][0] == pytest.approx(0, abs=1e-5) and figures["mae"][0] == 1
    # Black to white is 100 in L and nothing in a and b, where CIEDE2000 gives 100.
    assert figures["ciede2000"][0] == pytest.approx(100, abs=0.01)
    # Between red and white lies an angle of arccos(1 / sqrt(3)).
    assert metrics.standard(red, white)["spectral_angle"][0] == pytest.approx(54.74, abs=0.1)
    same = metrics.standard(red, red)
    assert (same["psnr"][0], same["gradient_similarity"][0], same["ssim"][0]) == (100, 1, 1)
    assert same["spectral_angle"][0] == pytest.approx(0, abs=0.05)


def test_gradient_similarity_of_slopes():
    # Grey slopes of 0.01 and 0.03 a pixel; Prewitt's operator gives the slope of two pixels.
    steps = np.arange(32)[None, None, :, None] * np.ones((1, 32, 1, 3))
    figure = metrics.standard(0.01 * steps, 0.03 * steps)["gradient_similarity"][0]
    inside = (2 * 0.02 * 0.06 + 170 / 255**2) / (0.02**2 + 0.06**2 + 170 / 255**2)
    # At the two borders the image is mirrored, which halves both.
    border = (2 * 0.01 * 0.03 + 170 / 255**2) / (0.01**2 + 0.03**2 + 170 / 255**2)
    assert figure == pytest.approx((30 * inside + 2 * border) / 32, abs=1e-6)


def test_feature_distance_is_that_of_unit_vectors(images):
    features = VGG16Features("block1_conv1")
    a, b = (np.asarray(features(image * 2 - 1)) for image in images)
    assert metrics.feature_distance(a, a) == pytest.approx([0, 0], abs=1e-5)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(metrics.feature_distance(a, b), (2 - 2 * cosine).mean((1, 2)), rtol=1e-3)


def test_rank_correlation_looks_at_order_only(random):
    error = random.uniform(0, 1, (3, 40))
    assert metrics.rank_correlation(error, np.exp(5 * error)) == pytest.approx(1)
    assert metrics.rank_correlation(error, -error) == pytest.approx(-1)
    # 1 - 6 (sum of squared differences of ranks) / (n (n^2 - 1)), here with differences of 0, 1, 1, 1, 1
    assert metrics.rank_correlation(np.arange(5.0), np.array([0.0, 2, 1, 4, 3])) == pytest.approx(1 - 6 * 4 / 120)
    assert metrics.rank_correlation(error, np.ones_like(error)) == 0


def test_sparsification_by_hand():
    error = np.arange(1.0, 11).reshape(2, 5)
    # The largest error is thought the most certain; the others stand in their right order.
    uncertainty = np.where(error == 10, 0, error)
    curve = metrics.sparsification(error, uncertainty)
    assert curve["removed"] == pytest.approx(np.arange(10) / 10)
    assert curve["oracle"] == pytest.approx([(11 - k) / 2 for k in range(10)])
    # Of k left out the rest is 10 and 1 to 9 - k.
    assert curve["model"] == pytest.approx([(10 + sum(range(1, 10 - k))) / (10 - k) for k in range(10)])
    assert curve["random"] == pytest.approx([5.5] * 10)
    assert metrics.sparsification(error, error**2)["ause"] == pytest.approx(0)
    assert curve["ause_random"] == pytest.approx(np.trapezoid(5.5 - np.array(curve["oracle"]), dx=0.1) / 5.5)


def test_the_ratio_of_a_copy_of_the_radar_image_is_zero(random):
    truth, sar = random.random((2, 8, 8, 3)), random.random((2, 8, 8, 1))
    np.testing.assert_array_equal(metrics.sar_ratio(truth, np.repeat(sar, 3, -1), sar), 0)
    between = (truth + sar) / 2
    np.testing.assert_allclose(metrics.sar_ratio(truth, between, sar), 1)
