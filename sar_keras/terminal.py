"""What the terminal shows while something takes its time."""

import functools
from collections.abc import Callable, Iterable

from tqdm import tqdm


def progress_bar(text: str, unit: str, total: int | None = None, **options) -> Callable[[Iterable], Iterable]:
    """A wrapper for an iterable that shows a progress bar on a terminal after two seconds, and nothing elsewhere."""
    return functools.partial(
        tqdm, desc=text, unit=unit, total=total, leave=False, delay=2, dynamic_ncols=True, disable=None, **options
    )
