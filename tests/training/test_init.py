"""Runs that begin with another model's weights, stop early, or have callbacks of the user's."""

import dataclasses
import os

import keras
import numpy as np
import pytest
import yaml
from helpers import one_line, read_rows, tiny, tiny_settings

import sar_keras
from sar_keras.inference.model_file import save_model

UNTOUCHED = [
    "train.epochs=1",
    "train.steps_per_epoch=1",
    "loss.adversarial=0",
    "loss.perceptual=0",
    "optimizer.generator={class_name: SGD, config: {learning_rate: 0.0}}",
]


@pytest.fixture(scope="module")
def parent_file(tiny_run, tmp_path_factory):
    """The model of `tiny_run`, as if it had seen decibels too."""
    model, path = sar_keras.load_model(tiny_run), tmp_path_factory.mktemp("parent") / "parent.keras"
    save_model(model, path, dataclasses.replace(sar_keras.metadata_of(model), sar_units=("db",)))
    return path


@pytest.fixture(scope="module")
def child(parent_file, tmp_path_factory):
    """A run that begins with `parent_file` and does not learn."""
    config = tiny("quick", *UNTOUCHED, f"train.init={os.path.relpath(parent_file)}")
    return sar_keras.fit(config, tmp_path_factory.mktemp("child") / "run")


def test_a_run_begins_with_the_weights_scales_and_units_of_its_parent(child, parent_file):
    parent, model = sar_keras.load_model(parent_file), sar_keras.load_model(child)
    for trained, before in zip(model.trainable_weights, parent.trainable_weights, strict=True):
        np.testing.assert_array_equal(trained, before)
    about = sar_keras.metadata_of(model)
    assert about.sar_scale == sar_keras.metadata_of(parent).sar_scale
    assert about.sar_units == ("db",)
    assert about.parent.startswith("parent, SHA-256 ")
    assert about.expected_error and about.expected_error != sar_keras.metadata_of(parent).expected_error
    assert yaml.safe_load((child / "config.yaml").read_text())["train"]["init"] == str(parent_file)


@pytest.mark.slow
def test_a_run_with_a_parent_goes_on_without_it(child):
    config = sar_keras.load_config(child / "config.yaml", ["train.epochs=2"])
    before = sar_keras.metadata_of(sar_keras.load_model(child)).parent
    sar_keras.fit(config, child, resume=True)
    assert sar_keras.metadata_of(sar_keras.load_model(child)).parent == before


def test_another_network_is_refused_in_one_line(command, tiny_run, tmp_path):
    sets = [part for change in [*tiny_settings("quick"), "model.filters=2"] for part in ("--set", change)]
    code, _, err = command("fit", "quick", "--init", tiny_run, "--out", tmp_path / "run", *sets)
    assert code == 2 and "another network" in one_line(err) and not (tmp_path / "run").exists()
    code, _, err = command("fit", "quick", "--init", tmp_path / "none", "--out", tmp_path / "run", *sets)
    assert code == 2 and "no such model" in one_line(err) and not (tmp_path / "run").exists()


class Notes(keras.callbacks.Callback):
    def __init__(self, fails_in_epoch=None):
        super().__init__()
        self.seen, self.fails_in_epoch = [], fails_in_epoch

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, logs["val_psnr"]))
        if epoch == self.fails_in_epoch:
            raise ZeroDivisionError


@pytest.mark.slow
def test_a_callback_of_the_users_sees_each_epoch_and_may_fail(tmp_path):
    notes = Notes(fails_in_epoch=1)
    config = tiny("l1", "data.layout=synthetic", "train.epochs=3", "train.checkpoint_every=1 epoch")
    with pytest.raises(ZeroDivisionError):
        sar_keras.fit(config, tmp_path / "run", callbacks=[notes])
    (row,) = read_rows(tmp_path / "run" / "history.csv")
    assert notes.seen[0] == (0, pytest.approx(float(row["val_psnr"]))) and len(notes.seen) == 2
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


@pytest.mark.slow
def test_a_run_without_progress_stops_early_and_has_a_last_checkpoint(tmp_path):
    # Nothing is learned: the first epoch stays the best but for statistics of batch normalisation.
    changes = [*UNTOUCHED, "model.normalization=none", "model.dropout=0", "train.epochs=9"]
    config = tiny("quick", *changes, "train.early_stopping=2")
    run = sar_keras.fit(config, tmp_path / "run")
    assert [row["epoch"] for row in read_rows(run / "history.csv")] == ["1", "2", "3"]
    assert len(list((run / "checkpoints").iterdir())) == 1
    assert sar_keras.metadata_of(sar_keras.load_model(run)).expected_error
    # Going on changes nothing.
    sar_keras.fit(config, run, resume=True)
    assert len(read_rows(run / "history.csv")) == 3


@pytest.mark.slow
def test_a_refinement_goes_on_behind_a_generator_that_stopped_early(tmp_path):
    changes = [*UNTOUCHED, "model.normalization=none", "model.dropout=0", "train.epochs=9"]
    changes += ["train.early_stopping=1", "train.checkpoint_every=1 epoch", "refinement.epochs=2"]
    config = tiny("quick", *changes)
    with pytest.raises(ZeroDivisionError):
        sar_keras.fit(config, tmp_path / "run", callbacks=[Notes(fails_in_epoch=3)])
    run = sar_keras.fit(config, tmp_path / "run", resume=True)
    # Two epochs of the generator, of which the second is no better, and two of the refinement.
    assert [bool(row["mse"]) for row in read_rows(run / "history.csv")] == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("failing", [1, 2])
def test_a_refinement_goes_on_behind_a_generator_that_a_callback_ended(tmp_path, failing):
    """The run dies before the refinement's first checkpoint, or behind it."""

    class StopInFirstEpoch(Notes):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 0:
                self.model.stop_training = True

    changes = ["loss.perceptual=0", "train.epochs=5", "train.checkpoint_every=1 epoch", "refinement.epochs=3"]
    config = tiny("quick", *changes)
    with pytest.raises(ZeroDivisionError):
        sar_keras.fit(config, tmp_path / "run", callbacks=[StopInFirstEpoch(fails_in_epoch=failing)])
    run = sar_keras.fit(config, tmp_path / "run", resume=True)
    assert [bool(row["mse"]) for row in read_rows(run / "history.csv")] == [False, True, True, True]
