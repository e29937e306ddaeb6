"""Models of the Hugging Face hub: from a cache that is filled by hand, and from a server that answers as the hub does.

The hub itself is not reached. What the server answers is what the documentation of huggingface_hub.errors shows.
"""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import keras
import pytest
import rasterio
from helpers import UTM, one_line, tiny_settings, write_scene

import sar_keras
from sar_keras.errors import ModelError
from sar_keras.inference import hub
from sar_keras.inference.locate import model_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Path of a repository to the status and the headers of the answer.
ANSWERS = {
    "/owner/none/": (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "/owner/gated/": (
        403,
        {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model owner/gated is restricted"},
    ),
    "/owner/mine/resolve/v9/": (404, {"X-Error-Code": "RevisionNotFound"}),
    "/owner/empty/": (404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}),
    "/owner/broken/": (418, {}),
}

DOWNLOAD = """
import json, sys
from sar_keras.errors import ModelError
from sar_keras.inference.hub import download
found = []
for address in sys.argv[1:]:
    try:
        found.append(str(download(address)))
    except ModelError as error:
        found.append(str(error))
print(json.dumps(found))
assert not {"tensorflow", "keras"} & set(sys.modules)
"""

COMMANDS = """
import json, sys
from click.testing import CliRunner
from sar_keras.cli.main import main
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    print(json.dumps([result.exit_code, result.stdout, result.stderr]))
"""


def fill(cache: Path, repository: str, model: Path, *revisions: str) -> Path:
    """Lay a file into a cache as huggingface_hub does, and return its home, for HF_HOME."""
    folder = cache / "hub" / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(model.read_bytes()).hexdigest()
    for path in (blob, folder / "refs/main", folder / f"snapshots/{COMMIT}/generator.keras"):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, blob)
    (folder / f"snapshots/{COMMIT}/generator.keras").symlink_to(f"../../blobs/{blob.name}")
    for revision in revisions:
        (folder / "refs" / revision).write_text(COMMIT)
    return folder


def python(code: str, *arguments, home: Path, **environment) -> str:
    """Run code in a process that takes `home` for the home of the hub's cache; what it prints."""
    variables = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment
    others = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=home,
        env=others | variables,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@contextlib.contextmanager
