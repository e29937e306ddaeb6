import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from sar_keras import color
from sar_keras.config import DataConfig
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import find_pairs
from sar_keras.data.pipeline import evaluation_dataset, training_dataset
from sar_keras.models import losses
from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.unet import UNetGenerator
from sar_keras.networks.vgg16 import VGG16Features


def make(view="luma", **kwargs):
    keras.utils.set_random_seed(1)
    generator = UNetGenerator((64, 64, 1), 4, normalization="instance", dropout=0)
    discriminator = PatchDiscriminator((64, 64, color.view_channels(view, 1)), 4, normalization="instance")
    model = Pix2Pix(generator, discriminator, VGG16Features("block1_conv2"), view=view, **kwargs)
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    return model


@pytest.fixture
def batch(random):
    return tuple(tf.constant(random.uniform(-1, 1, (2, 64, 64, c)), tf.float32) for c in (1, 3))


@pytest.mark.parametrize("view", color.VIEWS)
def test_a_step_logs_each_term_and_follows_the_gradient_of_their_sum(batch, view):
    weights = {"adversarial": 1.0, "l1": 100.0, "perceptual": 0.01, "edges": 20.0}
    model, twin = make(view, weights=weights), make(view)
    sar, optical = batch
    with tf.GradientTape() as tape:
        generated = twin.generator(sar, training=True)
        fake = twin.discriminator(color.view(sar, generated, view), training=True)
        terms = {
            "l1": tf.reduce_mean(tf.abs(generated - optical)),
            "perceptual": tf.reduce_mean(tf.abs(twin.features(generated) - twin.features(optical))),
            "edges": tf.reduce_mean(tf.abs(losses.gradient_magnitude(generated) - losses.gradient_magnitude(optical))),
            "adversarial": tf.reduce_mean(keras.losses.binary_crossentropy(tf.ones_like(fake), fake, from_logits=True)),
        }
        total = 100 * terms["l1"] + 0.01 * terms["perceptual"] + 20 * terms["edges"] + terms["adversarial"]
    gradients = tape.gradient(total, twin.generator.trainable_variables)
    expected = [w - 0.01 * g for w, g in zip(twin.generator.trainable_variables, gradients, strict=True)]

    logs = model.train_on_batch(sar, optical, return_dict=True)
    for name, value in terms.items():
        assert float(logs[name]) == pytest.approx(float(value), rel=1e-4)
    assert float(logs["generator_loss"]) == pytest.approx(float(total), rel=1e-4)
    for actual, wanted in zip(model.generator.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=2e-4)


def test_the_discriminator_learns_real_from_generated(batch):
    model = make(discriminator_factor=0.5)
    sar, optical = batch
    before = [np.array(w) for w in model.discriminator.trainable_variables]
    logs = model.train_on_batch(sar, optical, return_dict=True)
    twin = make()
    real = twin.discriminator(color.view(sar, optical, "luma"), training=True)
    fake = twin.discriminator(color.view(sar, twin.generator(sar, training=True), "luma"), training=True)
    by_hand = 0.5 * (losses.binary_crossentropy([real], True) + losses.binary_crossentropy([fake], False))
    assert float(logs["discriminator_loss"]) == pytest.approx(float(by_hand), rel=1e-4)
    assert float(logs["d_real"]) == pytest.approx(float(tf.reduce_mean(tf.sigmoid(real))), rel=1e-4)
    assert any((b != np.array(a)).any() for b, a in zip(before, model.discriminator.trainable_variables, strict=True))


def test_terms_without_weight_need_no_network(batch):
    model = Pix2Pix(UNetGenerator((64, 64, 1), 4))
    model.compile(keras.optimizers.Adam())
    logs = model.train_on_batch(*batch, return_dict=True)
    assert set(logs) == {"generator_loss", "l1"}
    with pytest.raises(ValueError, match="discriminator_optimizer"):
        Pix2Pix(UNetGenerator((64, 64, 1), 4), PatchDiscriminator((64, 64, 2), 4)).compile(keras.optimizers.Adam())


def test_plain_keras_fit_evaluate_predict(batch):
    model = make()
    dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
    history = model.fit(dataset, epochs=2, validation_data=dataset.take(1), verbose=0).history
    assert len(history["val_psnr"]) == 2
    assert model.predict(batch[0], verbose=0).shape == (2, 64, 64, 3)


def test_evaluation_averages_over_images_also_when_the_last_batch_is_ragged(random):
    model = make()
    sar, optical = (random.uniform(-1, 1, (5, 64, 64, c)).astype("float32") for c in (1, 3))
    logs = model.evaluate(tf.data.Dataset.from_tensor_slices((sar, optical)).batch(2), return_dict=True, verbose=0)
    generated = model.generator(sar, training=False).numpy()
    mse = ((generated - optical) ** 2).mean((1, 2, 3))
    assert float(logs["psnr"]) == pytest.approx(np.mean(10 * np.log10(4 / mse)), abs=1e-3)
    assert float(logs["l1"]) == pytest.approx(np.abs(generated - optical).mean(), rel=1e-4)


def test_the_objective_learns_eight_pairs_by_heart(pairs_folder):
    keras.utils.set_random_seed(0)
    images = load_images(find_pairs(pairs_folder).pairs[::3], size=64)
    model = Pix2Pix(
        UNetGenerator((64, 64, 1), 16, dropout=0),
        PatchDiscriminator((64, 64, 2), 8),
        VGG16Features("block1_conv2"),
    )
    model.compile(keras.optimizers.Adam(2e-3, 0.5), keras.optimizers.Adam(2e-4, 0.5))
    held = evaluation_dataset(images, list(range(8)), 8)
    before = model.evaluate(held, return_dict=True, verbose=0)["l1"]
    pairs = training_dataset(images, list(range(8)), 8, 0, DataConfig(augment=False))
    model.fit(pairs, steps_per_epoch=150, verbose=0)
    assert model.evaluate(held, return_dict=True, verbose=0)["l1"] < before / 4


def test_two_devices_train_what_one_trains():
    script = Path(__file__).with_name("two_devices.py")
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
