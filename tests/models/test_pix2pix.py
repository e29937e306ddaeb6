import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import one_convolution, plain_data, small_discriminator

from sar_keras import color
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import find_pairs
from sar_keras.data.pipeline import evaluation_dataset, training_dataset
from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.rewriting import image_by_image
from sar_keras.networks.unet import UNetGenerator
from sar_keras.networks.vgg16 import VGG16Features

WEIGHTS = {"l1": 100, "l2": 30, "ssim": 5, "edges": 20, "perceptual": 0.01, "adversarial": 2, "feature_matching": 3}


def make(view="luma", **kwargs):
    keras.utils.set_random_seed(1)
    discriminator = small_discriminator(color.view_channels(view, 1))
    model = Pix2Pix(one_convolution(), discriminator, VGG16Features("block1_conv2"), view=view, **kwargs)
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    return model


def cross_entropy(logits, label):
    return tf.reduce_mean(keras.losses.binary_crossentropy(tf.fill(logits.shape, label), logits, from_logits=True))


@pytest.fixture
def batch(random):
    return tuple(tf.constant(random.uniform(-1, 1, (2, 16, 16, c)), tf.float32) for c in (1, 3))


@pytest.mark.parametrize(
    ("view", "weights"), [("luma", WEIGHTS), ("ab", {"adversarial": 2}), ("rgb", {"adversarial": 2})]
)
def test_a_step_logs_each_term_and_follows_the_gradient_of_their_sum(batch, view, weights):
    model, reference = make(view, weights=weights), make(view)
    sar, optical = batch
    judge = keras.Model(reference.discriminator.input, [layer.output for layer in reference.discriminator.layers[-2:]])

    def slopes(rgb):
        edges = tf.image.sobel_edges(tf.reduce_sum(rgb * [0.299, 0.587, 0.114], -1, keepdims=True))
        return tf.norm(edges, axis=-1) / 8

    def distance(a, b):
        return tf.reduce_mean(tf.abs(a - b))

    with tf.GradientTape() as tape:
        generated = reference.generator(sar, training=True)
        real_hidden, _ = judge(color.view(sar, optical, view))
        hidden, fake = judge(color.view(sar, generated, view))
        terms = {
            "l1": distance(generated, optical),
            "l2": tf.reduce_mean((generated - optical) ** 2),
            "ssim": 1 - tf.reduce_mean(tf.image.ssim(generated + 1, optical + 1, 2.0)),
            "edges": distance(slopes(generated), slopes(optical)),
            "perceptual": distance(reference.features(generated), reference.features(optical)),
            "adversarial": cross_entropy(fake, 1.0),
            "feature_matching": distance(hidden, real_hidden),
        }
        total = tf.add_n([weight * terms[name] for name, weight in weights.items()])
    gradients = tape.gradient(total, reference.generator.trainable_variables)
    expected = [w - 0.01 * g for w, g in zip(reference.generator.trainable_variables, gradients, strict=True)]

    logs = model.train_on_batch(sar, optical, return_dict=True)
    for name in weights:
        assert float(logs[name]) == pytest.approx(float(terms[name]), rel=1e-3), name
    assert float(logs["generator_loss"]) == pytest.approx(float(total), rel=1e-4)
    for actual, wanted in zip(model.generator.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=2e-4)


def test_the_discriminator_learns_real_from_generated(batch):
    model, reference = make(discriminator_factor=0.3), make()
    sar, optical = batch
    with tf.GradientTape() as tape:
        real = reference.discriminator(color.view(sar, optical, "luma"))
        fake = reference.discriminator(color.view(sar, reference.generator(sar), "luma"))
        loss = 0.3 * (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0))
    gradients = tape.gradient(loss, reference.discriminator.trainable_variables)
    expected = [w - 0.01 * g for w, g in zip(reference.discriminator.trainable_variables, gradients, strict=True)]
    logs = model.train_on_batch(sar, optical, return_dict=True)
    assert float(logs["discriminator_loss"]) == pytest.approx(float(loss), rel=1e-4)
    assert float(logs["d_real"]) == pytest.approx(float(tf.reduce_mean(tf.sigmoid(real))), rel=1e-4)
    assert float(logs["d_fake"]) == pytest.approx(float(tf.reduce_mean(tf.sigmoid(fake))), rel=1e-4)
    for actual, wanted in zip(model.discriminator.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-5)


def test_terms_without_weight_need_no_network(batch):
    model = Pix2Pix(one_convolution())
    model.compile(keras.optimizers.Adam())
    logs = model.train_on_batch(*batch, return_dict=True)
    assert set(logs) == {"generator_loss", "l1"}
    with pytest.raises(ValueError, match="discriminator_optimizer"):
        Pix2Pix(one_convolution(), small_discriminator(2)).compile(keras.optimizers.Adam())
    with pytest.raises(ValueError, match="the term perceptual needs features"):
        Pix2Pix(one_convolution(), weights={"l1": 1, "perceptual": 1})
    with pytest.raises(ValueError, match="no term 'cycle'; the terms are l1, l2"):
        Pix2Pix(one_convolution(), weights={"cycle": 1})


def test_plain_keras_fit_evaluate_predict(batch):
    model = make()
    dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
    history = model.fit(dataset, epochs=2, validation_data=dataset.take(1), shuffle=False, verbose=0).history
    assert len(history["val_psnr"]) == 2
    assert model.predict(batch[0], verbose=0).shape == (2, 16, 16, 3)


def test_evaluation_averages_over_images_also_when_the_last_batch_is_ragged(random):
    model = make()
    sar, optical = (random.uniform(-1, 1, (5, 16, 16, c)).astype("float32") for c in (1, 3))
    logs = model.evaluate(tf.data.Dataset.from_tensor_slices((sar, optical)).batch(2), return_dict=True, verbose=0)
    generated = model.generator(sar, training=False).numpy()
    mse = ((generated - optical) ** 2).mean((1, 2, 3))
    assert float(logs["psnr"]) == pytest.approx(np.mean(10 * np.log10(4 / mse)), abs=1e-3)
    assert float(logs["l1"]) == pytest.approx(np.abs(generated - optical).mean(), rel=1e-4)


@pytest.mark.slow
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
    batches = training_dataset(images, list(range(8)), 8, 0, plain_data())
    model.fit(batches, steps_per_epoch=150, shuffle=False, verbose=0)
    assert model.evaluate(held, return_dict=True, verbose=0)["l1"] < before / 4


def test_the_tape_keeps_nothing_of_the_loop_over_images(batch):
    model = make()
    model.term_functions["perceptual"] = image_by_image(model.term_functions["perceptual"])
    graph = tf.function(lambda *batch: model.train_step(batch)).get_concrete_function(*batch).graph
    # A loop that a gradient has gone through is another operation, with lists of what each turn has computed.
    assert "While" in [operation.type for operation in graph.get_operations()]
