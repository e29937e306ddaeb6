"""With TensorFlow 2.15, Keras 2 and tensorflow-addons; skipped elsewhere."""

import numpy as np
import pytest

pytest.importorskip("tensorflow_addons")

import keras
import tensorflow as tf
from helpers import tiny

import sar_keras
from sar_keras.inference.export import export_saved_model
from sar_keras.networks.blocks import normalize


def test_our_instance_normalisation_equals_theirs(random):
    images = random.normal(3, 2, (2, 8, 8, 6)).astype("float32")
    ours, theirs = (
        keras.Model(image := keras.Input((8, 8, 6)), normalize(image, kind, "float32"))
        for kind in ("instance", "Addons>InstanceNormalization")
    )
    weights = [random.normal(1, 0.5, weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-4)


def test_registered_objects_can_be_named_in_a_configuration(tmp_path, pairs_folder, random):
    changes = [f"data.root={pairs_folder}", "model.normalization=Addons>InstanceNormalization"]
    changes += ["optimizer.generator={class_name: Addons>LAMB, config: {learning_rate: 0.01}}"]
    whole = sar_keras.fit(tiny("l1", *changes), tmp_path / "whole")
    parts = sar_keras.fit(tiny("l1", *changes, "train.epochs=1"), tmp_path / "parts")
    before = sar_keras.load_model(parts)
    sar_keras.fit(sar_keras.load_config(parts / "config.yaml", ["train.epochs=2"]), parts, resume=True)
    model, resumed = (sar_keras.load_model(run) for run in (whole, parts))
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert any((a != b).any() for a, b in zip(before.get_weights(), resumed.get_weights(), strict=True))
    assert "InstanceNormalization" in {type(layer).__name__ for layer in model.layers}
    folder = export_saved_model(model, tmp_path / "saved")
    sar = random.uniform(-1, 1, (1, 64, 64, 1)).astype("float32")
    served = tf.saved_model.load(folder).signatures["serving_default"](sar=tf.constant(sar))["optical"]
    np.testing.assert_allclose(served, model(sar, training=False), atol=1e-5)