def serving(content: bytes):
    """A server that answers as the hub; every repository but those of ANSWERS holds `content` as generator.keras."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            status, headers = next((ANSWERS[path] for path in ANSWERS if self.path.startswith(path)), (200, {}))
            if status == 200:
                headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)) if status == 200 else "0")
            self.end_headers()
            return status

        def do_GET(self):
            if self.do_HEAD() == 200:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_offline_from_the_cache(model_file, tmp_path):
    folder = fill(tmp_path, "owner/mine", model_file, "main", "v1")
    addresses = ["hf://owner/mine", "hf://owner/mine@v1", f"hf://owner/mine@{COMMIT}", "hf://owner/mine@v2"]
    *found, missing = json.loads(python(DOWNLOAD, *addresses, home=tmp_path, HF_HUB_OFFLINE="1"))
    assert found == 3 * [str(folder / f"snapshots/{COMMIT}/generator.keras")]
    assert missing == f"hf://owner/mine@v2: is not in {tmp_path}/hub, and HF_HUB_OFFLINE is set: unset it"
    assert model_name(Path(found[0])) == f"hf://owner/mine@{COMMIT}"


def test_what_the_hub_does_not_give_is_one_line(model_file, tmp_path):
    expected = {
        "hf://owner/none": "no such model at ENDPOINT/owner/none, or a private one: to see it log in by hf auth login",
        "hf://owner/gated": "is gated: ask for access at ENDPOINT/owner/gated, then log in by hf auth login",
        "hf://owner/mine@v9": "owner/mine has no such revision; ENDPOINT/owner/mine/commits/main lists them",
        "hf://owner/empty": "holds no generator.keras; what sar-keras fit saves is called so",
    }
    with serving(model_file.read_bytes()) as endpoint:
        addresses = [*expected, "hf://owner/broken", "hf://owner/mine"]
        *said, broken, file = json.loads(python(DOWNLOAD, *addresses, home=tmp_path, HF_ENDPOINT=endpoint))
    assert said == [f"{address}: {text.replace('ENDPOINT', endpoint)}" for address, text in expected.items()]
    assert broken.startswith("hf://owner/broken: ") and "\n" not in broken
    assert Path(file).read_bytes() == model_file.read_bytes()


@pytest.mark.slow  # huggingface_hub tries for 20 seconds
def test_without_a_network(model_file, tmp_path):
    folder = fill(tmp_path, "owner/mine", model_file, "main")
    with serving(b"") as endpoint:
        pass  # nobody listens there now
    found, missing = json.loads(
        python(DOWNLOAD, "hf://owner/mine", "hf://owner/other", home=tmp_path, HF_ENDPOINT=endpoint)
    )
    assert found == str(folder / f"snapshots/{COMMIT}/generator.keras")
    assert missing == f"hf://owner/other: is not in {tmp_path}/hub, and {endpoint} cannot be reached: check the network"


@pytest.mark.parametrize("address", ["hf://", "hf://name", "hf://a/b/c", "hf://a/b@", "hf://a b/c"])
def test_what_is_no_address_is_one_line(address, command):
    with pytest.raises(ModelError, match="hf://owner/name@revision"):
        sar_keras.load_model(address)
    code, _, err = command("export", address)
    assert code == 2 and "hf://owner/name@revision" in one_line(err)


def test_without_the_extra_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    hub.download.cache_clear()
    with pytest.raises(ModelError, match=r'pip install ".\[hub\]"'):
        sar_keras.load_model("hf://owner/without")


@pytest.mark.slow
def test_every_command_that_takes_a_model(tiny_run, pairs_folder, tmp_path, random):
    fill(tmp_path, "owner/mine", tiny_run / "generator.keras", "main")
    image = keras.Input((64, 64, 1))
    ran = str(tmp_path / "ran")
    layer = keras.layers.Lambda(lambda x: [os.mkdir(ran), x][1], output_shape=(64, 64, 3))
    keras.Model(image, layer(image)).save(tmp_path / "evil.keras")
    shutil.rmtree(ran, ignore_errors=True)
    fill(tmp_path, "owner/evil", tmp_path / "evil.keras", "main")
    scene = write_scene(tmp_path / "scene.tif", random.integers(1, 255, (64, 64)).astype("uint8"))
    settings = [word for change in [*tiny_settings("quick"), "train.epochs=1"] for word in ("--set", change)]
    model = "hf://owner/mine"
    commands = [
        ["colorize", model, str(scene), "-o", "colours.tif"],
        ["evaluate", model, "--data", str(pairs_folder)],
        ["export", model, "--format", "onnx"],
        ["fit", "quick", "--init", model, "--out", "run", *settings],
        ["colorize", "hf://owner/evil", str(scene), "-o", "evil.tif"],
    ]
    printed = python(COMMANDS, json.dumps(commands), home=tmp_path, HF_HUB_OFFLINE="1")
    answers = [json.loads(line) for line in printed.splitlines() if line.startswith("[")]
    assert [code for code, _, _ in answers] == [0, 0, 0, 0, 2], answers
    with rasterio.open(tmp_path / "colours.tif") as file:
        assert file.tags()["SAR_KERAS_MODEL"] == f"{model}@{COMMIT}" and file.crs == UTM["crs"]
    assert answers[1][1].startswith(f"{model}: ")
    assert answers[2][1] == "saved_models/mine_onnx/1/model.onnx\n"
    assert sar_keras.load_config(tmp_path / "run/config.yaml").train.init == model
    parent = sar_keras.metadata_of(sar_keras.load_model(tmp_path / "run")).parent
    assert parent and parent.startswith(f"{model}@{COMMIT}, SHA-256 ")
    assert "not a model that can be loaded" in one_line(answers[4][2]) and not os.path.exists(ran)


@pytest.mark.slow
def test_the_page(tiny_run, tmp_path):
    pytest.importorskip("gradio")
    fill(tmp_path, "owner/mine", tiny_run / "generator.keras", "main")
    code = "from sar_keras.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "app", "hf://owner/mine"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    try:
        assert "http://127.0.0.1:" in process.stdout.readline()
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
