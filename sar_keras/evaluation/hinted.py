"""How good a guided model is under each kind of hint, beside the hint alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from sar_keras.data import pipeline
from sar_keras.data.hints import coarsened
from sar_keras.data.loading import Images
from sar_keras.data.references import References
from sar_keras.evaluation import metrics
from sar_keras.evaluation.baselines import Trees, fit_trees
from sar_keras.hint_planes import compose_hint, has_data
from sar_keras.networks.guided import inputs_of
from sar_keras.reports.figures import COARSE
from sar_keras.reports.figures import HINTS as TITLES


def score_hints(
    generator: keras.Model,
    images: Images,
    references: References,
    colours: np.ndarray,
    fit: np.ndarray | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    indices: list[int] | None = None,
) -> dict[str, dict]:
    """Score a guided model on pairs under each kind of hint that there is.

    Args:
        generator: The model.
        images: The pairs.
        references: Their images of another date.
        colours: (pairs, 3), the mean colour of each pair's place in [-1, 1].
        fit: From `fit_dates`, or None.
        progress: Wraps the iteration over the pairs.
        indices: The pairs that count. None: all.

    Returns:
        Name in TITLES to {"model", "alone"}, each {"psnr", "ssim"} of (n,), or None where there is no such. Where pairs
        name a mask also {"changed", "unchanged"}: the sum of the squared errors of RGB in [0, 1] over pixels that have,
        and have not, changed, and the number of these pixels, (n, 2).
    """
    run = tf.function(lambda sar, hint: generator(inputs_of(generator, sar, hint), training=False))
    found: dict = defaultdict(lambda: {"model": defaultdict(list), "alone": defaultdict(list)})
    indices = list(range(len(images.pairs))) if indices is None else indices
    pairs = pipeline.evaluation_dataset(images, indices, 1)
    for index, pair in zip(indices, progress(pairs), strict=True):
        changed = _changed(images, references, index)
        hints = _hints(images, references, colours, fit, pair, index, _elsewhere(images, index, indices))
        # All hints of a pair in one call.
        given = {name: (sar, hint) for name, (sar, hint, _) in hints.items() if hint is not None}
        answers = run(*(tf.concat(inputs, 0) for inputs in zip(*given.values(), strict=True)))
        candidates = {(name, "model"): answer[None] for name, answer in zip(given, answers, strict=True)}
        candidates |= {(name, "alone"): alone for name, (_, _, alone) in hints.items() if alone is not None}
        scores = _scores(pair[1], tf.concat([*candidates.values()], 0), changed)
        for n, (name, side) in enumerate(candidates):
            for figure, values in scores.items():
                found[name][side][figure].append(values[n])
    return {
        name: {
            side: {key: np.array(values) for key, values in found[name][side].items()} or None
            for side in ("model", "alone")
        }
        for name in TITLES
        if name in found
    }


def _hints(images, references, colours, fit, pair, index: int, other: int | None) -> dict[str, tuple]:
    """Name to (SAR image, hint or None, the hint alone or None) for a pair (SAR, truth), each (1, H, W, c).

    `other` is a pair of another place.
    """
    (sar, truth), channels = pair, images.channels
    flat = tf.broadcast_to(tf.constant(colours[index], tf.float32), tf.shape(truth))
    enlarged = coarsened(truth, COARSE)
    coarse = compose_hint(enlarged, "coarse", channels=channels)
    none = tf.zeros_like(coarse)
    hints = {
        "none": (sar, none, None),
        "palette": (sar, compose_hint(flat, "palette", channels=channels), flat),
        "coarse": (sar, coarse, enlarged),
    }
    if other is not None:
        hints["coarse_elsewhere"] = pipeline.centre(images, *images.stored(other))[0][None], coarse, enlarged
    if index in references.optical:
        optical, of_date = date_of(images, references, index)
        hints["other_date"] = sar, _of_other_date(optical, of_date, channels), optical
        if fit is not None:
            hints["other_date_fitted"] = sar, None, fitted(fit, optical)
        if other is not None and other in references.optical:
            optical, of_date = date_of(images, references, other)
            hints["elsewhere"] = sar, _of_other_date(optical, of_date, channels), optical
    return hints


def _of_other_date(optical: tf.Tensor, sar: tf.Tensor | None, channels: int) -> tf.Tensor:
    return compose_hint(optical, "other_date", has_data(optical), sar, channels=channels)


def date_of(images: Images, references: References, index: int) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Optical image (1, H, W, 3) of another date and its SAR image or None, in [-1, 1], cut as the pair is."""
    stored = references.sar.get(index, images.stored(index)[0])
    sar, optical = pipeline.centre(images, stored, references.optical[index])
    return optical[None], sar[None] if index in references.sar else None


def fit_trees_to_dates(images: Images, references: References, indices: list[int], seed: int) -> Trees | None:
    """Trees that see an image of another date, and its SAR image where all pairs name one; None where no pair does."""
    named = [index for index in indices if index in references.optical]
    if not named:
        return None
    return fit_trees(images, named, seed, (_of_trees(images, references, index) for index in named))


def score_trees(trees: Trees, images: Images, references: References, indices: list[int]) -> dict[str, np.ndarray]:
    """As a side of `score_hints`, on those of the pairs at `indices` that name an image of another date."""
    named = [index for index in indices if index in references.optical]
    beside = (_of_trees(images, references, index) for index in named)
    return score(lambda sar: trees.predict(sar, *(image[None] for image in next(beside))), images, references, named)


