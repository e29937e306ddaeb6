import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sar_keras.data.loading import load_images
from sar_keras.data.pairs import Pair
from sar_keras.evaluation import baselines
from sar_keras.evaluation.baselines import fit_trees, pixel_features

SIZE = 48
COUNT = 6


def smooth_noise(random, sigma: float, channels: int) -> np.ndarray:
    """(COUNT + 1, SIZE, SIZE, channels) in [-1, 1], whose last image is for testing."""
    noise = gaussian_filter(random.normal(size=(COUNT + 1, SIZE, SIZE, channels)), (0, sigma, sigma, 0))
    return np.clip(noise / noise.std() / 2, -1, 1).astype("float32")


@pytest.fixture
def images(tmp_path, save_png):
    """Make `Images` of SAR (N, SIZE, SIZE, 1) and optical images (N, SIZE, SIZE, 3), all but the last ones."""

    def of_arrays(sar, optical):
        pairs = []
        for index in range(COUNT):
            paths = [tmp_path / f"{side}/{index}.png" for side in ("s1", "s2")]
            for path, image in zip(paths, (sar[index, ..., 0], optical[index]), strict=True):
                save_png(path, np.round((image + 1) * 127.5).astype("uint8"))
            pairs.append(Pair(*paths))
        return load_images(pairs, SIZE)

    return of_arrays


def error(truth, generated) -> float:
    """Mean squared error in relation to that of the mean colour of the same image."""
    return ((truth - generated) ** 2).mean() / truth.var((0, 1)).mean()


def test_a_colour_of_the_local_mean_is_learnt(images, random):
    sar = smooth_noise(random, 0.5, 1)
    mean = gaussian_filter(sar, (0, 2, 2, 0))
    optical = np.tanh(np.concatenate([3 * mean, -3 * mean, 9 * mean**2 - 0.5], -1))
    of_pairs, indices = images(sar, optical), list(range(COUNT))
    trees = fit_trees(of_pairs, indices, seed=0)
    generated = trees.predict(sar[-1:])
    assert generated.shape == (1, SIZE, SIZE, 3) and generated.dtype == np.float32 and np.abs(generated).max() <= 1
    assert error(optical[-1], generated[0]) < 0.25


def test_a_seed_gives_the_same_colours_again(images, random, monkeypatch):
    monkeypatch.setattr(baselines, "_PIXELS", 1000)  # fewer than there are, so that a seed chooses
    sar = smooth_noise(random, 2, 1)
    of_pairs = images(sar, smooth_noise(random, 2, 3))
    first, again, other = (fit_trees(of_pairs, list(range(3)), seed).predict(sar[-1:]) for seed in (0, 0, 1))
    np.testing.assert_allclose(again, first, atol=1e-6)
    assert np.abs(other - first).max() > 1e-3


def test_what_has_changed_between_two_dates_is_learnt(images, random):
    """Where the SAR image is the same at both dates so is the colour; elsewhere it is black."""
    reference, other_sar = smooth_noise(random, 4, 3), smooth_noise(random, 4, 1)
    changed = smooth_noise(random, 6, 1) > 0.3
    sar = np.clip(other_sar - 0.4 * changed, -1, 1)
    optical = np.where(changed, -1, reference)
    of_pairs, indices = images(sar, optical), list(range(COUNT))
    without = fit_trees(of_pairs, indices, 0, ((image,) for image in reference[:COUNT]))
    both = fit_trees(of_pairs, indices, 0, zip(reference[:COUNT], other_sar[:COUNT], strict=True))
    of_both = error(optical[-1], both.predict(sar[-1:], reference[-1:], other_sar[-1:])[0])
    assert of_both < 0.2 and of_both < error(optical[-1], without.predict(sar[-1:], reference[-1:])[0]) / 2


def test_features_do_not_tell_where_a_pixel_lies(random):
    inputs = [random.uniform(-1, 1, (31, 45, bands)).astype("float32") for bands in (2, 3, 2)]
    for count in (1, 2, 3):
        features = pixel_features(*inputs[:count])
        assert features.shape[:2] == (31, 45) and features.dtype == np.float32
        mirrored = pixel_features(*(image[::-1, ::-1] for image in inputs[:count]))
        np.testing.assert_allclose(mirrored[::-1, ::-1], features, atol=1e-5)
