"""The run directory `run_of_0_1` was made by an earlier version, whose config.yaml holds the keys of all systems.

sar-keras fit quick --set data.image_size=32 --set data.limit=12 --set model.filters=1 \
  --set model.discriminator_filters=1 --set loss.perceptual_layer=block1_conv1 --set train.epochs=1 \
  --set train.steps_per_epoch=2 --set train.precision=float32 --set train.batch_size=2
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import read_rows

import sar_keras
from sar_keras.config import keys, load_run
from sar_keras.evaluation.benchmark import write_report

UNUSED = "left out, without effect in pix2pix: model.blocks, loss.gradient, loss.cycle, loss.identity"


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(Path(__file__).with_name("run_of_0_1"), tmp_path / "runs" / "old")


def test_keys_without_effect_are_left_out_with_one_warning(run):
    with pytest.warns(UserWarning, match=UNUSED) as warned:
        config = load_run(run)
    assert len(warned) == 1
    assert config.loss.perceptual_layer == "block1_conv1" and config.model.filters == 1
    assert not {"model.blocks", "loss.gradient", "loss.cycle", "loss.identity"} & keys(config).keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*left out, without effect")
def test_it_still_evaluates_colorizes_exports_benchmarks_and_goes_on(run, tmp_path, command):
    code, out, err = command("evaluate", run, "--split", "train", "--json", run / "evaluation.json")
    assert code == 0 and err.count("left out, without effect") == 1 and "PSNR" in out
    rgb = sar_keras.colorize(run, next(run.glob("data/**/s1/*.png")))
    assert rgb.shape == (32, 32, 3) and rgb.dtype == np.uint8
    code, out, _ = command("export", run, "-o", tmp_path / "served")
    assert code == 0 and (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    # A comparison keeps its procedural pairs beside its runs.
    shutil.copy(run / "split.csv", run.parent)
    shutil.copytree(run / "data", run.parent / "data")
    # What `benchmark` adds to a report.
    about = dict.fromkeys(("device", "machine", "software", "date"), "?")
    report = json.loads((run / "evaluation.json").read_text()) | about
    (run / "evaluation.json").write_text(json.dumps(report))
    with pytest.warns(UserWarning, match=UNUSED):
        assert "| old | " in write_report(run.parent).read_text()
    code, _, err = command("fit", "--out", run, "--resume", "--set", "train.epochs=2")
    assert code == 0, err
    assert [row["epoch"] for row in read_rows(run / "history.csv")] == ["1", "2"]
