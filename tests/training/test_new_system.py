"""What a new system and a new term take: a file, a row and a YAML; a function and a row."""

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import yaml
from helpers import read_rows, tiny_settings

import sar_keras
from sar_keras.config import keys, load_config
from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.models.systems import SYSTEMS, Pix2PixLoss, Pix2PixNetworks, Row, Settings
from sar_keras.networks.unet import UNetGenerator


class WideNetworks(Pix2PixNetworks):
    widen: Literal[1, 2, 3] = 2


class Wide(Pix2Pix):
    """Pix2Pix whose generator is so many times as wide."""

    description = "wide U-Net"

    @classmethod
    def build_generator(cls, model, size, dtype):
        return UNetGenerator((size, size, model.channels), model.filters * model.widen, dropout=0, dtype=dtype)


def test_a_new_system_is_a_class_a_row_and_a_yaml(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SYSTEMS, "wide", Row("wide", Settings(WideNetworks, Pix2PixLoss), f"{__name__}.Wide"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Wide.__module__])
    settings = {
        "data": {"layout": "synthetic"},
        "model": {"system": "wide", "widen": 3},
        "loss": {"adversarial": 0.0, "perceptual": 0.0},
    }
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(settings))
    config = load_config(tmp_path / "wide.yaml", [*tiny_settings("l1"), "train.epochs=1", "train.steps_per_epoch=1"])
    assert keys(config)["model.widen"] == 3
    run = sar_keras.fit(config, tmp_path / "run")
    assert "wide U-Net" in capsys.readouterr().out
    assert np.isfinite(float(read_rows(run / "history.csv")[0]["generator_loss"]))
    # 4 filters, three times as wide.
    assert sar_keras.load_model(run).layers[1].filters == 12


# In a process of its own, because the configuration reads the table when it is imported.
NEW_TERM = """
from sar_keras.models import terms
terms.TERMS += (terms.Term("total_variation", "total_variation", "images", 0.0, "TV"),)

import tensorflow as tf
from sar_keras.models import losses
losses.total_variation = lambda generated, optical: tf.reduce_mean(tf.image.total_variation(generated))

from sar_keras.config import load_config
from sar_keras.training.build import build_model
config = load_config("l1", ["loss.total_variation=3", "data.image_size=32", "model.filters=2", "model.dropout=0"])
model = build_model(config, "float32")
sar, optical = tf.random.uniform((2, 32, 32, 1)), tf.random.uniform((2, 32, 32, 3))
expected = float(tf.reduce_mean(tf.image.total_variation(model.generator(sar, training=True))))
logs = model.train_on_batch(sar, optical, return_dict=True)
assert abs(float(logs["total_variation"]) - expected) < 1e-3 * expected, (logs, expected)
total = 100 * float(logs["l1"]) + 3 * float(logs["total_variation"])
assert abs(float(logs["generator_loss"]) - total) < 1e-3 * total, logs
assert terms.labels()["total_variation"] == "TV"
"""


@pytest.mark.slow
def test_a_new_term_is_a_function_and_a_row():
    result = subprocess.run([sys.executable, "-c", NEW_TERM], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
