"""How good a trained model is, on pairs it has or has not seen, beside trivial baselines."""

import functools
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sar_keras.config import DataConfig, load_run
from sar_keras.data import loading, pipeline
from sar_keras.data.pairs import SPLITS, Pair, evenly, find_pairs
from sar_keras.data.reading import PairReader
from sar_keras.data.references import load_references
from sar_keras.data.sources import pairs_of_run
from sar_keras.data.splits import read_split, split_pairs
from sar_keras.errors import DataError, ModelError, is_disk_full, parameter
from sar_keras.evaluation import hinted, metrics
from sar_keras.evaluation.perceptual import CONVENTIONS, Perceptual
from sar_keras.hint_planes import has_data
from sar_keras.inference.detail import add_detail, fine_structure
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.model_file import load_model
from sar_keras.io.ahead import ahead
from sar_keras.io.bands import warn_if_bands_differ
from sar_keras.io.files import local_path
from sar_keras.io.sar import warn_if_units_differ
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.rewriting import for_inference
from sar_keras.networks.sizes import patch_size, sar_channels, takes_hint
from sar_keras.networks.vgg16 import VGG16Features
from sar_keras.reports.card import NAME, Trained, write_card
from sar_keras.reports.figures import TITLES, error_holds, intervals, keep
from sar_keras.reports.pages import write_evaluation_page
from sar_keras.terminal import doing, progress_bar
from sar_keras.training.history import read_history
from sar_keras.training.machines import resolve_precision

