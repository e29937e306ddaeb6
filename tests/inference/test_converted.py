"""ONNX and OpenVINO exports against Keras, in a process that has neither TensorFlow nor this package."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import bessel, names, one_convolution, one_line, tiny

import sar_keras
from sar_keras.errors import ModelError, OutputError
from sar_keras.hint_planes import hint_channels
from sar_keras.inference.converted import export_onnx, export_openvino
from sar_keras.inference.metadata import attach
from sar_keras.inference.model_file import save_model
from sar_keras.io.sar import Scale
from sar_keras.networks.sizes import any_size, sar_channels, takes_hint
from sar_keras.training.build import build_saved_generator

EXPORTS = {"onnx": export_onnx, "openvino": export_openvino}
METADATA = sar_keras.ModelMetadata(Scale("db", -22.0, -1.5), sar_bands=("VH",), mean_colour=(-0.5, 0.25, 0.0))

# Runs what was exported on arrays in FOLDER/<size>.npz, writes FOLDER/<size>-<format>.npy, and prints what it says of
# itself, in JSON.
RUN = """
import json, pathlib, sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["sar_keras"] = None  # makes their import fail
import numpy as np
folder, found = pathlib.Path(sys.argv[1]), {}

def run(format, function):
    for path in folder.glob("*.npz"):
        np.save(folder / f"{path.stem}-{format}.npy", function(dict(np.load(path))))

if (file := folder / "onnx/1/model.onnx").exists():
    import onnxruntime
    session = onnxruntime.InferenceSession(file)
    found["onnx"] = session.get_modelmeta().custom_metadata_map
    run("onnx", lambda arrays: session.run(["optical"], arrays)[0])
if (file := folder / "openvino/1/model.xml").exists():
    import openvino
    model = openvino.Core().read_model(file)
    info = model.get_rt_info(["sar_keras"]).value
    found["openvino"] = {name: model.get_rt_info(["sar_keras", name]).astype(str) for name in info}
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    run("openvino", lambda arrays: compiled(arrays)["optical"])
print(json.dumps(found))
"""


def run_elsewhere(model, folder, random, sizes=((2, 64, 64), (1, 72, 104))):
    """Compare both exports of a model with `predict`; what they say of themselves, {format: {name: text}}."""
    for name, export in EXPORTS.items():
        export(model, folder / name)
    expected = {}
    for count, height, width in sizes:
        arrays = {"sar": random.uniform(-1, 1, (count, height, width, sar_channels(model)))}
        if takes_hint(model):
            hint = random.uniform(-1, 1, (count, height, width, hint_channels(arrays["sar"].shape[-1])))
            hint[..., 3:7] = [0, 1, 0, 0]
            arrays["hint"] = hint
        arrays = {name: array.astype("float32") for name, array in arrays.items()}
        np.savez(folder / f"{height}.npz", **arrays)
        expected[height] = any_size(model).predict(arrays if takes_hint(model) else arrays["sar"], verbose=0)
    result = subprocess.run([sys.executable, "-c", RUN, folder], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    for height, colours in expected.items():
        assert colours.std() > 0.03  # four times what they may differ by
        for name in EXPORTS:
            np.testing.assert_allclose(np.load(folder / f"{height}-{name}.npy"), colours, atol=2 / 255)
    return json.loads(result.stdout)


@pytest.mark.slow
def test_colours_are_those_of_predict_and_scales_are_in_the_file(model_file, tmp_path, random):
    model = attach(sar_keras.load_model(model_file), METADATA)
    said = run_elsewhere(model, tmp_path, random)
    assert said["onnx"] == said["openvino"]
    assert "VH: db from -22 to -1.5" in said["onnx"]["sar"] and "multiples of 8" in said["onnx"]["sar"]
    assert json.loads(said["onnx"]["sar_scale"]) == {"units": "db", "low": -22.0, "high": -1.5}
    assert json.loads(said["onnx"]["sar_bands"]) == ["VH"]
    assert json.loads(said["onnx"]["mean_colour"]) == [-0.5, 0.25, 0.0]


# The others have one of these networks; tests/inference/test_served.py takes them all.
NETWORKS = ("default", "pix2pix", "pix2pix_lab", "pix2pix_dae", "epcgan", "cyclegan", "guided")


@pytest.mark.slow
@pytest.mark.parametrize("preset", NETWORKS)
def test_every_network(preset, tmp_path, random):
    keras.utils.set_random_seed(0)
    model = build_saved_generator(tiny(preset))
    # Weights that answer every change of the input with bright colours.
    model.set_weights(
        [random.uniform(0.5, 1.5, weight.shape) if weight.ndim == 1 else weight * 4 for weight in model.get_weights()]
    )
    said = run_elsewhere(model, tmp_path, random, ((2, 64, 64), (1, 128, 64)))
    assert ("hint" in said["onnx"]) == (preset == "guided")


@keras.saving.register_keras_serializable(package="test")
class Noise(keras.layers.Layer):
    """What both formats have, and draw anew."""

    def call(self, x):
        return x + tf.random.uniform(tf.shape(x))

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize(
    ("layer", "why"), [(bessel(), "cannot take this model: No .*BesselI0e"), (Noise, r"\d of 255")]
)
@pytest.mark.parametrize("format", EXPORTS)
def test_what_a_format_cannot_take_is_refused_and_leaves_nothing(format, layer, why, tmp_path):
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(layer()(image)))
    with pytest.raises(ModelError, match=rf"format {format}: .*{why}.*; saved_model takes every model") as error:
        EXPORTS[format](model, tmp_path / "out")
    one_line(str(error.value))
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


def test_the_command(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(one_convolution(), "mine.keras", METADATA)
    for format, files in {"onnx": ["model.onnx"], "openvino": ["model.bin", "model.xml"]}.items():
        code, out, err = command("export", "mine.keras", "--format", format)
        assert (code, out) == (0, f"saved_models/mine_{format}/1/{files[-1]}\n"), err
        assert names(tmp_path / f"saved_models/mine_{format}/1") == files
    before = (tmp_path / "saved_models/mine_onnx/1/model.onnx").read_bytes()
    code, _, err = command("export", "mine.keras", "--format", "onnx", "--version", "1")
    assert code == 2 and "saved_models/mine_onnx/1: exists already; give another --version" in one_line(err)
    assert (tmp_path / "saved_models/mine_onnx/1/model.onnx").read_bytes() == before
    assert names(tmp_path / "saved_models/mine_onnx") == ["1"]


@pytest.mark.parametrize("format", EXPORTS)
def test_an_extra_that_is_not_there_is_one_line(command, format, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = command("export", "demo", "--format", format, "-o", tmp_path / "out")
    assert code == 2 and f'pip install ".[{format}]"' in one_line(err)
    with pytest.raises(OutputError, match="not installed"):
        EXPORTS[format](one_convolution(), tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("format", EXPORTS)
def test_a_full_disk_is_one_line_and_leaves_nothing(command, format, small_disk):
    code, _, err = command("export", "demo", "--format", format, "-o", small_disk / "out")
    assert code == 2 and "disk" in one_line(err) and "full" in err
    assert not list(small_disk.rglob("model.*"))
