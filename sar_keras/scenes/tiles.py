"""The windows of a scene through the network, blended, in memory that does not grow with the scene.

Three things happen at a time: a thread reads and scales the next windows, the network works on the present ones, and
another thread blends and writes the last ones.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rasterio.windows import Window

from sar_keras.inference.detail import REACH, add_detail, fine_structure
from sar_keras.io.ahead import ahead
from sar_keras.io.rasters import SarScene
from sar_keras.scenes.hints import SceneHint
from sar_keras.scenes.unfinished import Unfinished

_GRID = 64  # pixels; the windows of an area begin at a multiple of it, of the scene's, less half an overlap


@dataclasses.dataclass(frozen=True)
class Tile:
    """A window of the network: where it lies in the output (its first pixels may lie outside), and its size."""

    column: int
    row: int
    width: int
    height: int


def tile_positions(length: int, tile: int, overlap: int, patch: int, multiple: int) -> list[tuple[int, int]]:
    """(first pixel, size) of the windows along one side of a scene, all of one size, because an engine prepares for it.

    They begin and end half an overlap outside, or more, where the scene is mirrored, to keep the frame that padded
    convolutions draw out of the picture. They are as few as windows of `tile` pixels would be, and as small as so many
    may be: multiples of `multiple`. What fits into one patch is one, without a margin, as in training.
    """
    if length <= patch:
        return [(0, patch)]
    margin = overlap // 2
    needed = length + 2 * margin
    count = 1 + max(0, -(-(needed - tile) // (tile - overlap)))
    size = max(-(-(needed + (count - 1) * overlap) // count), patch, 2 * overlap)
    size = -(-size // multiple) * multiple
    return [(-margin + n * (size - overlap), size) for n in range(count)]


def tile_rows(area: Window, tile: int, overlap: int, patch: int, multiple: int) -> list[list[Tile]]:
    """The windows of an area, of at most `tile` pixels a side, all of one shape, that share `overlap`.

    They lie on a grid of the scene's, because a network that halves images answers a little otherwise beside it.
    """
    spans = []
    for first, side in ((area.col_off, area.width), (area.row_off, area.height)):
        before = int(first) % _GRID
        positions = tile_positions(before + int(side), tile, overlap, patch, multiple)
        spans.append([(start - before, size) for start, size in positions])
    columns, rows = spans
    return [[Tile(column, row, width, height) for column, width in columns] for row, height in rows]


class _Blend:
    """Joins windows, row by row and from left to right, with raised-cosine weights, and keeps the overlaps only.

    The weights of two windows add up to one everywhere, so that nothing needs to be divided in the end.
    """

    def __init__(self, overlap: int, below: np.ndarray):
        self.overlap = overlap
        self.rising = (0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))).astype("float32")
        self.right: np.ndarray | None = None  # (height, overlap, bands): what the window on the left gives to the next
        self.below = below  # (overlap, width, bands): what the rows above give to the next; changed in place

    def add(self, values: np.ndarray, column: int, first_row: bool, last_row: bool, last_column: bool) -> np.ndarray:
        """Take the next window (h, w, bands), which is changed, and give back its finished part, the upper left.

        `column` counts from the left border of the first window.
        """
        shared, rising = self.overlap, self.rising
        if self.right is not None:
            values[:, :shared] = values[:, :shared] * rising[:, None] + self.right
        self.right = None
        if not last_column:
            width = values.shape[1] - shared
            self.right = values[:, width:] * rising[::-1, None]
            values = values[:, :width]
        between = self.below[:, column : column + values.shape[1]]
        if not first_row:
            values[:shared] = values[:shared] * rising[:, None, None] + between
        if not last_row:
            height = values.shape[0] - shared
            between[:] = values[height:] * rising[::-1, None, None]
            values = values[:height]
        return values


def colorize_tiles(
    network: Callable,
    scene: SarScene,
    area: Window,
    rows: list[list[Tile]],
    overlap: int,
    batch: int,
    partial: Unfinished,
    progress: Callable[[int], object],
    detail: float,
    hints: SceneHint,
) -> None:
    """Bring the rows of windows that are not finished yet through the network and into the partial file.

    Args:
        network: SAR (N, H, W, channels) and hint, or None, to grey levels of 0..255, (N, H, W, bands), float32.
        scene: The scene that is read.
        area: The part of it to colorize.
        rows: From `tile_rows`.
        overlap: Pixels that neighbouring windows share.
        batch: Windows a call of the network.
        partial: The file that is written; it says which rows are finished.
        progress: Called with the number of pixels done since the last call.
        detail: How much fine structure of the SAR comes into the lightness, 0 to 1.
        hints: The hint, if there is one.
    """
    first, last = rows[0][0], rows[-1][-1]
    below = partial.below
    if below is None:
        below = np.zeros((overlap, last.column + last.width - first.column, partial.bands), "float32")
    blend = _Blend(overlap, below)

    # Windows are read as far around as the fine structure of their pixels depends on, so that it is the same in each.
    margin = REACH if detail else 0

    def read(places):
        windows = []
        for place in places:
            column, row = area.col_off + place.column - margin, area.row_off + place.row - margin
            sar, valid = scene.read(column, row, place.width + 2 * margin, place.height + 2 * margin)
            fine = detail * fine_structure(sar, valid, margin) if detail else None
            inside = slice(margin, margin + place.height), slice(margin, margin + place.width)
            where = column + margin, row + margin, place.width, place.height
            windows.append((place, sar[inside], hints.read(*map(int, where)), valid[inside], fine))
        return windows

    def compute(windows):
        chosen = [index for index, (_, _, _, valid, _) in enumerate(windows) if valid.any()]
        if not chosen:
            return windows, {}
        hint = None if windows[0][2] is None else _stacked([windows[index][2] for index in chosen])
        values = network(_stacked([windows[index][1] for index in chosen]), hint)
        return windows, dict(zip(chosen, values, strict=True))

    def write(computed):
        windows, values = computed
        pixels = 0
        for index, (place, _, _, valid, fine) in enumerate(windows):
            ends_row = place.column == last.column
            new = values.get(index)
            if new is None:
                new = np.zeros((place.height, place.width, partial.bands), "float32")
            elif fine is not None:
                new[..., :3] = add_detail(new[..., :3], fine)
            rows_at_edge = place.row == first.row, place.row == last.row
            finished = blend.add(new, place.column - first.column, *rows_at_edge, ends_row)
            top, left = max(-place.row, 0), max(-place.column, 0)
            bottom = min(finished.shape[0], int(area.height) - place.row)
            right = min(finished.shape[1], int(area.width) - place.column)
            inside = slice(top, bottom), slice(left, right)
            if valid[inside].any():
                partial.write(place.column + left, place.row + top, finished[inside], valid[inside])
            pixels += max(bottom - top, 0) * max(right - left, 0)
            if ends_row:
                partial.finish_row(blend.below)
        return pixels

    if partial.rows:
        top = rows[partial.rows][0].row if partial.rows < len(rows) else int(area.height)
        progress(max(top, 0) * int(area.width))
    groups = [row[n : n + batch] for row in rows[partial.rows :] for n in range(0, len(row), batch)]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        computed = map(compute, ahead(reader, read, groups))
        for pixels in ahead(writer, write, computed):
            progress(pixels)


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    """Images as one array, without a copy of a single one."""
    return images[0][None] if len(images) == 1 else np.stack(images)
