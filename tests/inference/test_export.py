import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import one_convolution
from PIL import Image

import sar_keras
from sar_keras.errors import OutputError
from sar_keras.inference.export import export_saved_model
from sar_keras.inference.metadata import attach
from sar_keras.io.sar import Scale
from sar_keras.networks.sizes import any_size


@pytest.fixture(scope="module")
def model(model_file):
    return sar_keras.load_model(model_file)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_saved_model(model, tmp_path_factory.mktemp("saved") / "tiny")


def encode(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def test_serving_default_agrees_with_predict_at_any_size(model, exported, random):
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    for shape in ((3, 64, 64, 1), (1, 72, 104, 1)):
        sar = random.uniform(-1, 1, shape).astype("float32")
        expected = any_size(model).predict(sar, verbose=0)
        np.testing.assert_allclose(served(sar=tf.constant(sar))["optical"], expected, atol=1 / 255)


def test_bands_and_scales_are_beside_the_graph(tmp_path):
    metadata = sar_keras.ModelMetadata(Scale("db", -22.0, -1.5), sar_bands=("VH",))
    exported = export_saved_model(attach(one_convolution(), metadata), tmp_path)
    said = json.loads((exported / "assets.extra/sar_keras.json").read_text())
    assert "VH: db from -22 to -1.5" in said["sar"]
    assert json.loads(said["sar_scale"]) == {"units": "db", "low": -22.0, "high": -1.5}


@pytest.mark.filterwarnings("ignore:.*as those of an optical image do")
def test_colorize_png_takes_any_size_and_agrees_with_colorize(model, exported, random, save_png, tmp_path):
    run = tf.saved_model.load(str(exported)).signatures["colorize_png"]
    images = [
        random.integers(0, 256, (64, 64), np.uint8),
        random.integers(0, 256, (1, 70), np.uint8),
        random.integers(0, 256, (90, 130, 3), np.uint8),
        random.integers(0, 3000, (50, 64)).astype(np.uint16),
    ]
    answers = run(image_bytes=tf.constant([encode(image) for image in images]))["png_bytes"].numpy()
    for index, (image, answer) in enumerate(zip(images, answers, strict=True)):
        path = save_png(tmp_path / f"{index}.png", image)
        if image.dtype == np.uint16:
            with pytest.warns(UserWarning, match="amplitude"):
                expected = sar_keras.colorize(model, path)
        else:
            expected = sar_keras.colorize(model, path)
        actual = np.asarray(Image.open(io.BytesIO(answer)))
        assert actual.shape == expected.shape == (*image.shape[:2], 3)
        assert np.abs(actual.astype(int) - expected).max() <= 1


def test_colorize_png_takes_jpeg(model, exported, random):
    jpeg = encode(random.integers(0, 256, (64, 64), np.uint8), "JPEG")
    answer = tf.saved_model.load(str(exported)).signatures["colorize_png"](image_bytes=tf.constant([jpeg]))
    actual = np.asarray(Image.open(io.BytesIO(answer["png_bytes"].numpy()[0])))
    # Decoders of JPEG may differ by a grey level or two.
    expected = sar_keras.colorize(model, Image.open(io.BytesIO(jpeg)))
    assert np.abs(actual.astype(int) - expected).mean() < 2


def test_runs_under_saved_model_cli_without_keras_and_without_this_package(exported, tmp_path, model):
    np.save(tmp_path / "sar.npy", np.zeros((2, 64, 64, 1), "float32"))
    code = """
import runpy, sys
sys.modules["keras"] = sys.modules["sar_keras"] = None  # makes their import fail
runpy.run_module("tensorflow.python.tools.saved_model_cli", run_name="__main__")
"""
    command = [sys.executable, "-c", code, "run", "--dir", exported, "--tag_set", "serve"]
    command += ["--signature_def", "serving_default", "--inputs", "sar=sar.npy", "--outdir", "."]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    expected = model.predict(np.zeros((2, 64, 64, 1), "float32"), verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "optical.npy"), expected, atol=1 / 255)


def test_takes_the_tensors_of_a_predict_request_and_ships_warm_up_requests(exported, model, random):
    pytest.importorskip("tensorflow_serving.apis", reason="needs the extra serving")
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    sar = random.uniform(-1, 1, (1, 64, 64, 1)).astype("float32")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["sar"].CopyFrom(tf.make_tensor_proto(sar))
    parsed = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    signatures = tf.saved_model.load(str(exported)).signatures
    fed = signatures["serving_default"](sar=tf.constant(tf.make_ndarray(parsed.inputs["sar"])))["optical"]
    np.testing.assert_allclose(fed, model.predict(sar, verbose=0), atol=1 / 255)

    records = tf.data.TFRecordDataset(str(exported / "assets.extra/tf_serving_warmup_requests"))
    served = []
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)
        served.append(request.model_spec.signature_name)
    assert sorted(served) == ["colorize_png", "serving_default"]


def test_versions_count_up_and_are_not_overwritten(tmp_path):
    model, folder = one_convolution(), tmp_path / "saved"
    assert [export_saved_model(model, folder, version).name for version in (None, 7, None)] == ["1", "7", "8"]
    with pytest.raises(OutputError, match="another version"):
        export_saved_model(model, folder, 7)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "7", "8"]
