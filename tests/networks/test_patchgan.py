import numpy as np
import tensorflow as tf

from sar_keras.networks.patchgan import PatchDiscriminator


def test_documented_shapes():
    discriminator = PatchDiscriminator(filters=4)
    assert discriminator.input_shape == (None, 256, 256, 2)
    assert discriminator.output_shape == (None, 30, 30, 1)


def test_each_logit_sees_70_by_70_pixels():
    discriminator = PatchDiscriminator((256, 256, 2), filters=4, normalization="none")
    view = tf.random.normal((1, 256, 256, 2), seed=1)
    with tf.GradientTape() as tape:
        tape.watch(view)
        logit = discriminator(view)[0, 15, 15, 0]
    rows, columns = np.nonzero(np.abs(tape.gradient(logit, view)[0]).sum(-1))
    assert rows.max() - rows.min() + 1 == 70 and columns.max() - columns.min() + 1 == 70


def test_logits_are_float32_under_bfloat16():
    discriminator = PatchDiscriminator((64, 64, 4), 4, dtype="mixed_bfloat16")
    assert discriminator(np.zeros((1, 64, 64, 4), "float32")).dtype == "float32"
