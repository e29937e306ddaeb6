"""What a reader needs to know of each figure, and the figures that a run keeps of itself."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sar_keras.io.files import atomic

if TYPE_CHECKING:  # pages of data are written without TensorFlow
    import keras

# Name in a table, and whether more is better.
TITLES = {
    "psnr": ("PSNR (dB)", True),
    "ssim": ("SSIM", True),
    "mse": ("MSE", False),
    "mae": ("MAE", False),
    "ciede2000": ("CIEDE2000", False),
    "gradient_similarity": ("gradient similarity", True),
    "spectral_angle": ("spectral angle (degrees)", False),
    "vgg_distance": ("VGG16 distance", False),
    "lpips": ("LPIPS", False),
    "sar_ratio": ("distance to SAR / truth", True),
}
# A rank correlation below it tells nothing that one could use.
_WEAK_RANK = 0.1
# How each is computed under the protocol "standard", see `sar_keras.evaluation.metrics`.
CONVENTIONS = {
    "psnr": "of RGB from 0 to 1, peak 1; an exact copy counts as 100 dB",
    "ssim": "Wang et al., 2004: Gaussian window of 11 x 11, sigma 1.5, mean of R, G and B",
    "mse": "mean squared error of RGB from 0 to 1",
    "mae": "mean absolute error of RGB from 0 to 1",
    "ciede2000": "mean colour difference of sRGB under D65; 1 is just noticeable",
    "gradient_similarity": "of the luminance, Xue et al., 2014",
    "spectral_angle": "mean angle between the colours as vectors",
    "vgg_distance": "of the shipped block3_conv3 features; it is not LPIPS",
    "sar_ratio": "below 1 an image is nearer to the SAR image than to the truth",
}
COARSE = 8  # pixels a side of the coarse image that guided models are scored with
# Kinds of hints as tables call them, with what they are compared with: the hint alone.
HINTS = {
    "none": ("no hint", ""),
    "palette": ("mean colour of the place", "that colour"),
    "coarse": (f"image of {COARSE} x {COARSE} pixels", "enlarged bicubically"),
    "coarse_elsewhere": (f"image of {COARSE} x {COARSE} pixels, SAR of another patch", "enlarged bicubically"),
    "other_date": ("image of another date", "copied"),
    "other_date_fitted": ("", "after a linear fit"),
    "elsewhere": ("another place's image as that date", "copied"),
}
BASELINES = {"mean_colour": "mean training colour", "copy_sar": "SAR as grey"}
_RESAMPLES = 1000
_FILE = "evaluation.json"


def intervals(per_image: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The mean over images and its 95 % bootstrap interval; the same resamples for every figure."""
    count = len(next(iter(per_image.values())))
    samples = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
    intervals = {}
    for name, values in per_image.items():
        low, high = np.percentile(values[samples].mean(1), [2.5, 97.5])
        intervals[name] = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
    return intervals


def title_of(figure: str) -> str:
    """With an arrow up where more is better."""
    title, more_is_better = TITLES[figure]
    return f"{title} {'↑' if more_is_better else '↓'}"


def scenes_of(report: dict) -> str:
    count = report["scenes"]
    return f"{count or 'unknown'} scene{'s' * (count != 1)}"


def notes_on(report: dict) -> list[str]:
    """How the figures of a report were computed, and what to beware of."""
    names = report["metrics"]
    notes = [f"Means over {report['n']} images; in brackets the 95 % bootstrap interval over images."]
    if report["protocol"] == "paper":
        notes.append("SSIM has a uniform window of 255 pixels: it does not compare with the usual SSIM.")
    else:
        notes += [f"{TITLES[name][0]}: {CONVENTIONS[name]}." for name in names if name in CONVENTIONS]
    if report.get("trained_on_vgg") and "vgg_distance" in names:
        notes.append("The model was trained with a loss of VGG16 features, which flatters its VGG16 distance.")
    if report["split"] == "train":
        notes.append("These are training images: a figure of memory, not of skill.")
    if not report.get("mean_colour_known", True):
        notes.append("The mean colour is that of these images, because that of the training is not known.")
    return notes


def text_of(value: Any) -> str:
    """A cell of a table: a number with four digits, a figure with its interval, anything else as it is."""
    if isinstance(value, dict):
        return f"{value['mean']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def keep(run: Path, report: dict, generator: "keras.Model") -> None:
    """Write a report of a run's own test images into the run, with the weights that it is of.

    What else the file says of the same weights stays: a comparison notes there where the run was trained.
    """
    mine = {"weights_sha256": digest(generator)}
    before = _read(run)
    if before.get("weights_sha256", mine["weights_sha256"]) != mine["weights_sha256"]:
        before = {}
    with atomic(run / _FILE) as temporary:
        temporary.write_text(json.dumps(before | report | mine, indent=2) + "\n")


def kept(run: Path, generator: "keras.Model") -> dict | None:
    """The report that a run keeps; None where there is none, or it is of other weights than its generator has now."""
    report = _read(run)
    return report if report.get("weights_sha256") == digest(generator) else None


def _read(run: Path) -> dict:
    try:
        report = json.loads((run / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def digest(generator: "keras.Model") -> str:
    """SHA-256 of a model's weights, whatever file they are in."""
    sums = hashlib.sha256()
    for weight in generator.get_weights():
        sums.update(np.ascontiguousarray(weight).tobytes())
    return sums.hexdigest()


def error_holds(confidence: dict) -> bool:
    """Whether an expected error tells which pixels and patches are wrong, by the "confidence" of `evaluate`."""
    rank = confidence["rank_correlation"]
    return min(rank["pixels"]["low"], rank["patches"]) >= _WEAK_RANK
