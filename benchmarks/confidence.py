"""Which estimate of a trained model's uncertainty ranks its real error best, on places that it has not seen.

    python benchmarks/confidence.py RUN... [--steps 400] [--ensembles DIR]

Each RUN is a run directory of one data set with a validation and a test split of other places. What must be learnt is
learnt from the errors on training and validation pairs; everything is measured on the test split. Printed are
Spearman's rank correlation with the absolute error (of the pixels of an image, averaged over images; of all pixels; of
the images' means), the area between the sparsification curve and that of the real error, in relation to the mean error
(a perfect ranking has 0), and the mean of the estimate as a multiple of that of the error. Of several runs these are
the means, with the smallest of each correlation. The package uses the line in bold, see
`sar_keras/inference/expected_error.py`.
"""

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from common import circumstances, images_of

import sar_keras

_TRAINING = 200  # training pairs whose errors count
_EVERY = 4  # rows and columns that are ranked
_BEST = "error expected of the colour, from training and validation"


def seen_by(run: Path, model, split: str, most: int) -> dict[str, np.ndarray]:
    """SAR (N, H, W, c), colour (N, H, W, 3), error (N, H, W), and what the encoder sees of it (N, h, w, c)."""
    import keras

    from sar_keras.data import pipeline
    from sar_keras.data.pairs import evenly
    from sar_keras.networks.guided import inputs_of
    from sar_keras.terminal import progress_bar

    images = images_of(run, model, split)
    indices = evenly(list(range(len(images.pairs))), most)
    encoder = keras.Model(model.inputs, [model.output, sixteenth(model)])
    found: dict[str, list] = {"sar": [], "colour": [], "error": [], "features": []}
    batches = pipeline.evaluation_dataset(images, indices, 1)
    for sar, optical in progress_bar(split, "image", len(indices))(batches):
        colour, features = encoder(inputs_of(model, sar), training=False)
        found["sar"].append(sar.numpy())
        found["colour"].append(colour.numpy())
        found["error"].append(np.abs(colour - optical).mean(-1) / 2)
        found["features"].append(np.float32(features))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def sixteenth(model):
    """The last output of the encoder whose sides are a sixteenth of the image's."""
    side = model.output.shape[1] // 16
    return next(layer.output for layer in model.layers if layer.output.shape[1] == side and "leaky" in layer.name)


def of_colour(*fit_to: dict) -> Callable[[dict], np.ndarray]:
    """What the package does, of the errors of these images."""
    from sar_keras.inference.expected_error import polynomial

    colours = np.concatenate([data["colour"][:, ::8, ::8].reshape(-1, 3) for data in fit_to])
    errors = np.concatenate([data["error"][:, ::8, ::8].ravel() for data in fit_to])
    estimate = polynomial(colours, errors)
    return lambda data: np.stack([estimate(colour[None])[0, ..., 0] for colour in data["colour"]])


def predicted_scale(steps: int, *fit_to: dict) -> Callable[[dict], np.ndarray]:
    """A network that predicts the scale of a Laplace distribution of the error from 31 pixels of SAR and colour.

    It is the heteroscedastic variance of Kendall and Gal (NeurIPS 2017), trained after the colours.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((None, None, fit_to[0]["sar"].shape[-1] + 3))
    for dilation in (1, 2, 4, 8):
        x = keras.layers.Conv2D(16, 3, padding="same", dilation_rate=dilation, activation="relu")(x)
    network = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="softplus")(x))
    network.compile(
        keras.optimizers.Adam(2e-3),
        loss=lambda error, scale: tf.reduce_mean(tf.math.log(scale + 1e-3) + error / (scale + 1e-3)),
    )

    def stacked(data):
        return np.concatenate([data["sar"], data["colour"]], -1)

    both = np.concatenate([np.concatenate([stacked(data), data["error"][..., None]], -1) for data in fit_to])
    side = min(128, *both.shape[1:3])
    crops = (
        tf.data.Dataset.from_tensor_slices(both)
        .shuffle(len(both), seed=0)
        .repeat()
        .map(lambda image: tf.image.random_crop(image, [side, side, both.shape[-1]], seed=0))
        .map(lambda crop: (crop[..., :-1], crop[..., -1:]))
        .batch(8)
    )
    network.fit(crops, steps_per_epoch=steps, verbose=0)
    return lambda data: network.predict(stacked(data), batch_size=1, verbose=0)[..., 0]


def distance(*fit_to: dict) -> Callable[[dict], np.ndarray]:
    """How far the encoder's view of a place is from that of the training, Mahalanobis, enlarged to pixels."""
    from scipy.ndimage import zoom

    features = np.concatenate([data["features"].reshape(-1, data["features"].shape[-1]) for data in fit_to])
    mean = features.mean(0)
    # The directions that vary least are noise.
    _, deviations, directions = np.linalg.svd(features - mean, full_matrices=False)
    kept = slice(0, 32)
    scale = directions[kept].T / (deviations[kept] / np.sqrt(len(features)))

    def estimate(data):
        far = np.sqrt((((data["features"] - mean) @ scale) ** 2).mean(-1))
        return zoom(far, (1, *np.divide(data["error"].shape[1:], far.shape[1:])), order=1)

    return estimate


