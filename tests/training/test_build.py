"""Every preset at a tiny size: it has its terms, it trains, and what it leaves is used as one model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import DISCRIMINATORS, read_rows, tiny

import sar_keras
from sar_keras.config import load_config
from sar_keras.errors import ConfigError
from sar_keras.models.terms import labels
from sar_keras.training.build import build_model

SMALL = ["train.batch_size=2", "train.epochs=1", "train.steps_per_epoch=2"]


@pytest.fixture
def eagerly():
    """A single step is done sooner than traced."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("l1", {"l1": 100}),
        ("pix2pix", {"adversarial": 1, "l1": 100}),
        ("cgan_ssim_l1", {"adversarial": 1, "l1": 100, "ssim": 50}),
        ("pix2pix_lab", {"adversarial": 1, "l1": 100}),
        ("paper", {"adversarial": 1, "l1": 100, "perceptual": 0.01}),
        ("cyclegan", {"adversarial": 1, "cycle": 10, "identity": 5}),
    ],
)
def test_presets_that_are_a_yaml_alone_train_with_their_terms(name, weights, random, eagerly):
    model = build_model(tiny(name), "float32")
    sar, optical = (random.uniform(-1, 1, (2, 64, 64, channels)).astype("float32") for channels in (1, 3))
    before = model.generator.get_weights()
    terms = {name: float(value) for name, value in model.train_on_batch(sar, optical, return_dict=True).items()}
    assert terms.keys() - {"generator_loss", "discriminator_loss", "d_real", "d_fake"} == weights.keys()
    assert terms["generator_loss"] == pytest.approx(sum(terms[term] * weights[term] for term in weights), rel=1e-4)
    assert any((a != b).any() for a, b in zip(model.generator.get_weights(), before, strict=True))


@pytest.mark.parametrize(
    ("name", "more"), [("default", DISCRIMINATORS), ("epcgan", []), ("cyclegan", []), ("paper", [])]
)
def test_the_progress_bar_and_the_curves_know_every_term(name, more):
    assert set(build_model(tiny(name, *more), "float32").term_names()) <= set(labels())


@pytest.mark.slow
def test_a_system_of_unpaired_images_trains_and_is_used_as_one_model(pairs_folder, tmp_path, random):
    run = sar_keras.fit(tiny("cyclegan", *SMALL, f"data.root={pairs_folder}"), tmp_path / "run")
    sar = random.integers(0, 256, (70, 90), np.uint8)
    assert sar_keras.colorize(run, sar).shape == (70, 90, 3)
    (row,) = read_rows(run / "history.csv")
    assert (row["epoch"], row["step"]) == ("1", "2.0") and float(row["minutes"]) > 0


@pytest.mark.slow
def test_an_autoencoder_refines_what_the_generator_gives(pairs_folder, tmp_path, random):
    changes = [*SMALL, "refinement.epochs=1", "refinement.filters=4", "loss.adversarial=0", f"data.root={pairs_folder}"]
    run = sar_keras.fit(tiny("pix2pix_dae", *changes), tmp_path / "r")
    model = sar_keras.load_model(run)
    autoencoder = model.get_layer("autoencoder")
    sar = random.uniform(-1, 1, (1, 64, 64, 1)).astype("float32")
    unrefined = keras.Model(model.input, model.get_layer("optical").output)(sar, training=False)
    np.testing.assert_allclose(model(sar, training=False), autoencoder(unrefined, training=False), atol=1e-6)
    assert float(read_rows(run / "history.csv")[-1]["mse"]) > 0
    with pytest.raises(ConfigError, match="refinement has begun"):
        sar_keras.fit(load_config(run / "config.yaml", ["train.epochs=2"]), run, resume=True)


@pytest.mark.slow
def test_minutes_end_a_run_and_count_on_when_it_resumes(pairs_folder, tmp_path, capsys):
    changes = [*SMALL, f"data.root={pairs_folder}", "train.epochs=500", "train.minutes=0.0001"]
    run = sar_keras.fit(tiny("l1", *changes), tmp_path / "run")
    assert len(read_rows(run / "history.csv")) == 1
    sar_keras.fit(load_config(run / "config.yaml"), run, resume=True)
    assert "nothing to do" in capsys.readouterr().out and len(read_rows(run / "history.csv")) == 1


@pytest.mark.slow
def test_the_discriminator_joins_in_after_the_warm_up(pairs_folder, tmp_path):
    changes = [*SMALL, f"data.root={pairs_folder}", *DISCRIMINATORS, "loss.warm_up=2", "train.epochs=2"]
    run = sar_keras.fit(tiny("default", *changes), tmp_path / "run")
    first, second = read_rows(run / "history.csv")
    assert not first.get("d_real") and float(second["d_real"]) > 0 and float(second["feature_matching"]) > 0