PROTOCOLS = ("standard", "paper")
BATCH = 4
_FEW = 10  # images below which nothing is said of the expected error
# How much of the SAR image's fine structure is tried in the lightness, beside none, and what is told of it.
_DETAILS = (0.25, 0.5)
_FITTED = 500  # pairs, of which the linear fit of another date is made
_OF_DETAIL = {"psnr": metrics.psnr, "gradient_similarity": metrics.gradient_similarity}


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    split: str | None = None,
    protocol: str = "standard",
    perceptual: bool = False,
    html: str | Path | None = None,
) -> dict:
    """Score a model beside the mean colour of the training split and the SAR image copied to RGB.

    A run keeps what is found on its own test split: in evaluation.json, and in its MODEL_CARD.md.

    Args:
        model: A run directory, a `.keras` file in one, or together with `data` any `.keras` file or "demo".
        data: Pairs to use instead of the run's own. Where they hold images of the run, by name, its split is kept;
            others are split by scene.
        split: "train", "validation" or "test". None: "test", or "train" under the protocol "paper".
        protocol: "standard", see `sar_keras.evaluation.metrics.standard`, with a VGG16 feature distance; or "paper",
            the student report's figures, which it took on its training images.
        perceptual: Also LPIPS and FID, which need the extra `metrics` and a download.
        html: Also write a page there, with the patches (500 at most, spread over all), in a file that needs no other.

    Returns:
        {"protocol", "split", "n", "scenes", "model", "mean_colour_known", "trained_on_vgg", "metrics", "baselines":
        {"mean_colour", "copy_sar"}, "by_terrain", "by_scene", "detail", "confidence"}; each metric is {"mean", "low",
        "high"}, with a 95 % bootstrap interval over images. "by_terrain" and "by_scene" hold one dict of metrics a
        terrain or scene.
        "hints" of a guided model says how it does under each kind of hint, beside the hint alone, see
        `sar_keras.evaluation.hinted.summary`.
        "detail" has "psnr" and "gradient_similarity" of the model's colours with so much of the SAR image's fine
        structure in their lightness, for "0", "0.25" and "0.5"; it is None under the protocol "paper".
        "confidence" says how well the model's expected error ranks the real one, {"rank_correlation": {"pixels",
        "all_pixels", "patches"}, "sparsification", "mean": {"real", "expected"}}; it is None under the protocol
        "paper", or where the model has none.
        "mean_colour_known" is False where the mean colour is that of the scored images themselves, because neither the
        model's file nor the data tell that of its training. With `perceptual` also "fid", a number for the model and
        each baseline.

    Raises:
        DataError, ModelError: the split is empty or has one image only, or model and data do not fit.
    """
    if protocol not in PROTOCOLS or split not in (None, *SPLITS):
        raise DataError(f"no such protocol or split: {protocol}, {split}; {', '.join((*PROTOCOLS, *SPLITS))} are")
    html = local_path(html) if html else None
    generator = load_model(model)
    metadata = metadata_of(generator)
    run = (metadata.saved_as or Path(model)).parent
    config = load_run(run) if (run / "config.yaml").is_file() else None
    if config is None and data is None:
        raise ModelError(f"{model}: is a model without a run, which knows no data; give some as {parameter('data')}")
    split = split or ("train" if protocol == "paper" else "test")
    pairs = _pairs(run, config, data, patch_size(generator))
    chosen = [pair for pair in pairs if pair.split == split]
    training = [pair for pair in pairs if pair.split == "train"]
    if len(chosen) < 2:
        raise DataError(f"the split {split!r} has {len(chosen)} image(s); an interval needs at least 2")
    if protocol == "paper" and patch_size(generator) < 255:
        raise ModelError(f"{model}: works on {patch_size(generator)} pixels; the paper's SSIM needs 255")

    images = _load(chosen, generator, config)
    for line in images.reader.said if data else []:
        print(line, file=sys.stderr)
    warn_if_units_differ(images.sar_units, images.sar_scale, "the data", metadata.sar_units)
    warn_if_bands_differ(images.sar_bands, metadata.sar_bands, "the data")
    if metadata.mean_colour is not None:
        mean_colour = np.array(metadata.mean_colour, "float32")
    elif training and split != "train":  # the file of an earlier version
        mean_colour = pipeline.mean_colour(_load(training, generator, config))
    else:
        mean_colour = pipeline.mean_colour(images)
    features = vgg16_features() if protocol == "standard" else None
    expected_error = metadata.expected_error if protocol == "standard" else None
    scorers = {name: Perceptual() for name in ("model", "mean_colour", "copy_sar")} if perceptual else {}

    def known(image: np.ndarray) -> np.ndarray | None:
        return None if images.sar_units in ("uint8", "unit") else has_data(image)[..., 0]

    def look(batch) -> tuple[dict[str, dict[str, np.ndarray]], dict[float, dict[str, np.ndarray]], list]:
        """The figures of each candidate, those of each amount of detail, and (real, expected error) of each image."""
        sar, optical = batch
        truth = _to_fraction(optical)
        candidates = {
            "model": generator(inputs_of(generator, sar), training=False),
            "mean_colour": tf.broadcast_to(mean_colour, tf.shape(optical)),
            "copy_sar": tf.repeat(sar[..., :1], 3, -1),
        }
        score = _scorer(truth, _to_fraction(sar), protocol, features)
        figures = {name: score(candidate) for name, candidate in candidates.items()}
        for name, scorer in scorers.items():
            figures[name]["lpips"] = scorer.update(truth, _to_fraction(candidates[name]))
        of_detail, errors = {}, []
        if protocol == "standard":
            fine = np.stack([fine_structure(image, known(image)) for image in sar.numpy()])
            for detail in _DETAILS:
                candidate = add_detail(_to_fraction(candidates["model"]) * 255, detail * fine) / 255
                of_detail[detail] = {name: figure(truth, candidate) for name, figure in _OF_DETAIL.items()}
        if expected_error:
            error = np.abs(truth - _to_fraction(candidates["model"])).mean(-1)
            expected = expected_error(candidates["model"]).numpy()[..., 0]
            # Every fourth row and column, copied: ranks hardly change, and large splits fit into memory.
            errors = list(zip(error[:, ::4, ::4].copy(), expected[:, ::4, ::4].copy(), strict=True))
        return figures, of_detail, errors

    batches = pipeline.evaluation_dataset(images, list(range(len(chosen))), BATCH)
    progress = progress_bar("evaluating", "batch", -(-len(chosen) // BATCH))
    # Two at a time, because most figures keep one core busy; what FID collects is not made for threads.
    with ThreadPoolExecutor(1 if scorers else 2) as pool:
        looked = list(progress(ahead(pool, look, batches)))
    scores = {name: [figures[name] for figures, _, _ in looked] for name in ("model", "mean_colour", "copy_sar")}
    errors = [error for _, _, errors in looked for error in errors]

    per_image = {name: _join(batches) for name, batches in scores.items()}
    model_scores = intervals(per_image["model"])
    fid = {"fid": {name: scorer.fid() for name, scorer in scorers.items()}} if scorers else {}
    report = fid | {
        "protocol": protocol,
        "split": split,
        "n": len(chosen),
        "scenes": len({pair.place for pair in chosen if pair.scene is not None}),
        "model": str(model),
        "mean_colour_known": metadata.mean_colour is not None or bool(training),
        "trained_on_vgg": bool(config and config.loss.weights().get("perceptual")),
        "metrics": model_scores,
        "baselines": {name: intervals(per_image[name]) for name in ("mean_colour", "copy_sar")},
        **_groups(chosen, per_image["model"]),
        "detail": _detail(model_scores, [of_detail for _, of_detail, _ in looked]) if protocol == "standard" else None,
        "confidence": _confidence(errors) if expected_error else None,
        "hints": _hints(generator, images, training, config)
        if protocol == "standard" and takes_hint(generator)
        else None,
    }
    trained = None
    # Not its best generator, which lies beside it.
    if config and metadata.saved_as == run / "generator.keras":
        trained = Trained.load(run, config, generator, read_history(run / "history.csv"))
        if data is None and split == "test" and protocol == "standard":
            _keep(trained, report)
    if html:
        with doing("writing the page"):
            write_evaluation_page(html, report, generator, images, per_image["model"], pairs, trained)
    return report


def _keep(run: Trained, report: dict) -> None:
    """Write what was found into the run, unless nobody may write there."""
    try:
        keep(run.folder, report, run.generator)
        write_card(run, report)
    except OSError as error:
        if is_disk_full(error):
            raise
        warnings.warn(f"{run.folder}: cannot be written, so its {NAME} stays as it is", stacklevel=2)


def figures_of(colorize: Callable[[np.ndarray], np.ndarray], images: loading.Images, indices: list[int]) -> dict:
    """The "metrics", "by_terrain" and "by_scene" of `evaluate` for a function from SAR (N, H, W, C) to RGB in [-1, 1].

    `indices` are those of the pairs that count.
    """
    features = vgg16_features()
    progress = progress_bar("evaluating", "batch", -(-len(indices) // BATCH))
    batches = []
    for sar, optical in progress(pipeline.evaluation_dataset(images, indices, BATCH)):
        score = _scorer(_to_fraction(optical), _to_fraction(sar), "standard", features)
        batches.append(score(colorize(sar.numpy())))
    per_image = _join(batches)
    return {"metrics": intervals(per_image), **_groups([images.pairs[index] for index in indices], per_image)}


def table(report: dict, by: str | None = None) -> str:
    """A report as text; `by` adds a line for each "terrain" or "scene"."""
    lines = [f"{'':26}{'model':>26}{'mean colour':>13}{'SAR as grey':>13}"]
    for name, figure in report["metrics"].items():
        title, more_is_better = TITLES[name]
        mark = " *" if name == "vgg_distance" and report["trained_on_vgg"] else ""
        interval = f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"
        others = "".join(f"{report['baselines'][key][name]['mean']:13.4g}" for key in ("mean_colour", "copy_sar"))
        lines.append(f"{title + mark + (' ↑' if more_is_better else ' ↓'):26}{interval:>26}{others}")
    if "fid" in report:
        model, *others = report["fid"].values()
        lines += [f"{'FID ↓':26}{model:26.4g}" + "".join(f"{other:13.4g}" for other in others), CONVENTIONS]
    if "vgg_distance" in report["metrics"]:
        lines.append("VGG16 distance: of the shipped block3_conv3 features; it is not LPIPS.")
        if report["trained_on_vgg"]:
            lines.append("* this model was trained with a VGG16 loss, which flatters it here.")
    if not report["mean_colour_known"]:
        lines.append(
            "The mean colour is that of these images themselves: the model does not tell that of its training."
        )
    model, flat = (of["psnr"]["mean"] for of in (report["metrics"], report["baselines"]["mean_colour"]))
    if model < flat:
        lines.append(
            "By PSNR the model is below a single colour: train longer, or on more places; a hint tells colours."
        )
    # One colour is often nearer to the SAR image, too.
    ratio, flat = (
        of.get("sar_ratio", {"mean": 1})["mean"] for of in (report["metrics"], report["baselines"]["mean_colour"])
    )
    if ratio < min(1, 0.9 * flat):
        lines.append("Nearer to the SAR image than to the truth: the model may copy its input (identity collapse).")
    if report["protocol"] == "paper":
        lines.append(
            "SSIM with a uniform 255-pixel window, nearly the whole image: not comparable with the usual SSIM."
            + (" On training images: a figure of memory, not of skill." if report["split"] == "train" else "")
        )
    if report["detail"]:
        lines += _detail_table(report["detail"])
    if report.get("hints"):
        lines += hinted.table(report["hints"])
    if report["confidence"]:
        lines += _confidence_table(report["confidence"])
    if by:
        groups = report[f"by_{by}"]
        width = max(len(by), *(len(name) for name in groups))
        names = list(report["metrics"])
        lines.append(f"\n{by:{width}}" + "".join(f"{name.partition('_')[0]:>11}" for name in names))
        for group, figures in groups.items():
            lines.append(f"{group:{width}}" + "".join(f"{figures[name]['mean']:11.4g}" for name in names))
    return "\n".join(lines)


def _hints(generator: keras.Model, images: loading.Images, training: list[Pair], config) -> dict[str, dict]:
    """The scores under each kind of hint; the linear fit of another date is that of the training pairs."""
    fit, named = None, [pair for pair in training if pair.reference]
    if named:
        named = evenly(named, _FITTED)
        with doing("fitting colours of another date"):
            to_fit = _load(named, generator, config)
            fit = hinted.fit_dates(to_fit, load_references(to_fit), list(range(len(named))))
    colours = pipeline.colours_of_places(images, list(range(len(images.pairs))))
    progress = progress_bar("under hints", "image", len(images.pairs))
    return hinted.summary(hinted.score_hints(generator, images, load_references(images), colours, fit, progress))


def _pairs(run: Path, config, data, size: int) -> list[Pair]:
    own_split = run / "split.csv"
    progress = progress_bar("looking at", "scene")
    if data is None:
        return pairs_of_run(config.data, run, progress)
    allow_outside = bool(config and config.data.allow_outside)
    found = find_pairs(data, size=size, progress=progress, allow_outside=allow_outside)
    pairs = found.pairs
    for line in found.said:
        print(line, file=sys.stderr)
    if own_split.is_file():
        read_split(own_split)  # a broken one is no sign of other data
        try:
            kept = split_pairs(pairs, str(own_split))
        except DataError:  # none of its training images is there: other data than the run's
            return split_pairs(pairs)
        if len(kept) < len(pairs):
            # What the run was trained on must not become test data.
            warnings.warn(
                f"{data}: holds images of the run's {own_split.name}, which counts: {len(kept)} of {len(pairs)} pairs; "
                "if they are others of the same names, evaluate a copy of the model outside its run",
                stacklevel=2,
            )
        return kept
    return split_pairs(pairs)


def _load(pairs: list[Pair], generator: keras.Model, config) -> loading.Images:
    size, data = patch_size(generator), config.data if config else DataConfig()
    metadata = metadata_of(generator)
    reader = PairReader(sar_channels(generator), data.sar_bands, data.optical_bands, metadata.sar_bands)
    images = loading.load_images(pairs, size, reader, data.resize, progress_bar("reading", "pair", len(pairs)))
    return images.with_scales(metadata.sar_scale, metadata.optical_scale)


def _to_fraction(images: tf.Tensor | np.ndarray) -> np.ndarray:
    return np.clip((np.asarray(images) + 1) / 2, 0, 1)


def vgg16_features() -> Callable[[np.ndarray], tf.Tensor]:
    """VGG16, most of the time of an evaluation; in bfloat16 its distance is the same to about 0.002.

    Of a batch of one colour the features are those of one image, (1, h, w, c), and are found once.
    """
    run = tf.function(for_inference(VGG16Features(), resolve_precision("auto")))

    @functools.lru_cache(1)
    def of_colour(height: int, width: int, colour: tuple[float, ...]) -> tf.Tensor:
        return run(np.broadcast_to(np.array(colour, "float32"), (1, height, width, 3)))

    def features(images: np.ndarray | tf.Tensor) -> tf.Tensor:
        images = np.asarray(images)
        colour = images[0, 0, 0]
        return of_colour(*images.shape[1:3], tuple(colour)) if (images == colour).all() else run(images)

    return features


def _scorer(truth, sar, protocol: str, features) -> Callable[[tf.Tensor | np.ndarray], dict[str, np.ndarray]]:
    """A function from images in [-1, 1] to their figures beside `truth`, which is in [0, 1] as `sar` is."""
    true_features = features and features(truth * 2 - 1)

    def score(images):
        candidate = _to_fraction(images)
        if protocol == "paper":
            return metrics.paper(truth, candidate)
        return metrics.standard(truth, candidate) | {
            # Also where both are of one colour, whose features are those of one image.
            "vgg_distance": np.broadcast_to(
                metrics.feature_distance(true_features, features(candidate * 2 - 1)), len(truth)
            ),
            "sar_ratio": metrics.sar_ratio(truth, candidate, sar),
        }

    return score


def _detail(model_scores: dict, batches: list[dict[float, dict[str, np.ndarray]]]) -> dict:
    report = {f"{detail:g}": intervals(_join([batch[detail] for batch in batches])) for detail in _DETAILS}
    return {"0": {name: model_scores[name] for name in _OF_DETAIL}} | report


def _detail_table(report: dict) -> list[str]:
    lines = ["\nWith the SAR's own fine structure in the lightness (colorize --detail)"]
    lines.append(f"{'':26}" + "".join(f"{detail:>9}" for detail in report))
    for name in _OF_DETAIL:
        means = "".join(f"{scores[name]['mean']:9.4g}" for scores in report.values())
        lines.append(f"{TITLES[name][0] + ' ↑':26}{means}")
    return lines


def _confidence(errors: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """How well the expected error of each pixel, beside the real one for each image, ranks that.

    "pixels" is the rank correlation within an image, averaged over images, "patches" that of the images' means.
    """
    within = np.array([metrics.rank_correlation(*image) for image in errors])
    every = [np.stack(side) for side in zip(*errors, strict=True)]
    patches = [side.mean((1, 2)) for side in every]
    return {
        "n": len(errors),
        "rank_correlation": {
            "pixels": intervals({"pixels": within})["pixels"],
            "all_pixels": metrics.rank_correlation(*every),
            "patches": metrics.rank_correlation(*patches),
        },
        "sparsification": metrics.sparsification(*every),
        "mean": {"real": float(every[0].mean()), "expected": float(every[1].mean())},
    }


def _confidence_table(confidence: dict) -> list[str]:
    rank, curve = confidence["rank_correlation"], confidence["sparsification"]
    pixels = rank["pixels"]
    interval = f"{pixels['mean']:.3f} [{pixels['low']:.3f}, {pixels['high']:.3f}]"
    lines = [
        "\nExpected error against the real one",
        f"rank correlation: {interval} of the pixels of an image, {rank['all_pixels']:.3f} of all pixels, "
        f"{rank['patches']:.3f} of patches",
        f"{'left out, most uncertain first':32}" + "".join(f"{share:7.0%}" for share in curve["removed"]),
    ]
    for name, title in (
        ("model", "MAE of the rest"),
        ("oracle", "  with the real error known"),
        ("random", "  at random"),
    ):
        lines.append(f"{title:32}" + "".join(f"{error:7.4f}" for error in curve[name]))
    lines.append(f"area above the real error's curve: {curve['ause']:.3f}; at random {curve['ause_random']:.3f}")
    lines.append("mean: {expected:.4f} expected, {real:.4f} real".format(**confidence["mean"]))
    if confidence.get("n", _FEW) < _FEW:
        lines.append(f"{confidence['n']} images are too few to tell whether the expected error holds.")
    elif not error_holds(confidence):
        lines.append(
            "The expected error does not tell here which pixels or patches are wrong: do not use it on such data."
        )
    else:
        lines.append("The expected error holds here: it tells which pixels and patches are wrong better than chance.")
    return lines


def _join(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _groups(pairs: list[Pair], per_image: dict[str, np.ndarray]) -> dict[str, dict]:
    return {
        "by_terrain": _by([pair.terrain or "unknown" for pair in pairs], per_image),
        "by_scene": _by(["_".join(filter(None, pair.place)) or "unknown" for pair in pairs], per_image),
    }


def _by(groups: list[str], per_image: dict[str, np.ndarray]) -> dict:
    of = np.array(groups)
    return {
        group: intervals({name: values[of == group] for name, values in per_image.items()})
        for group in sorted(set(groups))
    }
