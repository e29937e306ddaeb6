"""Figures that say how near a generated image is to the truth. Images are (N, H, W, 3), float32 in [-1, 1]."""

import tensorflow as tf


def psnr(truth: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB of each image, (N,); the peak is the whole range from -1 to 1."""
    return tf.image.psnr(truth, generated, max_val=2.0)
