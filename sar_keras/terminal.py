"""What the terminal shows while something takes its time."""

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from sar_keras.errors import ConfigError


@contextlib.contextmanager
def doing(text: str) -> Iterator[None]:
    """Show a line on a terminal while something takes its time that has no parts to count, then erase it."""
    shown = sys.stderr is not None and sys.stderr.isatty()
    if shown:
        print(f"{text} ...", end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\033[K", end="", file=sys.stderr, flush=True)


def progress_bar(text: str, unit: str, total: int | None = None, **options) -> Callable[..., Any]:
    """A wrapper for an iterable that shows a progress bar on a terminal after two seconds, and nothing elsewhere.

    It is `tqdm.tqdm`. Where that is not installed nothing is shown.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar
    return functools.partial(
        tqdm, desc=text, unit=unit, total=total, leave=False, delay=2, dynamic_ncols=True, disable=None, **options
    )


class _NoBar:
    """What we call of `tqdm`."""

    def __init__(self, iterable: Iterable = ()):
        self._iterable = iterable

    def __iter__(self):
        return iter(self._iterable)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count: float = 1) -> None:
        pass

    def write(self, line: str, file: TextIO) -> None:
        print(line, file=file)


def load_tensorflow() -> None:
    """Import TensorFlow without its start-up lines, unless the user asked for them.

    TF_CPP_MIN_LOG_LEVEL silences the C++ log, but not the lines that are written before the log is set up
    (https://github.com/tensorflow/tensorflow/issues/79029), so the file descriptor is turned aside meanwhile.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if importlib.util.find_spec("tensorflow") is None:
        raise ConfigError("tensorflow is not installed; this needs the whole package: pip install .")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        importlib.import_module("tensorflow")
        return
    # 3 hides errors too: grappler reports a harmless "remapper failed: LeakyReluGrad" as one, at every training.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    terminal = os.dup(2)
    with doing("loading TensorFlow"), tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except Exception:
            aside.seek(0)
            os.write(terminal, aside.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
