"""Seconds and memory until `sar-keras` has colorized an image, from the start of a process, with each engine.

    python benchmarks/cold_start.py [--model RUN] [--runs 5]

Medians over the runs, after one that fills the file cache. Without --model it is `demo`. The images are PNGs of 256 x
256 pixels; peak is the largest resident set of the process. The first use of a model with OpenVINO is timed apart:
TensorFlow loads, converts the model, and compares both. `demo` comes converted.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from common import circumstances, command
from PIL import Image

MORE = 20
ENGINES = ("openvino", "tensorflow")


def run(*arguments, cache: Path) -> tuple[float, float]:
    """The seconds that a `sar-keras` command takes, and its memory in MB."""
    started = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("see above")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True)
@click.option("--runs", default=5, show_default=True)
def main(model: str, runs: int) -> None:
    random, rows = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "many").mkdir()
        if Path(model).is_dir():  # which shall not keep the converted model
            model = shutil.copytree(model, folder / "run", ignore=shutil.ignore_patterns("openvino"))
        for n in range(MORE + 1):
            Image.fromarray(random.integers(0, 256, (256, 256), np.uint8)).save(folder / f"many/{n}.png")
        one = ["colorize", model, folder / "many/0.png", "-o", folder / "one.png"]
        many = ["colorize", model, folder / "many", "-o", folder / "colours"]

        def measure(name: str, *arguments) -> None:
            run(*arguments, cache=folder / "cache")
            found = [run(*arguments, cache=folder / "cache") for _ in range(runs)]
            rows[name] = [statistics.median(column) for column in zip(*found, strict=True)]

        measure("--help", "--help")
        if model != "demo":
            rows["first use, openvino"] = run(*one, "--engine", "openvino", cache=folder / "cache")
        for engine in ENGINES:
            measure(f"colorize an image, {engine}", *one, "--engine", engine)
            measure(f"colorize {MORE + 1} images, {engine}", *many, "--engine", engine)
    print(f"{circumstances('openvino', 'tensorflow')}, {model}, median of {runs}\n")
    print("| `sar-keras` | seconds | peak MB |\n|---|---|---|")
    for name, (seconds, megabytes) in rows.items():
        print(f"| {name} | {seconds:.2f} | {megabytes:.0f} |")


if __name__ == "__main__":
    main()
