"""The terms of the objectives: each takes batches and returns one float32 number."""

from collections.abc import Callable

import tensorflow as tf

from sar_keras.color import luminance


def binary_crossentropy(logits: list[tf.Tensor], real: bool) -> tf.Tensor:
    """Cross-entropy of a discriminator's logits against "all real" or "all generated".

    The mean over all patches of a scale, then over the scales, each an item of `logits`.
    """
    label = tf.ones_like if real else tf.zeros_like
    return _mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label(scale), logits=scale) for scale in logits)


def mean_verdict(logits: list[tf.Tensor]) -> tf.Tensor:
    """How real a discriminator takes a batch to be, 0 to 1, averaged as in `binary_crossentropy`."""
    return _mean(tf.sigmoid(scale) for scale in logits)


def feature_matching(real: list[tf.Tensor], generated: list[tf.Tensor]) -> tf.Tensor:
    """L1 distance of a discriminator's hidden activations, after equation 4 of pix2pixHD.

    The mean over levels and scales, where the paper has their sum.
    """
    return _mean(
        tf.abs(tf.cast(g, tf.float32) - tf.stop_gradient(tf.cast(r, tf.float32)))
        for r, g in zip(real, generated, strict=True)
    )


def mean_absolute_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """L1 distance of images (N, H, W, c) in [-1, 1], or of features."""
    return tf.reduce_mean(tf.abs(tf.cast(a, tf.float32) - tf.cast(b, tf.float32)))


def perceptual_distance(features: Callable, generated: tf.Tensor, optical: tf.Tensor) -> tf.Tensor:
    """L1 distance of the features of images (N, H, W, 3) in [-1, 1]: the perceptual loss (Johnson et al., ECCV 2016,
    with L1 in place of L2)."""
    return mean_absolute_error(features(generated), features(optical))


def mean_squared_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """L2 distance of images (N, H, W, 3) in [-1, 1]; what PSNR measures."""
    return tf.reduce_mean(tf.square(a - b))


def ssim_loss(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """1 - SSIM (Wang et al., IEEE TIP 2004) of images (N, H, W, 3) in [-1, 1], the mean over R, G and B: 0 to 2.

    What `tf.image.ssim` gives, in less than half of its time: its window of 11 x 11 is one of 11 x 1 and one of 1 x 11.
    """
    # SSIM's constants presume values from 0 on.
    a, b = (a + 1.0) / 2.0, (b + 1.0) / 2.0
    mean_a, mean_b = _windowed(a), _windowed(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance, variances = _windowed(a * b) - product, _windowed(a**2 + b**2) - squares
    luminance_term = (2.0 * product + 0.01**2) / (squares + 0.01**2)
    return 1.0 - tf.reduce_mean(luminance_term * (2.0 * covariance + 0.03**2) / (variances + 0.03**2))


def _windowed(images: tf.Tensor) -> tf.Tensor:
    """Means of (N, H, W, 3) under SSIM's Gaussian window (sigma 1.5), where it lies inside: (N, H - 10, W - 10, 3)."""
    window = tf.nn.softmax(-(tf.range(-5.0, 6.0) ** 2) / (2 * 1.5**2))
    for shape in ([11, 1, 1, 1], [1, 11, 1, 1]):
        kernel = tf.tile(tf.reshape(window, shape), [1, 1, images.shape[-1], 1])
        images = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], "VALID")
    return images


def generator_cross_entropy(logits: list[tf.Tensor]) -> tf.Tensor:
    """What the generator must lower: the cross-entropy of its images' logits against "all real"."""
    return binary_crossentropy(logits, real=True)


def generator_least_squares(optical_scores: tf.Tensor, sar_scores: tf.Tensor) -> tf.Tensor:
    """The same of CycleGAN: the squared distances of both discriminators' outputs for generated images from 1."""
    return least_squares([optical_scores], real=True) + least_squares([sar_scores], real=True)


def cycle_distance(sar_again: tf.Tensor, sar: tf.Tensor, optical_again: tf.Tensor, optical: tf.Tensor) -> tf.Tensor:
    """L1 distance of images that went through both generators from what they were; the sum of both ways round."""
    return mean_absolute_error(sar_again, sar) + mean_absolute_error(optical_again, optical)


def identity_distance(generator: Callable, back: Callable, sar: tf.Tensor, optical: tf.Tensor) -> tf.Tensor:
    """L1 distance that generators move images that are of their target's kind already: grey optical images, SAR as RGB.

    Not quite the paper's, whose two kinds of images have equally many channels.
    """
    grey = tf.repeat(luminance(optical), sar.shape[-1], -1)
    as_rgb = tf.repeat(sar[..., :1], 3, -1)
    return mean_absolute_error(generator(grey, training=True), optical) + mean_absolute_error(
        back(as_rgb, training=True), sar
    )


def least_squares(logits: list[tf.Tensor], real: bool) -> tf.Tensor:
    """Squared distance of a discriminator's output from 1 (real) or 0 (Mao et al., "LSGAN", ICCV 2017)."""
    return _mean((scale - float(real)) ** 2 for scale in logits)


def gradient_magnitude(rgb: tf.Tensor) -> tf.Tensor:
    """Length of the Sobel gradient of the luminance, divided by 8: (N, H, W, 3) in [-1, 1] to (N, H, W, 1)."""
    slopes = tf.image.sobel_edges(luminance(rgb))
    # The root has no derivative at zero.
    return tf.sqrt(tf.reduce_sum(slopes**2, -1) + 1e-6) / 8.0


def gradient_distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """L1 distance of the `gradient_magnitude` of images (N, H, W, 3) in [-1, 1]."""
    return mean_absolute_error(gradient_magnitude(a), gradient_magnitude(b))


def gradient_branch_distance(gradient: tf.Tensor, generated: tf.Tensor, optical: tf.Tensor) -> tf.Tensor:
    """L1 distances from the optical image's `gradient_magnitude`: of a predicted one (N, H, W, 1), and of the generated
    image's."""
    truth = gradient_magnitude(optical)
    return mean_absolute_error(gradient, truth) + mean_absolute_error(gradient_magnitude(generated), truth)


def _mean(tensors) -> tf.Tensor:
    return tf.reduce_mean(tf.stack([tf.reduce_mean(tensor) for tensor in tensors]))
