import keras
import numpy as np
import pytest
from skimage.color import rgb2lab

from sar_keras.networks.rewriting import for_inference
from sar_keras.networks.sizes import any_size
from sar_keras.networks.unet import UNetGenerator


def test_documented_shapes():
    generator = UNetGenerator(filters=4)
    assert generator.input_shape == (None, 256, 256, 1) and generator.output_shape == (None, 256, 256, 3)
    assert isinstance(generator, keras.Model) and type(generator).__name__ == "Functional"


def test_weights_of_the_published_network():
    # Counted from pix2pix's layers: 4x4 kernels, a bias on the outer two and the innermost encoder convolutions,
    # scale and offset where a batch normalisation follows.
    encoder, decoder = [64, 128, 256, 512, 512, 512, 512, 512], [512, 512, 512, 512, 256, 128, 64]
    expected, width = 0, 1
    for level, filters in enumerate(encoder):
        expected += 16 * width * filters + (filters if level in (0, 7) else 2 * filters)
        width = filters
    for filters, skip in zip(decoder, encoder[-2::-1], strict=True):
        expected += 16 * width * filters + 2 * filters
        width = filters + skip
    expected += 16 * width * 3 + 3
    generator = UNetGenerator(normalization="batch", upsampling="transpose")
    assert sum(np.prod(w.shape) for w in generator.trainable_weights) == expected


@pytest.mark.parametrize("normalization", ["batch", "instance", "group", "layer", "none"])
@pytest.mark.parametrize("upsampling", ["resize", "transpose"])
def test_every_variant_serves_alone_as_in_a_batch_and_saves(normalization, upsampling, tmp_path, random):
    generator = UNetGenerator((64, 64, 2), 4, normalization=normalization, upsampling=upsampling)
    sar = random.uniform(-1, 1, (3, 64, 64, 2)).astype("float32")
    together = generator.predict(sar, verbose=0)
    assert together.shape == (3, 64, 64, 3) and together.dtype == np.float32 and np.abs(together).max() <= 1
    np.testing.assert_allclose(generator.predict(sar[:1], verbose=0), together[:1], atol=1e-5)
    generator.save(tmp_path / "g.keras")
    again = keras.saving.load_model(tmp_path / "g.keras", safe_mode=True)
    np.testing.assert_array_equal(again.predict(sar, verbose=0), together)


def test_same_weights_for_other_sizes(random):
    generator = UNetGenerator((64, 64, 1), 4, normalization="batch")
    wide = any_size(generator)
    assert wide(np.zeros((1, 128, 192, 1), "float32")).shape == (1, 128, 192, 3)
    sar = random.uniform(-1, 1, (1, 64, 64, 1)).astype("float32")
    np.testing.assert_array_equal(wide(sar), generator(sar))
    generator.weights[0].assign(generator.weights[0] * 2)
    np.testing.assert_array_equal(wide(sar), generator(sar))


@pytest.mark.parametrize("upsampling", ["resize", "transpose"])
def test_for_inference_computes_the_same_without_batch_normalisation(upsampling, random):
    generator = UNetGenerator((64, 64, 1), 4, upsampling=upsampling)
    for weight in generator.weights:
        weight.assign(
            random.uniform(0.5, 1.5, weight.shape) if len(weight.shape) == 1 else random.normal(0, 0.1, weight.shape)
        )
    fast = for_inference(generator)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in fast.layers)
    sar = random.uniform(-1, 1, (2, 64, 64, 1)).astype("float32")
    optical = generator.predict(sar, verbose=0)
    assert optical.std() > 0.05
    np.testing.assert_allclose(fast.predict(sar, verbose=0), optical, atol=1e-5)


def test_output_is_float32_under_bfloat16():
    generator = UNetGenerator((64, 64, 1), 4, dtype="mixed_bfloat16")
    assert generator.layers[1].compute_dtype == "bfloat16"
    assert generator(np.zeros((1, 64, 64, 1), "float32")).dtype == "float32"
    assert all(w.dtype == "float32" for w in generator.weights)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="multiples of 256"):
        UNetGenerator((200, 256, 1), 4, depth=8)


def test_the_lab_variant_keeps_the_lightness_of_the_radar_image(random, tmp_path):
    generator = UNetGenerator((64, 64, 1), 4, output="ab")
    sar = random.uniform(-0.6, 0.6, (1, 64, 64, 1)).astype("float32")
    rgb = generator.predict(sar, verbose=0)
    lightness = rgb2lab((rgb[0] + 1) / 2)[..., 0]
    np.testing.assert_allclose(lightness, (sar[0, ..., 0] + 1) * 50, atol=1.0)
    assert np.ptp(rgb, axis=-1).max() > 1e-3
    generator.save(tmp_path / "g.keras")
    again = keras.saving.load_model(tmp_path / "g.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(sar, verbose=0), rgb, atol=1e-6)
