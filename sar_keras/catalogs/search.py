"""Asks a STAC API for images; https://github.com/radiantearth/stac-api-spec."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator

from sar_keras.catalogs.items import Item, parse_item, without_secrets
from sar_keras.errors import ConfigError, DataError, first_line, parameter

CATALOGS = {
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "earth-search": "https://earth-search.aws.element84.com/v1",
}
# Collections of terrain-corrected and of other images of Sentinel-1, and those of Sentinel-2; all catalogs agree.
RTC, GRD, OPTICAL = "sentinel-1-rtc", "sentinel-1-grd", "sentinel-2-l2a"
_SECONDS = 60  # that a server may take to answer
_RETRIES = 5


class Catalog:
    """A STAC API.

    Args:
        name: One of CATALOGS, or an address.

    Attributes:
        name: What messages call it.

    Raises:
        ConfigError: the extra `stac` is missing, or an unknown name.
        DataError: there is no STAC API at this address.
    """

    def __init__(self, name: str):
        if not importlib.util.find_spec("pystac_client"):
            raise ConfigError('catalogs need the extra stac: pip install ".[stac]"')
        if name not in CATALOGS and "://" not in name:
            raise ConfigError(f"{parameter('catalog')} {name}: must be {', '.join(CATALOGS)}, or an address")
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO
        from urllib3 import Retry

        self.name, self._address = without_secrets(name), CATALOGS.get(name, name)
        # With longer and longer waits, or as long as the server says (Retry-After).
        retries = Retry(
            _RETRIES,
            connect=1,
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            raise_on_status=False,
        )
        with self._answering():
            self._client = Client.open(self._address, stac_io=StacApiIO(max_retries=retries, timeout=_SECONDS))

    def has(self, collection: str) -> bool:
        return self._collection(collection) is not None

    def licence(self, collection: str) -> str:
        """The licence of a collection's images: its short name, and where to read it."""
        found = self._collection(collection)
        links = [link.href for link in found.links if link.rel == "license"] if found else []
        return " ".join([found.license or "", *links[:1]]).strip() if found else ""

    def find(
        self,
        collection: str,
        box: tuple[float, float, float, float],
        dates: str,
        log: Callable[[str], object] = lambda line: None,
    ) -> list[Item]:
        """The items of a collection that touch a box, in the order of their time.

        Args:
            collection: Its name.
            box: (west, south, east, north) in degrees.
            dates: Such as "2024-06-01/2024-08-31".
            log: Called with a line for each item that is broken, and left out.

        Raises:
            DataError: the catalog does not answer, or with what is no answer of a STAC API.
        """
        with self._answering():
            search = self._client.search(collections=[collection], bbox=box, datetime=dates, limit=100)
            records = list(search.items_as_dicts())
        items = []
        for record in records:
            try:
                items.append(parse_item(record, _own_address(record) or self._address))
            except DataError as error:
                log(f"left out: {error}")
        return sorted(items, key=lambda item: (item.time, item.id))

    def _collection(self, name: str):
        from pystac_client.exceptions import APIError

        with self._answering():
            try:
                return self._client.get_collection(name)
            except APIError as error:
                if error.status_code == 404:
                    return None
                raise

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Raise DataError for what is no answer of a STAC API."""
        try:
            yield
        except Exception as error:
            # Of several families; an address that is another site's answers in whatever way.
            if not type(error).__module__.startswith(("pystac", "requests", "urllib3", "json")):
                raise
            said = without_secrets(first_line(error))[:200]
            raise DataError(
                f"{self.name}: does not answer as a STAC API does ({parameter('catalog')}): {said}"
            ) from error


def _own_address(record) -> str:
    links = record.get("links") or [] if isinstance(record, dict) else []
    addresses = (str(link.get("href")) for link in links if link.get("rel") == "self")
    return next((address for address in addresses if address.startswith(("http://", "https://"))), "")
