import copy
import dataclasses
import math
import re
import sys

import numpy as np
import pytest
import rasterio
import rasterio.warp
from helpers import names, one_line, read_rows
from stac_world import BOX, power_at, reflectance_at

from sar_keras.data.pairs import find_pairs
from sar_keras.data.splits import audit, split_pairs
from sar_keras.io.reflectance import stretch_of

DATES = [("2024-06-05", "2024-06-06"), ("2024-06-17", "2024-06-18"), ("2024-06-29", "2024-06-28")]


def test_images_of_several_zones_and_processings_show_one_ground_on_one_grid(fetched, places):
    rows = read_rows(fetched / "scenes.csv")
    assert [(row["sar_date"][:10], row["optical_date"][:10]) for row in rows] == DATES
    for row in rows:
        with rasterio.open(fetched / row["sar"]) as sar:
            assert sar.crs == "EPSG:32632" and (sar.transform.a, sar.transform.e) == (10, -10)
            assert sar.transform.c % 10 == sar.transform.f % 10 == 0
            box = rasterio.warp.transform_bounds("EPSG:4326", sar.crs, *BOX)
            # The outermost pixels hold the corners of the box.
            np.testing.assert_allclose(sar.bounds, box, atol=10.001)
            assert sar.descriptions == ("VV", "VH") and sar.dtypes[0] == "float32" and math.isnan(sar.nodata)
            longitude, latitude = places(sar)
            np.testing.assert_allclose(sar.read(), power_at(longitude, latitude), atol=2e-4)
            grid = sar.crs, sar.transform, sar.shape
        with rasterio.open(fetched / row["optical"]) as optical:
            assert (optical.crs, optical.transform, optical.shape) == grid
            assert optical.dtypes == ("uint8",) * 3 and optical.nodata == 0
            levels, seen = optical.read(), optical.dataset_mask() > 0
        expected = reflectance_at(longitude, latitude) / 0.3 * 255
        assert seen.mean() > 0.8 and np.abs(levels - expected)[:, seen].max() < 1
        assert stretch_of(fetched / row["optical"]) == (0, 0.3)


def test_clouds_and_shadows_are_masked_with_a_border(fetched, places):
    seen = {}
    for row in read_rows(fetched / "scenes.csv"):
        with rasterio.open(fetched / row["optical"]) as optical:
            longitude, latitude = places(optical)
            seen[row["optical_date"][:10]] = optical.dataset_mask() > 0
    # Metres from the edge of the cloud of 0.002 degrees, positive outside.
    x, y = (abs(longitude - 11.97) - 0.001) * 78_700, (abs(latitude - 45.018) - 0.001) * 111_150
    from_cloud = np.maximum(x, y)
    assert not seen["2024-06-06"][from_cloud < 60].any() and seen["2024-06-06"][from_cloud > 100].all()
    from_shadow = (abs(latitude - 45.004) - 0.0004) * 111_150
    assert not seen["2024-06-18"][from_shadow < 60].any() and seen["2024-06-18"][from_shadow > 100].all()
    assert seen["2024-06-28"].all()  # the seam of two tiles included


def test_what_must_not_be_used(fetch, tmp_path):
    code, out, err = fetch()
    used = (tmp_path / "data/scenes.csv").read_text()
    assert (code, out) == (0, f"3 pairs in {tmp_path / 'data'}\n")
    for item in ("ascending", "without_VH", "far_from_any", "cloudy", "tells_no_offset", "other_dates", "elsewhere"):
        assert item not in used
    assert "left out: 1 SAR images without VV and VH" in err
    assert "left out: 1 SAR images of another mode than IW" in err
    assert "4 descending, 1 ascending; taken: descending (--orbit" in err
    assert re.search("left out: S2_0617_tells_no_offset: .*s2:processing_baseline.*earthsearch:boa_offset_applied", err)
    assert "(--max-cloud): 1 images as a whole, 1 overflights over this place" in err
    assert "warning: images of sentinel-1a and sentinel-1c" in err


def test_what_the_manifest_tells(fetch, tmp_path):
    fetch("--pairs", "2")
    first, second = read_rows(tmp_path / "data/scenes.csv")  # the nearest two in time, then by date
    assert float(second["days_apart"]) == pytest.approx((24 - (10 + 10 / 60) + 5 + 20 / 60) / 24, abs=0.01)
    assert (second["sar_platform"], second["sar_product"], second["relative_orbit"]) == ("sentinel-1c", "RTC", "95")
    assert (second["orbit"], second["processing_baseline"]) == ("descending", "02.14")
    assert second["optical_items"] == "S2_0628E S2_0628W" or second["optical_items"] == "S2_0628W S2_0628E"
    assert first["sar_items"] == "S1A_0605" and 0 < float(first["cloud_share"]) < 0.02
    assert first["scene"] == second["scene"]
    assert first["licences"].startswith("proprietary https://sentinel.esa.int/")
    for row in (first, second):
        # The clearest image of another date.
        assert row["reference_date"][:10] == {"S1A_0605": "2024-06-28", "S1C_0629": "2024-06-06"}[row["sar_items"]]
        assert (tmp_path / "data" / row["reference"]).is_file()


