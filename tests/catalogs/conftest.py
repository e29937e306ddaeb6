import numpy as np
import pytest
import rasterio
import rasterio.warp
from stac_server import StacServer
from stac_world import BOX, make_world

from sar_keras.catalogs.fetch import fetch as fetch_plan
from sar_keras.catalogs.ground import Ground
from sar_keras.catalogs.plan import Wanted, make_plan
from sar_keras.catalogs.search import Catalog


@pytest.fixture(scope="session")
def world(once):
    return once("world", make_world)


@pytest.fixture
def catalog(world, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    server = StacServer(world)
    yield server
    server.close()


DATES = "2024-06-01/2024-06-30"


@pytest.fixture(scope="session")
def fetched(once, world):
    """What there is of June. Tests only read it."""

    def make(folder):
        server = StacServer(world)
        ground, wanted = Ground.of(BOX), Wanted(DATES)
        plan = make_plan(Catalog(server.address), ground, wanted, log=lambda line: None)
        fetch_plan(plan, folder, wanted.polarisations)
        server.close()

    return once("fetched", make)


@pytest.fixture
def fetch(command, catalog, tmp_path):
    """fetch(*options) into tmp_path/"data" gives (exit code, stdout, stderr)."""

    def run(*options, box=BOX, dates=DATES):
        place = ("--catalog", catalog.address, "--dates", dates, "--bbox", *map(str, box))
        return command("data", "fetch", tmp_path / "data", *place, *options)

    return run


@pytest.fixture
def places():
    """Longitude and latitude of each pixel of a raster."""

    def of(raster):
        rows, columns = np.mgrid[: raster.height, : raster.width]
        x, y = rasterio.transform.xy(raster.transform, rows.ravel(), columns.ravel())
        degrees = rasterio.warp.transform(raster.crs, "EPSG:4326", x, y)
        return [np.reshape(values, raster.shape) for values in degrees]

    return of
