"""What there is of a place and its dates, and which of it is worth fetching."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sar_keras.catalogs.assets import one_at_a_time
from sar_keras.catalogs.classes import NO_DATA, hidden
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.images import look_at_classes
from sar_keras.catalogs.items import CLASSES, COLOURS, Item
from sar_keras.catalogs.matching import Match, Overflight, file_name, group, match, with_references
from sar_keras.catalogs.search import GRD, OPTICAL, RTC, Catalog
from sar_keras.errors import DataError, parameter

# Requests at a time.
AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What images are wanted of a ground.

    Attributes:
        dates: First and last day, such as "2024-06-01/2024-08-31".
        pairs: At most so many; None: all.
        most_days: Between the two images of a pair, at most.
        most_clouds: The largest share of an optical image that clouds, shadows and snow may hide, 0 to 1.
        orbit: "ascending", "descending" or "both"; None: that of the two with the more images.
        polarisations: Names of the SAR bands.
    """

    dates: str
    pairs: int | None = None
    most_days: float = 3.0
    most_clouds: float = 0.1
    orbit: str | None = None
    polarisations: tuple[str, ...] = ("VV", "VH")


@dataclasses.dataclass(frozen=True)
class Image:
    """A file to write: the items that it is made of, and where it lies below the folder."""

    path: Path
    overflights: tuple[Overflight, ...]
    is_sar: bool

    @property
    def items(self) -> list[Item]:
        return [item for one in self.overflights for item in one.items]


