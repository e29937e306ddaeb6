"""Fetches pairs of a place into a folder that `sar-keras fit --data` takes as it is.

`DIR/<place>/...tif` are the images on one grid, `DIR/scenes.csv` names the pairs of all places that were fetched there.
What is there whole is not fetched again: a file gets its name when it is finished.
"""

import csv
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio

from sar_keras.catalogs import images
from sar_keras.catalogs.assets import one_at_a_time
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.items import Item
from sar_keras.catalogs.plan import AT_ONCE, Image, Plan, Row
from sar_keras.errors import DataError, SomeFailed
from sar_keras.io import geotiffs
from sar_keras.io.files import atomic, remove_leftovers
from sar_keras.io.reflectance import STRETCH, tags_of

MANIFEST = "scenes.csv"


def fetch(
    plan: Plan,
    folder: Path,
    polarisations: tuple[str, ...],
    licence: Callable[[Item], str] = lambda item: "",
    progress: Callable[[int], object] = lambda pixels: None,
    log: Callable[[str], object] = lambda line: None,
) -> list[Row]:
    """Write the images of a plan that are not in the folder yet, and the pairs that are whole into its scenes.csv.

    Args:
        plan: What to fetch.
        folder: Where to.
        polarisations: Names of the SAR bands.
        licence: From an item to its licence.
        progress: Called with the pixels that were written since the last call, also from other threads.
        log: Called with lines for people: what differs from the pairs of other places in the folder.

    Returns:
        The pairs that are whole.

    Raises:
        SomeFailed: some images could not be fetched, or looked at; the others are.
        OutputError: the folder cannot be written.
    """
    place = folder / plan.ground.name
    place.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place)
    missing = [image for image in plan.images if not (folder / image.path).exists()]
    progress(plan.ground.width * plan.ground.height * (len(plan.images) - len(missing)))
    failures = [*plan.failures, *_write_all(missing, plan.ground, folder, polarisations, progress)]
    whole = [row for row in plan.rows if (folder / row.sar.path).exists() and (folder / row.optical.path).exists()]
    if whole:
        rows = [_about(row, plan.ground, folder, licence) for row in whole]
        _warn_of_mixed(rows, _write_manifest(folder, rows), log)
    if failures:
        others = f", {len(whole)} of {len(plan.rows)} pairs are whole" if plan.rows else ""
        raise SomeFailed(f"{len(failures)} images could not be fetched{others}:\n  " + "\n  ".join(failures))
    return whole


def _write_all(missing: list[Image], ground: Ground, folder: Path, polarisations, progress) -> list[str]:
    """Write images, a few at a time; a line for each that fails."""
    stop = threading.Event()

    def report(pixels: int) -> None:
        if stop.is_set():
            raise DataError("stopped")
        progress(pixels)

    def write(image: Image) -> str | None:
        try:
            write_image(folder / image.path, image.items, ground, polarisations if image.is_sar else None, report)
        except DataError as error:
            return str(error)
        return None

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return [line for line in pool.map(write, missing) if line]
    finally:
        # Ctrl-C: those under way end at their next window, and leave nothing.
        stop.set()
        pool.shutdown(cancel_futures=True)


