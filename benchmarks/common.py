"""What benchmarks share: the line above their tables, choice of cases, the command line, times, the images of a run."""

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from sar_keras.reports.machine import processor


def circumstances(*packages: str) -> str:
    """Processors, Python, those of some packages that are installed, and the date.

    Imports none of them: the largest resident set of a child process counts from its parent's on.
    """
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages if importlib.util.find_spec(name)]
    machine = [f"{os.cpu_count()} x {processor()}", f"Python {platform.python_version()}"]
    return ", ".join([*machine, *versions, time.strftime("%Y-%m-%d")])


def choose(cases: list[tuple], words: str) -> list[tuple]:
    """The cases that begin with these words: network, work, batch."""
    found = [case for case in cases if " ".join(map(str, case)).startswith(words)]
    if not found:
        names = ", ".join(" ".join(map(str, case[:3])) for case in cases)
        raise click.UsageError(f"--only: no case begins so; they are {names}")
    return found


def command(*arguments) -> list[str]:
    """`sar-keras` with these arguments, of the package that this Python finds."""
    return [sys.executable, "-c", "from sar_keras.cli.main import main; main()", *map(str, arguments)]


def median_seconds(call: Callable[[], object], times: int) -> float:
    """The median time of a call that returns when its result is there, after two calls of warm-up."""
    for _ in range(2):
        call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def images_of(run: Path, generator, *splits: str):
    """The `Images` of these splits of a run, scaled as its generator takes them; each pair knows its split."""
    from sar_keras.config import load_run
    from sar_keras.data.loading import load_images
    from sar_keras.data.reading import PairReader
    from sar_keras.data.sources import pairs_of_run
    from sar_keras.inference.metadata import metadata_of
    from sar_keras.networks.sizes import patch_size, sar_channels

    data, metadata = load_run(run).data, metadata_of(generator)
    pairs = [pair for pair in pairs_of_run(data, run) if pair.split in splits]
    reader = PairReader(sar_channels(generator), data.sar_bands, data.optical_bands)
    images = load_images(pairs, patch_size(generator), reader, data.resize)
    return images.with_scales(metadata.sar_scale, metadata.optical_scale)
