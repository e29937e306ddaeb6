"""Every preset through `fit` at a tiny size: it trains, goes on as if it had not stopped, and is used as one model."""

import numpy as np
import pytest
from helpers import TINY, read_rows

import sar_keras
from sar_keras.config import load_config, presets

SMALL = [*TINY, "model.blocks=1", "train.batch_size=2", "train.average=0"]
EXTRA = {
    "pix2pix_dae": ["refinement.epochs=2", "refinement.filters=4"],
    "strong": ["train.average=0.9", "loss.warm_up=4"],
}


def small(name, pairs_folder, *changes):
    data = [] if name == "quick" else [f"data.root={pairs_folder}"]
    return load_config(name, [*SMALL, *EXTRA.get(name, []), *data, *changes])


@pytest.mark.parametrize("name", [name for name in presets() if name not in ("quick", "default", "paper", "pix2pix")])
def test_a_preset_trains_resumes_exactly_and_colorizes(name, pairs_folder, tmp_path, random):
    config = small(name, pairs_folder)
    whole = sar_keras.fit(config, tmp_path / "whole")
    first = sar_keras.fit(small(name, pairs_folder, "train.epochs=1", "refinement.epochs=0"), tmp_path / "parts")
    if config.refinement.epochs:
        # Both parts of such a run are of one plan: only the epochs of the first may be raised later.
        first = sar_keras.fit(small(name, pairs_folder, "refinement.epochs=1"), tmp_path / "refined")
        assert [row["epoch"] for row in read_rows(first / "history.csv")] == ["1", "2", "3"]
    else:
        sar_keras.fit(load_config(first / "config.yaml", ["train.epochs=2"]), first, resume=True)
        for a, b in zip(
            sar_keras.load_model(whole).get_weights(), sar_keras.load_model(first).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    model = sar_keras.load_model(whole)
    sar = random.integers(0, 256, (70, 90), np.uint8)
    assert sar_keras.colorize(model, sar).shape == (70, 90, 3)
    history = read_rows(whole / "history.csv")
    assert float(history[-1]["val_psnr"]) > 3 and all(float(row["minutes"]) > 0 for row in history)
