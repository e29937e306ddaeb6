import numpy as np
import pytest
import rasterio.warp

from sar_keras.catalogs.ground import Ground


@pytest.mark.parametrize(
    ("box", "epsg"),
    [
        ((11.9, 45, 11.99, 45.1), 32632),
        ((11.95, 45, 12.1, 45.1), 32633),  # by its centre
        ((-58.2, -34.7, -58.1, -34.6), 32721),
        ((-180, 10, -179.9, 10.1), 32601),
        ((179.9, -10, 180, -9.9), 32760),
    ],
)
def test_the_grid_is_north_up_in_the_zone_of_the_centre_and_holds_the_box(box, epsg):
    ground = Ground.of(box)
    assert ground.crs.to_epsg() == epsg
    assert ground.transform.e == -10 and ground.transform.c % 10 == ground.transform.f % 10 == 0
    left, bottom, right, top = rasterio.warp.transform_bounds("EPSG:4326", ground.crs, *box)
    assert 0 <= left - ground.transform.c < 10 and 0 <= ground.transform.f - top < 20
    assert 0 <= ground.transform.c + 10 * ground.width - right < 20
    assert 0 <= bottom - (ground.transform.f - 10 * ground.height) < 10


def test_names_tell_the_centre_and_differ():
    boxes = [(-58.2, -34.7, -58.1, -34.6), (-58.19, -34.69, -58.11, -34.61)]
    names = [Ground.of(box).name for box in boxes]
    assert all(name.startswith("S34.6500_W058.1500_") for name in names) and names[0] != names[1]


def test_what_an_outline_covers():
    ground = Ground.of((11.9, 45, 12, 45.1))
    ring = [[11.0, 44.0], [11.95, 44.0], [11.95, 46.0], [11.0, 46.0], [11.0, 44.0]]
    within = ground.within({"type": "Polygon", "coordinates": [ring]})
    assert within.shape == ground.overview and max(within.shape) == 64
    assert within[:, : within.shape[1] // 2 - 3].all() and not within[:, within.shape[1] // 2 + 3 :].any()
    assert np.mean(within) == pytest.approx(0.5, abs=0.05)
