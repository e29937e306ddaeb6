"""Where, when and by which command something is made; without loading TensorFlow."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import sar_keras


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    return f"{os.cpu_count()} cores, {processor()}"


def software() -> str:
    tensorflow, keras = (importlib.metadata.version(name) for name in ("tensorflow", "keras"))
    return f"sar_keras {sar_keras.__version__}, TensorFlow {tensorflow}, Keras {keras}"


def command() -> str:
    """The command that this process was started with, as a shell takes it."""
    name, *arguments = sys.argv or [""]
    if Path(name).name != "sar-keras":
        return f"Python, {Path(name).name or 'interactive'}"
    return shlex.join(["sar-keras", *arguments])


def circumstances() -> dict[str, str]:
    """For people: command, date, machine and software."""
    return {
        "command": command(),
        "date": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        "machine": machine(),
        "software": f"{software()}, Python {platform.python_version()}",
    }
