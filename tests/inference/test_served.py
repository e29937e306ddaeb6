"""Exports in the code that TensorFlow Serving runs: benchmarks/serving.cc, against the model itself."""

import io
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny
from PIL import Image

import sar_keras
from sar_keras.config import presets
from sar_keras.hint_planes import hint_channels
from sar_keras.inference.export import export_saved_model
from sar_keras.networks.guided import inputs_of
from sar_keras.networks.sizes import any_size, takes_hint
from sar_keras.training.build import build_saved_generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def serving():
    """benchmarks/serving.py"""
    pytest.importorskip("tensorflow_serving.apis", reason="needs the extra serving")
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import serving
    finally:
        sys.path.remove(folder)
    return serving


@pytest.fixture(scope="module")
def program(serving, tmp_path_factory):
    if not shutil.which("c++"):
        pytest.skip("needs a C++ compiler")
    return serving.build(tmp_path_factory.mktemp("serving"))


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def from_png(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@pytest.mark.parametrize("preset", presets())
def test_every_signature_and_the_warm_up_requests_give_what_the_model_gives(serving, program, preset, tmp_path, random):
    keras.utils.set_random_seed(0)
    model = build_saved_generator(tiny(preset))
    # Weights that answer every change of the input with bright colours.
    model.set_weights(
        [random.uniform(0.5, 1.5, weight.shape) if weight.ndim == 1 else weight * 4 for weight in model.get_weights()]
    )
    exported = export_saved_model(model, tmp_path / "served")
    grey = [random.integers(0, 256, shape, np.uint8) for shape in ((64, 64), (50, 90))]
    colours = [random.integers(0, 256, (*image.shape, 3), np.uint8) for image in grey]
    requests, expected = [], []
    for shape in ((2, 64, 64), (1, 128, 64)):
        arrays = {"sar": random.uniform(-1, 1, (*shape, 1)).astype("float32")}
        if takes_hint(model):
            arrays["hint"] = random.uniform(-1, 1, (*shape, hint_channels(1))).astype("float32")
        requests.append(("serving_default", arrays))
        expected.append(any_size(model).predict(inputs_of(model, *arrays.values()), verbose=0))
    requests.append(("colorize_png", {"image_bytes": [png(image) for image in grey]}))
    expected.append([sar_keras.colorize(model, image) for image in grey])
    for name in ("reference", "basemap") if takes_hint(model) else ():
        hints = {"image_bytes": requests[2][1]["image_bytes"], "hint_bytes": [png(image) for image in colours]}
        requests.append((f"colorize_png_with_{name}", hints))
        pairs = zip(grey, colours, strict=True)
        expected.append([sar_keras.colorize(model, image, **{name: hint}) for image, hint in pairs])
    # The warm-up requests come last, one a signature, of black images.
    black, dark = np.zeros((1, 64, 64, 1), "float32"), np.zeros((64, 64), np.uint8)
    warm_up = (exported / "assets.extra/tf_serving_warmup_requests").read_bytes()
    expected.append(model.predict(inputs_of(model, black), verbose=0))
    expected.append([sar_keras.colorize(model, dark)])
    for name in ("reference", "basemap") if takes_hint(model) else ():
        expected.append([sar_keras.colorize(model, dark, **{name: np.zeros((64, 64, 3), np.uint8)})])

    file, answers = tmp_path / "requests", tmp_path / "answers"
    serving.write_requests(file, requests)
    file.write_bytes(file.read_bytes() + warm_up)
    serving.answer(program, exported, file, answers)
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(answers))]
    assert len(records) == len(expected)
    for record, wanted in zip(records, expected, strict=True):
        if isinstance(wanted, list):
            for data, image in zip(tf.io.parse_tensor(record, tf.string).numpy(), wanted, strict=True):
                assert np.abs(from_png(data) - image).max() <= 1
        else:
            np.testing.assert_allclose(tf.io.parse_tensor(record, tf.float32), wanted, atol=2 / 255)
    assert expected[0].std() > 0.03
    asked = {name for name, _ in requests}
    assert asked == set(tf.saved_model.load(str(exported)).signatures)


def test_requests_that_the_server_would_refuse_are_refused(serving, program, model_file, tmp_path):
    exported = export_saved_model(sar_keras.load_model(model_file), tmp_path / "served")
    sar = np.zeros((1, 64, 64, 1), "float32")
    for request, message in {
        ("other", "sar"): "no signature other",
        ("serving_default", "image"): "serving_default has no input image",
    }.items():
        serving.write_requests(tmp_path / "requests", [(request[0], {request[1]: sar})])
        with pytest.raises(serving.click.ClickException) as error:
            serving.answer(program, exported, tmp_path / "requests", tmp_path / "answers")
        assert message in str(error.value)
