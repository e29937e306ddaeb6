"""The page in a real browser, from the command that people type."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest
import rasterio
from helpers import IN_BROWSER, write_tiff
from PIL import Image

import sar_keras
from sar_keras.app.uploads import EXPECTED_ERROR
from sar_keras.inference.expected_error import ExpectedError
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
pytestmark = IN_BROWSER

_LONG = 120_000  # milliseconds, on a busy machine
_LOOPBACK = ("127.0.0.1", "localhost")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def serving(temporary, *arguments):
    """Start `sar-keras app`; its process, and the address that it prints."""
    command = [Path(sys.executable).with_name("sar-keras"), "app", *arguments, "--port", free_port()]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with (temporary / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.match(r"(http://\S+)/  \(Ctrl-C ends it\)", line)
        assert address, (temporary / "log").read_text()
        yield process, address[1]
    finally:
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, which a shell in the background may have switched off
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def guided_file(tmp_path_factory):
    """A small guided generator with weights at random, which knows its error."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("models") / "guided.keras"
    generator = sar_keras.GuidedGenerator((64, 64, 1), filters=2, depth=3)
    generator.set_weights([weights * 4 if weights.ndim == 4 else weights for weights in generator.get_weights()])
    error = ExpectedError([0.2, 0.05, 0.03, -0.08, 0, 0, 0, 0, 0, 0], [-1, -1, -1], [1, 1, 1])
    save_model(generator, path, ModelMetadata(expected_error=error))
    return path


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where the server keeps its files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(guided_file, temporary):
    with serving(temporary, guided_file) as (process, address):
        yield process, address
    # Whatever was uploaded, written and shown.
    assert [path.name for path in temporary.iterdir() if path.name.startswith("sar_keras_app_")] == []


@pytest.fixture
def visit(browser, server):
    """visit(...) is the page in a window of its own, which may ask loopback addresses only."""
    contexts, foreign = [], []

    def look_at(request):
        host = urllib.parse.urlsplit(request.url).hostname
        if host and host not in _LOOPBACK:
            foreign.append(request.url)

    def opened(address=None, **options):
        contexts.append(browser.new_context(**options))
        contexts[-1].on("request", look_at)
        page = contexts[-1].new_page()
        page.set_default_timeout(_LONG)
        page.goto(address or server[1])
        page.get_by_text("The colours are guessed.").wait_for()
        page.get_by_role("button", name="drawn_urban").wait_for()  # the last of the controls
        return page

    yield opened
    for context in contexts:
        context.close()
    assert foreign == []


@pytest.fixture
def patch(tmp_path, random, save_png):
    return save_png(tmp_path / "patch.png", random.integers(0, 256, (64, 96), dtype="uint8"))


def upload(page, path, label="SAR image:"):
    """Choose a file at the control of this label; again where the page was not ready for it."""
    control = page.locator(".block", has=page.locator("label", has_text=label)).last
    for _ in range(4):
        control.locator("input[type=file]").first.set_input_files(path)
        with contextlib.suppress(sync_api.TimeoutError):
            control.get_by_label("Clear").first.wait_for(timeout=15_000)
            return
    raise AssertionError(f"{path.name} was not taken at {label}")


def download(page, button, folder):
    page.get_by_role("button", name=button).wait_for()
    with page.expect_download() as found:
        page.get_by_role("button", name=button).click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_a_patch_comes_back_in_colour(visit, guided_file, patch, tmp_path):
    page = visit()
    upload(page, patch)
    got = np.asarray(Image.open(download(page, "Download PNG", tmp_path)))
    assert (got == sar_keras.colorize(guided_file, patch)).all()
    page.get_by_text("patch.png: 96 x 64 pixels, uint8").wait_for()
    assert not page.get_by_role("button", name="Download GeoTIFF").is_visible()


def test_hints_and_detail_change_the_colours(visit, guided_file, patch, tmp_path, random, save_png):
    page, basemap = visit(), save_png(tmp_path / "basemap.png", random.integers(0, 256, (8, 12, 3), dtype="uint8"))
    upload(page, basemap, "Coarse image")
    page.get_by_label("number input for SAR detail").fill("0.5")
    upload(page, patch)
    got = np.asarray(Image.open(download(page, "Download PNG", tmp_path)))
    assert (got == sar_keras.colorize(guided_file, patch, basemap=basemap, detail=0.5)).all()
    page.get_by_text("The same from the command line").click()
    page.get_by_text("--basemap basemap.png").wait_for()