def test_the_folder_is_what_fit_takes_and_dates_of_one_ground_stay_together(fetched):
    pairs = find_pairs(fetched, size=32).pairs
    assert {pair.sar.name[:8] for pair in pairs} == {"20240605", "20240617", "20240629"}
    assert all(pair.reference for pair in pairs)
    split = split_pairs(pairs)
    assert {pair.split for pair in split} == {"train", "validation", "test"} and len(split) > len(pairs) / 3
    boxes = {}
    for pair in split:
        boxes.setdefault(pair.window, set()).add(pair.split)
    assert all(len(splits) == 1 for splits in boxes.values())
    assert not audit(split).leaks
    # Had another date of a test window stayed in training, it would have been found.
    held = next(pair for pair in split if pair.split == "test")
    other = next(pair for pair in pairs if pair.window == held.window and pair.sar != held.sar)
    assert audit([*split, dataclasses.replace(other, split="train")]).leaks


def test_windows_near_a_masked_pixel_are_left_out(fetched):
    for pair in find_pairs(fetched, size=32).pairs:
        column, row, width, height = pair.window
        with rasterio.open(pair.optical) as optical:
            around = rasterio.windows.Window(column - 16, row - 16, width + 32, height + 32)
            inside = around.intersection(rasterio.windows.Window(0, 0, optical.width, optical.height))
            assert optical.dataset_mask(window=inside).all()


def test_what_is_there_whole_is_not_fetched_again(fetch, tmp_path):
    fetch()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.tif")}
    manifest = (tmp_path / "data/scenes.csv").read_text()
    removed = next(path for path in before if path.name.startswith("20240617T052000_S1"))
    (removed.parent / f".{removed.stem}-0123abcd.tif").write_text("what a killed process left")
    content = removed.read_bytes()
    removed.unlink()
    assert fetch()[0] == 0 and removed.read_bytes() == content
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.tif")}
    assert after.keys() == before.keys() and {path for path in after if after[path] != before[path]} == {removed}
    assert (tmp_path / "data/scenes.csv").read_text() == manifest
    assert not [name for name in names(removed.parent) if name.startswith(".")]


@pytest.mark.slow
def test_other_places_go_into_the_same_folder(fetch, tmp_path):
    west, south, east, north = BOX
    middle = (west + east) / 2
    fetch(box=(west, south, middle, north))
    assert fetch(box=(middle, south, east, north))[0] == 0
    rows = read_rows(tmp_path / "data/scenes.csv")
    assert len(rows) == 6 and len({row["scene"] for row in rows}) == 2


def test_places_of_other_directions_warn(fetch):
    """Each place takes the direction with the more images, which may be another one."""
    west, south, east, north = BOX
    middle = (west + east) / 2
    assert "orbit:" not in fetch("--pairs", "1", box=(west, south, middle, north))[2]
    assert "orbit:" not in fetch("--pairs", "1", box=(west, south, middle, north))[2]
    _, _, err = fetch("--orbit", "ascending", box=(middle, south, east, north))
    assert "warning: scenes.csv mixes SAR images of other places, orbit: ascending, descending" in err


@pytest.mark.parametrize(
    ("fault", "file", "said"),
    [
        ("404", "S1A_0605_vh", "S1A_0605: its VH: there is no such file"),
        ("403", "S2_0606_B03", "S2_0606: its GREEN: access is refused: a signature that has expired"),
        ("no range", "S1A_0605_vh", "S1A_0605: its VH: its server cannot give parts of files"),
        ("truncated", "S2_0606_B03", "S2_0606: its GREEN: cannot be read to its end, cut off or broken"),
        ("vrt", "S2_0606_B03", "S2_0606: its GREEN: cannot be read: is a VRT, which may name files of this computer"),
    ],
)
def test_what_a_server_fails_to_give_is_one_line_and_the_rest_goes_on(fetch, tmp_path, catalog, fault, file, said):
    catalog.faults[f"{file}.tif"] = fault
    code, _, err = fetch("--pairs", "2")
    lines = err.splitlines()
    assert code == 1 and lines[-1].strip().startswith(said) and "Traceback" not in err
    assert lines[-2] == "sar-keras: 1 images could not be fetched, 1 of 2 pairs are whole:"
    (row,) = read_rows(tmp_path / "data/scenes.csv")
    assert (row["sar_items"] == "S1C_0629" and not row["reference"]) or "S2_0606" in row["reference_items"]
    assert not [name for name in names(tmp_path / "data" / row["scene"]) if name.startswith(".")]


def test_an_image_whose_clouds_cannot_be_looked_at_is_left_out(fetch, tmp_path, catalog):
    catalog.faults["S2_0606_SCL.tif"] = "404"
    code, _, err = fetch()
    assert code == 1 and err.splitlines()[-1] == "  S2_0606: its SCL: there is no such file"
    assert [row["sar_items"] for row in read_rows(tmp_path / "data/scenes.csv")] == ["S1A_0617", "S1C_0629"]


