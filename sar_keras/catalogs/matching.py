"""Which SAR image belongs to which optical one: overflights, what each covers and shows, and the nearest in time."""

import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sar_keras.catalogs.items import Item

# Items of one satellite so near in time are of one overflight.
_ONE_OVERFLIGHT = datetime.timedelta(minutes=10)
# Shares of the ground: what a pair must cover at least; what counts as all of it; what is worth another image.
_LEAST_COVERED, _ALL, _WORTH = 0.5, 0.99, 0.01


@dataclasses.dataclass(frozen=True)
class Overflight:
    """What one satellite saw of the ground within some minutes.

    Attributes:
        items: Its images; where they overlap the first one counts, which is of the newest processing.
        covered: Where they cover the ground, bool, at the size `Ground.overview`.
        cloud_share: Of the ground that they cover, 0 to 1; None of SAR.
    """

    items: tuple[Item, ...]
    covered: np.ndarray = dataclasses.field(compare=False)
    cloud_share: float | None = None

    @property
    def time(self) -> datetime.datetime:
        return self.items[0].time

    @property
    def platform(self) -> str:
        return self.items[0].platform

    def days_from(self, other: "Overflight") -> float:
        return abs(self.time - other.time) / datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Match:
    """A SAR image and the optical ones that show its ground, the nearest in time first."""

    sar: Overflight
    optical: tuple[Overflight, ...]
    reference: Overflight | None = None

    @property
    def days(self) -> float:
        return max(self.sar.days_from(one) for one in self.optical)

    @property
    def cloud_share(self) -> float:
        return max(one.cloud_share or 0.0 for one in self.optical)


def group(items: Iterable[Item]) -> list[tuple[Item, ...]]:
    """The items of each overflight, in the order of time; of each the newest processing first."""
    groups: list[list[Item]] = []
    for item in sorted(items, key=lambda item: (item.platform, item.time)):
        last = groups[-1][-1] if groups else None
        if last and last.platform == item.platform and item.time - last.time < _ONE_OVERFLIGHT:
            groups[-1].append(item)
        else:
            groups.append([item])
    newest_first = [tuple(sorted(one, key=lambda item: (item.baseline, item.id), reverse=True)) for one in groups]
    return sorted(newest_first, key=lambda one: (one[0].time, one[0].id))


def match(sar: Sequence[Overflight], optical: Sequence[Overflight], most_days: float) -> list[Match]:
    """Pairs of overflights that cover half of the ground or more, the nearest in time first; each is in one pair.

    Where the nearest optical overflight does not cover all, the next ones within `most_days` fill what it leaves.
    """
    candidates = []
    for radar in sar:
        near = sorted((one for one in optical if one.days_from(radar) <= most_days), key=radar.days_from)
        # Each may be the first one, because another pair may take the nearest.
        for first in range(len(near)):
            chosen, covered = [], np.zeros_like(radar.covered)
            for one in near[first:]:
                if (one.covered & ~covered).mean() > _WORTH and covered.mean() < _ALL:
                    chosen.append(one)
                    covered |= one.covered
            if (covered & radar.covered).mean() >= _LEAST_COVERED:
                candidates.append(Match(radar, tuple(chosen)))
    candidates.sort(key=lambda pair: (round(pair.days, 1), pair.cloud_share, pair.sar.time))
    pairs: list[Match] = []
    for pair in candidates:
        if all(pair.sar is not other.sar and pair.optical[0] is not other.optical[0] for other in pairs):
            pairs.append(pair)
    return pairs


def with_references(pairs: Sequence[Match], optical: Sequence[Overflight]) -> list[Match]:
    """The pairs, each with the clearest image of another date that covers half of the ground, if there is one."""
    clearest = sorted(
        (one for one in optical if one.covered.mean() >= _LEAST_COVERED),
        key=lambda one: (round(one.cloud_share or 0.0, 2), one.time),
    )
    found = []
    for pair in pairs:
        dates = {one.time.date() for one in pair.optical}
        reference = next((one for one in clearest if one.time.date() not in dates), None)
        found.append(dataclasses.replace(pair, reference=reference))
    return found


def file_name(kind: str, overflights: Sequence[Overflight], *about: str) -> str:
    """A name that tells kind and time, and differs where the items or what else is told of an image differ."""
    told = [*(item.id for one in overflights for item in one.items), *about]
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:6]
    return f"{overflights[0].time:%Y%m%dT%H%M%S}_{kind}_{digest}.tif"