def test_a_scene_comes_back_where_it_lies(visit, tmp_path, random):
    decibel = random.uniform(-20, -5, (2, 96, 128)).astype("float32")
    scene = write_tiff(tmp_path / "scene.tif", decibel, names=("VV", "VH"))
    page = visit()
    upload(page, scene)
    with rasterio.open(download(page, "Download GeoTIFF", tmp_path)) as got, rasterio.open(scene) as given:
        assert got.crs == given.crs and got.transform == given.transform and got.shape == given.shape
        assert got.tags()["SYNTHETIC"] == "YES"
    page.get_by_text("band 1 (VV), db (float32").wait_for()
    assert page.get_by_label("Band").input_value() == "1 (VV)" and page.get_by_label("Units").input_value() == "db"
    page.get_by_label("Band").click()
    page.get_by_role("option", name="2 (VH)").click()
    page.get_by_role("button", name="Colorize").click()
    page.get_by_text("band 2 (VH), db (float32").wait_for()


def test_the_slider_moves_and_shows_other_layers(visit, patch, tmp_path, random, save_png):
    page, truth = visit(), save_png(tmp_path / "truth.png", random.integers(0, 256, (64, 96, 3), dtype="uint8"))
    page.get_by_role("button", name="Compare").click()
    upload(page, truth, "Optical image of the same")
    upload(page, patch)
    page.get_by_text("PSNR (dB)").wait_for()
    handle = page.locator(".slider-wrap .icon-wrap")
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # until both images have moved it to its place
    before = handle.bounding_box()
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.mouse.move(before["x"] - 100, before["y"] + before["height"] / 2, steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert handle.bounding_box()["x"] < before["x"] - 50
    page.get_by_label("Right of the slider").click()
    options = [text.split("\n")[-1] for text in page.get_by_role("option").all_inner_texts()]
    assert options[-4:] == ["SAR", "colours", EXPECTED_ERROR, "truth"]
    shown = "[...document.querySelectorAll('.slider-wrap img')].map(image => image.src).join()"
    before = page.evaluate(shown)
    page.get_by_role("option", name="truth").click()
    page.wait_for_function(f"before => {shown} != before", arg=before)


def test_a_pixel_tells_its_values(visit, patch):
    page = visit()
    upload(page, patch)
    page.get_by_role("button", name="Values of a pixel").click()
    picture = page.locator(".block", has=page.locator("label", has_text="Click a pixel")).locator("img").last
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 10.5 / 96, "y": box["height"] * 20.5 / 64})
    page.get_by_text("column 10, row 20").wait_for()
    level = np.asarray(Image.open(patch))[20, 10]
    page.get_by_text(f"SAR: {level} (uint8)").wait_for()


def test_a_broken_file_is_a_message_and_the_next_one_works(visit, patch, tmp_path):
    page, broken = visit(), tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0no more")
    upload(page, broken)
    message = page.get_by_text("broken.tif: not a raster")
    message.wait_for()
    assert "Traceback" not in page.content() and str(tmp_path.parent) not in message.inner_text()
    page.get_by_label("Clear").first.click()
    upload(page, patch)
    page.get_by_role("button", name="Download PNG").wait_for()


def test_a_scene_that_is_stopped_leaves_nothing_and_a_patch_follows(visit, server, patch, tmp_path, temporary, random):
    process, _ = server

    def state():
        files = [path for path in temporary.rglob("*") if path.is_file() and "colours" in path.name]
        return len(os.listdir(f"/proc/{process.pid}/task")), sorted(files)

    page = visit()
    upload(page, patch)
    page.get_by_role("button", name="Download PNG").wait_for()
    threads, files = state()
    scene = write_tiff(tmp_path / "large.tif", random.integers(1, 255, (1, 7000, 7100), dtype="uint8"))
    page.get_by_label("Clear").first.click()
    upload(page, scene)
    page.get_by_text(re.compile(r"colorizing - \d+")).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped; nothing was written").wait_for()
    assert set(state()[1]) <= set(files)
    page.get_by_label("Clear").first.click()
    upload(page, patch)
    page.get_by_role("button", name="Download PNG").wait_for()
    assert state()[0] <= threads + 3


