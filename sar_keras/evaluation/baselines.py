"""Gradient-boosted trees that colour a pixel by what surrounds it: what a network has to be better than.

They are fitted in seconds, and need scikit-learn, the extra `trees`.
"""

# pyright: reportMissingImports=false

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from sar_keras.data import pipeline
from sar_keras.data.loading import Images

# Pixels that the trees learn from, of all images together.
_PIXELS = 200_000
# Sides of the squares around a pixel that are described. Not the whole image: what it looks like tells places apart.
_SQUARES = (3, 9, 33, 129)


@dataclasses.dataclass(frozen=True)
class Trees:
    """What `fit_trees` gives.

    Attributes:
        regressors: One of scikit-learn's each for red, green and blue in [-1, 1].
    """

    regressors: list

    def predict(
        self, sar: np.ndarray, reference: np.ndarray | None = None, reference_sar: np.ndarray | None = None
    ) -> np.ndarray:
        """Colours (N, H, W, 3), float32 in [-1, 1], of N images each as `pixel_features` takes them."""
        colours = []
        for inputs in zip(*(images for images in (sar, reference, reference_sar) if images is not None), strict=True):
            features = pixel_features(*inputs)
            pixels = features.reshape(-1, features.shape[-1])
            colour = np.stack(_side_by_side(lambda regressor, x=pixels: regressor.predict(x), self.regressors), -1)
            colours.append(colour.reshape(*features.shape[:2], 3))
        return np.clip(colours, -1, 1).astype("float32")


def fit_trees(
    images: Images, indices: list[int], seed: int, references: Iterable[Sequence[np.ndarray]] | None = None
) -> Trees:
    """Learn the colours of the pairs at `indices` from 200,000 of their pixels, the same for the same seed.

    Args:
        images: The pairs.
        indices: Those to learn from.
        seed: Chooses the pixels.
        references: For each of `indices` what `pixel_features` takes besides the SAR image: (reference,), or
            (reference, reference_sar).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # takes a second

    random = np.random.default_rng(seed)
    features, colours = [], []
    references = itertools.repeat((), len(indices)) if references is None else references
    for (sar, optical), reference in zip(pipeline.evaluation_dataset(images, indices, 1), references, strict=True):
        described = pixel_features(sar[0].numpy(), *reference)
        pixels = described.reshape(-1, described.shape[-1])
        drawn = random.choice(len(pixels), min(len(pixels), _PIXELS // len(indices)), replace=False)
        features.append(pixels[drawn])
        colours.append(optical[0].numpy().reshape(-1, 3)[drawn])
    features, colours = np.concatenate(features), np.concatenate(colours)

    # Few small trees: what larger ones know more is about the places that they have seen.
    settings: dict[str, Any] = {"max_iter": 50, "max_leaf_nodes": 8, "early_stopping": False, "random_state": seed}

    def learn(colour: np.ndarray) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(**settings).fit(features, colour)

    return Trees(_side_by_side(learn, colours.T))


def _side_by_side(work: Callable, items: Iterable) -> list:
    """The results for each item, in threads.

    Each of them has one thread of OpenMP: several wait for each other busily, which takes twenty times as long where
    another program uses the cores; and their number would change how sums are rounded.
    """
    from threadpoolctl import threadpool_limits

    def alone(item):
        with threadpool_limits(1, "openmp"):
            return work(item)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(alone, items))


def pixel_features(
    sar: np.ndarray, reference: np.ndarray | None = None, reference_sar: np.ndarray | None = None
) -> np.ndarray:
    """Describe each pixel by itself and its surroundings, not by where it lies.

    Args:
        sar: (H, W, bands).
        reference: The optical image of another date, (H, W, 3).
        reference_sar: The SAR image of that date, (H, W, bands).

    Returns:
        (H, W, features), float32.
    """
    features = _describe(sar)
    if reference is not None:
        features += [reference, uniform_filter(reference, 3, axes=(0, 1))]
    if reference_sar is not None:
        features += _describe(reference_sar)
    return np.concatenate(features, -1)


def _describe(image: np.ndarray) -> list[np.ndarray]:
    """The image itself, and mean and standard deviation in squares around each pixel; each (H, W, bands)."""
    features = [image]
    for side in _SQUARES:
        mean, mean_square = (uniform_filter(values, side, axes=(0, 1)) for values in (image, image**2))
        features += [mean, np.sqrt(np.maximum(mean_square - mean**2, 0))]
    return features
