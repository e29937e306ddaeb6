"""Figures that say how near a generated image is to the truth, one number an image.

Images are (N, H, W, 3), numpy arrays; `sar_keras.models.base.psnr` is what training watches.
"""

import numpy as np
import scipy.integrate
import scipy.stats
import skimage.color
import skimage.metrics
import tensorflow as tf
from skimage.filters import prewitt_h, prewitt_v

# Stabilises the gradient similarity where both images are flat; 170 of the paper, whose images go to 255.
_FLAT = 170 / 255**2


def standard(truth: np.ndarray, generated: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of the `standard` protocol for images in [0, 1]: name to (N,).

    - psnr: dB, peak 1; an exact copy counts as 100 dB;
    - ssim: Wang et al., IEEE TIP 2004: Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03, mean over R, G, B;
    - mse, mae: mean squared and absolute error;
    - ciede2000: mean colour difference (Sharma et al., 2005) of sRGB under D65; 1 is just noticeable;
    - gradient_similarity: mean gradient magnitude similarity of the luminance (Xue et al., IEEE TIP 2014), at most 1;
    - spectral_angle: mean angle between the colours as vectors, in degrees (Kruse et al., 1993).
    """
    error = truth - generated
    return {
        "psnr": psnr(truth, generated),
        "ssim": tf.image.ssim(truth, generated, 1.0).numpy(),
        "mse": (error**2).mean((1, 2, 3)),
        "mae": np.abs(error).mean((1, 2, 3)),
        "ciede2000": np.array([_ciede2000(t, g) for t, g in zip(truth, generated, strict=True)]),
        "gradient_similarity": gradient_similarity(truth, generated),
        "spectral_angle": _spectral_angle(truth, generated),
    }


def psnr(truth: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """The figure of `standard` for images (N, H, W, 3) in [0, 1]: (N,)."""
    mse = ((truth - generated) ** 2).mean((1, 2, 3))
    return np.minimum(-10 * np.log10(np.maximum(mse, 1e-10)), 100.0)


def gradient_similarity(truth: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """The figure of `standard` for images (N, H, W, 3) in [0, 1]: (N,)."""
    return np.array([_gradient_similarity(t, g) for t, g in zip(truth, generated, strict=True)])


def paper(truth: np.ndarray, generated: np.ndarray) -> dict[str, np.ndarray]:
    """The figures as the student report took them, for images in [0, 1]: name to (N,).

    Its SSIM has a uniform window of 255 pixels, nearly the whole image, so it is far higher than the usual one.
    """
    pairs = list(zip(truth, generated, strict=True))
    return {
        # At most 100 dB, as above, since JSON knows no infinity.
        "psnr": np.array([min(skimage.metrics.peak_signal_noise_ratio(t, g, data_range=1), 100.0) for t, g in pairs]),
        "ssim": np.array(
            [skimage.metrics.structural_similarity(t, g, win_size=255, channel_axis=-1, data_range=1) for t, g in pairs]
        ),
        "mse": np.array([skimage.metrics.mean_squared_error(t, g) for t, g in pairs]),
    }


def sar_ratio(truth: np.ndarray, generated: np.ndarray, sar: np.ndarray) -> np.ndarray:
    """Mean absolute distance from the SAR image as grey, divided by that from the truth; images in [0, 1], (N,).

    Below 1 an image is nearer to the radar image than to the optical one: the identity collapse of unpaired training.
    """
    to_sar, to_truth = (np.abs(generated - other).mean((1, 2, 3)) for other in (sar[..., :1], truth))
    return to_sar / np.maximum(to_truth, 1e-10)


def _ciede2000(truth: np.ndarray, generated: np.ndarray) -> float:
    return skimage.color.deltaE_ciede2000(skimage.color.rgb2lab(truth), skimage.color.rgb2lab(generated)).mean()


def _gradient_similarity(truth: np.ndarray, generated: np.ndarray) -> float:
    grey = [image @ np.array([0.299, 0.587, 0.114]) for image in (truth, generated)]
    a, b = (np.hypot(prewitt_h(image), prewitt_v(image)) for image in grey)
    return ((2 * a * b + _FLAT) / (a**2 + b**2 + _FLAT)).mean()


def _spectral_angle(truth: np.ndarray, generated: np.ndarray) -> np.ndarray:
    # Black has no direction: a little grey gives it that of white.
    truth, generated = truth + 1e-3, generated + 1e-3
    cosine = (truth * generated).sum(-1) / np.linalg.norm(truth, axis=-1) / np.linalg.norm(generated, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean((1, 2))


def feature_distance(truth: tf.Tensor, generated: tf.Tensor) -> np.ndarray:
    """Distance of features, such as those that `VGG16Features()` gives (N, h, w, c), of two images: (N,), from 0 to 2.

    Squared difference of the activations, each pixel's scaled to unit length, summed over channels and averaged over
    pixels. In the manner of LPIPS (Zhang et al., CVPR 2018), but of one layer and without its learned weights: not
    comparable with LPIPS.
    """
    return _feature_distance(truth, generated).numpy()


@tf.function(autograph=False, reduce_retracing=True)
def _feature_distance(truth: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    a, b = (tf.math.l2_normalize(features, axis=-1) for features in (truth, generated))
    return tf.reduce_mean(tf.reduce_sum((a - b) ** 2, -1), [1, 2])


def rank_correlation(error: np.ndarray, uncertainty: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays of one shape; 0 where one of them is constant."""
    if np.ptp(error) == 0 or np.ptp(uncertainty) == 0:
        return 0.0
    ranked = scipy.stats.spearmanr(error.ravel(), uncertainty.ravel())
    return float(ranked.statistic)  # pyright: ignore[reportAttributeAccessIssue] - made by a function


def sparsification(error: np.ndarray, uncertainty: np.ndarray) -> dict:
    """How the mean error falls as the most uncertain pixels are left out (Ilg et al., ECCV 2018, section 5).

    Returns:
        {"removed": shares from 0 to 0.9, "model": mean error of the rest, "oracle": the same where the pixels with the
        largest errors go first, "random": where any go, "ause": area between model and oracle, "ause_random": between
        random and oracle}. The areas are in relation to the mean error; an ause of 0 is a perfect ranking.
    """
    removed = np.linspace(0, 0.9, 10)
    kept = [error.size - round(share * error.size) for share in removed]

    def left(order_by):
        means = np.cumsum(error.ravel()[np.argsort(order_by, axis=None, kind="stable")], dtype="float64")
        return np.array([means[count - 1] / count for count in kept])

    model, oracle = left(uncertainty), left(error)
    random = np.full(len(removed), oracle[0])
    areas = [float(scipy.integrate.trapezoid(curve - oracle, removed) / oracle[0]) for curve in (model, random)]
    curves = {"removed": removed.round(1).tolist(), "model": model.tolist(), "oracle": oracle.tolist()}
    return curves | {"random": random.tolist(), "ause": areas[0], "ause_random": areas[1]}