def test_two_people_see_their_own_images(visit, tmp_path, random, save_png, guided_file):
    names = ("one", "two")
    files = [save_png(tmp_path / f"{name}.png", random.integers(0, 256, (64, 64), dtype="uint8")) for name in names]
    pages = [visit(), visit()]
    for page, file in zip(pages, files, strict=True):
        upload(page, file)
    for page, file, other in zip(pages, files, reversed(files), strict=True):
        (tmp_path / file.stem).mkdir()
        got = np.asarray(Image.open(download(page, "Download PNG", tmp_path / file.stem)))
        assert (got == sar_keras.colorize(guided_file, file)).all()
        assert other.name not in page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_in_light_and_dark(visit, patch, scheme):
    page = visit(viewport={"width": 375, "height": 800}, color_scheme=scheme)
    upload(page, patch)
    page.get_by_role("button", name="Download PNG").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    background = page.evaluate(
        "getComputedStyle(document.querySelector('gradio-app') || document.body).backgroundColor"
    )
    levels = [int(level) for level in re.findall(r"\d+", background)[:3]]
    assert min(levels) > 200 if scheme == "light" else max(levels) < 60


def test_controls_have_names_and_the_keyboard_reaches_them(visit):
    page = visit()
    names = page.evaluate(
        "[...document.querySelectorAll('input, button, textarea')].filter(e => e.offsetParent).map(e => "
        "e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.title)"
    )
    assert len(names) > 8 and all(name and name.strip() for name in names)
    reached, active = set(), "document.activeElement"
    for _ in range(40):
        page.keyboard.press("Tab")
        name = f"{active}.getAttribute('aria-label') || {active}.innerText || {active}.labels?.[0]?.innerText || ''"
        reached.add(page.evaluate(name))
    for control in ("SAR detail", "Use the colour of the place", "Compare", "Left of the slider", "drawn_urban"):
        assert any(control in name for name in reached), control


def fetch(address):
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_no_file_outside_the_folder_is_served(server, temporary, tmp_path):
    process, address = server
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (folder,) = temporary.glob("sar_keras_app_*")
    link = folder / "gradio" / "link.txt"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(secret)
    up = "/".join([".."] * 12)
    for name in (secret, "/etc/passwd", f"{folder}/gradio/{up}{secret}", f"{folder}/gradio/{up}/etc/passwd", link,
                 f"/proc/{process.pid}/environ", Path.cwd() / "setup.cfg"):  # fmt: skip
        for quoted in (urllib.parse.quote(str(name)), urllib.parse.quote(str(name), safe="")):
            status, content = fetch(f"{address}/gradio_api/file={quoted}")
            assert status in (403, 404) and b"secret" not in content and b"root:" not in content, name
    link.unlink()


class _Proxy(BaseHTTPRequestHandler):
    """Passes on what is asked for below /sar, as a proxy does that serves more than this page."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if not self.path.startswith("/sar"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        onward = http.client.HTTPConnection(self.server.behind)
        headers = {
            key: value for key, value in self.headers.items() if key.lower() not in ("connection", "accept-encoding")
        }
        onward.request(self.command, self.path.removeprefix("/sar") or "/", body, headers)
        answer = onward.getresponse()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection"):
                self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while part := answer.read1():
                self.wfile.write(part)
                self.wfile.flush()

    do_POST = do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_below_a_path_of_a_proxy(visit, guided_file, patch, tmp_path, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("proxied"), guided_file, "--root-path", "/sar") as (_, address):
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
        proxy.behind = urllib.parse.urlsplit(address).netloc
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            page = visit(f"http://127.0.0.1:{proxy.server_port}/sar/")
            upload(page, patch)
            got = np.asarray(Image.open(download(page, "Download PNG", tmp_path)))
            assert (got == sar_keras.colorize(guided_file, patch)).all()
        finally:
            proxy.shutdown()
            proxy.server_close()


def test_a_port_that_is_taken_is_one_line(guided_file):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [Path(sys.executable).with_name("sar-keras"), "app", guided_file, "--port", port]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"port {port}: is in use" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
