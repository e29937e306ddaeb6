"""Items of one image, laid upon a ground: backscatter as gamma nought, and reflectance as colours."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from sar_keras.catalogs.assets import on_ground, open_asset, reading
from sar_keras.catalogs.classes import GROWTH, NO_DATA, clear
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.ground_range import Calibrated
from sar_keras.catalogs.items import CLASSES, COLOURS, Item
from sar_keras.io.nodata import is_measured
from sar_keras.io.reflectance import to_levels

_SIDE = 1024  # pixels of the windows that are read at once
_NO_BACKSCATTER = -32768.0
_QUANTIFICATION = 10_000  # digital numbers of Sentinel-2 that are a reflectance of 1


def windows(ground: Ground) -> list[Window]:
    """The parts of a ground that are read one after the other."""
    return [
        Window(column, row, min(_SIDE, ground.width - column), min(_SIDE, ground.height - row))
        for row in range(0, ground.height, _SIDE)
        for column in range(0, ground.width, _SIDE)
    ]


def read_backscatter(
    items: Sequence[Item], polarisations: tuple[str, ...], ground: Ground
) -> Iterator[tuple[Window, np.ndarray]]:
    """Gamma nought in linear power, window by window: (polarisations, h, w), float32, not-a-number without data.

    Where items overlap the first one counts.
    """
    with contextlib.ExitStack() as opened:
        layers = [[_backscatter(opened, item, name, ground) for name in polarisations] for item in items]
        for window in windows(ground):
            values = np.full((len(polarisations), int(window.height), int(window.width)), np.nan, "float32")
            for item, bands in zip(items, layers, strict=True):
                lacking = np.isnan(values).any(0)
                if not lacking.any():
                    break
                found = np.stack([_read(item, *band, window) for band in zip(polarisations, bands, strict=True)])
                # Power is never zero.
                lacking &= is_measured(found).all(0) & (found > 0).all(0)
                values[:, lacking] = found[:, lacking]
            yield window, values


def _backscatter(opened: contextlib.ExitStack, item: Item, polarisation: str, ground: Ground):
    source = opened.enter_context(open_asset(item, polarisation.lower()))
    if not item.is_terrain_corrected:
        return Calibrated(source, item, polarisation, ground)
    with reading(item, polarisation):
        return opened.enter_context(on_ground(source, ground, _NO_BACKSCATTER, Resampling.bilinear))


def read_colours(items: Sequence[Item], ground: Ground) -> Iterator[tuple[Window, np.ndarray]]:
    """True colours, window by window: (3, h, w), uint8, 0 where clouds or else hide the ground.

    Where items overlap the first one that sees the ground counts.
    """
    with contextlib.ExitStack() as opened:
        layers = []
        for item in items:
            bands = [opened.enter_context(open_asset(item, *names)) for names in (CLASSES, *COLOURS)]
            kinds = [Resampling.nearest, *[Resampling.bilinear] * len(COLOURS)]
            with reading(item, CLASSES[0]):
                layers.append(
                    [
                        opened.enter_context(on_ground(band, ground, NO_DATA, kind, GROWTH))
                        for band, kind in zip(bands, kinds, strict=True)
                    ]
                )
        for window in windows(ground):
            levels = np.zeros((len(COLOURS), int(window.height), int(window.width)), np.uint8)
            # The rasters have a margin around the ground.
            with_margin = Window(window.col_off, window.row_off, window.width + 2 * GROWTH, window.height + 2 * GROWTH)
            inside = Window(window.col_off + GROWTH, window.row_off + GROWTH, window.width, window.height)
            for item, (classes, *colours) in zip(items, layers, strict=True):
                lacking = clear(_read(item, CLASSES[0], classes, with_margin)) & (levels == 0).all(0)
                if not lacking.any():
                    continue
                named = zip(COLOURS, colours, strict=True)
                numbers = np.stack([_read(item, names[0], band, inside) for names, band in named]).astype("float32")
                lacking &= (numbers > 0).all(0)
                reflectance = (numbers - item.offset) / _QUANTIFICATION
                levels[:, lacking] = to_levels(reflectance[:, lacking])
            yield window, levels


def look_at_classes(items: Sequence[Item], ground: Ground) -> np.ndarray:
    """The scene classification of items at the size `ground.overview`; 0 where there is none."""
    classes = np.zeros(ground.overview, np.uint8)
    for item in items:
        with (
            open_asset(item, *CLASSES) as source,
            reading(item, CLASSES[0]),
            on_ground(source, ground, NO_DATA, Resampling.nearest) as raster,
        ):
            classes = np.where(classes == NO_DATA, raster.read(1, out_shape=ground.overview), classes)
    return classes


def _read(item: Item, name: str, band: WarpedVRT | Calibrated, window: Window) -> np.ndarray:
    with reading(item, name):
        return band.read(1, window=window)
