"""What a STAC item says of an image, in the field names of every catalog; https://github.com/radiantearth/stac-spec.

Where an image lies its file tells, not the item: fields such as `proj:transform` are not read.
"""

import dataclasses
import datetime
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import xml.sax.saxutils
from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Any

import rasterio
from rasterio.errors import RasterioError
from rasterio.features import is_valid_geom

from sar_keras.errors import DataError, first_line

# What catalogs call the assets of Sentinel-2: Earth Search, Planetary Computer, Copernicus Data Space.
COLOURS = (("red", "b04", "b04_10m"), ("green", "b03", "b03_10m"), ("blue", "b02", "b02_10m"))
CLASSES = ("scl", "scl_20m")
# From this processing baseline on 1000 are added to the digital numbers of Sentinel-2.
# https://sentiwiki.copernicus.eu/web/s2-products
_BASELINE_WITH_OFFSET, _OFFSET = 4.0, 1000
# Of this Earth Search says whether it has taken the offset off its files.
_OFFSET_APPLIED = "earthsearch:boa_offset_applied"
_BASELINES = ("s2:processing_baseline", "processing:version")
_ADDRESS = r"(https?|s3|gs)://"  # of files that are read
_SHORTEST = 2**14  # bytes of a text that are read at first
_SECONDS = 60  # that a server may take to answer


@dataclasses.dataclass(frozen=True)
class Item:
    """An image of a catalog.

    Attributes:
        id: Its name there.
        time: When it was taken, in UTC.
        platform: The satellite, such as "sentinel-1a".
        geometry: Its outline as GeoJSON, in degrees.
        properties: All that the catalog says of it.
        assets: The addresses of its files, by their names in lower case.
        collection: The collection that it is of.
    """

    id: str
    time: datetime.datetime
    platform: str
    geometry: Mapping[str, Any]
    properties: Mapping[str, Any]
    assets: Mapping[str, str | Path]
    collection: str = ""

    def __hash__(self) -> int:
        return hash((self.collection, self.id))

    @property
    def is_sar(self) -> bool:
        return self.platform.startswith("sentinel-1") or any(name.startswith("sar:") for name in self.properties)

    @property
    def is_terrain_corrected(self) -> bool:
        return "rtc" in f"{self.collection} {self.id}".lower()

    @property
    def orbit(self) -> str:
        """ "ascending" or "descending"; empty where that is not known."""
        return str(self.properties.get("sat:orbit_state") or "").lower()

    @property
    def relative_orbit(self) -> int | None:
        return self.properties.get("sat:relative_orbit")

    @property
    def cloud_share(self) -> float:
        """Of the whole image, 0 to 1; 0 where that is not known."""
        cover = self.properties.get("eo:cloud_cover")
        return cover / 100 if isinstance(cover, int | float) else 0.0

    @property
    def baseline(self) -> str:
        """The processing baseline of Sentinel-2, such as "04.00"; empty where that is not known."""
        return next((str(self.properties[name]) for name in _BASELINES if self.properties.get(name)), "")

    @property
    def offset(self) -> int:
        """What the digital numbers of Sentinel-2's files are too large by, 0 or 1000.

        It is of the processing, not of the date: images of all years are processed anew.

        Raises:
            DataError: the item does not tell.
        """
        if self.properties.get(_OFFSET_APPLIED) is True:
            return 0
        number = re.fullmatch(r"\d\d?(\.\d+)?", self.baseline)
        if not number:
            raise DataError(
                f"{self.id}: tells neither its processing baseline ({_BASELINES[0]}) nor that the offset of "
                f"reflectance is taken off ({_OFFSET_APPLIED}); it is not used"
            )
        return _OFFSET if float(number[0]) >= _BASELINE_WITH_OFFSET else 0

    def asset(self, *names: str) -> str | Path:
        """The address of the file that has one of these names.

        Raises:
            DataError: there is none.
        """
        for name in names:
            if name in self.assets:
                return self.assets[name]
        raise DataError(f"{self.id}: has no asset {names[0]}; it has {', '.join(self.assets) or 'none'}")

    def polarisations(self, wanted: tuple[str, ...]) -> dict[str, str | Path]:
        """The addresses of those of the wanted polarisations that it has, in their order."""
        return {name: self.assets[name.lower()] for name in wanted if name.lower() in self.assets}


