import numpy as np
import skimage.metrics

from sar_keras import metrics


def test_psnr_agrees_with_scikit_image(random):
    truth, generated = random.uniform(-1, 1, (2, 3, 32, 32, 3)).astype("float32")
    expected = [
        skimage.metrics.peak_signal_noise_ratio((t + 1) / 2, (g + 1) / 2, data_range=1)
        for t, g in zip(truth, generated, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(truth, generated), expected, atol=1e-4)
