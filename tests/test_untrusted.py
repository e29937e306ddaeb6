"""What comes from strangers: it is refused in one line, and never runs, fills the memory or ends in a traceback.

`benchmarks/soak.py fuzz` tries thousands of such inputs through the command line.
"""

import io
import json
import os
import shutil
import zipfile
import zlib

import keras
import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import first, one_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import sar_keras
from sar_keras.config import load_config
from sar_keras.data.pairs import find_pairs
from sar_keras.data.splits import read_split
from sar_keras.errors import ConfigError, DataError, ModelError
from sar_keras.inference.export import export_saved_model
from sar_keras.io.images import MAX_PIXELS, read_image

few = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def changed(model_file, target, name, change):
    with zipfile.ZipFile(model_file) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entries[name] = change(entries.get(name, b""))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    return target


def test_a_model_with_code_in_it_is_refused(tmp_path):
    image = keras.Input((64, 64, 1))
    ran = str(tmp_path / "ran")
    layer = keras.layers.Lambda(lambda x: [os.mkdir(ran), x][1], output_shape=(64, 64, 3))
    keras.Model(image, layer(image)).save(tmp_path / "evil.keras")
    shutil.rmtree(ran, ignore_errors=True)
    with pytest.raises(ModelError, match=r"evil\.keras"):
        sar_keras.load_model(tmp_path / "evil.keras")
    assert not os.path.exists(ran)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zeros", lambda _: bytes(30 * 2**20), "ten times its size"),
        ("config.json", lambda text: text.replace(b'"filters": 4,', b'"filters": 20000000,', 1), "more weights"),
        ("config.json", lambda text: b"[" * 100_000, ""),
        ("config.json", lambda text: text.replace(b"Conv2D", b"os.system"), ""),
        ("sar_keras.json", lambda _: json.dumps({"sar_scale": {"units": "db", "low": 5, "high": 5}}).encode(), "scale"),
        ("sar_keras.json", lambda _: json.dumps({"sar_scale": {"low": "x"}}).encode(), ""),
        ("sar_keras.json", lambda _: b"[]", ""),
        ("sar_keras.json", lambda _: json.dumps({"reflectance": [0.3, 0.0]}).encode(), "stretch"),
        ("sar_keras.json", lambda _: json.dumps({"reflectance": 1}).encode(), ""),
        (
            "sar_keras.json",
            lambda _: json.dumps({"expected_error": {"coefficients": [1], "low": [], "high": []}}).encode(),
            "expected error",
        ),
    ],
)
def test_models_that_were_tampered_with_are_refused(model_file, tmp_path, name, change, message):
    path = changed(model_file, tmp_path / "bad.keras", name, change)
    with pytest.raises(ModelError, match=rf"bad\.keras.*{message}"):
        sar_keras.load_model(path)


def test_decompression_bombs_are_refused_by_a_limit_that_can_be_moved(tmp_path, monkeypatch):
    png, tiff, block = tmp_path / "a.png", tmp_path / "a.tif", tmp_path / "block.tif"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(png)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(tiff, "w", width=64, height=64, **profile):
        pass
    with rasterio.open(block, "w", width=512, height=512, blockysize=512, compress="deflate", **profile) as file:
        file.write(np.ones((1, 512, 512), np.uint8))
    huge = bytearray(png.read_bytes())
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(huge)
    for limit in (None, 64 * 64 - 1):
        if limit:
            monkeypatch.setenv(MAX_PIXELS, str(limit))
        for path in (tmp_path / "huge.png", *([png, tiff] if limit else [])):
            with pytest.raises(DataError, match=f"{path.name}.*pixels.*{MAX_PIXELS}"):
                read_image(path, first(1))
    monkeypatch.setenv(MAX_PIXELS, str(64 * 64))
    with pytest.raises(DataError, match="512 x 512 pixels"):
        read_image(block, first(1), rasterio.windows.Window(0, 0, 8, 8))  # all of it must be unpacked for that
    assert read_image(png, first(1)).shape == read_image(tiff, first(1)).shape == (64, 64, 1)
    monkeypatch.setenv(MAX_PIXELS, "many")
    with pytest.raises(ConfigError, match=MAX_PIXELS):
        read_image(png, first(1))


def test_an_exported_model_refuses_them_too(model_file, tmp_path, monkeypatch):
    def encoded(side, kind="PNG"):
        file = io.BytesIO()
        Image.fromarray(np.zeros((side, side), np.uint8)).save(file, kind)
        return file.getvalue()

    monkeypatch.setenv(MAX_PIXELS, str(60 * 60))
    served = tf.saved_model.load(export_saved_model(sar_keras.load_model(model_file), tmp_path / "served"))
    colorize = served.signatures["colorize_png"]
    for kind in ("PNG", "JPEG"):
        assert len(colorize(image_bytes=tf.constant([encoded(60, kind)]))["png_bytes"]) == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
            colorize(image_bytes=tf.constant([encoded(61, kind)]))
    for other in (encoded(8, "GIF"), encoded(8, "BMP"), b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            colorize(image_bytes=tf.constant([other]))


def test_yaml_neither_runs_nor_explodes(command, tmp_path):
    path, ran = tmp_path / "mine.yaml", tmp_path / "ran"
    bomb = "a0: &a0 [0]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    for text in (f"data: !!python/object/apply:pathlib.Path.touch [{ran}]", bomb, "[" * 5000, "a: &a [*a]"):
        path.write_text(text)
        code, _, err = command("fit", path)
        assert code == 2 and "mine.yaml" in one_line(err)
    assert not ran.exists()


def image_bytes(suffix):
    file = io.BytesIO()
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(image).save(file, {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[suffix])
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_mutated_images_are_read_or_refused(tmp_path, suffix):
    original = image_bytes(suffix)

    @few
    @given(st.lists(st.tuples(st.integers(0, len(original) - 1), st.binary(max_size=4), st.integers(0, 4)), max_size=4))
    def attempt(changes):
        content = original
        for at, new, gone in changes:
            content = content[:at] + new + content[at + gone :]
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        try:
            assert read_image(path, first(3)).ndim == 3
        except DataError as error:
            assert str(path) in str(error)

    attempt()


@few
@given(st.text(max_size=60), st.integers(0, 2000))
def test_mutated_yaml_is_read_or_refused(tmp_path_factory, text, at):
    original = (load_config.__globals__["_PRESETS"] / "paper.yaml").read_text()
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes((original[:at] + text + original[at:]).encode("utf-8", "surrogatepass"))
    try:
        load_config(path)
    except ConfigError as error:
        assert str(path) in str(error)


@few
@given(st.text(max_size=60), st.integers(0, 200))
def test_mutated_manifests_are_read_or_refused(tmp_path_factory, text, at):
    original = "sar,optical,terrain,scene,split,patch,window,box\na_p1.png,b.png,agri,3,train,1,0 0 8 8,1 2 3 4\n"
    path = tmp_path_factory.getbasetemp() / "mutated.csv"
    path.write_bytes((original[:at] + text + original[at:]).encode("utf-8", "surrogatepass"))
    for read in (read_split, lambda manifest: find_pairs(manifest, must_exist=False)):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)
