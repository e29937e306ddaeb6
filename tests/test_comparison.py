import json

import numpy as np
import pytest
from helpers import TINY, read_rows
from PIL import Image

import sar_keras

OVERRIDES = [
    f"--set={change}" for change in TINY if not change.startswith(("train.epochs", "train.steps", "data.limit"))
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory, pairs_folder):
    from click.testing import CliRunner

    from sar_keras.cli import main

    output = tmp_path_factory.mktemp("comparison") / "out"

    def run(presets, *length):
        arguments = ["benchmark", "--presets", presets, "--data", str(pairs_folder), *length, "-o", str(output)]
        return CliRunner().invoke(main, [*arguments, *OVERRIDES], catch_exceptions=False)

    assert run("l1", "--steps", "4").exit_code == 0
    run.output = output
    return run


def test_a_second_call_adds_to_the_first_on_the_same_split(compared):
    before = (compared.output / "split.csv").read_text()
    model = (compared.output / "l1" / "generator.keras").stat().st_mtime
    result = compared("l1,pix2pix", "--minutes", "0.001")
    assert result.exit_code == 0 and "l1: done already" in result.stdout
    assert (compared.output / "split.csv").read_text() == before
    assert (compared.output / "l1" / "generator.keras").stat().st_mtime == model
    report = json.loads((compared.output / "benchmark.json").read_text())
    assert [row["model"] for row in report["results"]] == ["l1", "pix2pix"]
    assert [row["steps"] for row in report["results"]] == [4, 1]
    # The figures are those of `evaluate`.
    again = sar_keras.evaluate(compared.output / "pix2pix")
    assert report["results"][1]["metrics"]["psnr"] == pytest.approx(again["metrics"]["psnr"])
    text = (compared.output / "benchmark.md").read_text()
    assert f"{again['metrics']['psnr']['mean']:.4g}" in text and "SAR as grey" in text
    assert str(compared.output) not in text + json.dumps(report)


def test_a_refinement_has_its_share_of_the_same_number_of_steps(compared):
    assert compared("pix2pix_dae", "--steps", "12").exit_code == 0
    history = read_rows(compared.output / "pix2pix_dae" / "history.csv")
    assert [bool(row["mse"]) for row in history] == [False] * 10 + [True] * 2
    report = json.loads((compared.output / "benchmark.json").read_text())
    assert {row["model"]: row["steps"] for row in report["results"]}["pix2pix_dae"] == 12


def test_other_terms_in_the_same_folder_are_refused(compared):
    result = compared("pix2pix_lab", "--steps", "4", "--set", "train.seed=5")
    assert result.exit_code == 2 and "train.seed: pix2pix_lab has 5" in result.stderr
    assert not (compared.output / "pix2pix_lab").exists()


def test_the_picture_shows_sar_each_system_and_truth(compared, pairs_folder):
    picture = np.asarray(Image.open(compared.output / "patches.png"))
    systems = len(list(compared.output.glob("*/evaluation.json")))
    assert picture.shape[1] == 64 * (systems + 2)
    assert (compared.output / "curves.png").stat().st_size > 1000


def test_minutes_or_steps_must_be_given(command, tmp_path, pairs_folder):
    code, _, err = command("benchmark", "--data", pairs_folder, "-o", tmp_path / "out")
    assert code == 2 and "minutes or steps" in err and not (tmp_path / "out").exists()
    code, _, err = command("benchmark", "--presets", "l1,pix3pix", "--steps", "2", "-o", tmp_path / "out")
    assert code == 2 and "pix3pix" in err and not (tmp_path / "out").exists()
