import contextlib
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from helpers import DISCRIMINATORS, logged_steps, one_line, read_rows, saved_state, tiny, tiny_settings

import sar_keras
from sar_keras.errors import ConfigError, OutputError, Stopped
from sar_keras.training import callbacks
from sar_keras.training.checkpoints import Checkpoints, Position
from sar_keras.training.history import best_epoch

SET = [argument for override in tiny_settings("quick") for argument in ("--set", override)]


@pytest.fixture
def signal_at(monkeypatch):
    """Make this process get a signal after a step of training."""

    def arrange(number, step):
        after = callbacks.Progress.on_train_batch_end

        def on_train_batch_end(self, batch, logs=None):
            after(self, batch, logs)
            if self.model.steps_done == step:
                monkeypatch.undo()
                os.kill(os.getpid(), number)

        monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", on_train_batch_end)

    return arrange


def check_equal(run, other):
    one, two = saved_state(run), saved_state(other)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    rows, other_rows = (read_rows(folder / "history.csv") for folder in (run, other))
    assert all(float(row.pop("minutes")) > 0 for row in rows + other_rows)
    assert rows == other_rows
    assert logged_steps(run) == logged_steps(other)


def test_a_run_stopped_by_ctrl_c_says_how_to_go_on_and_goes_on_to_the_same_bits(command, tiny_run, tmp_path, signal_at):
    signal_at(signal.SIGINT, 5)
    run = tmp_path / "run"
    code, _, err = command("fit", "--out", run, *SET)
    go_on = f"sar-keras fit --out {run} --resume"
    assert code == 130 and "stopped in epoch 2, step 5 (2 of the epoch); saved" in err and go_on in one_line(err)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    code, out, _ = command(*go_on.split()[1:])
    assert code == 0 and out.startswith("resumed in epoch 2, step 5 (2 of the epoch)\n")
    check_equal(tiny_run, run)


# Steps 5 and 8 are the second of their epochs; step 8 is of the refinement. Twelve images a batch, so that the image
# pool of 50 is full and handing back.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "changes", "steps"),
    [
        (
            "default",
            [*DISCRIMINATORS, "loss.warm_up=4", "train.average=0.9", "train.decay=0.5", "refinement.epochs=1"],
            [1, 5, 8],
        ),
        ("cyclegan", ["train.batch_size=12"], [5]),
        ("epcgan", [], [5]),
        ("guided", [], [5]),
    ],
)
def test_systems_stopped_inside_an_epoch_go_on_to_the_same_bits(
    preset, changes, steps, tmp_path, pairs_folder, signal_at, capsys
):
    changes = [*changes, f"data.root={pairs_folder}", "optimizer.generator.config.learning_rate=0.001"]
    config = tiny(preset, *changes)
    whole = sar_keras.fit(config, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    for step in steps:
        signal_at(signal.SIGTERM, step)
        with pytest.raises(Stopped, match=rf"step {step} \({step % 3} of the epoch\); saved.*--out .*stopped --resume"):
            sar_keras.fit(config, stopped, resume=stopped.exists())
        assert int(max(path.name for path in (stopped / "checkpoints").iterdir())[5:]) == step
    capsys.readouterr()
    sar_keras.fit(config, stopped, resume=True)
    assert capsys.readouterr().out.startswith(f"resumed in epoch {step // 3 + 1}, step {step} (2 of the epoch)\n")
    check_equal(whole, stopped)
    image = np.zeros((70, 90), np.uint8)
    assert sar_keras.colorize(stopped, image).shape == (70, 90, 3)


@pytest.fixture
def three(tmp_path):
    """Checkpoints of three steps, whose state is the step."""
    checkpoints, step = Checkpoints(tmp_path / "checkpoints", keep=2), tf.Variable(0)
    for value in (1, 2, 3):
        step.assign(value)
        checkpoints.save(tf.train.Checkpoint(step=step), Position(0, value, value))
    return checkpoints


def restored(checkpoints, path):
    step = tf.Variable(0)
    checkpoints.restore(tf.train.Checkpoint(step=step), path)
    return int(step)


def test_as_many_checkpoints_stay_as_are_to_be_kept(three):
    assert [path.name for path in three] == ["step-00000002", "step-00000003"]
    path, position = three.latest()
    assert position == Position(0, 3, 3) and restored(three, path) == 3


def flip_a_bit(path, random):
    file = sorted(path.iterdir())[random.integers(len(list(path.iterdir())))]
    content = bytearray(file.read_bytes())
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    file.write_bytes(content)


def cut_off(path, random):
    file = next(path.glob("state.data*"))
    file.write_bytes(file.read_bytes()[:-1])


def lose_a_file(path, random):
    next(path.glob("*.index")).unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, lose_a_file])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(three, random, damage):
    damage(three.folder / "step-00000003", random)
    with pytest.warns(UserWarning, match="step-00000003: torn or changed"):
        path, position = three.latest()
    assert position.step == 2 and restored(three, path) == 2
    damage(path, random)
    with pytest.raises(OutputError, match="no checkpoint is intact"):
        three.latest()


def test_every_single_flipped_bit_is_found(three):
    path = three.folder / "step-00000003"
    for file in path.iterdir():
        content = file.read_bytes()
        for position in range(0, len(content), max(1, len(content) // 50)):
            file.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
            with pytest.raises(OutputError):
                flipped_alone(three, path)
        file.write_bytes(content)


def flipped_alone(checkpoints, path):
    shutil.rmtree(checkpoints.folder / "step-00000002", ignore_errors=True)
    return checkpoints.latest()


def test_intervals():
    for text in ("1 epochs", "0.5 minutes", "20 steps"):
        assert sar_keras.load_config("quick", [f"train.checkpoint_every={text}"]).train.checkpoint_every == text
    for text in ("0 steps", "1 hour", "steps", "-1 epoch"):
        with pytest.raises(ConfigError, match="500 steps"):
            sar_keras.load_config("quick", [f"train.checkpoint_every={text}"])


def test_the_best_epoch_is_kept():
    history = [{"epoch": 1, "val_psnr": 9.0}, {"epoch": 2, "val_psnr": 11.0}, {"epoch": 3, "val_psnr": 11.0}]
    assert best_epoch(history, "psnr") == 2
    assert best_epoch([{"epoch": 1, "val_l1": 0.2}, {"epoch": 2, "val_l1": 0.1}], "l1") == 2
    assert best_epoch([{"epoch": 1}], "psnr") is None


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(command, small_disk, tiny_run, monkeypatch):
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    run, filler = small_disk / "run", small_disk / "filler"
    after = callbacks.Progress.on_train_batch_end

    def fill_after_four_steps(self, batch, logs=None):
        after(self, batch, logs)
        if int(self.model.optimizer.iterations) == 4:
            with filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)) == 4096:
                    pass

    def fill(self, batch, logs=None):
        with contextlib.suppress(OSError):
            fill_after_four_steps(self, batch, logs)

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", fill)
    code, _, err = command("fit", "--out", run, *SET, "--set", "train.checkpoint_every=1 steps")
    assert code == 2 and "disk is full" in one_line(err) and f"--out {run} --resume" in err
    monkeypatch.undo()
    filler.unlink()
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000002", "step-00000003"]
    code, out, _ = command("fit", "--out", run, "--resume")
    assert code == 0 and out.startswith("resumed after epoch 1, step 3\n")
    check_equal(tiny_run, run)
