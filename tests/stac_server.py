"""A STAC API of static items on this machine, with the faults that servers have."""

import http.server
import json
import re
import threading
import time
import urllib.parse
from pathlib import Path

import rasterio

from sar_keras.io.virtual import stack

PAGE = 3  # items of an answer, however many are asked for
CORE = "https://api.stacspec.org/v1.0.0/core"
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
COLLECTIONS = "https://api.stacspec.org/v1.0.0/collections"
LICENCE = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"


class StacServer(http.server.ThreadingHTTPServer):
    """Serves `folder`/items.json, a list of items whose assets are files below it, until `close`.

    Attributes:
        faults: The end of a path to what is wrong with it: "404", "403", "no range", "truncated", "busy" (429 the first
            two times; also of "/search"), "slow", "vrt" (it names a file of this machine), "waits" (until `waiting`
            is set).
        links: The first part of a path to another folder that it leads to.
        asked: The paths of all requests but those of the API.
        unsigned: Those of them that came without credentials.
        most_at_once: Of these requests.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.items = folder, json.loads((folder / "items.json").read_text())
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: dict[str, str] = {}
        self.links: dict[str, Path] = {}
        self.busy: dict[str, int] = {}
        self.asked: list[str] = []
        self.unsigned: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock, self.waiting = threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that has heard enough is no error."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    @property
    def collections(self) -> set[str]:
        return {item["collection"] for item in self.items}

    def full(self, item: dict) -> dict:
        """An item whose assets have addresses."""
        assets = {
            name: {**asset, "href": urllib.parse.urljoin(f"{self.address}/", asset["href"])}
            for name, asset in item["assets"].items()
        }
        own = f"{self.address}/collections/{item['collection']}/items/{item['id']}"
        return item | {"assets": assets, "links": [{"rel": "self", "href": own}]}

    def find(self, asked: dict) -> list[dict]:
        """The items that a search asks for, by bbox, datetime and collections."""
        west, south, east, north = map(float, asked.get("bbox") or (-180, -90, 180, 90))
        first, last = (asked.get("datetime") or "../..").split("/")
        found = []
        for item in self.items:
            box, date = item["bbox"], item["properties"]["datetime"]
            meets = box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south
            inside = (first == ".." or first <= date) and (last == ".." or date <= last)
            if meets and inside and item["collection"] in (asked.get("collections") or self.collections):
                found.append(self.full(item))
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StacServer

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_page(body)

    def answer(self, with_body=True):
        server, path = self.server, urllib.parse.urlsplit(self.path).path
        if path == "/":
            links = [{"rel": "self", "href": server.address}, {"rel": "root", "href": server.address}]
            links += [{"rel": "data", "href": f"{server.address}/collections"}]
            search = {"rel": "search", "href": f"{server.address}/search", "type": "application/geo+json"}
            links += [search | {"method": method} for method in ("GET", "POST")]
            about = {"type": "Catalog", "stac_version": "1.0.0", "id": "loopback", "description": "of the tests"}
            return self.send_json(about | {"conformsTo": [CORE, SEARCH, COLLECTIONS], "links": links})
        parts = path.strip("/").split("/")
        if parts[0] == "sas":  # as Planetary Computer signs
            if "/sas" in server.faults:
                return self.send_failure(int(server.faults["/sas"]))
            return self.send_json({"msft:expiry": "2099-01-01T00:00:00Z", "token": f"sig={'-'.join(parts[1:])}"})
        if parts[0] == "search":
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            asked |= {name: asked[name].split(",") for name in ("bbox", "collections") if name in asked}
            return self.send_page(asked)
        if parts[0] == "collections" and len(parts) == 2 and parts[1] in server.collections:
            interval = [["2014-10-10T00:00:00Z", None]]
            extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": interval}}
            about = {"type": "Collection", "stac_version": "1.0.0", "id": parts[1], "description": "of the tests"}
            links = [{"rel": "license", "href": LICENCE}]
            return self.send_json(about | {"license": "proprietary", "extent": extent, "links": links})
        if parts[0] == "collections" and len(parts) == 4:
            found = [server.full(item) for item in server.items if item["id"] == parts[3]]
            return self.send_json(found[0]) if found else self.send_failure(404)
        if parts[0] == "collections":
            return self.send_failure(404)
        with server.lock:
            server.asked.append(path)
            if "Authorization" not in self.headers:
                server.unsigned.append(path)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self.send_file(path, with_body)
        finally:
            with server.lock:
                server.at_once -= 1

    def is_busy(self, path):
        """Answer "429 Too Many Requests" to the first two requests of what shall be busy."""
        with self.server.lock:
            self.server.busy[path] = self.server.busy.get(path, 0) + 1
        if self.server.busy[path] <= 2:
            self.send_failure(429, Retry_After="0")
        return self.server.busy[path] <= 2

    def send_page(self, asked):
        if self.server.faults.get("/search") == "busy" and self.is_busy("/search"):
            return
        found, first = self.server.find(asked), int(asked.get("token") or 0)
        page = {"type": "FeatureCollection", "features": found[first : first + PAGE], "links": []}
        if first + PAGE < len(found):
            link = {"rel": "next", "href": f"{self.server.address}/search", "method": "POST"}
            page["links"].append(link | {"body": asked | {"token": str(first + PAGE)}})
        self.send_json(page)

    def send_json(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_failure(self, code, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, path, with_body):
        server, file = self.server, self.server.folder / path.lstrip("/")
        for name, folder in server.links.items():
            if path.startswith(f"/{name}/"):
                file = folder / path.removeprefix(f"/{name}/")
        fault = next((fault for end, fault in server.faults.items() if path.endswith(end)), "")
        if fault in ("404", "403") or not file.is_file():
            return self.send_failure(int(fault or 404))
        if fault == "busy" and self.is_busy(path):
            return None
        if fault == "waits":
            server.waiting.wait(60)
        if fault == "slow":
            time.sleep(0.05)
        data, code, headers = file.read_bytes(), 200, {}
        if fault == "vrt":
            with rasterio.open(file) as raster:
                data = stack("", [raster], [""]).encode()
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if fault != "no range":
            headers["Accept-Ranges"] = "bytes"
            if part:
                last = min(int(part[2] or len(data) - 1), len(data) - 1)
                headers["Content-Range"] = f"bytes {part[1]}-{last}/{len(data)}"
                data, code = data[int(part[1]) : last + 1], 206
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not with_body:
            return None
        if fault == "truncated" and part and int(part[1]) > 0:
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)
        return None

    def log_message(self, *_):
        pass
