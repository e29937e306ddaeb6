import json
import shutil

import keras
import numpy as np
import pytest
from helpers import logged_steps, read_rows, saved_state, tiny, tiny_settings, write_scenes, write_tiff
from PIL import Image

import sar_keras
from sar_keras.errors import ConfigError, DataError, OutputError, TrainingDiverged
from sar_keras.inference.metadata import metadata_of


def weights(run):
    return sar_keras.load_model(run).get_weights()


def test_a_run_directory_holds_what_was_promised(tiny_run):
    assert sar_keras.load_config(tiny_run / "config.yaml").train.epochs == 2
    assert {row["split"] for row in read_rows(tiny_run / "split.csv")} == {"train", "validation", "test"}
    history = read_rows(tiny_run / "history.csv")
    assert [(row["epoch"], row["step"]) for row in history] == [("1", "3.0"), ("2", "6.0")]
    terms = {"generator_loss", "l1", "perceptual", "adversarial", "discriminator_loss", "d_real", "d_fake", "val_psnr"}
    assert terms <= set(history[0])
    for name in ("samples/train-0002.png", "samples/validation-0002.png", "history.png"):
        assert Image.open(tiny_run / name).size[0] > 100
    assert not list(tiny_run.rglob(".*-*")), "temporary files are left"


def test_tensorboard_gets_scalars_and_images_over_the_optimizers_steps(tiny_run):
    found = logged_steps(tiny_run)
    assert found["train", "l1"] == [3, 6] and found["validation", "psnr"] == [3, 6]
    assert found["samples", "train"] == found["samples", "validation"] == [3, 6]


def test_the_saved_generator_is_float32_and_plain_keras(tiny_run):
    model = keras.saving.load_model(tiny_run / "generator.keras", safe_mode=True)
    assert all(weight.dtype == "float32" for weight in model.weights)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


def test_only_epochs_may_change_on_resume(tiny_run):
    saved = tiny_run / "config.yaml"
    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        sar_keras.fit(sar_keras.load_config(saved, ["train.batch_size=2"]), tiny_run, resume=True)
    with pytest.raises(ConfigError, match="only be raised"):
        sar_keras.fit(sar_keras.load_config(saved, ["train.epochs=1"]), tiny_run, resume=True)