def score(
    colorize: Callable[[np.ndarray], np.ndarray], images: Images, references: References, indices: list[int]
) -> dict[str, np.ndarray]:
    """As a side of `score_hints`, for a function from SAR (1, H, W, C) to RGB in [-1, 1]."""
    found: dict = defaultdict(list)
    for index, (sar, truth) in zip(indices, pipeline.evaluation_dataset(images, indices, 1), strict=True):
        scores = _scores(truth, colorize(sar.numpy()), _changed(images, references, index))
        for figure, (value,) in scores.items():
            found[figure].append(value)
    return {figure: np.array(values) for figure, values in found.items()}


def _of_trees(images: Images, references: References, index: int) -> list[np.ndarray]:
    of_date = date_of(images, references, index)[: 1 + references.all_have_sar]
    return [np.asarray(image)[0] for image in of_date]


def fit_dates(images: Images, references: References, indices: list[int]) -> np.ndarray | None:
    """The linear map (4, 3) from colours of another date, and 1, to those of the pair, by least squares over pixels."""
    named = [index for index in indices if index in references.optical]
    left, right = [], []
    for index, (_, truth) in zip(named, pipeline.evaluation_dataset(images, named, 1), strict=True):
        left.append(np.asarray(date_of(images, references, index)[0])[0, ::4, ::4].reshape(-1, 3))
        right.append(np.asarray(truth)[0, ::4, ::4].reshape(-1, 3))
    if not named:
        return None
    colours = np.concatenate(left)
    return np.linalg.lstsq(np.c_[colours, np.ones(len(colours))], np.concatenate(right), rcond=None)[0]


def fitted(fit: np.ndarray, optical: tf.Tensor) -> np.ndarray:
    """Colours of another date (1, H, W, 3) after the map from `fit_dates`."""
    colours = np.asarray(optical)
    return np.clip(colours @ fit[:3] + fit[3], -1, 1).astype("float32")


def _changed(images: Images, references: References, index: int) -> np.ndarray | None:
    """The mask of what has changed, cut as `pipeline.centre` cuts the pair; None where the pair names none."""
    mask = references.changed.get(index)
    if mask is None:
        return None
    if not images.resize:
        side = min(images.size, *mask.shape)
        top, left = ((length - side) // 2 for length in mask.shape)
        mask = mask[top : top + side, left : left + side]
    cut = tf.image.resize(mask[..., None].astype("uint8"), [images.size] * 2, "nearest")
    return np.asarray(cut)[..., 0] > 0


def _elsewhere(images: Images, index: int, indices: list[int]) -> int | None:
    """Of the pairs at `indices` the next after `index` that shows another place."""
    at, ground = indices.index(index), images.pairs[index].ground
    following = [*indices[at + 1 :], *indices[:at]]
    return next((other for other in following if images.pairs[other].ground != ground), None)


_ssim = tf.function(lambda truth, answers: tf.image.ssim(truth, answers, 1.0))


def _scores(truth, answers, changed: np.ndarray | None) -> dict[str, np.ndarray]:
    """The figures of n answers (n, H, W, 3) to one truth (1, H, W, 3), in [-1, 1], as `score_hints` gives them."""
    truth, answers = (np.clip((np.asarray(images) + 1) / 2, 0, 1) for images in (truth, answers))
    scores = {"psnr": metrics.psnr(truth, answers), "ssim": _ssim(truth, answers).numpy()}
    if changed is not None:
        squared = ((truth - answers) ** 2).mean(-1)
        for name, where in (("changed", changed), ("unchanged", ~changed)):
            errors = squared[:, where].sum(-1)
            scores[name] = np.stack([errors, np.full_like(errors, where.sum())], -1)
    return scores


def summary(scores: dict[str, dict]) -> dict[str, dict]:
    """What `score_hints` gives as numbers: {"psnr", "ssim", "psnr_changed", "psnr_unchanged", "n"} for each side.

    "psnr" and "ssim" are means over the n images, the others are of all pixels together.
    """
    return {
        name: {side: values and numbers(values) for side, values in sides.items()} for name, sides in scores.items()
    }


def numbers(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """The numbers of one side of a `summary`."""
    found = {name: float(scores[name].mean()) for name in ("psnr", "ssim")}
    for name in ("changed", "unchanged"):
        if name in scores and scores[name][:, 1].sum():
            error, count = scores[name].sum(0)
            found[f"psnr_{name}"] = float(-10 * np.log10(error / count))
    return found | {"n": len(scores["psnr"])}


_COLUMNS = {"n": "images", "psnr": "PSNR", "ssim": "SSIM", "psnr_changed": "changed", "psnr_unchanged": "unchanged"}


def table(report: dict[str, dict]) -> list[str]:
    """A `summary` as lines of text."""
    columns = _columns(report)
    lines = ["", f"{'under a hint':56}" + "".join(f"{_COLUMNS[key]:>11}" for key in columns)]
    for name, sides in report.items():
        for side, title in zip(("model", "alone"), TITLES[name], strict=True):
            if sides[side]:
                lines.append(line(title if side == "model" else f"    {title}", sides[side], report))
    if "other_date" not in report:
        lines.append("image of another date: none of these pairs names one")
    if "psnr_changed" in columns:
        lines.append(
            "PSNR: the mean over images. changed, unchanged: of all pixels together where the ground has, and has not, "
            "changed."
        )
    return lines


def line(title: str, numbers: dict[str, float], report: dict[str, dict]) -> str:
    """A line of the table of `report`."""
    columns = _columns(report)
    cells = "".join(
        f"{numbers[key]:11{'d' if key == 'n' else '.4g'}}" if key in numbers else " " * 11 for key in columns
    )
    return f"{title:56}{cells}"


def _columns(report: dict[str, dict]) -> list[str]:
    return [key for key in _COLUMNS if any(side and key in side for of in report.values() for side in of.values())]
