import json

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from stac_world import WORLD, item, power_at

from sar_keras.catalogs.ground_range import read_vectors
from sar_keras.catalogs.items import read_text
from sar_keras.errors import DataError

HEIGHT, WIDTH = 460, 440


def gamma_at(pixel):
    """The calibration changes across the swath."""
    return 400 + 0.5 * pixel


def place_of(row, column):
    """Longitude and latitude in the geometry of a descending pass: aslant, and seen in a mirror."""
    across, down = column / WIDTH, row / HEIGHT
    width, height = WORLD[2] - WORLD[0], WORLD[3] - WORLD[1]
    return WORLD[2] - width * (0.95 * across + 0.05 * down), WORLD[3] - height * (0.95 * down + 0.05 * across)


def calibration():
    pixels = np.arange(0, WIDTH + 40, 40)
    words = [" ".join(f"{value:.6e}" for value in values) for values in (gamma_at(pixels), 0 * pixels)]
    vectors = "".join(
        f"<calibrationVector><line>{line}</line><pixel>{' '.join(map(str, pixels))}</pixel>"
        f"<sigmaNought>{words[1]}</sigmaNought><gamma>{words[0]}</gamma></calibrationVector>"
        for line in range(0, HEIGHT + 115, 115)
    )
    return f"<calibration><calibrationVectorList>{vectors}</calibrationVectorList></calibration>"


@pytest.fixture
def ground_range(catalog, tmp_path):
    """The catalog has GRD only; its files lie in a folder of their own."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    power = power_at(*place_of(rows, columns))
    points = [
        GroundControlPoint(row, column, *place_of(row, column), 0)
        for row in np.linspace(0, HEIGHT, 5)
        for column in np.linspace(0, WIDTH, 5)
    ]
    assets = {}
    for index, band in enumerate(("vv", "vh")):
        numbers = np.rint(np.sqrt(power[index]) * gamma_at(columns)).astype("uint16")
        profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint16"}
        with rasterio.open(tmp_path / f"iw-{band}.tiff", "w", **profile) as file:
            file.gcps = points, "EPSG:4326"
            file.write(numbers, 1)
        (tmp_path / f"{band}.xml").write_text(calibration())
        assets |= {band: f"grd/iw-{band}.tiff", f"schema-calibration-{band}": f"grd/{band}.xml"}
    about = {"platform": "sentinel-1a", "sat:orbit_state": "descending"}
    grd = item("S1A_GRD", "sentinel-1-grd", "2024-06-05T05:20:00Z", assets=assets, **about)
    catalog.items = [grd, *(each for each in catalog.items if each["collection"] != "sentinel-1-rtc")]
    catalog.links["grd"] = tmp_path
    return catalog


def test_it_is_calibrated_and_laid_on_the_map(fetch, ground_range, tmp_path, places):
    code, _, err = fetch("--pairs", "1")
    assert code == 0 and "warning:" in err and "no terrain-corrected Sentinel-1 images (RTC)" in err
    (path,) = (tmp_path / "data").rglob("*_S1_*.tif")
    with rasterio.open(path) as sar:
        values, expected = sar.read(), power_at(*places(sar))
    assert np.isfinite(values).mean() > 0.9
    seen = np.isfinite(values[0])
    np.testing.assert_allclose(values[:, seen], expected[:, seen], rtol=0.02, atol=0.001)
    assert "GRD" in (tmp_path / "data/scenes.csv").read_text()


def test_the_calibration_is_read_with_the_credentials_of_the_images(fetch, ground_range, tmp_path, monkeypatch):
    """As from Earth Search: the files lie in a bucket that answers nobody without an account."""
    host = ground_range.address.removeprefix("http://")
    bucket = {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in (bucket | {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET"}).items():
        monkeypatch.setenv(name, value)
    (grd,) = (item for item in ground_range.items if item["collection"] == "sentinel-1-grd")
    for asset in grd["assets"].values():
        asset["href"] = f"s3://{asset['href']}"
    code, _, err = fetch("--pairs", "1")
    assert code == 0, err
    assert not [path for path in ground_range.unsigned if path.startswith("/grd/")]
    assert {"/grd/vv.xml", "/grd/vh.xml"} <= set(ground_range.asked)


@pytest.mark.parametrize("length", [10, 2**14 - 1, 2**14, 2**14 + 1, 100_000])
def test_a_text_in_a_bucket_is_read_whole(catalog, tmp_path, monkeypatch, length):
    monkeypatch.setenv("AWS_S3_ENDPOINT", catalog.address.removeprefix("http://"))
    for name, value in {"HTTPS": "NO", "VIRTUAL_HOSTING": "FALSE", "NO_SIGN_REQUEST": "YES"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    catalog.links["bucket"] = tmp_path
    text = bytes(np.random.default_rng(0).integers(32, 127, length, "uint8"))
    (tmp_path / f"a{length}.xml").write_bytes(text)
    assert read_text(f"s3://bucket/a{length}.xml") == text
    with pytest.raises(DataError, match=r"s3://bucket/none\.xml: cannot be read"):
        read_text("s3://bucket/none.xml")


def test_without_a_calibration_it_is_one_line(fetch, ground_range):
    ground_range.faults["vv.xml"] = "404"
    code, _, err = fetch("--pairs", "1")
    assert code == 1 and "vv.xml: cannot be read: HTTP Error 404" in err.splitlines()[-1]


@pytest.mark.parametrize("text", ["", "<a/>", "<a><calibrationVector><line>x</line></calibrationVector></a>"])
def test_what_is_no_calibration(text):
    with pytest.raises(DataError, match="S1A: its calibration"):
        read_vectors(text.encode(), "S1A")


@pytest.mark.filterwarnings("default:S1A_GRD holds amplitude values")
def test_colorize_takes_such_an_item_as_it_lies(command, model_file, ground_range, tmp_path):
    path = tmp_path / "item.json"
    path.write_text(json.dumps(ground_range.full(ground_range.items[0])))
    code, out, err = command("colorize", model_file, path, "-o", tmp_path / "colour.tif", "--band", "VV")
    assert (code, out) == (0, f"{tmp_path / 'colour.tif'}\n"), err
    with rasterio.open(tmp_path / "colour.tif") as colour:
        assert colour.shape == (HEIGHT, WIDTH) and len(colour.gcps[0]) == 25
