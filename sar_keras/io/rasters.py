"""SAR scenes as GDAL reads them."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.windows import Window

from sar_keras.errors import DataError, parameter
from sar_keras.io import images
from sar_keras.io.bands import Bands, choose_sar, polarisation
from sar_keras.io.nodata import UNITS_WITHOUT_ZERO, ZERO_REACH, is_measured, zero_areas
from sar_keras.io.opening import reading
from sar_keras.io.sar import Scale, check_units, guess_units

if TYPE_CHECKING:
    from sar_keras.io.inputs import Input

# Bytes of GDAL's block cache, which is a twentieth of the machine's memory by default.
CACHE = 32 * 2**20
_LARGEST_CACHE = 512 * 2**20
_SAMPLES, _SAMPLE = 16, 64
# Shares of the values that are zero, or beyond the range, above which something is wrong.
_FRAME, _CLIPPED = 0.25, 0.9
_SAMPLED = 2**16  # values that are kept of them


class SarScene:
    """A SAR raster as float32 in [-1, 1].

    Which bands, which units and which values become -1 and 1 is decided once, from samples over the whole scene, so
    that every window of it is scaled alike.

    Args:
        scene: What is read.
        channels: How many bands the model takes.
        scale: How the model's training data was scaled.
        trained_on: What the bands of its training data are called, as far as that is known.
        band: Number from 1, polarisation or name of the band to use, or several of them with commas between. None: as
            `sar_keras.io.bands.choose_sar` has it.
        units: "auto", or one of `sar_keras.io.sar.UNITS`.
        limits: Values that become -1 and 1, in `units` (decibel for "linear"). None: as the scale has them.

    Attributes:
        input: What is read.
        told: Band, units and limits as they were given.
        bands: Numbers of the bands, from 1.
        names: What they are called; empty where that is not known.
        height, width: Pixels.
        files: The local files that it is made of.
        samples: Values (n,) with data, from places spread over the scene.
        decision: A line for people: band, units, and what becomes -1 and 1.

    Raises:
        DataError: not a raster, no such band, complex values, nodata everywhere, or units that cannot be told.
    """

    def __init__(
        self,
        scene: "Input",
        channels: int,
        scale: Scale,
        trained_on: Sequence[str] = (),
        band: int | str | None = None,
        units: str = "auto",
        limits: tuple[float, float] | None = None,
    ):
        check_units(units)
        self.input, self.told = scene, (band, units, limits)
        self.source = scene.open()
        self.height, self.width = self.source.shape
        self.files = [Path(path) for path in dict.fromkeys([*map(str, scene.files), *self.source.files])]
        self.files = [path for path in self.files if os.path.exists(path)]
        try:
            with reading(scene.name):
                self._choose(channels, trained_on, band)
                self._decide(scale, units, limits)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.source.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _choose(self, channels: int, trained_on: Sequence[str], band: int | str | None) -> None:
        there = Bands.of(self.source)
        if not there.numbers:
            inside = f"; it holds {', '.join(self.source.subdatasets)}" if self.source.subdatasets else ""
            raise DataError(f"{self.input.name}: has no bands{inside}")
        if len(there.numbers) == 1 and not polarisation(there.names[0]):
            there = dataclasses.replace(there, names=(self.input.polarisation or there.names[0],))
        wanted = None if band is None else str(band).split(",")
        choice = choose_sar(self.input.name, there, channels, wanted, trained_on, parameter("band"))
        self.bands, self.names = list(choice.numbers), choice.names
        self._guessed = ["band"] if band is None and len(there.numbers) > 1 else []
        if band is None and channels == 1 and ColorInterp.red in self.source.colorinterp and not any(self.names):
            middle = Window((self.width - _SAMPLE) // 2, (self.height - _SAMPLE) // 2, _SAMPLE, _SAMPLE)
            inside = middle.intersection(Window(0, 0, self.width, self.height))
            images.warn_if_coloured(np.moveaxis(self.source.read(window=inside), 0, -1), self.input.name)

    def _decide(self, scale: Scale, units: str, limits: tuple[float, float] | None) -> None:
        kinds = {self.source.dtypes[band - 1] for band in self.bands}
        images.refuse_complex(self.input.name, kinds)
        self._scale = scale
        self._scaling = [(self.source.scales[band - 1], self.source.offsets[band - 1]) for band in self.bands]
        flags = [flag for band in self.bands for flag in self.source.mask_flag_enums[band - 1]]
        self._has_mask = any(flag != MaskFlags.all_valid for flag in flags)
        # GDAL takes an alpha band for a mask only where it holds integers.
        self._alpha = [band for band, kind in enumerate(self.source.colorinterp, start=1) if kind == ColorInterp.alpha]
        self._zero_is_nodata = False

        values = self._sample()
        self._guessed += ["units"] * (units == "auto") + ["limits"] * (limits is None)
        units = guess_units(values, scale) if units == "auto" else units
        if units == "db" and limits is None and not -100 < np.median(values) < 50:
            raise DataError(
                f"{self.input.name}: values about {np.median(values):.4g} are no decibels; say what they are by "
                f"{parameter('units')} and {parameter('limits')}"
            )
        self.units = units
        self.samples = values[:: max(1, values.size // _SAMPLED)]
        self._zero_is_nodata = units in UNITS_WITHOUT_ZERO
        low, high = (float(limit) for limit in limits or scale.limits(units, values))
        self.limits = low, high
        self._neutral = float(np.median(scale.to_unit(values, units, self.limits)))
        bands = f"band{'s' * (len(self.bands) > 1)} {', '.join(map(str, self.bands))}"
        if any(self.names):
            bands += f" ({', '.join(name or '?' for name in self.names)})"
        overruled = f"; change it by {', '.join(map(parameter, self._guessed))}" if self._guessed else ""
        self.decision = (
            f"{self.input.name}: {bands}, {self._meaning(kinds)} ({', '.join(kinds)}, {values.min():.4g} to "
            f"{values.max():.4g}); {low:.4g}..{high:.4g}{' dB' * (units in ('db', 'linear'))} to -1..1{overruled}"
        )

    def doubts(self) -> Iterator[str]:
        """Lines for people where a sample looks like a frame without data, or like other units than these."""
        zeros = float((self.samples == 0).mean())
        if self.units == "uint8" and zeros > _FRAME and not self._has_mask:
            yield (
                f"{self.input.name}: {zeros:.0%} of the values are 0 and count as dark ground; if they are no data, "
                "give the file a nodata value of 0"
            )
        low, high = self.limits
        # Three times as wide, the range itself is the middle third.
        wide = self._scale.to_unit(self.samples, self.units, (2 * low - high, 2 * high - low))
        beyond = float((np.abs(wide) > 0.334).mean())
        if beyond > _CLIPPED:
            yield (
                f"{self.input.name}: {beyond:.0%} of the values lie beyond {low:g}..{high:g}; look at "
                f"{parameter('units')} and {parameter('limits')}"
            )

    def _meaning(self, kinds: set[str]) -> str:
        """The units in words. Sentinel-1's GRD products are digital numbers of 16 bits, placed by control points."""
        is_raw = kinds == {"uint16"} and self.source.gcps[0] and set(self._scaling) == {(1.0, 0.0)}
        if self.units == "amplitude" and is_raw:
            return "raw digital numbers in radar geometry, which are not calibrated to sigma nought"
        return "linear power" if self.units == "linear" else self.units

    def _sample(self) -> np.ndarray:
        """Values (n,) with data, from windows spread over the scene; from all of it where it is small."""
        if self.height * self.width <= 1024**2:
            spread = [Window(0, 0, self.width, self.height)]
        else:
            rows, columns = (
                np.unique(np.linspace(0, max(0, size - _SAMPLE), min(_SAMPLES, -(-size // _SAMPLE))).astype(int))
                for size in (self.height, self.width)
            )
            spread = [Window(int(column), int(row), _SAMPLE, _SAMPLE) for row in rows for column in columns]
        samples = [self._data(window) for window in spread]
        values = np.concatenate(samples)
        if values.size == 0:
            blocks = (
                Window(column, row, 1024, 1024)
                for row in range(0, self.height, 1024)
                for column in range(0, self.width, 1024)
            )
            values = next((found for found in map(self._data, blocks) if found.size), values)
        if values.size == 0:
            raise DataError(f"{self.input.name}: holds no data: every pixel is nodata, zero or not a number")
        return values

    def _data(self, window: Window) -> np.ndarray:
        values, valid = self._read(window.intersection(Window(0, 0, self.width, self.height)))
        values = values[valid]
        return values.ravel() if values.dtype == np.uint8 else values[values != 0]

    def _read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Values (h, w, channels) as stored, and where all of them are data (h, w), inside the scene."""
        with reading(self.input.name):
            values = self.source.read(self.bands, window=window)
            valid = np.ones(values.shape[1:], bool)
            if self._has_mask:
                valid = self.source.read_masks(self.bands, window=window).all(0)
            if self._alpha:
                valid &= self.source.read(self._alpha, window=window).all(0)
        stored = values
        if any(scaling != (1.0, 0.0) for scaling in self._scaling):
            factors, offsets = np.array(self._scaling, np.float32).T[..., None, None]
            values = stored * factors + offsets
        valid &= is_measured(stored, values).all(0)
        if self._zero_is_nodata:
            valid &= ~zero_areas(values)
        return np.moveaxis(values, 0, -1), valid

    def read(self, column: int, row: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """A window, which may reach beyond the scene: there it is mirrored.

        Returns:
            SAR (height, width, channels), float32 in [-1, 1], with the scene's median where there is no data; and
            where there is data, bool (height, width).
        """
        rows, columns = mirrored(row, height, self.height), mirrored(column, width, self.width)
        ring = ZERO_REACH if self._zero_is_nodata else 0  # an area of zeros may reach into the window
        left, top = max(columns.min() - ring, 0), max(rows.min() - ring, 0)
        right, bottom = min(columns.max() + 1 + ring, self.width), min(rows.max() + 1 + ring, self.height)
        values, valid = self._read(Window(left, top, right - left, bottom - top))
        if ring or valid.shape != (height, width):  # else it lies inside the scene
            inside = np.ix_(rows - top, columns - left)
            values, valid = values[inside], valid[inside]
        if not valid.all():
            values = np.where(valid[..., None], values, np.zeros((), values.dtype))
        sar = self._scale.to_unit(values, self.units, self.limits)
        if not valid.all():
            sar[~valid] = self._neutral
        return sar, valid

    def value(self, column: int, row: int) -> np.ndarray:
        """The values (channels,) of a pixel, in `units`; not a number where there is no data."""
        values, valid = self._read(Window(column, row, 1, 1))
        return values[0, 0] if valid.all() else np.full(values.shape[-1], np.nan)

    def thumbnail(self, window: Window, height: int, width: int) -> np.ndarray:
        """The first band of a window at another size, (height, width), float32 in [-1, 1]; -1 without data."""
        with reading(self.input.name):
            values = self.source.read(
                self.bands[:1], window=window, out_shape=(1, height, width), masked=True, resampling=Resampling.average
            )
        factor, offset = self._scaling[0]
        scaled = values.data.astype("float32") * factor + offset
        missing = np.ma.getmaskarray(values) | ~is_measured(values.data, scaled)
        if self._zero_is_nodata:
            missing |= scaled == 0
        scaled[missing] = np.nan
        return self._scale.to_unit(np.moveaxis(scaled, 0, -1), self.units, self.limits)[..., 0]

    def cache_for(self, rows: int) -> int:
        """Bytes that GDAL's cache needs so that no block is decoded twice while windows of `rows` rows go across."""
        blocks = self.source.block_shapes[self.bands[0] - 1]
        if blocks[1] < self.width and self.source.driver != "VRT":  # whose files may hold whole rows
            return CACHE
        depth = sum(np.dtype(kind).itemsize for kind in self.source.dtypes)
        return int(np.clip(1.25 * (rows + blocks[0]) * self.width * depth, CACHE, _LARGEST_CACHE))


def mirrored(start: int, count: int, size: int) -> np.ndarray:
    """Positions start, start + 1 ... along an axis of `size` pixels, reflected at its ends as often as it takes."""
    period = max(2 * (size - 1), 1)
    positions = np.arange(start, start + count) % period
    return np.minimum(positions, period - positions) if size > 1 else np.zeros(count, int)


def is_georeferenced(scene: "Input") -> bool:
    """Whether GDAL opens it and it says where on Earth it lies."""
    with contextlib.suppress(DataError, PermissionError), scene.open() as source:
        return bool(source.crs or source.gcps[0] or not source.transform.is_identity)
    return False
