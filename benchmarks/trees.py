"""What gradient-boosted trees on pixel features reach, from SAR alone and with an image of another date.

    python benchmarks/trees.py DATES.csv --split split.csv [--split ...] [--on test]

DATES.csv names images of the same places at two dates, in the columns sar_before, optical_before, sar_after and
optical_after. A split.csv, as `sar-keras data split` writes it for the images before, says which of them train. The
figures of the Markdown table are means over images; of several splits over these, too, with those of each in brackets.
"""

import csv
from pathlib import Path

import click
import numpy as np
from common import circumstances

DATES = ("before", "after")
INPUTS = ("SAR", "SAR, optical image of the other date", "SAR, optical and SAR image of the other date")


@click.command(help=__doc__)
@click.argument("dates", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--split", "splits", multiple=True, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--on", "scored", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
@click.option("--seed", default=0, show_default=True, help="Chooses the pixels.")
def main(dates: Path, splits: tuple[Path, ...], scored: str, seed: int) -> None:
    # system, date to (splits, 2): PSNR and SSIM
    found: dict[tuple[str, str], list] = {}
    for split in splits:
        for key, figures in scores(dates, split, scored, seed).items():
            found.setdefault(key, []).append(figures)
    print(circumstances("scikit-learn", "tensorflow"), end="\n\n")
    print("| | " + " | ".join(f"truth {date}: PSNR (dB) | SSIM" for date in DATES) + " |")
    print("|---" * 5 + "|")
    for system in dict.fromkeys(system for system, _ in found):
        cells = []
        for date in DATES:
            for kind, digits in enumerate((2, 3)):
                each = [figures[kind] for figures in found[system, date]]
                own = f" ({', '.join(f'{figure:.{digits}f}' for figure in each)})" if len(each) > 1 else ""
                cells.append(f"{np.mean(each):.{digits}f}{own}")
        print(f"| {system} | " + " | ".join(cells) + " |")


def scores(dates: Path, split: Path, scored: str, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """System and date of the truth to PSNR and SSIM, means over images."""
    from sar_keras.data import pipeline
    from sar_keras.evaluation.baselines import fit_trees

    images = {date: load(dates, split, date) for date in DATES}
    pairs = images["before"].pairs
    train, test = ([n for n, pair in enumerate(pairs) if pair.split == name] for name in ("train", scored))
    found: dict[tuple[str, str], list] = {}
    for date, other in (DATES, DATES[::-1]):
        colour = pipeline.mean_colour(images[date], train)
        trees = []
        for count in range(len(INPUTS)):
            references = None
            if count:
                others = pipeline.evaluation_dataset(images[other], train, 1)
                references = ((optical[0].numpy(), sar[0].numpy())[:count] for sar, optical in others)
            trees.append(fit_trees(images[date], train, seed, references))
        batches = (pipeline.evaluation_dataset(images[day], test, 1) for day in (date, other))
        for (sar, truth), (other_sar, reference) in zip(*batches, strict=True):
            given = [sar.numpy(), reference.numpy(), other_sar.numpy()]
            generated = {
                "mean colour": np.broadcast_to(colour, truth.shape),
                "optical image of the other date": reference,
            }
            generated |= {
                f"trees: {name}": trees[count].predict(*given[: count + 1]) for count, name in enumerate(INPUTS)
            }
            for system, candidate in generated.items():
                found.setdefault((system, date), []).append(psnr_and_ssim(truth, candidate))
    return {key: tuple(np.mean(figures, 0)) for key, figures in found.items()}


def load(dates: Path, split: Path, date: str):
    """The pairs of one date as `Images`, each with the split of the place's image before."""
    from sar_keras.data.loading import load_images
    from sar_keras.data.pairs import Pair
    from sar_keras.data.splits import split_pairs

    with dates.open(newline="") as file:
        rows = list(csv.DictReader(file))
    before = split_pairs([Pair(dates.parent / row["sar_before"], dates.parent) for row in rows], str(split))
    names = {pair.sar: pair.split for pair in before}
    return load_images(
        [
            Pair(dates.parent / row[f"sar_{date}"], dates.parent / row[f"optical_{date}"], split=names[sar])
            for row in rows
            if (sar := dates.parent / row["sar_before"]) in names
        ]
    )


def psnr_and_ssim(truth, generated) -> tuple[float, float]:
    import tensorflow as tf

    truth, generated = (tf.cast(images, tf.float32) / 2 + 0.5 for images in (truth, generated))
    return float(tf.image.psnr(truth, generated, 1)[0]), float(tf.image.ssim(truth, generated, 1)[0])


if __name__ == "__main__":
    main()