def test_a_broken_item_is_left_out_by_name(fetch, catalog):
    catalog.items = copy.deepcopy(catalog.items)
    broken = next(item for item in catalog.items if item["id"] == "S1A_0623_far_from_any")
    broken["geometry"]["coordinates"] = []
    code, out, err = fetch("--dry-run")
    assert code == 0 and "3 pairs of" in out
    assert re.search("left out: .*/items/S1A_0623_far_from_any: is no whole STAC item: .*geometry", err)


def test_a_busy_server_is_asked_again(fetch, catalog):
    catalog.faults |= {"S1A_0605_vh.tif": "busy", "S2_0606_SCL.tif": "busy", "/search": "busy"}
    assert fetch("--pairs", "2")[0] == 0
    assert catalog.busy["/S1A_0605_vh.tif"] > 2 and catalog.busy["/search"] > 2


def test_a_server_is_asked_for_four_things_at_a_time_at_most(fetch, catalog):
    catalog.faults[".tif"] = "slow"
    assert fetch("--pairs", "2")[0] == 0
    assert 1 < catalog.most_at_once <= 4


def test_a_dry_run_lists_dates_and_size_and_writes_nothing(fetch, tmp_path):
    code, out, _ = fetch("--dry-run")
    assert code == 0 and not (tmp_path / "data").exists()
    for sar, optical in DATES:
        assert re.search(f"{sar} 05:20 +{optical} 10:10", out)
    width, height, size = map(int, re.search(r"3 pairs of (\d+) x (\d+) pixels in 6 images, (\d+) MB", out).groups())
    assert size == pytest.approx(width * height * 3 * (2 * 4 + 3) / 2**20, abs=1)


@pytest.mark.parametrize(("orbit", "first"), [("ascending", "S1A_0606_ascending"), ("both", "S1A_0606_ascending")])
def test_passes_of_the_other_direction_are_taken_when_asked_for(fetch, tmp_path, orbit, first):
    assert fetch("--orbit", orbit)[0] == 0
    rows = read_rows(tmp_path / "data/scenes.csv")
    assert first in [row["sar_items"] for row in rows]
    assert {row["orbit"] for row in rows} == ({"ascending"} if orbit == "ascending" else {"ascending", "descending"})


def test_one_polarisation(fetch, tmp_path):
    assert fetch("--polarisations", "VV", "--pairs", "1")[0] == 0
    with rasterio.open(tmp_path / "data" / read_rows(tmp_path / "data/scenes.csv")[0]["sar"]) as sar:
        assert sar.descriptions == ("VV",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"box": (179, 1, -179, 2)}, r"--bbox 179 1 -179 2: .*antimeridian"),
        ({"box": (8, 45, 15, 45.1)}, "--bbox 8 45 15 45.1: is wider than the 6 degrees of a UTM zone"),
        ({"box": (11, 2, 12, 1)}, "--bbox .*south must lie south of north"),
        ({"box": (11, 1, 12, 95)}, "--bbox .*must be west, south, east and north in degrees"),
        ({"box": (-58.2, -34.6, -58.1, -34.5)}, "has no Sentinel-1 images of 2024-06-01/2024-06-30 there"),
        ({"dates": "2024-06"}, "--dates 2024-06: must be FIRST/LAST"),
        ({"dates": "2024-06-30/2024-06-01"}, "--dates .*must be FIRST/LAST"),
        ({"dates": "2024-06-20/2024-06-24"}, "no two that cover half of the place lie within 3 days.*--max-days"),
    ],
)
def test_what_cannot_be_fetched(fetch, tmp_path, options, said):
    code, out, err = fetch(**options)
    assert (code, out) == (2, "") and re.search(said, err.splitlines()[-1]) and not (tmp_path / "data").exists()


def test_other_options_that_make_no_sense(fetch, command, tmp_path, catalog):
    code, _, err = fetch("--polarisations", "VV,XX")
    assert code == 2 and "--polarisations VV,XX: must be of VV, VH, HH, HV" in one_line(err)
    (tmp_path / "data").write_text("")
    assert fetch()[0] == 2
    place = ("--bbox", "1", "2", "3", "4", "--dates", "2024-06-01")
    code, _, err = command("data", "fetch", tmp_path / "x", *place, "--catalog", "earthsearch")
    assert code == 2 and "--catalog earthsearch: must be planetary-computer, earth-search" in one_line(err)
    address = f"{catalog.address}/S1A_0605_vv.tif?key=SECRET"
    code, _, err = command("data", "fetch", tmp_path / "x", *place, "--catalog", address)
    assert code == 2 and "does not answer as a STAC API does" in one_line(err) and "SECRET" not in err


def test_without_the_extra(fetch, monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac_client", None)
    code, _, err = fetch()
    assert code == 2 and one_line(err).endswith('catalogs need the extra stac: pip install ".[stac]"')
