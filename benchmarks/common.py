"""What benchmarks share: the line above their tables, and the time that a call takes."""

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable


def circumstances(*packages: str) -> str:
    """Processors, Python, those of some packages that are installed, and the date."""
    from sar_keras.comparison import processor  # loads TensorFlow, which not each process of a benchmark should

    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages if importlib.util.find_spec(name)]
    machine = [f"{os.cpu_count()} x {processor()}", f"Python {platform.python_version()}"]
    return ", ".join([*machine, *versions, time.strftime("%Y-%m-%d")])


def median_seconds(call: Callable[[], object], times: int) -> float:
    """Of a call that returns when its result is there; after two of warm-up."""
    for _ in range(2):
        call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
