import numpy as np

from sar_keras.networks.autoencoder import Autoencoder, refined
from sar_keras.networks.sizes import any_size
from sar_keras.networks.unet import UNetGenerator


def test_refined_is_one_network_after_the_other_at_any_size(random, tmp_path):
    generator, autoencoder = UNetGenerator((32, 32, 1), 4), Autoencoder(4)
    both = refined(generator, autoencoder)
    sar = random.uniform(-1, 1, (2, 32, 32, 1)).astype("float32")
    expected = autoencoder(generator(sar, training=False))
    np.testing.assert_allclose(both(sar, training=False), expected, atol=1e-6)
    assert any_size(both)(np.zeros((1, 64, 32, 1), "float32")).shape == (1, 64, 32, 3)
