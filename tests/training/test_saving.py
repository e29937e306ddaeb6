import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import one_convolution, read_rows, tiny

import sar_keras
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import find_pairs
from sar_keras.errors import Stopped
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.training import callbacks
from sar_keras.training.checkpoints import Checkpoints
from sar_keras.training.phases import state_of
from sar_keras.training.run import Phase, Run
from sar_keras.training.saving import CopyToFloat32, SaveRun


@pytest.fixture
def train(tmp_path, pairs_folder):
    """Train one convolution in epochs of three steps: train(settings, signals) to the model; tmp_path holds the run."""

    def train(settings=(), signals=(), epochs=2, rate=0.01, of_the_user=()):
        model = sar_keras.Pix2Pix(one_convolution())
        model.compile(keras.optimizers.SGD(rate))
        config, phase = tiny("quick", *settings), Phase(model, epochs, minutes=None)
        run = Run(
            config=config,
            folder=tmp_path,
            strategy=tf.distribute.get_strategy(),
            images=load_images(find_pairs(pairs_folder).pairs[:1], size=64),
            indices={},
            steps_per_epoch=3,
            phases=[phase],
            checkpoints=Checkpoints(tmp_path / "checkpoints", config.train.keep),
            state=state_of([phase]),
            metadata=ModelMetadata(),
            callbacks=[],
            history=[],
            samples={},
            validation=None,
        )
        generator = one_convolution()
        used = [
            callbacks.StopAfter(None, phase.progress),
            CopyToFloat32(generator),
            *of_the_user,
            SaveRun(run, phase, generator, list(signals)),
        ]
        data = tf.data.Dataset.from_tensors((tf.zeros((1, 16, 16, 1)), tf.ones((1, 16, 16, 3))))
        options = {"epochs": epochs, "steps_per_epoch": 3, "callbacks": used, "validation_data": data}
        model.fit(data.repeat(), shuffle=False, verbose=0, **options)
        return model

    return train


@pytest.mark.parametrize(
    ("every", "keep", "steps"),
    [("2 steps", 9, [2, 4, 6]), ("1 epoch", 9, [3, 6]), ("10 minutes", 9, [6]), ("1 steps", 2, [5, 6])],
)
def test_checkpoints_are_made_when_they_are_due_and_at_the_end(train, tmp_path, every, keep, steps):
    train([f"train.checkpoint_every={every}", f"train.keep={keep}"])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [f"step-{n:08d}" for n in steps]


def test_each_epoch_leaves_its_history_and_its_generator(train, tmp_path):
    model = train()
    assert [(row["epoch"], row["step"]) for row in read_rows(tmp_path / "history.csv")] == [("1", "3.0"), ("2", "6.0")]
    weights = model.generator.get_weights()
    for name in ("generator", "generator_best"):  # the second epoch is the better one
        for saved, weight in zip(sar_keras.load_model(tmp_path / f"{name}.keras").get_weights(), weights, strict=True):
            np.testing.assert_array_equal(saved, weight)


def test_epochs_that_bring_nothing_better_end_the_run(train, tmp_path):
    train(["train.early_stopping=2"], epochs=9, rate=0.0)
    assert [row["epoch"] for row in read_rows(tmp_path / "history.csv")] == ["1", "2", "3"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000009"]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Stopped), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_run_after_a_checkpoint_at_the_step(train, tmp_path, number, error):
    with pytest.raises(error, match=r"in epoch 1, step 1 \(1 of the epoch\); saved. To go on: sar-keras fit --out .*"):
        train(signals=[number])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("stops", [True, False, np.True_, np.False_])
def test_a_checkpoint_says_whether_a_callback_of_the_users_ended_the_training(train, tmp_path, stops):
    def stop(epoch, logs):
        callback.model.stop_training = stops

    callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    train(epochs=2, of_the_user=[callback])
    _, position = Checkpoints(tmp_path / "checkpoints", keep=1).latest()
    assert (position.epochs, position.stopped) == ((1, True) if stops else (2, False))


def test_a_callback_of_the_users_sees_each_epoch_and_may_fail(train, tmp_path):
    seen = []

    def note(epoch, logs):
        seen.append(logs["val_psnr"])
        if epoch == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(["train.checkpoint_every=1 epoch"], of_the_user=[keras.callbacks.LambdaCallback(on_epoch_end=note)])
    (row,) = read_rows(tmp_path / "history.csv")
    assert len(seen) == 2 and seen[0] == pytest.approx(float(row["val_psnr"]))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
