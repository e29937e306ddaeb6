"""Which estimate of a trained model's uncertainty ranks its real error best, on held-out scenes.

    python benchmarks/confidence.py RUN [--passes 8] [--steps 400]

RUN is a run directory with a validation and a test split. What must be learnt is learnt from the errors on the
validation split; everything is measured on the test split. Printed are Spearman's rank correlation with the absolute
error (of the pixels of an image, averaged over images; of all pixels; of the images' means) and the area between the
sparsification curve and that of the real error, in relation to the mean error (a perfect ranking has 0). The package
uses the first line (`sar_keras/inference/confidence.py`); the last but one tells how far the error can be told pixel by
pixel.
"""

import itertools
from pathlib import Path

import click
import numpy as np
from common import images_of

import sar_keras


def with_dropout(model):
    """The model with its dropout on, while batch normalisation stays in inference mode."""
    import keras

    class AlwaysDropout(keras.layers.Dropout):
        def call(self, inputs, training=False):
            return super().call(inputs, training=True)

    return keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            AlwaysDropout(layer.rate, name=layer.name) if isinstance(layer, keras.layers.Dropout) else layer
        ),
    )


def turned(run, sar: np.ndarray) -> np.ndarray:
    """The outputs for the eight flips and turns of the input, turned back: (8, N, H, W, 3)."""
    outputs = []
    for quarter, flip in itertools.product(range(4), (False, True)):
        view = np.rot90(sar, quarter, (1, 2))
        output = run(np.ascontiguousarray(view[:, :, ::-1] if flip else view)).numpy()
        outputs.append(np.rot90(output[:, :, ::-1] if flip else output, -quarter, (1, 2)))
    return np.stack(outputs)


def spread(outputs: np.ndarray) -> np.ndarray:
    """Standard deviation over the first axis, mean over the bands, on the scale of RGB in [0, 1]."""
    return outputs.std(0).mean(-1) / 2


