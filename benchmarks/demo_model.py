"""Trains and scores the model `demo` that comes with the package.

    python benchmarks/demo_model.py --pairs sen12/v_2 --scenes scenes -o demo_model --minutes 6

Training: 60 SEN1-2 pairs of three scenes (farmland, grassland, a city; VV) and the western part of a scene of Los
Angeles (VH), in the preset `fast` with colours moved towards their mean. Validation: the eastern part of that scene.
Test: the fourth SEN1-2 scene (bare land) and a scene of Riverside, of which the training saw nothing. Puts the weights
of the epoch that was best in validation into the package, and prints their scores.
"""

import csv
import shutil
from pathlib import Path

import click
from PIL import Image
from rasterio.windows import Window

import sar_keras
from sar_keras.config import load_config
from sar_keras.data.pairs import Pair, find_pairs

TEST = ("114", "Riverside")
_EAST, _GAP = 2, 1  # columns of windows of Los Angeles that validate, and those between them and the training


@click.command(help=__doc__)
@click.option("--pairs", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--scenes", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--minutes", default=6.0, show_default=True)
@click.option("-o", "--output", default=Path("demo_model"), show_default=True, type=click.Path(path_type=Path))
def main(pairs: Path, scenes: Path, minutes: float, output: Path) -> None:
    manifest = output / "data" / "pairs.csv"
    if not manifest.is_file():
        write_patches(find_pairs(pairs).pairs, find_pairs(scenes).pairs, manifest)
    run = output / "run"
    if not (run / "generator.keras").is_file():
        changes = [f"data.root={manifest}", f"train.minutes={minutes}", "train.epochs=1000000"]
        # Held back, since it learns from four places only and is shown others.
        changes += ["train.steps_per_epoch=100", "data.to_mean_colour=0.5"]
        sar_keras.fit(load_config("fast", changes), run, resume=run.is_dir())
    fast = load_config("fast").model
    from sar_keras.evaluation.evaluate import table
    from sar_keras.inference.model_file import DEMO, save_demo

    save_demo(sar_keras.load_model(run / "generator_best.keras"), filters=fast.filters, dropout=fast.dropout)
    print(f"{DEMO}: {DEMO.stat().st_size / 1e6:.1f} MB")
    for split in ("train", "test"):
        print(f"\n{split}\n{table(sar_keras.evaluate('demo', manifest, split), 'scene')}")


def write_patches(pairs: list[Pair], windows: list[Pair], manifest: Path) -> None:
    """Every patch as PNG files below the manifest, which says its split."""
    from sar_keras.io.images import read_optical, read_sar

    folder = manifest.parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    last = {name: max(pair.window[0] for pair in windows if name in pair.sar.name) for name in ("LA", "Riverside")}
    rows = []
    for number, pair in enumerate([*pairs, *windows]):
        scene, split = pair.scene, "test" if pair.scene in TEST else "train"
        if pair.window:
            scene = next(name for name in last if name in pair.sar.name)
            column, size = pair.window[0], pair.window[2]
            if scene in TEST:
                split = "test"
            elif column > last[scene] - _EAST * size:
                split = "validation"
            elif column > last[scene] - (_EAST + _GAP) * size:
                continue
        window = pair.window and Window(*pair.window)
        names = [f"{number}_{side}.png" for side in ("sar", "optical")]
        Image.fromarray(read_sar(pair.sar, 1, window)[..., 0]).save(folder / names[0])
        Image.fromarray(read_optical(pair.optical, window)).save(folder / names[1])
        rows.append([*names, scene, pair.terrain or "city", split])
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["sar", "optical", "scene", "terrain", "split"], *rows])


if __name__ == "__main__":
    main()
