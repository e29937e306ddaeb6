import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import pytest
from helpers import one_convolution, one_line

import sar_keras
from sar_keras.errors import ModelError
from sar_keras.inference.expected_error import ExpectedError
from sar_keras.io.sar import Scale
from sar_keras.networks.epcgan import EPCGenerator
from sar_keras.networks.unet import UNetGenerator

METADATA = sar_keras.ModelMetadata(
    Scale("db", -22.0, -1.5),
    Scale("reflectance", 0.0, 3000.0),
    ExpectedError([0.1] + 9 * [0.0], 3 * [-1.0], 3 * [1.0]),
    (-0.5, 0.25, 0.0),
    parent="mine, SHA-256 0123",
    reflectance=(0.0, 0.3),
)


def test_what_a_model_knows_of_itself_survives_saving_and_saving_again(tmp_path):
    first, second = tmp_path / "first.keras", tmp_path / "second.keras"
    sar_keras.save_model(UNetGenerator((32, 32, 1), 2), first, METADATA)
    model = sar_keras.load_model(first)
    model.save(second, overwrite=True)  # as keras.callbacks.ModelCheckpoint does
    for path in (first, second):
        about = sar_keras.metadata_of(sar_keras.load_model(path))
        assert about.saved_as == path
        for name in ("sar_scale", "optical_scale", "expected_error", "mean_colour", "parent", "reflectance"):
            assert getattr(about, name) == getattr(METADATA, name)


def test_so_does_what_the_demo_knows(tmp_path):
    demo = sar_keras.load_model("demo")
    demo.save(tmp_path / "demo.keras")
    about = sar_keras.metadata_of(sar_keras.load_model(tmp_path / "demo.keras"))
    assert about.expected_error and about.expected_error == sar_keras.metadata_of(demo).expected_error


LOAD = """
import sys, keras, numpy as np
import sar_keras.networks
for path in sys.argv[1:]:
    model = keras.saving.load_model(path, safe_mode=True)
    assert model.predict(np.zeros((1, 32, 32, 1)), verbose=0).shape == (1, 32, 32, 3)
"""


@pytest.mark.slow
def test_plain_keras_loads_the_lab_and_the_epc_generator(tmp_path):
    paths = [tmp_path / "lab.keras", tmp_path / "epc.keras"]
    UNetGenerator((32, 32, 1), 2, output="ab").save(paths[0])
    EPCGenerator((32, 32, 1), 2, 1).save(paths[1])
    result = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
def test_channels_first_in_keras_json_is_one_line(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"image_data_format": "channels_first", "backend": "tensorflow"}))
    command = [sys.executable, "-c", "from sar_keras.cli.main import main; main()", "export", "demo"]
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # which this process has set
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert "keras.json" in one_line(result.stderr) and "channels_last" in result.stderr


@pytest.mark.parametrize("colour", [[0.0, 0.0], [0.0, 0.0, 2.0], ["x", 0, 0]])
def test_a_mean_colour_that_is_none_is_refused(colour, tmp_path):
    path = tmp_path / "model.keras"
    one_convolution().save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("sar_keras.json", json.dumps({"mean_colour": colour}))
    with pytest.raises(ModelError, match="not a model that can be loaded"):
        sar_keras.load_model(path)


def test_a_model_saved_by_plain_keras_counts_as_eight_bit(tmp_path):
    one_convolution().save(tmp_path / "plain.keras")
    with pytest.warns(UserWarning, match="taken for 8-bit"):
        assert sar_keras.metadata_of(sar_keras.load_model(tmp_path / "plain.keras")).sar_scale == Scale()


def test_what_is_not_a_model(model_file, tmp_path):
    for missing in (tmp_path / "none", tmp_path / "none.keras", tmp_path):
        with pytest.raises(ModelError):
            sar_keras.load_model(missing)
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(ModelError, match=r"not a \.keras file"):
        sar_keras.load_model(tmp_path / "text.keras")
    whole = model_file.read_bytes()
    (tmp_path / "torn.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        sar_keras.load_model(tmp_path / "torn.keras")
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    sar_keras.load_config("quick").save(unfinished / "config.yaml")
    with pytest.raises(ModelError, match="--resume"):
        sar_keras.load_model(unfinished)


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((8,), [keras.layers.Dense(2)]),
        ((64, 64, 1), [keras.layers.Conv2D(3, 2, 2)]),  # halves the image
        ((64, 64, 1), [keras.layers.Flatten(), keras.layers.Dense(3)]),
    ],
)
def test_models_that_are_no_generators(shape, layers, tmp_path):
    keras.Sequential([keras.Input(shape), *layers]).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="not a generator"):
        sar_keras.load_model(tmp_path / "other.keras")


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
def test_a_file_of_the_other_keras_says_whose_it_is(version):
    path = Path(__file__).with_name(f"keras_{version[0]}.keras")
    if keras.__version__[0] == version[0]:
        with pytest.warns(UserWarning, match="how its SAR input was scaled"):
            assert sar_keras.load_model(path).output_shape == (None, 32, 32, 3)
    else:
        with pytest.raises(ModelError, match=f"saved by Keras {version}.*sar-keras export"):
            sar_keras.load_model(path)
