"""The hint of a scene, read window by window and warped to its grid."""

import contextlib
import dataclasses
import functools
import itertools
import os
import warnings
from pathlib import Path

import numpy as np

from sar_keras.errors import DataError
from sar_keras.hint_planes import compose_hint, has_data
from sar_keras.inference.hints import (
    Hint,
    check_is_rgb,
    image_hint,
    likeness_of_dates,
    to_unit,
    warn_of_grey,
    warn_of_other_ground,
)
from sar_keras.inference.network import Network
from sar_keras.io.bands import Bands, choose_optical
from sar_keras.io.files import path_or_name
from sar_keras.io.images import is_grey
from sar_keras.io.inputs import single
from sar_keras.io.opening import reading
from sar_keras.io.rasters import SarScene
from sar_keras.io.warped import covered, open_on_grid, read_mirrored, sampled

_WINDOW = 256  # pixels a side, of what is looked at


class SceneHint:
    """The planes of a hint for windows of a scene. Without a hint they are 0.

    Attributes:
        hint: What is given, or None.
        said: For people: what it is, and how much of the scene it covers.
        files: Its files.

    Raises:
        DataError: a file of the hint cannot be read, is not RGB of 8 bits, or does not overlap the scene.
    """

    def __init__(self, network: Network, hint: Hint | None, scene: SarScene):
        self._network, self.hint = network, hint
        self._opened = contextlib.ExitStack()
        self.files: list[Path] = []
        self.said = hint.said if hint else "none"
        self._sar: SarScene | None = None
        # The same for all windows of a shape.
        self._everywhere = functools.lru_cache(2)(functools.partial(image_hint, network, hint))
        if hint is None or hint.kind == "palette":
            return
        with self._opened as opened:
            self._image = opened.enter_context(self._open(hint.image, scene, black_is_empty=True))
            share = covered(self._image)
            self.said += f", which covers {share:.0%} of the scene" if share < 0.995 else ""
            self._bands = list(choose_optical(hint.image, Bands.of(self._image), None).numbers)
            for band in self._bands:
                check_is_rgb(str(hint.image), self._image.dtypes[band - 1], self._image.count)
            pixels = sampled(self._image, self._bands)
            if pixels.size and is_grey(pixels):
                warn_of_grey(str(hint.image))
            self._mask = None
            if hint.mask is not None:
                self._mask = opened.enter_context(self._open(hint.mask, scene, is_mask=True))
            if hint.sar is not None:
                metadata = network.metadata
                if not isinstance(hint.sar, str | os.PathLike):
                    raise DataError("the SAR image of another date of a scene is one file, with all its bands")
                given, sar = single(path_or_name(os.fspath(hint.sar))), self._open(hint.sar, scene)
                warped = dataclasses.replace(given, open=lambda: sar)
                band, units, limits = scene.told
                band = band if len(Bands.of(sar).numbers) > network.channels else None  # else there is no choice
                scale, trained_on = metadata.sar_scale, metadata.sar_bands
                self._sar = SarScene(warped, network.channels, scale, trained_on, band, units, limits)
                opened.enter_context(self._sar)
                share = covered(sar)
                self.said += f", whose SAR image covers {share:.0%}" if share < 0.995 else ""
                if self._sar.units == scene.units:  # one scale, so that the two dates can be compared
                    self._sar.limits = scene.limits
            self._opened = opened.pop_all()

    def _open(self, path, scene: SarScene, is_mask: bool = False, black_is_empty: bool = False):
        if not isinstance(path, str | os.PathLike):
            raise DataError("the hint of a scene is a file: give its path")
        name = path_or_name(os.fspath(path))
        raster = open_on_grid(name, scene.source, scene.input.name, is_mask, black_is_empty)
        self.files.append(Path(path))
        return raster

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._opened.close()

    def compare_dates(self, scene: SarScene) -> None:
        """Warn where the SAR image of the other date has other units or, by 16 windows, seems to show other ground."""
        if self._sar is None:
            return
        name = self._sar.input.name
        if self._sar.units != scene.units:
            warnings.warn(
                f"{name}: is read as {self._sar.units}, the scene as {scene.units}: each is scaled by itself, "
                "so changes between the dates may not be seen",
                stacklevel=3,
            )
        width, height = min(_WINDOW, scene.width), min(_WINDOW, scene.height)
        columns, rows = (
            np.unique(np.linspace(0, room, 4).astype(int)).tolist()
            for room in (scene.width - width, scene.height - height)
        )
        found = []
        for row, column in itertools.product(rows, columns):
            sar, valid = scene.read(column, row, width, height)
            other, other_valid = self._sar.read(column, row, width, height)
            found += likeness_of_dates(sar, other, valid & other_valid)
        warn_of_other_ground(found, name)

    def read(self, column: int, row: int, width: int, height: int) -> np.ndarray | None:
        """(height, width, hint_channels), of a window that may reach beyond the scene; None without a hint."""
        hint = self.hint
        if hint is None or hint.kind == "palette":
            return self._everywhere(height, width)
        window = column, row, width, height
        with reading(str(hint.image)):
            levels, valid = read_mirrored(self._image, self._bands, *window)
            if self._mask:
                cloudy, known = read_mirrored(self._mask, [1], *window)
                valid &= ~(known & (cloudy[..., 0] != 0))
        levels = np.repeat(levels[..., :1], 3, -1) if levels.shape[-1] < 3 else levels
        rgb = to_unit(levels)
        valid &= has_data(rgb)[..., 0]
        sar = where = None
        if self._sar:
            sar, where = self._sar.read(*window)
        where = None if where is None else where[..., None]
        return compose_hint(rgb, hint.kind, valid[..., None], sar, where, self._network.channels)