def outputs_on(run: Path, model, split: str, passes: int) -> dict[str, np.ndarray]:
    """SAR (N, H, W, c), colour (N, H, W, 3), and (N, H, W): error, spread over turns and over dropout."""
    import tensorflow as tf

    from sar_keras.data import pipeline
    from sar_keras.terminal import progress_bar

    images = images_of(run, model, split)
    count = len(images.pairs)
    dropout_model = with_dropout(model)
    plain, dropout = tf.function(model), tf.function(dropout_model)
    found: dict[str, list] = {"sar": [], "colour": [], "error": [], "turns": [], "dropout": []}
    batches = pipeline.evaluation_dataset(images, list(range(count)), 4)
    for sar, optical in progress_bar(split, "batch", -(-count // 4))(batches):
        outputs = turned(plain, sar.numpy())
        found["sar"].append(sar.numpy())
        found["colour"].append(outputs[0])
        found["error"].append(np.abs(outputs[0] - optical.numpy()).mean(-1) / 2)
        found["turns"].append(spread(outputs))
        found["dropout"].append(spread(np.stack([dropout(sar).numpy() for _ in range(passes)])))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def quadratic(fit_to: dict, inputs: list[str]):
    """A quadratic polynomial of several inputs, by least squares."""

    def values(data):
        columns = [data[name] if data[name].ndim == 4 else data[name][..., None] * 10 for name in inputs]
        return np.concatenate(columns, -1)

    def terms(x):
        powers = [(), *((i,) for i in range(x.shape[-1]))]
        powers += itertools.combinations_with_replacement(range(x.shape[-1]), 2)
        return np.stack([x[..., power].prod(-1) for power in powers], -1)

    x = values(fit_to)[:, ::8, ::8].reshape(-1, values(fit_to).shape[-1])
    low, high = np.percentile(x, [1, 99], axis=0)
    weights, *_ = np.linalg.lstsq(terms(np.clip(x, low, high)), fit_to["error"][:, ::8, ::8].ravel(), rcond=None)
    return lambda data: np.stack([terms(np.clip(image, low, high)) @ weights for image in values(data)])


def error_network(fit_to: dict, steps: int):
    """A small network that predicts the error from SAR and colour in a neighbourhood of 31 pixels.

    It learns the scale of a Laplace distribution of the error: the heteroscedastic variance of Kendall and Gal (NeurIPS
    2017), but after the generator.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((None, None, fit_to["sar"].shape[-1] + 3))
    for dilation in (1, 2, 4, 8):
        x = keras.layers.Conv2D(16, 3, padding="same", dilation_rate=dilation, activation="relu")(x)
    network = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="softplus")(x))
    network.compile(
        keras.optimizers.Adam(2e-3),
        loss=lambda error, scale: tf.reduce_mean(tf.math.log(scale + 1e-3) + error / (scale + 1e-3)),
    )

    def stacked(data):
        return np.concatenate([data["sar"], data["colour"]], -1)

    both = np.concatenate([stacked(fit_to), fit_to["error"][..., None]], -1)
    side = min(128, *both.shape[1:3])
    crops = (
        tf.data.Dataset.from_tensor_slices(both)
        .repeat()
        .shuffle(len(both), seed=0)
        .map(lambda image: tf.image.random_crop(image, [side, side, both.shape[-1]], seed=0))
        .map(lambda crop: (crop[..., :-1], crop[..., -1:]))
        .batch(8)
    )
    network.fit(crops, steps_per_epoch=steps, verbose=0)
    return lambda data: network.predict(stacked(data), batch_size=8, verbose=0)[..., 0]


def local_deviation(images: np.ndarray) -> np.ndarray:
    """Standard deviation in windows of 9 x 9 pixels."""
    from scipy.ndimage import uniform_filter

    mean, square = (uniform_filter(values, (0, 9, 9)) for values in (images, images**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def error_around(error: np.ndarray) -> np.ndarray:
    """The mean error of the 24 nearest neighbours: what an estimate reaches that knows all but the pixel itself."""
    from scipy.ndimage import uniform_filter

    return (uniform_filter(error, (0, 5, 5)) * 25 - error) / 24


@click.command(help=__doc__)
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--passes", default=8, show_default=True, help="Forward passes of Monte-Carlo dropout.")
@click.option("--steps", default=400, show_default=True, help="Training steps of the error network.")
def main(run: Path, passes: int, steps: int) -> None:
    model = sar_keras.load_model(run)
    from sar_keras.evaluation.metrics import rank_correlation, sparsification
    from sar_keras.inference.confidence import with_uncertainty

    with_error = with_uncertainty(model)
    validation, test = (outputs_on(run, model, split, passes) for split in ("validation", "test"))
    error = test["error"]
    methods = {
        "expected error of the colour": (1, np.concatenate([with_error(sar[None])[1] for sar in test["sar"]])[..., 0]),
        "same, of colour and SAR": (1, quadratic(validation, ["colour", "sar"])(test)),
        "same, of colour, SAR, turns, dropout": (
            8 + passes,
            quadratic(validation, ["colour", "sar", "turns", "dropout"])(test),
        ),
        "error network (SAR, colour)": (1, error_network(validation, steps)(test)),
        "spread over 8 flips and turns": (8, test["turns"]),
        "Monte-Carlo dropout": (passes, test["dropout"]),
        "turns and dropout": (8 + passes, np.hypot(test["turns"], test["dropout"])),
        "texture of the SAR image": (1, local_deviation(test["sar"][..., 0])),
        "texture of the generated image": (1, local_deviation(test["colour"].mean(-1))),
        "bound: the real error around each pixel": ("", error_around(error)),
    }
    counts = f"{len(validation['error'])} validation, {len(error)} test images"
    print(f"{run.name}: {counts}; mean absolute error {error.mean():.4f}\n")
    print("| estimate | passes | pixels of an image | all pixels | patches | AUSE |\n|---|---|---|---|---|---|")
    for name, (cost, uncertainty) in methods.items():
        every = error[:, ::4, ::4], uncertainty[:, ::4, ::4]
        within = np.mean([rank_correlation(*image) for image in zip(error, uncertainty, strict=True)])
        patches = rank_correlation(error.mean((1, 2)), uncertainty.mean((1, 2)))
        area = sparsification(*every)["ause"]
        print(f"| {name} | {cost} | {within:.3f} | {rank_correlation(*every):.3f} | {patches:.3f} | {area:.3f} |")
    print(f"| at random | | 0 | 0 | 0 | {sparsification(*every)['ause_random']:.3f} |")


if __name__ == "__main__":
    main()
