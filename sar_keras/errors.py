"""Every error that a user can cause: one line that names what is wrong and the mend, and an exit code.

Anything else that escapes is a bug and keeps its traceback.
"""

import contextlib
import errno
from collections.abc import Iterator

# What the caller calls parameters by, where that is not their own name: the command line's options.
_called: dict[str, str] = {}


class SarKerasError(Exception):
    """Base of the errors below; the command line prints its text and leaves with `exit_code`."""

    exit_code = 2


class ConfigError(SarKerasError):
    """A preset, a YAML file or an override that does not describe a run."""


class DataError(SarKerasError):
    """Images or pairs that are missing, broken, or do not belong together."""


class ModelError(SarKerasError):
    """A file or a folder that is not a model of this package, or does not fit what it is asked to do."""


class OutputError(SarKerasError):
    """An output that exists already, or cannot be written."""


class TrainingDiverged(SarKerasError):
    """A loss that is no longer a finite number."""

    exit_code = 1


class WorkerLost(SarKerasError):
    """One of several machines that train together no longer answers."""

    exit_code = 1


class SomeFailed(SarKerasError):
    """Several inputs, of which some failed; the others are done."""

    exit_code = 1


class Stopped(KeyboardInterrupt):
    """SIGTERM, which is to end what Ctrl-C ends; what was under way is saved where that is possible."""

    exit_code = 143


def parameter(name: str) -> str:
    """What a message calls a parameter, or a configuration key that is one: "limits", or on the command line "--range".

    Args:
        name: That of the public function's parameter, or the key in full.
    """
    return _called.get(name, name)


@contextlib.contextmanager
def parameters_called(names: dict[str, str]) -> Iterator[None]:
    """Let `parameter` give these names meanwhile."""
    global _called
    before, _called = _called, names
    try:
        yield
    finally:
        _called = before


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error is a full disk's or a used-up quota's, whichever library met it."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text or "errno = 28" in text
