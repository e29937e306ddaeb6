"""The terms of the objectives: each takes batches and returns one float32 number, a mean over all elements."""

import tensorflow as tf


def binary_crossentropy(logits: tf.Tensor, real: bool) -> tf.Tensor:
    """Mean cross-entropy of a discriminator's logits against "all real" or "all generated"."""
    labels = tf.ones_like(logits) if real else tf.zeros_like(logits)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))


def mean_absolute_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """L1 distance; of images (N, H, W, 3) in [-1, 1], or of features: the perceptual loss (Johnson et al., ECCV 2016,
    with L1 in place of L2)."""
    return tf.reduce_mean(tf.abs(tf.cast(a, tf.float32) - tf.cast(b, tf.float32)))
