"""What the terminal shows while something takes its time."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

from tqdm import tqdm


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


def progress_bar(text: str, unit: str, total: int | None = None, **options) -> Callable[..., tqdm]:
    """A wrapper for an iterable that shows a progress bar on a terminal after two seconds, and nothing elsewhere."""
    return functools.partial(
        tqdm, desc=text, unit=unit, total=total, leave=False, delay=2, dynamic_ncols=True, disable=None, **options
    )
