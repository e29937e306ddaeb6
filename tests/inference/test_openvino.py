"""OpenVINO against TensorFlow, on images and on scenes."""

import numpy as np
import pytest
import rasterio
from helpers import one_convolution

import sar_keras
from sar_keras.errors import DataError
from sar_keras.inference.converted import converted
from sar_keras.io.images import read_optical
from sar_keras.networks.guided import GuidedGenerator
from sar_keras.networks.unet import UNetGenerator


def build(upsampling):
    """A generator with weights that give every pixel a colour of its own."""
    generator, random = UNetGenerator((64, 64, 1), 4, depth=3, upsampling=upsampling), np.random.default_rng(0)
    for weight in generator.weights:
        one = len(weight.shape) == 1
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if one else random.normal(0, 0.1, weight.shape))
    return generator


@pytest.fixture
def scene(tmp_path, random):
    path = tmp_path / "scene.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5000000)}
    with rasterio.open(path, "w", "GTiff", 150, 90, 1, dtype="uint8", **place) as file:
        file.write(random.integers(1, 256, (1, 90, 150), np.uint8))
    return path


@pytest.mark.parametrize(
    ("upsampling", "precision", "most"),
    [
        ("resize", "float32", 1),
        pytest.param("transpose", "bfloat16", 24, marks=pytest.mark.slow),
        pytest.param("resize", "bfloat16", 24, marks=pytest.mark.slow),
        pytest.param("transpose", "float32", 1, marks=pytest.mark.slow),
    ],
)
def test_images(upsampling, random, precision, most):
    pytest.importorskip("openvino")
    model = build(upsampling)
    for shape in ((64, 64), (70, 130), (1, 1)):
        image = random.integers(0, 256, shape, np.uint8)
        theirs = sar_keras.colorize(model, image)
        ours = sar_keras.colorize(model, image, precision=precision, engine="openvino")
        assert ours.shape == theirs.shape and ours.dtype == np.uint8
        assert theirs.std() > 10 or shape == (1, 1)
        assert np.abs(ours.astype(int) - theirs).max() <= most


@pytest.mark.slow
def test_guided_images(random):
    pytest.importorskip("openvino")
    model = GuidedGenerator((64, 64, 1), 4, depth=3)
    model.set_weights([weight * 4 if weight.ndim == 4 else weight for weight in model.get_weights()])
    image, hint = random.integers(0, 256, (70, 130), np.uint8), random.integers(0, 256, (7, 13, 3), np.uint8)
    theirs = sar_keras.colorize(model, image, basemap=hint)
    ours = sar_keras.colorize(model, image, basemap=hint, engine="openvino")
    assert theirs.std() > 10 and np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.slow
def test_every_convolution_is_in_bfloat16():
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("needs a processor with bfloat16")
    model = converted(UNetGenerator((64, 64, 1), 4, upsampling="transpose"))
    model.reshape([1, 64, 64, 1])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [node["runtimePrecision"].astype(str) for node in nodes if "Convolution" in node["layerType"].astype(str)]
    assert len(kinds) == 12 and set(kinds) == {"bf16"}


@pytest.mark.slow
def test_the_command(command, model_file, save_png, random, scene, tmp_path):
    pytest.importorskip("openvino")
    image = save_png(tmp_path / "image.png", random.integers(0, 256, (64, 64), np.uint8))
    for source, suffix, more in ((image, "png", []), (scene, "tif", ["--tile", "64", "--overlap", "16"])):
        colours = []
        for engine in ("tensorflow", "openvino"):
            output = tmp_path / f"{engine}.{suffix}"
            code, _, err = command("colorize", model_file, source, "-o", output, "--engine", engine, *more)
            assert code == 0, err
            colours.append(read_optical(output).astype(int))
        assert np.abs(colours[0] - colours[1]).max() <= 1 and colours[0].std() > 5


def test_an_engine_that_is_not_there(monkeypatch):
    model = one_convolution()
    with pytest.raises(DataError, match="one of auto, openvino, tensorflow"):
        sar_keras.colorize(model, np.zeros((64, 64), np.uint8), engine="tensorrt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install \"\.\[openvino\]\""):
        sar_keras.colorize(model, np.zeros((64, 64), np.uint8), engine="openvino")