def test_a_loss_that_is_not_finite_names_its_files_and_leaves_nothing(tmp_path, pairs_folder):
    config = tiny("l1", f"data.root={pairs_folder}", "optimizer.generator.config.learning_rate=1e30")
    with pytest.raises(TrainingDiverged, match=r"^l1 not finite at step 2, on .*s1.*\.png.*not reached the weights"):
        sar_keras.fit(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_breaks_while_it_trains_is_named(tmp_path, pairs_folder, monkeypatch):
    from sar_keras.data import loading

    root = shutil.copytree(pairs_folder, tmp_path / "data")
    monkeypatch.setattr(loading, "memory_limit", lambda: 0)
    load_images = loading.load_images

    def load_then_lose_files(*arguments, **keywords):
        images = load_images(*arguments, **keywords)
        for path in root.rglob("s1/*.png"):
            path.unlink()
        return images

    monkeypatch.setattr(loading, "load_images", load_then_lose_files)
    config = tiny("l1", f"data.root={root}")
    with pytest.raises(DataError, match=r"s1.*\.png: no such file$"):
        sar_keras.fit(config, tmp_path / "run")


def test_an_existing_folder_is_not_overwritten(tiny_run, tmp_path, save_png):
    with pytest.raises(OutputError, match="give resume to go on, or another run"):
        sar_keras.fit(tiny("quick"), tiny_run)
    image = save_png(tmp_path / "data" / "s1" / "lonely.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(OutputError, match="not empty"):
        sar_keras.fit(tiny("default", f"data.root={tmp_path / 'data'}"), tmp_path)
    assert image.is_file()


def test_resume_misses_a_pair_that_was_there(tmp_path, tiny_run):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for folder in ("s1", "s2"):
        next(run.glob(f"data/v_2/agri/{folder}/*_{folder}_1_p1.png")).unlink()
    with pytest.warns(UserWarning, match="1 of the 24 pairs"), pytest.raises(DataError, match="lists 24 pairs, 23 of"):
        sar_keras.fit(sar_keras.load_config(run / "config.yaml", ["train.epochs=3"]), run, resume=True)


def test_an_optimizer_that_keras_does_not_know(tmp_path):
    with pytest.raises(ConfigError, match=r"optimizer\.generator"):
        sar_keras.fit(sar_keras.load_config("quick", ["optimizer.generator.class_name=Adum"]), tmp_path / "run")


@pytest.mark.slow
def test_scenes_in_decibel_and_sixteen_bits_train_in_bfloat16_and_are_evaluated_on_their_own_scale(
    command, tmp_path, random
):
    for name, height, width, west, brightest in (("north", 448, 384, 5e5, 4000), ("south", 192, 192, 6e5, 1000)):
        sar = random.normal(-12, 3, (1, height, width)).astype("float32")
        optical = random.integers(0, brightest, (3, height, width)).astype("uint16")
        write_tiff(tmp_path / f"area/{name}_S1_VH.tif", sar, west)
        write_tiff(tmp_path / f"area/{name}_S2_RGB.tif", optical, west)
    run = tmp_path / "run"
    changes = ["data.limit=null", "train.epochs=1", "train.steps_per_epoch=1", "train.precision=bfloat16"]
    changes = [part for change in [*tiny_settings("l1"), *changes] for part in ("--set", change)]
    code, out, _ = command("fit", "l1", "--data", tmp_path / "area", "--out", run, *changes)
    assert code == 0 and "windows lie between the splits" in out and "CPU, bfloat16" in out
    splits = {(row["scene"], row["split"]) for row in read_rows(run / "split.csv")}
    assert splits == {("north", "train"), ("north", "validation"), ("south", "test")}

    model = sar_keras.load_model(run / "generator.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert all(weight.dtype == "float32" and np.isfinite(weight).all() for weight in model.weights)
    scale = metadata_of(model).sar_scale
    assert scale.units == "db" and scale.low == pytest.approx(-19, abs=0.5) and scale.high == pytest.approx(-5, abs=0.5)
    optical = metadata_of(model).optical_scale
    # The 1st and 99th percentile of what it trained on.
    assert (optical.low, optical.high) == (pytest.approx(40, abs=10), pytest.approx(3960, abs=10))

    code, out, _ = command("evaluate", run, "--by", "scene", "--json", tmp_path / "scores.json")
    assert code == 0 and "9 test images of 1 scenes" in out and "\nsouth" in out
    # Of colours from 0 to 1: those of the test scene against the mean of the others.
    colours = np.clip((np.arange(1000) - optical.low) / (optical.high - optical.low), 0, 1)
    error = json.loads((tmp_path / "scores.json").read_text())["baselines"]["mean_colour"]["mse"]["mean"]
    assert error == pytest.approx(((colours - 0.5) ** 2).mean(), rel=0.02)


@pytest.mark.slow
def test_scenes_train_resume_and_evaluate_on_the_same_windows(command, tmp_path):
    write_scenes(tmp_path / "area", "north", 448, 384)
    write_scenes(tmp_path / "area", "south", 192, 192, west=600_000)
    changes = [part for change in tiny_settings("default") if "limit" not in change for part in ("--set", change)]
    run = tmp_path / "run"
    code, out, _ = command("fit", "default", "--data", tmp_path / "area", "--out", run, *changes)
    assert code == 0 and "windows lie between the splits" in out
    rows = read_rows(run / "split.csv")
    code, out, _ = command("fit", "--out", run, "--resume", "--set", "train.epochs=3")
    assert code == 0 and f"{len(rows)} pairs of 2 scenes" in out and "epoch 3/3" in out
    code, out, _ = command("evaluate", run, "--by", "scene")
    assert code == 0 and "9 test images of 1 scenes" in out and "\nsouth" in out


@pytest.mark.slow
def test_another_seed_gives_other_weights(tiny_run, tmp_path):
    """test_checkpoints.py shows that the same seed gives the same weights."""
    other = sar_keras.fit(tiny("quick", "train.seed=1"), tmp_path / "other")
    assert any((a != b).any() for a, b in zip(weights(tiny_run), weights(other), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_saves_float32(precision, tmp_path, pairs_folder):
    # float16 leaves out its first steps, until the scale of the loss has come down.
    changes = [f"train.precision={precision}", "train.epochs=1", "train.steps_per_epoch=12"]
    config = tiny("pix2pix_perceptual", f"data.root={pairs_folder}", *changes, "train.checkpoint_every=1 steps")
    run = sar_keras.fit(config, tmp_path / "run")
    # The optimizer that scales the loss counts in the one inside it.
    which = "inner_optimizer/_iterations" if precision == "float16" else "optimizer/_iterations"
    updates = [int(value) for name, value in saved_state(run).items() if which in name]
    assert len(updates) == 2 and all((0 if precision == "float16" else 11) < count <= 12 for count in updates), updates
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000011", "step-00000012"]
    model = sar_keras.load_model(run)
    assert all(weight.dtype == "float32" for weight in model.weights)
    assert np.isfinite(model.predict(np.zeros((1, 64, 64, 1), "float32"), verbose=0)).all()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = weights(run)
    # From the third epoch on the schedule gives steps that no network survives.
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("initial_learning_rate: 0.001", "initial_learning_rate: 1.0e+30"))
    with pytest.raises(TrainingDiverged, match=r"not finite at step 8, on .*s1.*\.png.*it has not reached the weights"):
        sar_keras.fit(sar_keras.load_config(path, ["train.epochs=3"]), run, resume=True)
    for a, b in zip(before, weights(run), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_last_update_of_an_epoch_is_guarded_too(tmp_path, pairs_folder):
    changes = ["optimizer.generator.config.learning_rate=1e39", "train.steps_per_epoch=1", "train.epochs=1"]
    with pytest.raises(TrainingDiverged, match="weights"):
        sar_keras.fit(tiny("default", f"data.root={pairs_folder}", *changes), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
