import keras
import numpy as np
from helpers import check_saving_and_other_sizes

from sar_keras.networks.resnet import ResNetGenerator


def test_weights_of_the_published_network():
    # 7x7 in and out, 3x3 elsewhere; the transposed convolutions are 4x4 here. The paper's normalisation has no weights,
    # ours a scale and an offset a channel.
    convolutions = [(49, 3, 64), (9, 64, 128), (9, 128, 256), *[(9, 256, 256)] * 18, (16, 256, 128), (16, 128, 64)]
    expected = sum(size * a * b + 3 * b for size, a, b in convolutions) + 49 * 64 * 3 + 3
    assert ResNetGenerator((256, 256, 3), upsampling="transpose").count_params() == expected


def test_saving_and_other_sizes(tmp_path, random):
    generator = ResNetGenerator((32, 32, 1), 4, 2)
    sar = random.uniform(-1, 1, (2, 32, 32, 1)).astype("float32")
    check_saving_and_other_sizes(generator, sar, tmp_path / "g.keras")


def test_borders_are_reflected():
    # Beyond a border a reflecting network presumes what is inside: a constant image stays constant up to its border.
    generator = ResNetGenerator((32, 32, 1), 4, 0, normalization="none")
    first = next(layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2D))
    stem = keras.Model(generator.input, first.output)(np.full((1, 32, 32, 1), 0.5, "float32")).numpy()[0]
    assert stem.shape == (32, 32, 4) and np.ptp(stem, axis=(0, 1)).max() < 1e-6
