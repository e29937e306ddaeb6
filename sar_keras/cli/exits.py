"""How the command ends: what a user can cause becomes one line and an exit code; bugs keep their traceback."""

import contextlib
import errno
import signal
import sys
import threading
import warnings
from pathlib import Path

import click

from sar_keras.errors import SarKerasError, Stopped, is_disk_full


class ErrorsToLines(click.Group):
    """Turns the errors that a user can cause into one line and an exit code."""

    def invoke(self, context: click.Context):
        try:
            with warnings.catch_warnings():
                # Images need no place on Earth.
                warnings.filterwarnings("ignore", "Dataset has no geotransform")
                warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
                with _termination():
                    return super().invoke(context)
        except SarKerasError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            _fail(str(error) or "stopped", getattr(error, "exit_code", 130))
        except Exception as error:
            line = _environment_error(error)
            if line is None:
                raise
            _fail(line, 2)


@contextlib.contextmanager
def _termination():
    """Let SIGTERM clean up as Ctrl-C does, instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(line: str, exit_code: int) -> None:
    click.echo(f"sar-keras: {line}", err=True)
    sys.exit(exit_code)


def _environment_error(error: Exception) -> str | None:
    """The line for a full disk or a forbidden place, whichever library met it; None for what is a bug."""
    number = error.errno if isinstance(error, OSError) else None
    if is_disk_full(error):
        return "the disk is full: free some space, or write elsewhere (--out, -o)"
    # The second of two is what would have been written.
    name = isinstance(error, OSError) and (error.filename2 or error.filename)
    if isinstance(error, PermissionError) or number == errno.EROFS:
        return f"{_visible(name)}: no permission to read or write there"
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError) or number == errno.ENAMETOOLONG:
        return f"{_visible(name)}: {error.strerror.lower()}; give another path"
    return None


def _visible(filename: str) -> Path:
    """The folder in place of a temporary file in it, whose name means nothing to the user."""
    path = Path(filename)
    return path.parent if path.name.startswith(".") else path