def disagreement(models: list, data: dict) -> np.ndarray:
    """The standard deviation of several models' colours, mean over the bands, of RGB in [0, 1]."""
    from sar_keras.networks.guided import inputs_of

    colours = [
        np.concatenate([model(inputs_of(model, sar[None]), training=False) for sar in data["sar"]]) for model in models
    ]
    return np.std(colours, 0).mean(-1) / 2


def together(*estimates: np.ndarray) -> np.ndarray:
    """The geometric mean, each in units of its own mean."""
    return np.exp(np.mean([np.log(np.maximum(values / max(values.mean(), 1e-9), 1e-3)) for values in estimates], 0))


def local_deviation(images: np.ndarray) -> np.ndarray:
    """Standard deviation in windows of 9 x 9 pixels."""
    from scipy.ndimage import uniform_filter

    mean, square = (uniform_filter(values, (0, 9, 9)) for values in (images, images**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def error_around(error: np.ndarray) -> np.ndarray:
    """The mean error of the 24 nearest neighbours: what an estimate reaches that knows all but the pixel itself."""
    from scipy.ndimage import uniform_filter

    return (uniform_filter(error, (0, 5, 5)) * 25 - error) / 24


def estimates_of(run: Path, steps: int, others: list[Path]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The errors of the test images (N, H, W), and each estimate of them."""
    model = sar_keras.load_model(run)
    training, validation, test = (
        seen_by(run, model, split, most)
        for split, most in (("train", _TRAINING), ("validation", _TRAINING), ("test", 120))
    )
    both = training, validation
    found = {
        "error expected of the colour, from validation": of_colour(validation)(test),
        "error expected of the colour, from training": of_colour(training)(test),
        _BEST: of_colour(*both)(test),
        "predicted scale, from validation": predicted_scale(steps, validation)(test),
        "predicted scale, from training and validation": predicted_scale(steps, *both)(test),
        "distance of the features to the training": distance(training)(test),
    }
    found["colour and predicted scale"] = together(found[_BEST], found["predicted scale, from training and validation"])
    found["colour and distance"] = together(found[_BEST], found["distance of the features to the training"])
    if others:
        found["disagreement of several networks"] = disagreement([sar_keras.load_model(path) for path in others], test)
        found["colour and disagreement"] = together(found[_BEST], found["disagreement of several networks"])
    found["texture of the SAR image"] = local_deviation(test["sar"][..., 0])
    found["texture of the generated image"] = local_deviation(test["colour"].mean(-1))
    found["bound: the real error around each pixel"] = error_around(test["error"])
    return test["error"], found


def figures_of(error: np.ndarray, estimate: np.ndarray) -> list[float]:
    """Rank correlations of the pixels of an image, of all, and of images; AUSE; the estimate's mean by the error's."""
    from sar_keras.evaluation.metrics import rank_correlation, sparsification

    error, estimate = error[:, ::_EVERY, ::_EVERY], estimate[:, ::_EVERY, ::_EVERY]
    within = np.mean([rank_correlation(*image) for image in zip(error, estimate, strict=True)])
    area = sparsification(error, estimate)["ause"]
    patches = rank_correlation(error.mean((1, 2)), estimate.mean((1, 2)))
    return [within, rank_correlation(error, estimate), patches, area, estimate.mean() / error.mean()]


@click.command(help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--steps", default=400, show_default=True, help="Training steps of the predicted scale.")
@click.option(
    "--ensembles",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Holds runs whose disagreement is an estimate, those for RUN in a folder of its name.",
)
def main(runs: tuple[Path, ...], steps: int, ensembles: Path | None) -> None:
    found: dict[str, list] = {}
    print(circumstances("tensorflow"), "\n")
    for run in runs:
        others = sorted(path.parent for path in (ensembles / run.name).glob("*/generator.keras")) if ensembles else []
        error, estimates = estimates_of(run, steps, others)
        print(f"{run}: {len(error)} test images, mean absolute error {error.mean():.4f}")
        for name, estimate in estimates.items():
            found.setdefault(name, []).append(figures_of(error, estimate))
    print("\n| estimate | pixels of an image | all pixels | patches | AUSE | estimate / error |")
    print("|---" * 6 + "|")
    for name, figures in found.items():
        means, least = np.mean(figures, 0), np.min(figures, 0)
        cells = [f"{mean:.2f} ({low:.2f})" for mean, low in zip(means[:3], least[:3], strict=True)]
        title = f"**{name}**" if name == _BEST else name
        share = f"{means[4]:.2f}" if name.startswith(("error", "predicted")) else ""  # of what is an error
        print(f"| {title} | {' | '.join(cells)} | {means[3]:.2f} | {share} |")


if __name__ == "__main__":
    main()
