"""Where the error of a model lies: in the colour of a patch as a whole, or inside it. Prints a Markdown table of PSNR.

    python benchmarks/ceiling.py RUN [RUN ...] [--split test]

"own colour" gives each generated patch the mean colour of its truth, which nobody knows beforehand: what is left is
the error inside the patches. "one colour" gives it that of the training split: what is left says what the structure is
worth where the colour is not told. The first row is of patches of a single colour.
"""

from pathlib import Path

import click
import numpy as np
from common import images_of

import sar_keras


@click.command(help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
def main(runs: tuple[Path, ...], split: str) -> None:
    print("| | PSNR (dB) | with one colour | with each patch's own colour |")
    print("|---|---|---|---|")
    for number, run in enumerate(runs):
        truth, generated, colour = patches(run, split)
        own = truth.mean((1, 2), keepdims=True)
        if not number:
            print(f"| no structure | | {psnr(truth, colour):.2f} | {psnr(truth, own):.2f} |")
        structure = generated - generated.mean((1, 2), keepdims=True)
        figures = [psnr(truth, image) for image in (generated, structure + colour, structure + own)]
        print(f"| `{run.name}` | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |", flush=True)


def psnr(truth: np.ndarray, generated: np.ndarray) -> float:
    """The mean over images in dB; `generated` may be one colour a patch, or one of all."""
    from sar_keras.models import base

    return float(np.mean(base.psnr(truth, np.broadcast_to(np.clip(generated, -1, 1), truth.shape))))


def patches(run: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and generated images of the split, (N, H, W, 3), and the mean colour of the training split, in [-1, 1]."""
    generator = sar_keras.load_model(run)
    from sar_keras.data import pipeline

    images = images_of(run, generator, "train", split)
    indices = {name: [n for n, pair in enumerate(images.pairs) if pair.split == name] for name in ("train", split)}
    batches = pipeline.evaluation_dataset(images, indices[split], 4)
    found = [(optical.numpy(), generator(sar, training=False).numpy()) for sar, optical in batches]
    truth, generated = (np.concatenate(part) for part in zip(*found, strict=True))
    return truth, generated, pipeline.mean_colour(images, indices["train"])


if __name__ == "__main__":
    main()
