"""Seconds until `sar-keras` answers: its help, and the first image that it colorizes, each from the start of a process.

    python benchmarks/cold_start.py [--model RUN] [--runs 5]

Medians over the runs, after one that fills the file cache. Without a model `quick` is trained for two steps: what its
weights are does not matter here, only what the file holds. The image is a PNG of 256 x 256 pixels.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from common import circumstances, command

QUICK = ["fit", "quick", "--set", "data.limit=24", "--set", "train.epochs=1", "--set", "train.steps_per_epoch=2"]


def run(*arguments) -> float:
    """The seconds that a `sar-keras` command takes."""
    started = time.perf_counter()
    result = subprocess.run(command(*arguments), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if result.returncode:
        sys.exit(result.stderr)
    return seconds


@click.command(help=__doc__)
@click.option("--model", type=click.Path(path_type=Path, exists=True))
@click.option("--runs", default=5, show_default=True)
def main(model: Path | None, runs: int) -> None:
    from sar_keras.data.synthetic import write_pairs

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pairs(folder, 1)
        image = next(folder.rglob("s1/*.png"))
        if not model:
            model = folder / "quick"
            run(*QUICK, "--out", model)
        commands = {"--help": ["--help"], "colorize": ["colorize", model, image, "-o", folder / "colour.png"]}
        found = {name: [run(*arguments) for _ in range(runs + 1)][1:] for name, arguments in commands.items()}
    print(f"{circumstances()}, median of {runs}\n")
    print("| `sar-keras` | seconds |\n|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {statistics.median(seconds):.2f} |")


if __name__ == "__main__":
    main()
