"""The pairs of a run: found where its configuration says, or drawn."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sar_keras.data import synthetic
from sar_keras.data.pairs import Found, Pair, find_pairs
from sar_keras.data.splits import split_pairs
from sar_keras.io.files import atomic
from sar_keras.terminal import progress_bar

if TYPE_CHECKING:
    from sar_keras.config import DataConfig

_DRAWN = 240  # procedural pairs where `data.limit` is null


@dataclasses.dataclass(frozen=True)
class Source:
    """What `sar_keras.config.DataConfig` says of where pairs are and how they are read, where pydantic is missing."""

    root: Path | None = None
    sar: Path | None = None
    optical: Path | None = None
    layout: str = "auto"
    sar_side: Literal["left", "right"] | None = None
    image_size: int = 256
    sar_bands: Sequence[int | str] | None = None
    optical_bands: Sequence[int | str] | None = None
    allow_outside: bool = False


def draw_pairs(data: "DataConfig", folder: Path, seed: int) -> None:
    """Draw the pairs of a procedural data set into `folder`/data, unless they are there already."""
    root = folder / "data"
    if data.layout != "synthetic" or root.is_dir():
        return
    with atomic(root) as temporary:
        progress = progress_bar("drawing", "scene")
        synthetic.write_pairs(temporary, data.limit or _DRAWN, seed, data.image_size, progress)


def find_source(
    data: "DataConfig | Source", folder: Path, progress: Callable[[Iterable], Iterable] = iter, must_exist: bool = True
) -> Found:
    """Find the pairs that a configuration names, without splits; procedural ones lie in `folder`/data.

    Raises:
        DataError: as `find_pairs`.
    """
    is_drawn = data.layout == "synthetic"
    return find_pairs(
        root=folder / "data" if is_drawn else data.root,
        layout="terrain" if is_drawn else data.layout,
        must_exist=must_exist,
        size=data.image_size,
        progress=progress,
        allow_outside=data.allow_outside,
        sar=data.sar,
        optical=data.optical,
        sar_side=data.sar_side,
    )


def folder_of_source(data: "DataConfig | Source", folder: Path) -> Path:
    """The folder that the names in a split file are relative to, so that the data may be moved."""
    return data.sar or data.root or folder / "data"


def pairs_of_run(data: "DataConfig", run: Path, progress: Callable[[Iterable], Iterable] = iter) -> list[Pair]:
    """The pairs of a run that has begun, each with the split that the run's split.csv gives it."""
    return split_pairs(find_source(data, run, progress).pairs, str(run / "split.csv"))
