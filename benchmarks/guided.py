"""How a guided model does under each kind of hint, beside `default`, trees, and the hint alone, over several splits.

    python benchmarks/guided.py COMPARISON [COMPARISON ...] [--on test] [--picture hints.jpg]

Each COMPARISON is what `sar-keras benchmark --presets guided,default -o COMPARISON` has left, of a split of its own.
Each terrain has a table of its own. Networks, trees and the linear fit learn from all terrains together, and are not
told which one a pair is of; in the rows "told the terrain" they learn from that terrain alone. Figures are means over
images, and of these over the splits, with those of each split in brackets. "changed" and "unchanged" are PSNR over
all pixels where the ground has, and has not, changed. The last table has differences of PSNR between two rows, of
each split with its 95 % bootstrap interval over images. The picture shows some patches of the first comparison,
coloured with each hint.

The table of known ground says what an image of another date can tell at best: trees that are fitted to one half of the
tiles of the largest place of a split, and scored on the other half, and the other way round.
"""

import dataclasses
import functools
from pathlib import Path

import click
import numpy as np
from common import circumstances, images_of

# What of one row is compared with what of another: (row, side), (row, side).
DIFFERENCES = (
    (("none", "model"), ("default", "model")),
    (("palette", "model"), ("none", "model")),
    (("palette", "model"), ("palette", "alone")),
    (("coarse", "model"), ("coarse", "alone")),
    (("coarse", "model"), ("coarse_elsewhere", "model")),
    (("other_date", "model"), ("none", "model")),
    (("other_date", "model"), ("other_date_without_sar", "model")),
    (("other_date", "model"), ("trees_other_date", "model")),
    (("other_date", "model"), ("trees_other_date_told", "model")),
    (("other_date", "model"), ("other_date_fitted", "alone")),
    (("other_date", "model"), ("fitted_told", "model")),
    (("elsewhere", "model"), ("none", "model")),
)
OTHERS = {
    "default": "default",
    "trees": "trees: SAR",
    "trees_other_date": "trees: SAR, both images of the other date",
    "trees_told": "trees told the terrain: SAR",
    "trees_other_date_told": "trees told the terrain: SAR, both images of the other date",
    "fitted_told": "a linear fit told the terrain",
    "other_date_without_sar": "image of another date, without its SAR image",
}


