"""Checkpoints of a run: each is there whole or not at all, and is checked before it is used."""

import dataclasses
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import tensorflow as tf

from sar_keras.errors import OutputError, parameter
from sar_keras.io.files import atomic, sha256

# Beside the state itself; `sha256sum -c SHA256SUMS` checks a checkpoint too.
_POSITION, _SUMS = "position.json", "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        epochs: Epochs finished.
        steps_into_epoch: Steps into the epoch under way.
        step: Optimizer steps of the whole run.
        stopped: Whether a callback of the user's ended the run's first phase, see `sar_keras.training.run.Phase`.
    """

    epochs: int = 0
    steps_into_epoch: int = 0
    step: int = 0
    stopped: bool = False

    def __str__(self) -> str:
        if self.steps_into_epoch:
            return f"in epoch {self.epochs + 1}, step {self.step} ({self.steps_into_epoch} of the epoch)"
        return f"after epoch {self.epochs}, step {self.step}"


class Checkpoints:
    """The folder `checkpoints/` of a run: `step-00000120/` and so on, of which the last `keep` stay."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def __iter__(self):
        return iter(sorted(self.folder.glob("step-*")))

    def save(self, state: tf.train.Checkpoint, position: Position, chief: bool = True) -> None:
        """Write a checkpoint; older ones go only when it is safely on disk.

        Of several processes each has to take part, and what the others than the chief write is thrown away
        (https://www.tensorflow.org/tutorials/distribute/multi_worker_with_ctl#checkpoint_saving_and_restoring).
        """
        if not chief:
            with tempfile.TemporaryDirectory() as folder:
                state.write(f"{folder}/state")
            return
        target = self.folder / f"step-{position.step:08d}"
        with atomic(target) as temporary:
            temporary.mkdir()
            state.write(str(temporary / "state"))
            (temporary / _POSITION).write_text(json.dumps(dataclasses.asdict(position)))
            sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(temporary.iterdir())]
            (temporary / _SUMS).write_text("".join(sums))
            for path in [*temporary.iterdir(), temporary]:
                _to_disk(path)
        _to_disk(self.folder)
        for old in list(self)[: -self.keep]:
            shutil.rmtree(old)

    def latest(self, remove_broken: bool = True) -> tuple[Path, Position] | None:
        """The newest intact checkpoint, or None where there has been none yet; broken ones are removed with a warning.

        Raises:
            OutputError: there are checkpoints, but none is intact, or they are an earlier version's.
        """
        broken = []
        found = None
        for path in reversed(list(self)):
            if _is_intact(path):
                found = path, Position(**json.loads((path / _POSITION).read_text()))
                break
            broken.append(path)
        if not found and any(self.folder.glob("[!.]*")):
            raise OutputError(f"{self.folder}: no checkpoint is intact; begin again with another {parameter('run')}")
        for path in broken if remove_broken else []:
            warnings.warn(f"{path}: torn or changed since it was written; taking the one before", stacklevel=2)
            shutil.rmtree(path)
        return found

    def restore(self, state: tf.train.Checkpoint, path: Path) -> None:
        try:
            state.read(str(path / "state")).assert_consumed()
        except AssertionError as error:
            raise OutputError(
                f"{path}: was written by another version of sar_keras, and cannot be gone on with; begin again with "
                f"another {parameter('run')}"
            ) from error


def _is_intact(path: Path) -> bool:
    try:
        lines = (path / _SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        return _POSITION in sums and all(sha256(path / name) == digest for name, digest in sums.items())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _to_disk(path: Path) -> None:
    """Wait until a file, or what a folder lists, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
