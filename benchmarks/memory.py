"""Memory that `sar-keras fit` takes for its data: its peak, less that of a run on 10 pairs, beside the decoded bytes.

    python benchmarks/memory.py [--gigabytes 1 --gigabytes 3] [--side 256]

The data are pairs of PNG files of random grey levels, a byte a pixel and band. Each run is a process of its own that
trains a tiny network for two steps, validates and tests it. Data of more than a quarter of the machine's memory, or of
its container's, are read from their files at each use.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from common import circumstances, command
from PIL import Image

FEW = 10
# Files that differ; the others are links to them, which take no disk.
DISTINCT = 50
TINY = ["model.filters=4", "train.epochs=1", "train.steps_per_epoch=2", "train.batch_size=4", "train.precision=float32"]


def write_pairs(folder: Path, count: int, side: int) -> None:
    random = np.random.default_rng(0)
    for name, shape in (("s1", (side, side)), ("s2", (side, side, 3))):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            path = folder / name / f"{index}.png"
            if index < DISTINCT:
                Image.fromarray(random.integers(0, 255, shape, np.uint8)).save(path, compress_level=0)
            else:
                os.link(folder / name / f"{index % DISTINCT}.png", path)


def peak_of_fit(data: Path, run: Path, side: int) -> float:
    """Megabytes of the largest resident set."""
    settings = [word for change in (f"data.image_size={side}", *TINY) for word in ("--set", change)]
    arguments = command("fit", "l1", "--data", data, "--out", run, *settings)
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(arguments, stdout=said, stderr=said) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(said.read())
    return used.ru_maxrss / 1024


@click.command(help=__doc__)
@click.option("--gigabytes", multiple=True, default=(1.0, 3.0), show_default=True, help="Of decoded images (10^9).")
@click.option("--side", default=256, show_default=True, help="Height and width of the images in pixels.")
def main(gigabytes: tuple[float, ...], side: int) -> None:
    print(f"{circumstances('tensorflow', 'keras')}\n")
    print(f"| data (GB) | pairs | peak (MB) | peak on {FEW} pairs (MB) | difference / data |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pairs(folder / "few", FEW, side)
        few = peak_of_fit(folder / "few", folder / "run-few", side)
        for size in gigabytes:
            pairs = round(size * 1e9 / (side * side * 4))
            write_pairs(folder / f"{size}", pairs, side)
            peak = peak_of_fit(folder / f"{size}", folder / f"run-{size}", side)
            share = (peak - few) * 2**20 / (pairs * side * side * 4)
            print(f"| {size:g} | {pairs} | {peak:.0f} | {few:.0f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