def parse_item(record: Any, where: str | Path) -> Item:
    """An item from its JSON.

    Args:
        record: The item as a catalog gives it.
        where: The file or the address that it is from; relative addresses of its assets begin there.

    Raises:
        DataError: it is no STAC item, or lacks what every item has.
    """
    shown = without_secrets(str(where))
    if not isinstance(record, dict) or record.get("type") != "Feature" or not isinstance(record.get("assets"), dict):
        raise DataError(f"{shown}: is no STAC item (a GeoJSON Feature with assets)")
    try:
        name, properties = str(record["id"]), dict(record["properties"])
        told = properties.get("datetime") or properties["start_datetime"]
        time = datetime.datetime.fromisoformat(_with_six_decimals(told).replace("Z", "+00:00"))
        assets = {key.lower(): _beside(where, asset["href"]) for key, asset in record["assets"].items()}
        geometry = record.get("geometry") or _outline(record["bbox"])
        if not is_valid_geom(geometry):
            raise ValueError("its geometry is none of GeoJSON")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{shown}: is no whole STAC item: {type(error).__name__} {without_secrets(first_line(error))}"
        ) from error
    time = time.replace(tzinfo=datetime.timezone.utc) if time.tzinfo is None else time.astimezone(datetime.timezone.utc)
    platform = re.sub(r"[ _]", "-", str(properties.get("platform") or "").lower())
    return Item(name, time, platform, geometry, properties, assets, str(record.get("collection") or ""))


def is_item(name: Path | str) -> bool:
    """Whether a path or an address is that of a STAC item, by its name."""
    path = name.as_posix() if isinstance(name, Path) else urllib.parse.urlsplit(name).path
    in_api = isinstance(name, str) and re.search(r"/collections/[^/]+/items/[^/]+$", path)
    return path.lower().endswith((".json", ".geojson")) or bool(in_api)


def read_item(name: Path | str) -> Item:
    """An item from a file, http(s)://..., or s3://... and gs://... with GDAL's credentials.

    Raises:
        DataError: it cannot be read, or is none.
    """
    try:
        record = json.loads(read_text(name))
    except ValueError as error:
        raise DataError(f"{without_secrets(str(name))}: is no STAC item: not JSON") from error
    return parse_item(record, name)


def read_text(name: Path | str) -> bytes:
    """A small text, also from an address: http(s)://..., or s3://... and gs://... with GDAL's credentials.

    Raises:
        DataError: it cannot be read.
    """
    shown = without_secrets(str(name))
    try:
        if isinstance(name, Path):
            return name.read_bytes()
        return _of_bucket(name) if name.startswith(("s3://", "gs://")) else _ask(name)
    except FileNotFoundError as error:
        raise DataError(f"{shown}: no such file") from error
    except (OSError, http.client.HTTPException, ValueError, RasterioError) as error:  # ValueError: no address
        raise DataError(f"{shown}: cannot be read: {without_secrets(first_line(error))}") from error


def _ask(address: str, wait: float = 0.5, retries: int = 5) -> bytes:
    """What a server answers; a busy one is asked again, later and later, or when it says (Retry-After)."""
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if not retries or error.code not in (429, 500, 502, 503, 504):
            raise
        told = error.headers.get("Retry-After", "")
        sleep(min(int(told), _SECONDS) if told.isdigit() else wait)
    return _ask(address, 2 * wait, retries - 1)


def _of_bucket(address: str) -> bytes:
    """A text in a bucket, read by GDAL as a line of bytes, because GDAL has the credentials of the images beside it."""
    name = xml.sax.saxutils.escape(re.sub("^(s3|gs)://", r"/vsi\1/", address))
    line = (
        '<VRTDataset rasterXSize="{}" rasterYSize="1"><VRTRasterBand dataType="Byte" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{name}</SourceFilename></VRTRasterBand></VRTDataset>'
    )
    # How long it is nobody says. GDAL fills up with zeros, which are in no text; a line much too long it refuses.
    for length in (_SHORTEST << double for double in range(13)):
        with rasterio.Env(GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL"), rasterio.open(line.format(length)) as raster:
            text = raster.read(1).tobytes()
        if text.endswith(b"\0"):
            return text.rstrip(b"\0")
    raise ValueError("is no small file")


def without_secrets(text: str) -> str:
    """A text without what follows "?" in addresses, which may be a signature, and without passwords in them."""
    text = re.sub(r"(://[^\s?'\"/]*|\.\w+|/[^\s?'\"/]*)\?[^\s'\"]*", r"\1", text)
    return re.sub(r"://[^\s/@]+@", "://", text)


def _beside(where: str | Path, href: str) -> str | Path:
    """An address of an asset, which may be relative to its item.

    Raises:
        ValueError: an address of another kind, or one of this machine in an item from elsewhere.
    """
    if re.match(_ADDRESS, href):
        return href
    refused = ValueError(f"an asset at {href[:80]}, which is no address that is read")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|/vsi", href):
        raise refused
    if isinstance(where, Path):
        return where.parent / href
    # Python joins addresses of the web only, and gives what is relative to a bucket back as a file of this machine.
    scheme, _, rest = where.partition("://")
    address = scheme + urllib.parse.urljoin(f"http://{rest}", href).removeprefix("http")
    if not re.match(_ADDRESS, address):
        raise refused
    return address


def _outline(bbox: list[float]) -> dict:
    west, south, east, north = bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _with_six_decimals(time: str) -> str:
    """A time with fractions of a second as Python 3.10 reads them."""
    return re.sub(r"\.(\d+)", lambda part: "." + part[1][:6].ljust(6, "0"), time)