@dataclasses.dataclass(frozen=True)
class Row:
    """A pair, and the files that it becomes."""

    pair: Match
    sar: Image
    optical: Image
    reference: Image | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be fetched.

    Attributes:
        ground: Of this place.
        rows: The pairs.
        failures: A line for each image that could not be looked at.
    """

    ground: Ground
    rows: list[Row]
    failures: list[str]

    @property
    def images(self) -> list[Image]:
        """All files, each once."""
        named = [image for row in self.rows for image in (row.sar, row.optical, row.reference) if image]
        return list({image.path: image for image in named}.values())


def make_plan(
    catalog: Catalog,
    ground: Ground,
    wanted: Wanted,
    log: Callable[[str], object],
    progress: Callable[[Iterable], Iterable] = iter,
) -> Plan:
    """Search for what is wanted, and match it.

    Args:
        catalog: Where.
        ground: The place.
        wanted: What.
        log: Called with lines for people: what is left out, and why.
        progress: Wraps the iteration over the optical images whose clouds are looked at.

    Raises:
        DataError: there are no images, or no two that fit together.
    """
    radar = find_radar(catalog, ground, wanted.dates, wanted.polarisations, log)
    radar = _of_one_direction(radar, wanted.orbit, log)
    sar = [Overflight(one, covered_by(one, ground)) for one in group(radar)]
    log(f"{len(sar)} overflights of Sentinel-1")
    clear, failures = clear_overflights(catalog, ground, wanted.dates, wanted.most_clouds, log, progress)
    pairs = match(sar, clear, wanted.most_days)
    if not pairs and not failures:
        raise DataError(
            f"{catalog.name}: of {len(sar)} SAR and {len(clear)} clear optical images no two that cover half of the "
            f"place lie within {wanted.most_days:g} days; give more {parameter('dates')}, "
            f"{parameter('most_days')} or {parameter('most_clouds')}"
        )
    chosen = sorted(pairs[: wanted.pairs], key=lambda pair: pair.sar.time)
    _warn_of_mixed(chosen, log)
    return Plan(ground, _rows(with_references(chosen, clear), ground, wanted.polarisations), failures)


def find_radar(
    catalog: Catalog,
    ground: Ground,
    dates: str,
    polarisations: tuple[str, ...],
    log: Callable[[str], object],
) -> list[Item]:
    """The items of Sentinel-1 that have the polarisations: terrain-corrected ones, or else GRD.

    Raises:
        DataError: there are none.
    """
    found = catalog.find(RTC, ground.box, dates, log) if catalog.has(RTC) else []
    if not found:
        found = catalog.find(GRD, ground.box, dates, log)
        if found:
            log(
                f"warning: {catalog.name} has no terrain-corrected Sentinel-1 images (RTC) there: GRD is taken, whose "
                "slopes are displaced and too bright or too dark; on flat ground it is as good"
            )
    # Wide swaths (EW) are of another resolution, and land is seen in IW.
    of_land = [item for item in found if item.properties.get("sar:instrument_mode", "IW") == "IW"]
    if len(of_land) < len(found):
        log(f"left out: {len(found) - len(of_land)} SAR images of another mode than IW")
    found = of_land
    usable = [item for item in found if len(item.polarisations(polarisations)) == len(polarisations)]
    if not usable:
        lacking = f" with {' and '.join(polarisations)} ({parameter('polarisations')})" if found else ""
        raise DataError(f"{catalog.name}: has no Sentinel-1 images{lacking} of {dates} there")
    if len(usable) < len(found):
        log(f"left out: {len(found) - len(usable)} SAR images without {' and '.join(polarisations)}")
    return usable


def _of_one_direction(items: list[Item], orbit: str | None, log: Callable[[str], object]) -> list[Item]:
    """The items of passes in one direction, because light falls from another side in the other."""
    if orbit == "both":
        return items
    counts = Counter(item.orbit or "unknown" for item in items)
    chosen = orbit or counts.most_common(1)[0][0]
    if len(counts) > 1:
        said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        log(f"SAR images: {said}; taken: {chosen} ({parameter('orbit')} tells another, or both)")
    kept = [item for item in items if (item.orbit or "unknown") == chosen]
    if not kept:
        raise DataError(f"there are no {chosen} passes, but {len(items)} others ({parameter('orbit')})")
    return kept


def _usable(items: list[Item], check: Callable[[Item], object], log: Callable[[str], object]) -> list[Item]:
    usable = []
    for item in items:
        try:
            check(item)
            usable.append(item)
        except DataError as error:
            log(f"left out: {error}")
    return usable


def _check_optical(item: Item) -> None:
    _ = item.offset
    for names in (CLASSES, *COLOURS):
        item.asset(*names)


def covered_by(items: Sequence[Item], ground: Ground) -> np.ndarray:
    """Where the outlines of items cover a ground, bool, at the size `Ground.overview`."""
    return np.any([ground.within(item.geometry) for item in items], axis=0)


def clear_overflights(
    catalog: Catalog,
    ground: Ground,
    dates: str,
    most_clouds: float,
    log: Callable[[str], object],
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[list[Overflight], list[str]]:
    """Overflights of Sentinel-2 that show the ground, and a line for each that cannot be looked at.

    Clouds are counted twice, over the whole image, by the item, and over the ground, by the classification.
    """
    items = _usable(catalog.find(OPTICAL, ground.box, dates, log), _check_optical, log)
    cloudy = [item for item in items if item.cloud_share > most_clouds]
    groups = group(item for item in items if item not in cloudy)
    looked, failures = _look(groups, ground, progress)
    clear = [one for one in looked if (one.cloud_share or 0.0) <= most_clouds]
    log(
        f"{len(groups)} overflights of Sentinel-2; left out for clouds ({parameter('most_clouds')}): {len(cloudy)} "
        f"images as a whole, {len(looked) - len(clear)} overflights over this place"
    )
    return clear, failures


def _look(
    groups: list[tuple[Item, ...]], ground: Ground, progress: Callable[[Iterable], Iterable]
) -> tuple[list[Overflight], list[str]]:
    def look(items: tuple[Item, ...]) -> Overflight | DataError:
        try:
            with one_at_a_time():
                classes = look_at_classes(items, ground)
        except DataError as error:
            return error
        covered = classes != NO_DATA
        return Overflight(items, covered, float(hidden(classes)[covered].mean()) if covered.any() else 0.0)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        looked = [future.result() for future in progress([pool.submit(look, items) for items in groups])]
    finally:
        pool.shutdown(cancel_futures=True)
    failures = [str(error) for error in looked if isinstance(error, DataError)]
    return [one for one in looked if isinstance(one, Overflight)], failures


def _warn_of_mixed(pairs: list[Match], log: Callable[[str], object]) -> None:
    platforms = sorted({pair.sar.platform for pair in pairs})
    if len(platforms) > 1:
        log(f"warning: images of {' and '.join(platforms)}, whose levels differ a little; scenes.csv names them")


def _rows(pairs: list[Match], ground: Ground, polarisations: tuple[str, ...]) -> list[Row]:
    folder = Path(ground.name)

    def optical(overflights: tuple[Overflight, ...]) -> Image:
        return Image(folder / file_name("S2_RGB", overflights), overflights, is_sar=False)

    rows = []
    for pair in pairs:
        sar = Image(folder / file_name("S1_GAMMA0", [pair.sar], *polarisations), (pair.sar,), is_sar=True)
        rows.append(Row(pair, sar, optical(pair.optical), optical((pair.reference,)) if pair.reference else None))
    return rows


def table(plan: Plan) -> str:
    """What would be fetched, for people: dates, distance, orbit, satellite, clouds, and the size of all."""
    lines = [f"{'SAR':16}  {'optical':16}  {'days':>5}  {'orbit':>15}  {'clouds':>6}  reference"]
    for row in plan.rows:
        first, item = row.pair.optical[0], row.pair.sar.items[0]
        orbit = " ".join(filter(None, [item.orbit, str(item.relative_orbit or "")]))
        reference = f"{row.pair.reference.time:%Y-%m-%d}" if row.pair.reference else "none"
        lines.append(
            f"{row.pair.sar.time:%Y-%m-%d %H:%M}  {first.time:%Y-%m-%d %H:%M}  {row.pair.days:5.1f}  {orbit:>15}  "
            f"{row.pair.cloud_share:6.0%}  {reference}"
        )
    return "\n".join(lines)


def size_of(plan: Plan, bands: int) -> int:
    """Bytes of the files before they are compressed."""
    pixels = plan.ground.width * plan.ground.height
    return sum(pixels * (4 * bands if image.is_sar else len(COLOURS)) for image in plan.images)
