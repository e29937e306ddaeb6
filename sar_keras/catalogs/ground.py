"""The ground that is asked for, and the grid of 10 m that its images are brought to."""

import dataclasses
import hashlib
import math

import numpy as np
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import transform_bounds, transform_geom

from sar_keras.errors import DataError, parameter

PIXEL = 10.0  # metres
_WIDEST = 6  # degrees; beyond a zone's metres are none of the ground
_OVERVIEW = 64  # pixels of the longer side, for what is decided before anything is fetched

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Ground:
    """A box of the Earth as a north-up grid of the UTM zone of its centre.

    Attributes:
        box: (west, south, east, north) in degrees.
        crs: The zone.
        transform: Of pixels to metres.
        width, height: Pixels.
    """

    box: Box
    crs: CRS
    transform: Affine
    width: int
    height: int

    @classmethod
    def of(cls, box: Box) -> "Ground":
        """
        Raises:
            DataError: it is no box, lies over the antimeridian, or is wider than a zone.
        """
        west, south, east, north = box
        said = f"{parameter('box')} {' '.join(f'{side:g}' for side in box)}"
        if not all(map(math.isfinite, box)) or max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
            raise DataError(f"{said}: must be west, south, east and north in degrees")
        if west > east:
            raise DataError(f"{said}: west lies east of east; of a box over the antimeridian give each side by itself")
        if west == east or south >= north:
            raise DataError(f"{said}: holds nothing; south must lie south of north")
        if east - west > _WIDEST:
            raise DataError(f"{said}: is wider than the {_WIDEST} degrees of a UTM zone; give parts of it")
        zone = min(int((west + east) / 2 + 180) // 6 + 1, 60)
        crs = CRS.from_epsg((32600 if south + north >= 0 else 32700) + zone)
        left, bottom, right, top = transform_bounds("EPSG:4326", crs, *box)
        left, bottom = (math.floor(side / PIXEL) * PIXEL for side in (left, bottom))
        width, height = math.ceil((right - left) / PIXEL), math.ceil((top - bottom) / PIXEL)
        return cls(box, crs, Affine(PIXEL, 0, left, 0, -PIXEL, bottom + height * PIXEL), width, height)

    @property
    def name(self) -> str:
        """A folder's name that tells the centre, and differs for every box."""
        latitude, longitude = (self.box[1] + self.box[3]) / 2, (self.box[0] + self.box[2]) / 2
        digest = hashlib.sha256(repr(tuple(map(float, self.box))).encode()).hexdigest()[:6]
        sides = f"{'NS'[latitude < 0]}{abs(latitude):07.4f}", f"{'EW'[longitude < 0]}{abs(longitude):08.4f}"
        return "_".join([*sides, digest])

    @property
    def overview(self) -> tuple[int, int]:
        """Height and width of a small image of the ground."""
        shrink = max(1.0, max(self.height, self.width) / _OVERVIEW)
        return max(1, round(self.height / shrink)), max(1, round(self.width / shrink))

    def within(self, geometry) -> np.ndarray:
        """Where a GeoJSON geometry in degrees covers the ground: bool, of the size `overview`."""
        height, width = self.overview
        shape = transform_geom("EPSG:4326", self.crs, geometry)
        across, down = PIXEL * self.width / width, PIXEL * self.height / height
        coarse = Affine(across, 0, self.transform.c, 0, -down, self.transform.f)
        return np.asarray(rasterize([shape], (height, width), transform=coarse, dtype="uint8")) > 0
