"""Items of each named catalog, written by hand with the field names of its documentation."""

import copy
import datetime
import json
from pathlib import Path

import pytest

from sar_keras.catalogs.items import CLASSES, COLOURS, is_item, parse_item, read_item, without_secrets
from sar_keras.errors import DataError

BLOB = "https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/GRD/2024/6/5/IW/DV/S1A_X/measurement"
S2_BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/32/T/QQ/2024/06/06/S2B.SAFE/GRANULE/L2A/IMG_DATA"
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/32/T/QQ/2024/6/S2B_32TQQ_20240606_0_L2A"
EODATA = "s3://eodata/Sentinel-2/MSI/L2A/2024/06/06/S2B_MSIL2A.SAFE/GRANULE/L2A/IMG_DATA"


def record(name, collection, properties, assets):
    box = [[11.0, 44.0], [12.5, 44.0], [12.5, 45.5], [11.0, 45.5], [11.0, 44.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "bbox": [11.0, 44.0, 12.5, 45.5],
        "geometry": {"type": "Polygon", "coordinates": [box]},
        "properties": properties,
        "assets": {key: {"href": href} for key, href in assets.items()},
        "links": [],
    }


PLANETARY_COMPUTER_RTC = record(
    "S1A_IW_GRDH_1SDV_20240605T052012_20240605T052037_054185_0696E4_rtc",
    "sentinel-1-rtc",
    {
        "datetime": "2024-06-05T05:20:25.141259Z",
        "platform": "SENTINEL-1A",
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 95,
        "proj:epsg": 32632,
        "raster:bands": [{"nodata": -32768, "data_type": "float32"}],
    },
    {"vh": f"{BLOB}/iw-vh.rtc.tiff", "vv": f"{BLOB}/iw-vv.rtc.tiff", "rendered_preview": "https://x/preview.png"},
)
PLANETARY_COMPUTER_L2A = record(
    "S2B_MSIL2A_20240606T100559_R022_T32TQQ_20240606T125551",
    "sentinel-2-l2a",
    {
        "datetime": "2024-06-06T10:05:59.024000Z",
        "platform": "Sentinel-2B",
        "eo:cloud_cover": 3.25,
        "s2:processing_baseline": "05.10",
        "s2:mgrs_tile": "32TQQ",
    },
    {
        "B02": f"{S2_BLOB}/R10m/T32TQQ_B02_10m.tif",
        "B03": f"{S2_BLOB}/R10m/T32TQQ_B03_10m.tif",
        "B04": f"{S2_BLOB}/R10m/T32TQQ_B04_10m.tif",
        "SCL": f"{S2_BLOB}/R20m/T32TQQ_SCL_20m.tif",
        "visual": f"{S2_BLOB}/R10m/T32TQQ_TCI_10m.tif",
    },
)
EARTH_SEARCH_L2A = record(
    "S2B_32TQQ_20240606_0_L2A",
    "sentinel-2-l2a",
    {
        "datetime": "2024-06-06T10:16:40.593000Z",
        "platform": "sentinel-2b",
        "eo:cloud_cover": 3.25,
        "s2:processing_baseline": "05.10",
        "earthsearch:boa_offset_applied": True,
        "grid:code": "MGRS-32TQQ",
    },
    {
        **{name: f"{COGS}/{band}.tif" for name, band in (("red", "B04"), ("green", "B03"), ("blue", "B02"))},
        **{f"{name}-jp2": f"s3://sentinel-s2-l2a/{name}.jp2" for name in ("red", "green", "blue", "scl")},
        "scl": f"{COGS}/SCL.tif",
    },
)
EARTH_SEARCH_GRD = record(
    "S1A_IW_GRDH_1SDV_20240605T052012_20240605T052037_054185_0696E4",
    "sentinel-1-grd",
    {
        "datetime": "2024-06-05T05:20:25.141000Z",
        "platform": "sentinel-1a",
        "sar:polarizations": ["VV", "VH"],
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 95,
    },
    {
        **{band: f"s3://sentinel-s1-l1c/GRD/2024/6/5/IW/DV/S1A/measurement/iw-{band}.tiff" for band in ("vh", "vv")},
        "schema-calibration-vv": "s3://sentinel-s1-l1c/GRD/2024/6/5/IW/DV/S1A/annotation/calibration-iw-vv.xml",
    },
)
COPERNICUS_L2A = record(
    "S2B_MSIL2A_20240606T100559_N0510_R022_T32TQQ_20240606T125551",
    "sentinel-2-l2a",
    {
        "datetime": "2024-06-06T10:05:59.024Z",
        "platform": "sentinel-2b",
        "eo:cloud_cover": 3.25,
        "processing:version": "05.10",
        "sat:orbit_state": "descending",
    },
    {
        **{f"{band}_10m": f"{EODATA}/R10m/T32TQQ_{band}_10m.jp2" for band in ("B02", "B03", "B04")},
        "SCL_20m": f"{EODATA}/R20m/T32TQQ_SCL_20m.jp2",
    },
)


@pytest.mark.parametrize("given", [PLANETARY_COMPUTER_RTC, EARTH_SEARCH_GRD])
def test_sentinel_1(given):
    item = parse_item(given, "https://catalog/items/x")
    assert (item.is_sar, item.platform, item.orbit, item.relative_orbit) == (True, "sentinel-1a", "descending", 95)
    assert item.is_terrain_corrected == (given is PLANETARY_COMPUTER_RTC)
    assert item.polarisations(("VV", "VH")) == {name: given["assets"][name.lower()]["href"] for name in ("VV", "VH")}
    assert item.polarisations(("HH",)) == {}
    assert item.time.replace(microsecond=0) == datetime.datetime(2024, 6, 5, 5, 20, 25, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("given", "offset"), [(PLANETARY_COMPUTER_L2A, 1000), (EARTH_SEARCH_L2A, 0), (COPERNICUS_L2A, 1000)]
)
def test_sentinel_2(given, offset):
    item = parse_item(given, "https://catalog/items/x")
    assert (item.is_sar, item.platform, item.baseline, item.offset) == (False, "sentinel-2b", "05.10", offset)
    assert item.cloud_share == pytest.approx(0.0325)
    for names, band in zip((CLASSES, *COLOURS), ("SCL", "B04", "B03", "B02"), strict=True):
        assert band in item.asset(*names) and "-jp2" not in item.asset(*names)


@pytest.mark.parametrize(
    ("flag", "baseline", "offset"),
    [
        (True, "05.10", 0),
        (True, None, 0),
        (False, "05.10", 1000),
        (False, "02.14", 0),  # there was none to be taken off
        (None, "04.00", 1000),
        (None, "03.01", 0),
        (None, 5.1, 1000),
        (None, "N0510", None),
        (None, None, None),
        (False, None, None),
    ],
)
@pytest.mark.parametrize("date", ["2018-06-06T10:00:00Z", "2024-06-06T10:00:00Z"])
def test_the_offset_is_told_by_the_flag_then_by_the_baseline_and_never_by_the_date(flag, baseline, offset, date):
    told = {"earthsearch:boa_offset_applied": flag, "s2:processing_baseline": baseline, "datetime": date}
    properties = PLANETARY_COMPUTER_L2A["properties"] | told
    properties = {name: value for name, value in properties.items() if value is not None}
    item = parse_item(PLANETARY_COMPUTER_L2A | {"properties": properties}, "https://catalog/items/x")
    if offset is not None:
        assert item.offset == offset
    else:
        with pytest.raises(DataError, match=f"{item.id}: tells neither its processing baseline"):
            _ = item.offset


def test_without_a_geometry_the_box_is_the_outline(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(EARTH_SEARCH_GRD | {"geometry": None}))
    (ring,) = read_item(tmp_path / "a.json").geometry["coordinates"]
    assert (min(ring), max(ring)) == ([11.0, 44.0], [12.5, 45.5])


def test_relative_addresses_begin_at_the_item(tmp_path):
    given = copy.deepcopy(EARTH_SEARCH_L2A)
    given["assets"] = {"red": {"href": "./files/B04.tif"}}
    (tmp_path / "a.json").write_text(json.dumps(given))
    assert read_item(tmp_path / "a.json").asset("red") == tmp_path / "files/B04.tif"
    assert parse_item(given, "https://host/c/a.json").asset("red") == "https://host/c/files/B04.tif"
    assert parse_item(given, "s3://bucket/c/a.json").asset("red") == "s3://bucket/c/files/B04.tif"
    given["assets"] = {"red": {"href": "/etc/passwd"}}
    assert parse_item(given, "https://host/c/a.json").asset("red") == "https://host/etc/passwd"
    assert parse_item(given, "s3://bucket/c/a.json").asset("red") == "s3://bucket/etc/passwd"


@pytest.mark.parametrize("href", ["/etc/passwd", "B04.tif", "<VRTDataset/>", " file:///etc/passwd"])
@pytest.mark.parametrize("where", ["a.json", "/a.json", "file:///a.json"])
def test_no_catalog_names_files_of_this_machine(where, href):
    """What says where it lies is the item itself, which may lie."""
    given = EARTH_SEARCH_L2A | {"assets": {"red": {"href": href}}}
    with pytest.raises(DataError, match="which is no address that is read"):
        parse_item(given, where)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "Catalog"}, "is no STAC item"),
        ({"assets": None}, "is no STAC item"),
        ({"properties": {}}, "no whole STAC item.*start_datetime"),
        ({"properties": {"datetime": "yesterday"}}, "no whole STAC item.*yesterday"),
        ({"assets": {"vv": {}}}, "no whole STAC item.*href"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "no whole STAC item.*geometry"),
        ({"assets": {"vv": {"href": "ftp://host/a.tif?key=X"}}}, "ftp://host/a.tif which is no address"),
        ({"assets": {"vv": {"href": "file:///etc/passwd"}}}, "file:///etc/passwd, which is no address"),
        ({"assets": {"vv": {"href": "/vsistdin/"}}}, "/vsistdin/, which is no address"),
        ({"assets": {"vv": {"href": 'NETCDF:"/etc/passwd":x'}}}, "which is no address"),
    ],
)
def test_what_is_no_item(tmp_path, change, said):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(EARTH_SEARCH_GRD | change))
    with pytest.raises(DataError, match=f"a.json: .*{said}"):
        read_item(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"a\.json: is no STAC item: not JSON"):
        read_item(path)
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_item(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (Path("a/item.json"), True),
        ("https://host/item.json?sig=x", True),
        ("s3://bucket/item.geojson", True),
        ("https://host/v1/collections/sentinel-1-grd/items/S1A_X", True),
        (Path("collections/a/items/scene.tif"), False),
        ("https://host/scene.tif", False),
    ],
)
def test_which_names_are_those_of_items(name, expected):
    assert is_item(name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a.tif?sig=SECRET&se=2024",
        "'/vsicurl/https://host/a.tif?sig=SECRET' does not exist",
        "https://user:SECRET@host/a.tif",
        "HTTPConnectionPool(host='host', port=80): Max retries exceeded with url: /search?key=SECRET (Caused by x)",
    ],
)
def test_secrets_are_left_out_of_messages(text):
    assert "SECRET" not in without_secrets(text) and "host" in without_secrets(text)
