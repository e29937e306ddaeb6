"""OpenVINO against TensorFlow, on images and on scenes."""

import numpy as np
import pytest
import rasterio
import tensorflow as tf

import sar_keras
from sar_keras.errors import DataError
from sar_keras.inference.compiled import for_engine
from sar_keras.networks.unet import UNetGenerator


def build(upsampling):
    """With weights that give every pixel a colour of its own."""
    generator, random = UNetGenerator((64, 64, 1), 4, upsampling=upsampling), np.random.default_rng(0)
    for weight in generator.weights:
        one = len(weight.shape) == 1
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if one else random.normal(0, 0.1, weight.shape))
    return generator


@pytest.fixture(scope="module")
def model():
    return build("resize")


@pytest.fixture
def scene(tmp_path, random):
    path = tmp_path / "scene.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5000000)}
    with rasterio.open(path, "w", "GTiff", 150, 90, 1, dtype="uint8", **place) as file:
        file.write(random.integers(1, 256, (1, 90, 150), np.uint8))
    return path


@pytest.mark.parametrize("upsampling", ["resize", "transpose"])
@pytest.mark.parametrize(("precision", "most"), [("float32", 1), ("bfloat16", 24)])
def test_images(upsampling, random, precision, most):
    pytest.importorskip("openvino")
    model = build(upsampling)
    for shape in ((64, 64), (70, 130), (1, 1), (70, 130)):
        image = random.integers(0, 256, shape, np.uint8)
        theirs = sar_keras.colorize(model, image)
        ours = sar_keras.colorize(model, image, precision=precision, engine="openvino")
        assert ours.shape == theirs.shape and ours.dtype == np.uint8
        assert theirs.std() > 10 or shape == (1, 1)
        assert np.abs(ours.astype(int) - theirs).max() <= most


def test_every_convolution_is_in_bfloat16():
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("needs a processor with bfloat16")
    network = for_engine(UNetGenerator((64, 64, 1), 4, upsampling="transpose"), "bfloat16", "openvino")
    function = tf.function(lambda sar: network(sar, training=False))
    model = openvino.convert_model(function.get_concrete_function(tf.TensorSpec((1, 64, 64, 1), tf.float32)))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [node["runtimePrecision"].astype(str) for node in nodes if "Convolution" in node["layerType"].astype(str)]
    assert len(kinds) == 12 and set(kinds) == {"bf16"}


def test_the_engine_keeps_the_weights_of_its_first_call(random):
    pytest.importorskip("openvino")
    generator = UNetGenerator((64, 64, 1), 2)
    image = random.integers(0, 256, (64, 64), np.uint8)
    before, also = (sar_keras.colorize(generator, image, engine=engine) for engine in ("openvino", "tensorflow"))
    generator.layers[-2].bias.assign([0.5, 0.5, 0.5])
    assert np.array_equal(sar_keras.colorize(generator, image, engine="openvino"), before)
    assert (sar_keras.colorize(generator, image).astype(int) - also).min() > 10


def test_scenes(model, scene, tmp_path, monkeypatch):
    openvino, compiled, images = pytest.importorskip("openvino"), [], []
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda graph: compiled.append(graph) or convert(graph))
    for engine in ("tensorflow", "openvino"):
        path = sar_keras.colorize_scene(model, scene, tmp_path / f"{engine}.tif", engine=engine, tile=64, overlap=16)
        with rasterio.open(path) as file:
            images.append(file.read().astype(int))
        assert len(compiled) == (engine == "openvino")
    assert np.abs(images[0] - images[1]).max() <= 1


def test_the_command(command, tiny_run, save_png, random, scene, tmp_path, monkeypatch):
    openvino, compiled = pytest.importorskip("openvino"), []
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda graph: compiled.append(graph) or convert(graph))
    image = save_png(tmp_path / "image.png", random.integers(0, 256, (64, 64), np.uint8))
    for source, output in ((image, tmp_path / "colour.png"), (scene, tmp_path / "colour.tif")):
        code, _, err = command("colorize", tiny_run, source, "-o", output, "--engine", "openvino")
        assert code == 0 and output.is_file(), err
    assert len(compiled) == 2


def test_an_engine_that_is_not_there(model, monkeypatch):
    with pytest.raises(DataError, match="one of tensorflow, openvino"):
        sar_keras.colorize(model, np.zeros((64, 64), np.uint8), engine="tensorrt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install \"sar-keras\[openvino\]\""):
        sar_keras.colorize(model, np.zeros((64, 64), np.uint8), engine="openvino")
