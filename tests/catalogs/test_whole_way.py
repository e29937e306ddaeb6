"""In processes of their own: from an empty folder to a model and a colour GeoTIFF, and a fetch that is killed."""

import signal
import subprocess
import sys
import time

import pytest
import rasterio
from helpers import read_rows
from stac_world import BOX

PLACE = ("--bbox", *map(str, BOX))
DATES = ("--dates", "2024-06-01/2024-06-30")
TINY = ("data.image_size=32", "model.filters=4", "model.discriminator_filters=4", "train.epochs=1")


def sar_keras(*arguments, **options):
    command = [sys.executable, "-c", "from sar_keras.cli.main import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finished(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.slow
def test_from_a_place_and_its_dates_to_colours(catalog, tmp_path):
    data, run, colour = tmp_path / "data", tmp_path / "run", tmp_path / "colour.tif"
    place = (*PLACE, "--catalog", catalog.address)
    finished(sar_keras("data", "fetch", data, *place, *DATES))
    settings = [part for change in TINY for part in ("--set", change)]
    finished(sar_keras("fit", "quick", "--data", data, "--out", run, *settings))
    assert "no leak" in finished(sar_keras("data", "audit", run / "split.csv"))[0]
    finished(sar_keras("colorize", run, *place, "--date", "2024-06-14", "-o", colour))
    with rasterio.open(colour) as result:
        assert result.crs == "EPSG:32632" and result.count == 3 and result.dataset_mask().all()
        # The run remembers which reflectances its colours stand for.
        assert result.tags()["SAR_KERAS_REFLECTANCE"] == "0 0.3"
        with rasterio.open(data / read_rows(data / "scenes.csv")[0]["sar"]) as sar:
            assert (result.transform, result.shape) == (sar.transform, sar.shape)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_fetch_that_was_killed_goes_on(catalog, tmp_path, how):
    command = ("data", "fetch", tmp_path / "data", *PLACE, "--catalog", catalog.address, *DATES)
    catalog.faults["0628E_B04.tif"] = "waits"
    first = sar_keras(*command)
    while len(list((tmp_path / "data").rglob("*/2*.tif"))) < 5:  # all but the one that waits
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(how)
    time.sleep(0.2)
    catalog.faults.clear()
    catalog.waiting.set()
    first.communicate(timeout=60)
    assert first.returncode != 0 and not (tmp_path / "data/scenes.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*/2*.tif")}
    catalog.asked.clear()
    finished(sar_keras(*command))
    asked = {path for path in catalog.asked if "SCL" not in path}
    assert asked and all("0628" in path for path in asked)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.tif")}
    assert len(before) == 5 and len(after) == 6 and before.items() <= after.items()
    assert len(read_rows(tmp_path / "data/scenes.csv")) == 3
