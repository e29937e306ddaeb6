"""How much a model's scores suffer from speckle, and on the patches with most edges: prints a Markdown table.

    python benchmarks/robustness.py RUN [RUN ...] [--split test]

Speckle of 4, 2 and 1 equivalent looks is added to the SAR patches, see `sar_keras.data.scaling.add_speckle`; "edges" is
the tenth of the patches whose optical image has the steepest gradients, without added speckle.
"""

from pathlib import Path

import click
import numpy as np
from common import images_of

import sar_keras

FIGURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ciede2000": "CIEDE2000", "gradient_similarity": "gradient similarity"}


@click.command(help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
def main(runs: tuple[Path, ...], split: str) -> None:
    print("| run | SAR | " + " | ".join(FIGURES.values()) + " | VGG16 distance |")
    print("|---" * (len(FIGURES) + 3) + "|")
    for run in runs:
        for condition, figures in scores(run, split).items():
            cells = [f"{figures[name].mean():.4g}" for name in (*FIGURES, "vgg_distance")]
            print(f"| {run.name} | {condition} | " + " | ".join(cells) + " |", flush=True)


def scores(run: Path, split: str) -> dict[str, dict[str, np.ndarray]]:
    """Condition to name to a figure an image."""
    generator = sar_keras.load_model(run)
    import tensorflow as tf

    from sar_keras.data import pipeline
    from sar_keras.data.scaling import add_speckle
    from sar_keras.evaluation import metrics
    from sar_keras.evaluation.evaluate import vgg16_features
    from sar_keras.inference.metadata import metadata_of
    from sar_keras.models import losses

    images = images_of(run, generator, split)
    count = len(images.pairs)
    features = vgg16_features()
    found = {"as it is": [], "4 looks": [], "2 looks": [], "1 look": []}
    steepness = []
    for index, (sar, optical) in enumerate(pipeline.evaluation_dataset(images, list(range(count)), 4)):
        truth, true_features = (optical.numpy() + 1) / 2, features(optical)
        steepness.append(tf.reduce_mean(losses.gradient_magnitude(optical), [1, 2, 3]))
        for looks, condition in zip((None, 4, 2, 1), found, strict=True):
            seen = sar if looks is None else add_speckle(sar, looks, metadata_of(generator).sar_scale, [looks, index])
            generated = generator(seen, training=False)
            candidate = (generated.numpy() + 1) / 2
            distance = {"vgg_distance": metrics.feature_distance(true_features, features(generated))}
            found[condition].append(metrics.standard(truth, candidate) | distance)
    joined = {
        condition: {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        for condition, batches in found.items()
    }
    steepest = np.argsort(np.concatenate(steepness))[-max(1, count // 10) :]
    return joined | {"edges": {name: values[steepest] for name, values in joined["as it is"].items()}}


if __name__ == "__main__":
    main()
