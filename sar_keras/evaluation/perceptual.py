"""LPIPS and FID through torchmetrics, the extra `metrics`. Their networks are downloaded on first use.

Papers: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018; Heusel et
al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017.
"""

# pyright: reportMissingImports=false

import numpy as np

from sar_keras.errors import ConfigError

CONVENTIONS = "LPIPS: AlexNet, version 0.1. FID: Inception v3, 2048 features; depends on the number of images."


class Perceptual:
    """Collects batches of images in [0, 1], (N, H, W, 3).

    Raises:
        ConfigError: the extra is not installed, or its networks cannot be downloaded.
    """

    def __init__(self):
        try:
            import torch
            from torchmetrics.image.fid import FrechetInceptionDistance
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        except ImportError as error:
            raise ConfigError('LPIPS and FID need an extra: pip install ".[metrics]"') from error
        try:
            self._lpips = LearnedPerceptualImagePatchSimilarity("alex", reduction="none", normalize=True)
            self._fid = FrechetInceptionDistance(feature=2048, normalize=True)
        except (OSError, ModuleNotFoundError) as error:  # urllib's errors are OSErrors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"LPIPS and FID: their networks cannot be had: {reason}") from error
        self._tensor = lambda images: torch.from_numpy(np.moveaxis(images, -1, 1).astype("float32"))

    def update(self, truth: np.ndarray, generated: np.ndarray) -> np.ndarray:
        """Add a batch to the FID, and return its LPIPS, (N,)."""
        truth, generated = self._tensor(truth), self._tensor(generated)
        self._fid.update(truth, real=True)
        self._fid.update(generated, real=False)
        return self._lpips(generated, truth).detach().numpy().reshape(-1)

    def fid(self) -> float:
        return float(self._fid.compute())
