"""Every preset through `fit` at a tiny size: it trains, goes on where it stopped, and is used as one model."""

import numpy as np
import pytest
from helpers import DISCRIMINATORS, TINY, read_rows, those_of

import sar_keras
from sar_keras.config import load_config
from sar_keras.errors import ConfigError
from sar_keras.models.terms import labels
from sar_keras.training.build import build_model

SMALL = [*TINY, "model.blocks=1", "train.batch_size=2", "train.epochs=1", "train.steps_per_epoch=2"]


def small(name, pairs_folder, *changes):
    return load_config(name, [*those_of(name, SMALL), f"data.root={pairs_folder}", *changes])


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("l1", {"l1": 100}),
        ("pix2pix", {"adversarial": 1, "l1": 100}),
        ("cgan_ssim_l1", {"adversarial": 1, "l1": 100, "ssim": 50}),
        ("pix2pix_lab", {"adversarial": 1, "l1": 100}),
        ("paper", {"adversarial": 1, "l1": 100, "perceptual": 0.01}),
    ],
)
def test_presets_that_are_a_yaml_alone_train_with_their_terms(name, weights, pairs_folder, random):
    model = build_model(small(name, pairs_folder), "float32")
    sar, optical = (random.uniform(-1, 1, (2, 64, 64, channels)).astype("float32") for channels in (1, 3))
    before = model.generator.get_weights()
    terms = {name: float(value) for name, value in model.train_on_batch(sar, optical, return_dict=True).items()}
    assert terms.keys() - {"generator_loss", "discriminator_loss", "d_real", "d_fake"} == weights.keys()
    assert terms["generator_loss"] == pytest.approx(sum(terms[term] * weights[term] for term in weights), rel=1e-4)
    assert any((a != b).any() for a, b in zip(model.generator.get_weights(), before, strict=True))


@pytest.mark.parametrize(
    ("name", "more"), [("strong", DISCRIMINATORS), ("epcgan", []), ("cyclegan", []), ("paper", [])]
)
def test_the_progress_bar_and_the_curves_know_every_term(name, more, pairs_folder):
    assert set(build_model(small(name, pairs_folder, *more), "float32").term_names()) <= set(labels())


@pytest.mark.parametrize("name", ["cyclegan", "epcgan"])
def test_systems_train_go_on_and_are_used_as_one_model(name, pairs_folder, tmp_path, random):
    run = sar_keras.fit(small(name, pairs_folder), tmp_path / "run")
    before = sar_keras.load_model(run)
    sar_keras.fit(load_config(run / "config.yaml", ["train.epochs=2"]), run, resume=True)
    model = sar_keras.load_model(run)
    assert any((a != b).any() for a, b in zip(model.get_weights(), before.get_weights(), strict=True))
    sar = random.integers(0, 256, (70, 90), np.uint8)
    assert sar_keras.colorize(model, sar).shape == (70, 90, 3)
    history = read_rows(run / "history.csv")
    assert [row["epoch"] for row in history] == [str(n + 1) for n in range(len(history))]
    minutes = [float(row["minutes"]) for row in history]
    assert minutes == sorted(minutes) and minutes[0] > 0


def test_an_autoencoder_refines_what_the_generator_gives(pairs_folder, tmp_path, random):
    run = sar_keras.fit(
        small("pix2pix_dae", pairs_folder, "refinement.epochs=1", "refinement.filters=4"), tmp_path / "r"
    )
    model = sar_keras.load_model(run)
    autoencoder = model.get_layer("autoencoder")
    sar = random.uniform(-1, 1, (1, 64, 64, 1)).astype("float32")
    import keras

    unrefined = keras.Model(model.input, model.get_layer("optical").output)(sar, training=False)
    np.testing.assert_allclose(model(sar, training=False), autoencoder(unrefined, training=False), atol=1e-6)
    assert float(read_rows(run / "history.csv")[-1]["mse"]) > 0
    with pytest.raises(ConfigError, match="refinement has begun"):
        sar_keras.fit(load_config(run / "config.yaml", ["train.epochs=2"]), run, resume=True)


def test_minutes_end_a_run_and_count_on_when_it_resumes(pairs_folder, tmp_path, capsys):
    changes = ["train.epochs=500", "train.minutes=0.0001"]
    run = sar_keras.fit(small("l1", pairs_folder, *changes), tmp_path / "run")
    assert len(read_rows(run / "history.csv")) == 1
    sar_keras.fit(load_config(run / "config.yaml"), run, resume=True)
    assert "nothing to do" in capsys.readouterr().out and len(read_rows(run / "history.csv")) == 1


def test_the_discriminator_joins_in_after_the_warm_up(pairs_folder, tmp_path):
    config = small("strong", pairs_folder, *DISCRIMINATORS, "loss.warm_up=2", "train.epochs=2")
    run = sar_keras.fit(config, tmp_path / "run")
    first, second = read_rows(run / "history.csv")
    assert not first.get("d_real") and float(second["d_real"]) > 0 and float(second["feature_matching"]) > 0
