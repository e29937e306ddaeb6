import datetime

import numpy as np
import pytest

from sar_keras.catalogs.items import Item
from sar_keras.catalogs.matching import Overflight, file_name, group, match, with_references

WEST = np.arange(8)[None].repeat(8, 0) < 5
EAST, ALL = ~WEST, np.ones((8, 8), bool)


def item(name, day, platform="sentinel-2a", minutes=0, **properties):
    time = datetime.datetime(2024, 6, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(day, minutes * 60)
    return Item(name, time, platform, {}, properties, {})


def seen(name, day, covered=ALL, clouds=0.0):
    return Overflight((item(name, day),), covered, clouds)


def ids(overflights):
    return [one.items[0].id for one in overflights]


def test_one_overflight_is_one_satellite_within_minutes_the_newest_processing_first():
    baseline = {"s2:processing_baseline": "05.10"}
    items = [
        item("b", 1, minutes=9),
        item("a", 1, **{"s2:processing_baseline": "02.14"}),
        item("a again", 1, **baseline),
        item("other satellite", 1, "sentinel-2b"),
        item("next day", 2),
    ]
    groups = [[one.id for one in items] for items in group(items)]
    assert sorted(map(sorted, groups)) == [["a", "a again", "b"], ["next day"], ["other satellite"]]
    assert groups[1 - groups.index(["other satellite"])][0] == "a again" and groups[-1] == ["next day"]


def test_the_nearest_in_time_is_on_top_and_the_next_ones_fill_the_rest():
    radar = seen("S1", 10)
    (pair,) = match([radar], [seen("far", 12.5), seen("near", 9.5, WEST), seen("nothing new", 11, WEST)], 3)
    assert ids(pair.optical) == ["near", "far"] and pair.days == pytest.approx(2.5)
    (pair,) = match([radar], [seen("all", 9), seen("next", 11.5)], 3)
    assert ids(pair.optical) == ["all"]


@pytest.mark.parametrize(
    ("optical", "found"),
    [
        ([seen("too far", 13.1)], 0),
        ([seen("less than half", 10, EAST)], 0),
        ([seen("more than half", 10, WEST)], 1),
        ([seen("east", 10, EAST), seen("west", 12, WEST)], 1),
    ],
)
def test_a_pair_covers_half_of_the_place_within_so_many_days(optical, found):
    assert len(match([seen("S1", 10)], optical, 3)) == found


def test_each_image_is_in_one_pair_the_nearest_first_then_the_clearest():
    radar = [seen("S1 a", 10), seen("S1 b", 10.4), seen("S1 c", 20)]
    optical = [seen("O 1", 10.5), seen("O 2", 9, clouds=0.09), seen("O 3", 11, clouds=0.01), seen("O 4", 20)]
    pairs = match(radar, optical, 3)
    assert [(*ids([pair.sar]), *ids(pair.optical)) for pair in pairs] == [
        ("S1 c", "O 4"),
        ("S1 b", "O 1"),
        ("S1 a", "O 3"),  # as far as O 2, and clearer
    ]


def test_the_reference_is_the_clearest_image_of_another_date():
    optical = [seen("same day", 10), seen("clear", 30, clouds=0.01), seen("clearest", 40), seen("half", 41, EAST)]
    pairs = with_references(match([seen("S1", 10)], optical, 3), optical)
    assert ids([pair.reference for pair in pairs]) == ["clearest"]
    assert with_references(match([seen("S1", 10)], optical[:1], 3), optical[:1])[0].reference is None


def test_names_differ_where_the_items_do():
    one, other = seen("a", 1), seen("b", 1)
    names = {file_name("S1", [one], "VV"), file_name("S1", [one], "VV", "VH"), file_name("S1", [other], "VV")}
    assert len(names) == 3 and all(name.startswith("20240602T000000_S1_") for name in names)