@click.command(help=__doc__)
@click.argument("comparisons", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--on", "split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
@click.option("--seed", default=0, show_default=True, help="Chooses the pixels that the trees learn from.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture of some patches.")
def main(comparisons: tuple[Path, ...], split: str, seed: int, picture: Path | None) -> None:
    if picture:
        draw(comparisons[0], split, picture)
    of_splits = [scores(comparison, split, seed) for comparison in comparisons]
    terrains = [terrain for terrain in of_splits[0] if all(terrain in found for found in of_splits)]
    print(circumstances("tensorflow", "scikit-learn"))
    for terrain in terrains:
        print(f"\n### {terrain or 'all pairs'}\n")
        print("\n".join(table([found[terrain] for found in of_splits])))
    print("\n### Differences in PSNR (dB)\n")
    print("\n".join(differences(of_splits, terrains)))
    known = known_ground(comparisons, split, seed)
    if known:
        print("\n### Known ground, PSNR (dB)\n")
        print(f"| place | truth | tiles | {OTHERS['trees']} | {OTHERS['trees_other_date']} |")
        print("\n".join(["|---" * 5 + "|", *known]))


def scores(comparison: Path, split: str, seed: int) -> dict[str | None, dict]:
    """Terrain to row to side to figures, each (n,), or (n, 2) of pixels that have changed or not."""
    import sar_keras
    from sar_keras.data import pipeline
    from sar_keras.data.references import load_references
    from sar_keras.evaluation import hinted
    from sar_keras.evaluation.baselines import fit_trees

    guided, default = (sar_keras.load_model(comparison / name) for name in ("guided", "default"))
    images = images_of(comparison / "guided", guided, "train", split)
    references, found = load_references(images), {}
    train = [n for n, pair in enumerate(images.pairs) if pair.split == "train"]
    fit, everywhere = hinted.fit_dates(images, references, train), fit_trees(images, train, seed)
    of_dates_everywhere = hinted.fit_trees_to_dates(images, references, train, seed)
    for terrain in dict.fromkeys(pair.terrain for pair in images.pairs):
        scored, own = (
            [n for n, pair in enumerate(images.pairs) if (pair.split, pair.terrain) == (name, terrain)]
            for name in (split, "train")
        )
        if not scored or not own:
            continue
        colours = pipeline.colours_of_places(images, scored)
        rows = hinted.score_hints(guided, images, references, colours, fit, indices=scored)
        score = functools.partial(hinted.score, images=images, references=references, indices=scored)
        others = {
            "trees": score(everywhere.predict),
            "trees_told": score(fit_trees(images, own, seed).predict),
            "default": score(lambda sar: default(sar, training=False)),
        }
        if all(any(n in references.optical for n in part) for part in (scored, own)):
            without = dataclasses.replace(references, sar={})
            alone = hinted.score_hints(guided, images, without, colours, indices=scored)
            others["other_date_without_sar"] = alone["other_date"]["model"]
            told = hinted.fit_trees_to_dates(images, references, own, seed)
            for name, trees in (("trees_other_date", of_dates_everywhere), ("trees_other_date_told", told)):
                others[name] = hinted.score_trees(trees, images, references, scored)
            others["fitted_told"] = score_fit(hinted.fit_dates(images, references, own), images, references, scored)
        found[terrain] = rows | {name: {"model": others[name], "alone": None} for name in OTHERS if name in others}
    return found


def score_fit(fit: np.ndarray, images, references, indices: list[int]) -> dict[str, np.ndarray]:
    """As `score_hints` gives a side, of a linear fit of the colours of another date."""
    from sar_keras.evaluation import hinted

    dated = [n for n in indices if n in references.optical]
    of_dates = (hinted.date_of(images, references, n)[0] for n in dated)
    return hinted.score(lambda sar: hinted.fitted(fit, next(of_dates)), images, references, dated)


def known_ground(comparisons: tuple[Path, ...], split: str, seed: int) -> list[str]:
    """The rows of trees fitted to the very place that they colour, as Markdown."""
    from collections import Counter

    import sar_keras
    from sar_keras.data.references import load_references
    from sar_keras.evaluation import hinted
    from sar_keras.evaluation.baselines import fit_trees

    lines = []
    for comparison in comparisons:
        guided = sar_keras.load_model(comparison / "guided")
        images = images_of(comparison / "guided", guided, split)
        references = load_references(images)
        ground = Counter(pair.ground for pair in images.pairs).most_common(1)[0][0]
        for terrain in dict.fromkeys(pair.terrain for pair in images.pairs):
            of_place = [n for n, pair in enumerate(images.pairs) if (pair.ground, pair.terrain) == (ground, terrain)]
            there = [n for n in of_place if n in references.optical]
            halves = there[: len(there) // 2], there[len(there) // 2 :]
            if not all(halves):
                continue
            found = []
            for learnt, scored in (halves, halves[::-1]):
                trees = fit_trees(images, learnt, seed)
                of_dates = hinted.fit_trees_to_dates(images, references, learnt, seed)
                sides = (
                    hinted.score(trees.predict, images, references, scored),
                    hinted.score_trees(of_dates, images, references, scored),
                )
                found.append([side["psnr"] for side in sides])
            cells = [f"{np.concatenate(side).mean():.2f}" for side in zip(*found, strict=True)]
            lines.append(
                f"| {images.pairs[there[0]].scene} | {terrain or 'all'} | {len(there)} | {' | '.join(cells)} |"
            )
    return lines


def draw(comparison: Path, split: str, path: Path) -> None:
    """A row a patch, two of each terrain: the SAR image, what each hint makes of it, and the truth."""
    from PIL import Image

    import sar_keras
    from sar_keras.config import load_run
    from sar_keras.data.pairs import evenly
    from sar_keras.data.sources import pairs_of_run
    from sar_keras.io.images import captioned, read_optical, write_image

    run = comparison / "guided"
    there = [pair for pair in pairs_of_run(load_run(run).data, run) if pair.split == split and pair.reference]
    rows = []
    for terrain in dict.fromkeys(pair.terrain for pair in there):
        of_terrain = [pair for pair in there if pair.terrain == terrain]
        for pair in evenly(of_terrain, 2):
            truth = read_optical(pair.optical)
            place = [read_optical(other.optical).mean((0, 1)) for other in of_terrain if other.ground == pair.ground]
            coarse = np.asarray(Image.fromarray(truth).resize((8, 8), Image.Resampling.BOX))
            other_date = {"reference": pair.reference, "reference_sar": pair.reference_sar}
            as_given = Image.fromarray(coarse).resize((128, 128), Image.Resampling.NEAREST)
            columns = {
                "SAR": np.asarray(Image.open(pair.sar).convert("RGB")),
                "no hint": sar_keras.colorize(run, pair.sar),
                "one colour": sar_keras.colorize(run, pair.sar, palette=np.mean(place, 0)),
                "8 x 8 pixels": np.asarray(as_given),
                "with these": sar_keras.colorize(run, pair.sar, basemap=coarse),
                "another date": read_optical(pair.reference),
                "with this": sar_keras.colorize(run, pair.sar, **other_date),
                "truth": truth,
            }
            small = [Image.fromarray(image).resize((128, 128), Image.Resampling.BOX) for image in columns.values()]
            rows.append(np.hstack([np.asarray(image) for image in small]))
    write_image(path, captioned(np.vstack(rows), list(columns)))


def table(splits: list[dict]) -> list[str]:
    """The rows of one terrain as Markdown."""
    from sar_keras.evaluation.hinted import TITLES, numbers

    keys = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3)}
    keys |= {f"psnr_{where}": (where, 1) for where in ("changed", "unchanged")}
    titles = [title for title, _ in keys.values()]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for row in splits[0]:
        for side, title in zip(("model", "alone"), TITLES.get(row) or (OTHERS[row], ""), strict=True):
            each = [numbers(split[row][side]) for split in splits if split.get(row, {}).get(side)]
            if not each:
                continue
            cells = []
            for key, (_, digits) in keys.items():
                values = [figures[key] for figures in each if key in figures]
                own = f" ({', '.join(f'{value:.{digits}f}' for value in values)})" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.{digits}f}{own}" if values else "")
            lines.append(f"| {f'*{title}*' if side == 'alone' else title} | {' | '.join(cells)} |")
    return lines


def differences(splits: list[dict], terrains: list) -> list[str]:
    """The table of DIFFERENCES as Markdown."""
    from sar_keras.evaluation.evaluate import intervals
    from sar_keras.evaluation.hinted import TITLES

    def name(row: str, side: str) -> str:
        return (TITLES.get(row) or (OTHERS[row], ""))[side == "alone"]

    lines = ["| | minus | truth | mean | each split |", "|---" * 5 + "|"]
    for first, second in DIFFERENCES:
        for terrain in terrains:
            pairs = [[of[terrain][row][side] for row, side in (first, second) if row in of[terrain]] for of in splits]
            # Both of the same images.
            if not all(len(pair) == 2 and all(pair) and len(pair[0]["psnr"]) == len(pair[1]["psnr"]) for pair in pairs):
                continue
            each = [pair[0]["psnr"] - pair[1]["psnr"] for pair in pairs]
            figures = [intervals({"psnr": values})["psnr"] for values in each]
            cells = "; ".join("{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**figure) for figure in figures)
            mean = np.mean([figure["mean"] for figure in figures])
            lines.append(f"| {name(*first)} | {name(*second)} | {terrain or 'all'} | {mean:+.2f} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
