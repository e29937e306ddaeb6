import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CHROMIUM, tiny
from PIL import Image

import sar_keras
from sar_keras.cli.main import main
from sar_keras.data.pairs import Pair
from sar_keras.data.synthetic import write_pairs
from sar_keras.inference.metadata import ModelMetadata

sar_keras.fit  # noqa: B018 - imports TensorFlow without its start-up lines
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from sar_keras.inference.expected_error import ExpectedError  # noqa: E402
from sar_keras.inference.model_file import save_model  # noqa: E402

# Much of the time would go into optimizing graphs that run a few times; the tests' other processes do optimize theirs.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

SHARED = Path(__file__).parents[2] / "shared"

# Folders that take longest; with two workers a long file at the end would leave the other worker idle.
FIRST = ("training", "scenes")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.parent.name) if item.path.parent.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data beside the checkout, which the repository does not hold."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data in ../shared")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Converted models are not kept in the cache of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make) is a folder that `make(folder)` has filled, in the first of pytest's processes that needs it.

    A test that changes what is in it takes a copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of the folders of all workers

    def of_all_workers(name, make):
        folder, made = shared / name, shared / f"{name}.made"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                made.touch()
        return folder

    return of_all_workers


@pytest.fixture(scope="session")
def pairs_folder(once) -> Path:
    """24 procedural pairs of 64 x 64 in the terrain layout."""
    return once("pairs", lambda folder: write_pairs(folder, 24, image_size=64))


@pytest.fixture(scope="session")
def tiny_run(once) -> Path:
    """A finished run of two short epochs."""
    return once("tiny", lambda run: sar_keras.fit(tiny("quick"), run))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """A small generator with weights at random but strong: it answers every change of its input with bright colours."""
    keras.utils.set_random_seed(0)
    generator = sar_keras.UNetGenerator((64, 64, 1), filters=4, depth=3)
    generator.set_weights([weights * 4 if weights.ndim == 4 else weights for weights in generator.get_weights()])
    path = tmp_path_factory.mktemp("models") / "strong.keras"
    error = ExpectedError([0.2, 0.05, 0.03, -0.08, 0, 0, 0, 0, 0, 0], [-1, -1, -1], [1, 1, 1])
    save_model(generator, path, ModelMetadata(expected_error=error))
    return path


@pytest.fixture
def command(monkeypatch):
    """Run the command line: command("fit", "--data", path) to (exit code, stdout, stderr); bugs raise.

    The line that `colorize` says of its engine is left out; tests/inference/test_engines.py looks at it.
    """
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(main, [os.fspath(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, re.sub(r"(?m)^engine: .*\n", "", result.stderr)

    return run


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def save_png():
    def save(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
        return path

    return save


@pytest.fixture
def hundred(tmp_path, save_png) -> list[Pair]:
    """A hundred pairs whose SAR image number i is i everywhere, in training but for the second."""
    pairs = []
    for index in range(100):
        sar = save_png(tmp_path / f"s1/{index}.png", np.full((32, 32), index, np.uint8))
        optical = save_png(tmp_path / f"s2/{index}.png", np.full((32, 32, 3), index, np.uint8))
        pairs.append(Pair(sar, optical, split="validation" if index == 1 else "train"))
    return pairs


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()
