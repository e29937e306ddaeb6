"""A small world: a place at the border of two UTM zones, and what two satellites saw of it, as items of a catalog."""

import functools
import json

import numpy as np
import rasterio
import rasterio.warp
from rasterio.transform import Affine

# West of 12 degrees, where zone 33 begins.
BOX = (11.963, 45.0, 11.996, 45.0235)
# Wider than the box.
WORLD = (11.957, 44.995, 12.002, 45.0285)
CLEAR, CLOUD, SHADOW, VEGETATION, SNOW = 5, 9, 3, 4, 11


def reflectance_at(longitude, latitude):
    """Red, green and blue: each changes evenly across the world, from 0.05 to 0.25."""
    across = (longitude - WORLD[0]) / (WORLD[2] - WORLD[0])
    up = (latitude - WORLD[1]) / (WORLD[3] - WORLD[1])
    return 0.05 + 0.2 * np.clip(np.stack([across, up, (across + up) / 2]), 0, 1)


def power_at(longitude, latitude):
    """VV and VH of the same: the scene is the darker the less red it is."""
    red, green, _ = reflectance_at(longitude, latitude)
    return np.stack([red, green / 4])


@functools.cache
def grid(epsg, box, south_up):
    """Transform, and longitude and latitude of each pixel (H, W), of a file of a UTM zone over a box."""
    left, bottom, right, top = rasterio.warp.transform_bounds("EPSG:4326", f"EPSG:{epsg}", *box)
    left, bottom = (np.floor(side / 20) * 20 for side in (left, bottom))
    width, height = int((right - left) // 20) * 2, int((top - bottom) // 20) * 2
    transform = Affine(10, 0, left, 0, 10, bottom) if south_up else Affine(10, 0, left, 0, -10, bottom + 10 * height)
    rows, columns = np.mgrid[:height, :width]
    places = rasterio.transform.xy(transform, rows.ravel(), columns.ravel())
    degrees = rasterio.warp.transform(f"EPSG:{epsg}", "EPSG:4326", *places)
    return transform, *(np.reshape(values, (height, width)) for values in degrees)


def write_asset(path, epsg, values_at, dtype, nodata=None, box=WORLD, south_up=False):
    """Write what `values_at` gives for longitude and latitude of each pixel, (H, W), as a file of a UTM zone."""
    transform, longitude, latitude = grid(epsg, box, south_up)
    values = values_at(longitude, latitude)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff" if south_up else "COG", "count": 1, "dtype": dtype, "nodata": nodata}
    profile |= {"width": values.shape[1], "height": values.shape[0], "crs": f"EPSG:{epsg}", "transform": transform}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.astype(dtype), 1)


def item(name, collection, date, box=WORLD, assets=(), **properties):
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": date, **properties},
        "assets": {key: {"href": href} for key, href in dict(assets).items()},
        "links": [],
    }


def radar(folder, name, date, orbit="descending", bands=("vv", "vh"), platform="SENTINEL-1A", mode="IW"):
    for index, band in enumerate(bands):
        path = folder / f"{name}_{band}.tif"
        write_asset(path, 32632, lambda x, y, index=index: power_at(x, y)[index], "float32", -32768)
    assets = {band: f"{name}_{band}.tif" for band in bands}
    about = {"platform": platform, "sat:orbit_state": orbit, "sat:relative_orbit": 95}
    polarisations = {"sar:polarizations": [band.upper() for band in bands], "sar:instrument_mode": mode}
    return item(name, "sentinel-1-rtc", date, assets=assets, **about, **polarisations)


def optical(
    folder, name, date, epsg=32632, added=1000, classes=lambda x, y: np.full(x.shape, CLEAR), box=WORLD, **about
):
    """`added` is what the file's digital numbers are too large by."""
    south_up = about.pop("south_up", False)
    for index, band in enumerate(("B04", "B03", "B02")):
        numbers = lambda x, y, index=index: np.rint(reflectance_at(x, y)[index] * 10_000) + added  # noqa: E731
        write_asset(folder / f"{name}_{band}.tif", epsg, numbers, "uint16", 0, box, south_up)
    write_asset(folder / f"{name}_SCL.tif", epsg, classes, "uint8", 0, box, south_up)
    assets = {band: f"{name}_{band}.tif" for band in ("B04", "B03", "B02", "SCL")}
    about = {"platform": "Sentinel-2A", "eo:cloud_cover": 1.5, "s2:processing_baseline": "05.10"} | about
    return item(name, "sentinel-2-l2a", date, box, assets, **about)


def make_world(folder):
    """What there is: three pairs that are good, and items that must not be used, each for a reason of its own."""
    middle = (WORLD[0] + WORLD[2]) / 2
    west, east = (WORLD[0], WORLD[1], middle + 0.004, WORLD[3]), (middle - 0.004, WORLD[1], *WORLD[2:])
    wrong = [60, 0, 300_000, 0, -60, 5_000_000]

    def cloudy(x, y):  # the eastern third
        return np.where(x > 11.985, CLOUD, CLEAR)

    def some_clouds(x, y):
        return np.where((abs(x - 11.97) < 0.001) & (abs(y - 45.018) < 0.001), CLOUD, CLEAR)

    def haze(x, y):
        return np.where(abs(y - 45.004) < 0.0004, SHADOW, CLEAR)

    one, neither = {"earthsearch:boa_offset_applied": True}, {"s2:processing_baseline": None}
    items = [
        radar(folder, "S1A_0605", "2024-06-05T05:20:00Z"),
        radar(folder, "S1A_0617", "2024-06-17T05:20:00Z"),
        radar(folder, "S1C_0629", "2024-06-29T05:20:00Z", platform="SENTINEL-1C"),
        # Its file is right.
        optical(folder, "S2_0606", "2024-06-06T10:10:00.024Z", classes=some_clouds, **{"proj:transform": wrong}),
        # Of the neighbouring zone, the last row first, and without the offset, though of a new processing.
        optical(folder, "S2_0618", "2024-06-18T10:10:00Z", 32633, 0, haze, south_up=True, **one),
        # Two tiles of an old processing.
        optical(folder, "S2_0628W", "2024-06-28T10:10:00Z", 32632, 0, box=west, **{"s2:processing_baseline": "02.14"}),
        optical(folder, "S2_0628E", "2024-06-28T10:10:09Z", 32633, 0, box=east, **{"s2:processing_baseline": "02.14"}),
        # What must not be used:
        radar(folder, "S1A_0606_ascending", "2024-06-06T17:00:00Z", orbit="ascending"),
        radar(folder, "S1A_0611_without_VH", "2024-06-11T05:20:00Z", bands=("vv",)),
        radar(folder, "S1A_0619_wide_swath", "2024-06-19T05:20:00Z", mode="EW"),
        radar(folder, "S1A_0623_far_from_any", "2024-06-23T05:20:00Z"),
        optical(folder, "S2_0605_cloudy", "2024-06-05T10:10:00Z", **{"eo:cloud_cover": 80.0}),
        optical(folder, "S2_0616_cloudy_here", "2024-06-16T10:10:00Z", classes=cloudy),
        optical(folder, "S2_0617_tells_no_offset", "2024-06-17T10:10:00Z", **neither),
        optical(folder, "S2_0705_other_dates", "2024-07-05T10:10:00Z"),
        optical(folder, "S2_0629_elsewhere", "2024-06-29T10:10:00Z", box=(13.0, 45.0, 13.01, 45.01)),
    ]
    (folder / "items.json").write_text(json.dumps(items))
