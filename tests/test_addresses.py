"""Outputs and runs at addresses such as gs://bucket/run: local folders of such names would be made instead."""

from pathlib import Path

import keras
import pytest
from helpers import names, one_line

import sar_keras
from sar_keras.errors import OutputError
from sar_keras.inference.export import export_saved_model
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model
from sar_keras.io.files import local_path

ADDRESSES = [
    "gs://bucket/run",
    "s3://bucket/a.tif",
    "s3:/bucket/a.tif",
    "/vsigs/bucket/run",
    "https://host/run",
    "hdfs:/run",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "quick", "--out", "ADDRESS"],
        ["fit", "quick", "--out", "ADDRESS", "--resume"],
        ["fit", "no such preset", "--data", "ADDRESS"],
        ["colorize", "demo", "none.tif", "-o", "ADDRESS"],
        ["colorize", "demo", "none.tif", "-o", "c.tif", "--preview", "ADDRESS"],
        ["colorize", "ADDRESS", "none.tif", "-o", "c.tif"],
        ["export", "demo", "-o", "ADDRESS"],
        ["export", "ADDRESS"],
        ["evaluate", "ADDRESS"],
        ["evaluate", "demo", "--data", "none", "--json", "ADDRESS"],
        ["evaluate", "demo", "--data", "none", "--html", "ADDRESS"],
        ["compare", "none", "ADDRESS"],
        ["compare", "none", "none", "-o", "ADDRESS"],
        ["benchmark", "--steps", "1", "-o", "ADDRESS"],
        ["data", "scan", "none", "--html", "ADDRESS"],
        ["data", "split", "none", "-o", "ADDRESS"],
        ["data", "synth", "ADDRESS"],
        ["fit", "quick", "--init", "ADDRESS"],
    ],
)
@pytest.mark.parametrize("address", ADDRESSES[:3])
def test_they_are_one_line_before_anything_is_read(command, tmp_path, monkeypatch, arguments, address):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*[address if argument == "ADDRESS" else argument for argument in arguments])
    assert (code, out) == (2, "") and f"{address}: is an address" in one_line(err) and "mount the bucket" in err
    assert names(tmp_path) == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_they_are_refused_from_python(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    for call in (
        lambda: sar_keras.fit("quick", address),
        lambda: sar_keras.benchmark(address, steps=1),
        lambda: sar_keras.compare(["none", "none"], address),
        lambda: sar_keras.colorize_scene(model, "none.tif", address),
        lambda: sar_keras.colorize_scene(model, "none.tif", "c.tif", preview=address),
        lambda: sar_keras.load_model(address),
        lambda: export_saved_model(model, address),
        lambda: save_model(model, address, ModelMetadata()),
    ):
        with pytest.raises(OutputError, match="is an address"):
            call()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "path", ["runs/12:30", "C:\\runs\\a", "gs/run", "./b/gs://run", "s3", "a:b", "/mnt/s3://x", "vsi/a"]
)
def test_paths_that_look_alike_are_paths(path):
    assert local_path(path) == Path(path)
