"""How the command ends: what a user can cause becomes one line and an exit code; bugs keep their traceback."""

import contextlib
import errno
import importlib.metadata
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import click

from sar_keras.cli.verbs import Verbs
from sar_keras.errors import SarKerasError, Stopped, is_disk_full
from sar_keras.io.files import readable


class ErrorsToLines(Verbs):
    """Turns the errors that a user can cause into one line and an exit code."""

    def make_context(self, *arguments, **options) -> click.Context:
        with _errors_to_lines():
            return super().make_context(*arguments, **options)

    def invoke(self, context: click.Context):
        with _errors_to_lines(), warnings.catch_warnings(), _termination():
            # Images need no place on Earth.
            warnings.filterwarnings("ignore", "Dataset has no geotransform")
            warnings.showwarning = lambda message, *_, **__: click.echo(readable(f"warning: {message}"), err=True)
            return super().invoke(context)


@contextlib.contextmanager
def _errors_to_lines():
    try:
        yield
    except SarKerasError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError:  # `sar-keras` alone shows its help
        raise
    except click.UsageError as error:
        _fail(_usage_line(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = _required(error)
        if package is None:
            raise
        _fail(f"{package} is not installed; this needs the whole package: pip install .", 2)
    except KeyboardInterrupt as error:
        _fail(str(error) or "stopped", getattr(error, "exit_code", 130))
    except Exception as error:
        line = _environment_error(error)
        if line is None:
            raise
        _fail(line, 2)


def _required(error: ModuleNotFoundError) -> str | None:
    """The package of ours that is missing, because who installs for `colorize` alone leaves some out."""
    name = str(error.name).partition(".")[0]
    name = {"yaml": "PyYAML", "skimage": "scikit-image"}.get(name, name)
    required = importlib.metadata.requires("sar_keras") or []
    return name if any(re.match(rf"{name}\b", line) and "extra ==" not in line for line in required) else None


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
    click.echo(readable(f"sar-keras: {line}"), err=True)
    sys.exit(exit_code)


def _usage_line(error: click.UsageError) -> str:
    """What click says as one line, and where to read what the command takes unless it says what was meant."""
    text = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "sar-keras"
    return text[:1].lower() + text[1:] + ("" if text.endswith("?") else f"; see {command} --help")


def _environment_error(error: Exception) -> str | None:
    """The line for a full disk or a forbidden place, whichever library met it; None for what is a bug."""
    if is_disk_full(error):
        return "the disk is full: free some space, or write elsewhere"
    if not isinstance(error, OSError):
        return None
    # The second of two is what would have been written.
    name = error.filename2 or error.filename
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"{_visible(name)}: no permission to read or write there"
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError) or error.errno == errno.ENAMETOOLONG:
        return f"{_visible(name)}: {str(error.strerror).lower()}; give another path"
    return None


def _visible(filename: str) -> Path:
    """The folder in place of a temporary file in it, whose name means nothing to the user."""
    path = Path(filename)
    return path.parent if path.name.startswith(".") else path
