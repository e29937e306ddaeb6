"""One scene of a catalog to colorize: that of an item, or that of a place and a date."""

import contextlib
import datetime
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath

import rasterio

from sar_keras.catalogs.assets import open_asset
from sar_keras.catalogs.fetch import write_image
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.items import Item, read_item
from sar_keras.catalogs.matching import Overflight, group
from sar_keras.catalogs.plan import clear_overflights, covered_by, find_radar
from sar_keras.catalogs.search import Catalog
from sar_keras.errors import DataError, parameter
from sar_keras.io import virtual
from sar_keras.io.bands import POLARISATIONS
from sar_keras.io.inputs import Input
from sar_keras.io.opening import open_raster

# One satellite comes back after 12 days, in the other direction earlier.
_DAYS_OF_SAR = 6
_DAYS_OF_REFERENCE = 45
_MOST_CLOUDS = 0.1


def scene_of_item(name: Path | str) -> Input:
    """The scene of a STAC item of Sentinel-1, in a file or at an address, on its own grid.

    Raises:
        DataError: it cannot be read, or is no item of SAR images.
    """
    item = read_item(name)
    bands = tuple(item.polarisations(POLARISATIONS))
    if not bands:
        what = f"has no asset of {', '.join(POLARISATIONS)}, but {', '.join(item.assets) or 'none'}"
        raise DataError(f"{item.id}: {what if item.is_sar else 'is no item of Sentinel-1'}")
    return Input(item.id, _place(item.id), functools.partial(_open, item, bands), is_product=True)


def _place(name: str) -> PurePath:
    """Where the colours of items belong. Whoever made them chose their ids, which must not lead out of the folder."""
    return PurePath(re.sub(r"[^\w.-]+", "_", name).lstrip(".") + ".tif")


def _open(item: Item, bands: tuple[str, ...]) -> rasterio.DatasetReader:
    with contextlib.ExitStack() as opened:
        rasters = [opened.enter_context(open_asset(item, band.lower())) for band in bands]
        document = virtual.stack(item.id, rasters, bands)
    return open_raster(document, item.id)


def bands_for(channels: int, trained_on: Sequence[str], band: int | str | None) -> tuple[str, ...]:
    """The polarisations that a model of so many bands needs: those that were asked for, or that it was trained on.

    Raises:
        DataError: the bands are asked for by number.
    """
    if band is not None:
        names = tuple(name.strip().upper() for name in str(band).split(","))
        if not set(names) <= set(POLARISATIONS):
            raise DataError(f"{parameter('band')} {band}: of a catalog's scene it is {', '.join(POLARISATIONS)}")
        return names
    return tuple(trained_on) if trained_on and set(trained_on) <= set(POLARISATIONS) else POLARISATIONS[:channels]


def fetch_scene(
    catalog: Catalog,
    ground: Ground,
    date: datetime.date,
    bands: tuple[str, ...],
    folder: Path,
    log: Callable[[str], object],
    progress: Callable[[int], object] = lambda pixels: None,
) -> Input:
    """Write the SAR image of a place that is the nearest to a date, and return it, called by the items that it is of.

    Raises:
        DataError: there is none within six days, or it cannot be read.
    """
    items = find_radar(catalog, ground, _around(date, _DAYS_OF_SAR), bands, log)
    found = [Overflight(one, covered_by(one, ground)) for one in group(items)]
    found = [one for one in found if one.covered.mean() >= 0.5 * max(each.covered.mean() for each in found)]
    nearest = min(found, key=lambda one: abs(one.time - _noon(date)))
    name = " ".join(item.id for item in nearest.items)
    log(f"{nearest.time:%Y-%m-%d %H:%M}, {nearest.items[0].orbit}: {name}")
    path = folder / f"{ground.name}_{nearest.time:%Y%m%d}.tif"
    write_image(path, list(nearest.items), ground, bands, progress)
    return Input(name, _place(name), functools.partial(open_raster, path), (path,), is_product=True)


def fetch_reference(
    catalog: Catalog,
    ground: Ground,
    date: datetime.date,
    folder: Path,
    log: Callable[[str], object],
    progress: Callable[[Iterable], Iterable] = iter,
) -> Path:
    """Write the clearest Sentinel-2 image of a place within 45 days of a date, and return its file.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    dates = _around(date, _DAYS_OF_REFERENCE)
    clear, failures = clear_overflights(catalog, ground, dates, _MOST_CLOUDS, log, progress)
    if not clear:
        raise DataError(
            failures[0]
            if failures
            else f"{catalog.name}: has no clear Sentinel-2 image of {dates} there; give a file as "
            f"{parameter('reference')}"
        )
    best = min(clear, key=lambda one: (-round(one.covered.mean(), 1), one.cloud_share, abs(one.time - _noon(date))))
    log(f"reference: {best.time:%Y-%m-%d}, {best.cloud_share:.0%} clouds: {' '.join(item.id for item in best.items)}")
    path = folder / f"{ground.name}_{best.time:%Y%m%d}_reference.tif"
    write_image(path, list(best.items), ground)
    return path


def _around(date: datetime.date, days: int) -> str:
    reach = datetime.timedelta(days=days)
    return f"{date - reach}/{date + reach}"


def _noon(date: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(date, datetime.time(12), datetime.timezone.utc)