def write_image(
    path: Path,
    items: list[Item],
    ground: Ground,
    polarisations: tuple[str, ...] | None = None,
    progress: Callable[[int], object] = lambda pixels: None,
) -> None:
    """Write an image of a ground, whole or not at all.

    Args:
        path: The GeoTIFF.
        items: What it is made of.
        ground: Its grid.
        polarisations: The SAR bands: gamma nought in linear power, float32, not-a-number without data. None: true
            colours, uint8, 0 without data.
        progress: Called with the pixels that were written since the last call.

    Raises:
        DataError: an item cannot be read, or the image has no data.
        OutputError: it cannot be written.
    """
    names = polarisations or ("red", "green", "blue")
    tags = {"ITEMS": " ".join(item.id for item in items)}
    if polarisations:
        tags |= {"BACKSCATTER": "gamma nought, linear power"}
        profile = {"dtype": "float32", "nodata": np.nan, "predictor": 3}
    else:
        tags |= tags_of(STRETCH)
        profile = {"dtype": "uint8", "nodata": 0, "predictor": 2, "photometric": "RGB", "interleave": "pixel"}
    profile |= {"driver": "GTiff", "width": ground.width, "height": ground.height, "count": len(names)}
    profile |= {"crs": ground.crs, "transform": ground.transform, "compress": "DEFLATE", "bigtiff": "IF_SAFER"}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    seen = False
    with atomic(path) as temporary, one_at_a_time():
        with geotiffs.writing(path):
            file = rasterio.open(temporary, "w", **profile)
        try:
            file.descriptions = names
            file.update_tags(**tags)
            parts = (
                images.read_backscatter(items, polarisations, ground)
                if polarisations
                else images.read_colours(items, ground)
            )
            for window, values in parts:
                seen = seen or bool((values > 0).any())
                with geotiffs.writing(path):
                    file.write(values, window=window)
                progress(int(window.width * window.height))
        finally:
            with geotiffs.writing(path):
                file.close()
        if not seen:
            raise DataError(f"{items[0].id}: shows nothing of this place: no data, or clouds everywhere")


def _about(row: Row, ground: Ground, folder: Path, licence: Callable[[Item], str]) -> dict[str, str]:
    """What scenes.csv says of a pair."""
    sar, optical = row.pair.sar, row.pair.optical
    reference = row.reference if row.reference and (folder / row.reference.path).exists() else None
    shown = [item for one in optical for item in one.items]
    everything = [*sar.items, *shown, *(reference.items if reference else [])]
    return {
        "sar": row.sar.path.as_posix(),
        "optical": row.optical.path.as_posix(),
        # The place: what must not stand in two splits.
        "scene": ground.name,
        "reference": reference.path.as_posix() if reference else "",
        "sar_date": f"{sar.time:%Y-%m-%dT%H:%M:%SZ}",
        "optical_date": f"{optical[0].time:%Y-%m-%dT%H:%M:%SZ}",
        "days_apart": f"{row.pair.days:.2f}",
        "sar_platform": sar.platform,
        "sar_product": "RTC" if sar.items[0].is_terrain_corrected else "GRD",
        "orbit": sar.items[0].orbit,
        "relative_orbit": str(sar.items[0].relative_orbit or ""),
        "optical_platform": _each(one.platform for one in optical),
        "processing_baseline": _each(item.baseline for item in shown),
        "cloud_share": f"{row.pair.cloud_share:.3f}",
        "reference_date": f"{reference.overflights[0].time:%Y-%m-%dT%H:%M:%SZ}" if reference else "",
        "sar_items": _each(item.id for item in sar.items),
        "optical_items": _each(item.id for item in shown),
        "reference_items": _each(item.id for item in reference.items) if reference else "",
        "licences": _each(map(licence, everything), "; "),
    }


def _each(values, between: str = " ") -> str:
    return between.join(dict.fromkeys(filter(None, values)))


def _warn_of_mixed(rows: list[dict[str, str]], all_rows: list[dict[str, str]], log: Callable[[str], object]) -> None:
    """Tell in what the rows of a place differ from those of other places; what differs within it is told before."""
    for column in ("orbit", "sar_platform", "sar_product"):
        own, there = ({row.get(column) for row in each} - {None, ""} for each in (rows, all_rows))
        if own < there and len(there) > 1:
            log(f"warning: {MANIFEST} mixes SAR images of other places, {column}: {', '.join(sorted(map(str, there)))}")


def _write_manifest(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Add rows to scenes.csv, in the place of those of the same SAR image; of others those whose files are there.

    Returns all of its rows.
    """
    path = folder / MANIFEST
    try:
        with path.open(newline="", encoding="utf-8") as file:
            before = {row["sar"]: row for row in csv.DictReader(file)}
    except FileNotFoundError:
        before = {}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no manifest of scenes; move it away") from error
    kept = {name: row for name, row in before.items() if (folder / name).exists()}
    merged = kept | {row["sar"]: row for row in rows}
    columns = list(dict.fromkeys(name for row in [*rows, *merged.values()] for name in row))
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(merged.values())
    return list(merged.values())
