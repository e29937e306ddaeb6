import json
import sys

import numpy as np
import pytest
from helpers import TINY, markdown_rows, names, one_line, read_rows
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import sar_keras
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import Pair
from sar_keras.data.synthetic import write_pairs
from sar_keras.evaluation.baselines import fit_trees
from sar_keras.evaluation.benchmark import _config

# Those that every system has, but for what `benchmark` sets itself.
OWN = ("train.epochs", "train.steps", "data.limit", "model.blocks", "loss.perceptual_layer")
OVERRIDES = [f"--set={change}" for change in TINY if not change.startswith(OWN)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory, pairs_folder):
    from click.testing import CliRunner

    from sar_keras.cli.main import main

    output = tmp_path_factory.mktemp("comparison") / "out"

    def run(presets, *length):
        arguments = ["benchmark", "--presets", presets, "--data", str(pairs_folder), *length, "-o", str(output)]
        return CliRunner().invoke(main, [*arguments, *OVERRIDES], catch_exceptions=False)

    assert run("l1", "--steps", "4").exit_code == 0
    run.output = output
    return run


def test_what_is_done_is_kept_and_its_figures_are_those_of_evaluate(compared):
    model = (compared.output / "l1" / "generator.keras").stat().st_mtime
    result = compared("l1", "--steps", "4")
    assert result.exit_code == 0 and "l1: done already" in result.stdout
    assert (compared.output / "l1" / "generator.keras").stat().st_mtime == model
    report = json.loads((compared.output / "benchmark.json").read_text())
    assert [(row["model"], row["steps"]) for row in report["results"]] == [("l1", 4)]
    again = sar_keras.evaluate(compared.output / "l1")
    assert report["results"][0]["metrics"]["psnr"] == pytest.approx(again["metrics"]["psnr"])
    text = (compared.output / "benchmark.md").read_text()
    figure = again["metrics"]["psnr"]
    assert f"{figure['mean']:.4g}" in text and "SAR as grey" in text
    page = (compared.output / "benchmark.html").read_text()
    assert f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]" in page and "SAR as grey" in page
    # `evaluate` keeps the figures in the run, and leaves there what makes it a part of the comparison.
    assert compared("l1", "--steps", "4").stdout.startswith("l1: done already")
    assert str(compared.output) not in text + json.dumps(report)


def test_trees_are_scored_on_the_same_test_images(compared, pairs_folder):
    report = json.loads((compared.output / "benchmark.json").read_text())
    rows = read_rows(compared.output / "split.csv")
    pairs = [Pair(pairs_folder / row["sar"], pairs_folder / row["optical"], split=row["split"]) for row in rows]
    images = load_images(pairs, 64)
    train = [n for n, pair in enumerate(pairs) if pair.split == "train"]
    trees = fit_trees(images, train, seed=0)
    figures = []
    for pair in (pair for pair in pairs if pair.split == "test"):
        sar, truth = (np.asarray(Image.open(path)) / np.float32(127.5) - 1 for path in (pair.sar, pair.optical))
        generated = trees.predict(sar[None, ..., None])[0]
        figures.append(peak_signal_noise_ratio(truth, generated, data_range=2))
    found = report["trees"]["metrics"]["psnr"]
    assert found["mean"] == pytest.approx(np.mean(figures), abs=0.01) and found["low"] < found["mean"] < found["high"]
    assert report["trees"]["metrics"].keys() == report["results"][0]["metrics"].keys()
    text = (compared.output / "benchmark.md").read_text()
    row, *_ = [cells for cells in markdown_rows(text) if "trees" in cells[0]]
    assert row[:3] == ["gradient-boosted trees (SAR)", f"{report['trees']['minutes']:.1f}", str(len(train))]
    assert row[4] == f"{found['mean']:.4g}"


@pytest.mark.slow
def test_without_scikit_learn_a_line_says_what_to_install(compared, monkeypatch, tmp_path):
    trees = compared.output / "trees.json"
    trees.rename(tmp_path / "trees.json")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "sklearn", None)  # what Python itself takes for not installed
        result = compared("l1", "--steps", "4")
    assert result.exit_code == 0 and one_line(result.stderr).endswith('pip install ".[trees]"')
    assert "trees" not in (compared.output / "benchmark.md").read_text() and not trees.exists()
    assert compared("l1", "--steps", "4").stderr == ""
    assert "gradient-boosted trees" in (compared.output / "benchmark.md").read_text()
    trees_again = json.loads(trees.read_text())
    assert trees_again["metrics"] == json.loads((tmp_path / "trees.json").read_text())["metrics"]


@pytest.mark.slow
def test_a_second_call_adds_to_the_first_on_the_same_split(compared):
    before = (compared.output / "split.csv").read_text()
    result = compared("l1,pix2pix", "--minutes", "0.001")
    assert result.exit_code == 0 and "l1: done already" in result.stdout
    assert (compared.output / "split.csv").read_text() == before
    report = json.loads((compared.output / "benchmark.json").read_text())
    assert [(row["model"], row["steps"]) for row in report["results"]] == [("l1", 4), ("pix2pix", 1)]


def test_a_split_that_was_there_outlives_a_failure(command, pairs_folder, tmp_path):
    assert command("data", "split", pairs_folder, "-o", tmp_path / "split.csv")[0] == 0
    wrong = ["--set", "optimizer.generator.class_name=Adum"]
    code, _, err = command(
        "benchmark", "--presets", "l1", "--data", pairs_folder, "--steps", "4", "-o", tmp_path, *wrong
    )
    assert code == 2 and "Adum" in err and [path.name for path in tmp_path.iterdir()] == ["split.csv"]


def test_a_refinement_is_given_a_sixth_of_the_steps():
    config = _config("pix2pix_dae", None, None, 12, ())
    assert (config.train.epochs, config.refinement.epochs, config.train.steps_per_epoch) == (10, 2, 1)


@pytest.mark.slow
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


def test_procedural_pairs_of_another_call_are_not_taken(command, tmp_path):
    arguments = ["benchmark", "--presets", "l1", "--steps", "4", "-o", tmp_path / "out", *OVERRIDES]
    # A call that trains nothing leaves nothing.
    for wrong in ("data.ratios=[0.9,0.1,0]", "optimizer.generator.class_name=Adum"):
        code, _, err = command(*arguments, "--set", "data.limit=24", "--set", wrong)
        assert code == 2 and one_line(err) and not (tmp_path / "out").exists()
    # As one that was killed leaves them.
    write_pairs(tmp_path / "out" / "data", 8, image_size=64)
    code, _, err = command(*arguments, "--set", "data.limit=12")
    assert code == 2 and "data: is there without a run" in one_line(err) and "give another -o" in err
    assert names(tmp_path / "out") == ["data"]


def test_a_file_is_no_place_for_a_comparison(command, tmp_path):
    (tmp_path / "out").write_text("notes")
    code, _, err = command("benchmark", "--presets", "l1", "--steps", "4", "-o", tmp_path / "out", *OVERRIDES)
    assert code == 2 and "is a file; give a folder" in one_line(err) and (tmp_path / "out").read_text() == "notes"


def test_runs_on_other_numbers_of_pairs_do_not_compare(compared):
    result = compared("pix2pix", "--steps", "4", "--set", "data.limit=12")
    assert result.exit_code == 2 and "data.limit: pix2pix has 12, l1 has None" in result.stderr


def test_the_picture_shows_sar_each_system_and_truth(compared, pairs_folder):
    picture = np.asarray(Image.open(compared.output / "patches.png")).astype(int)
    systems = len(list(compared.output.glob("*/evaluation.json")))
    assert picture.shape[1] == 64 * (systems + 2)
    row = next(row for row in read_rows(compared.output / "split.csv") if row["split"] == "test")
    sar, truth = (np.asarray(Image.open(pairs_folder / row[side]).convert("RGB")) for side in ("sar", "optical"))
    first = picture[-64 * (len(picture) // 64) :][:64]
    assert np.abs(first[:, :64] - sar).max() <= 1 and np.abs(first[:, -64:] - truth).max() <= 1


def test_too_few_test_images_are_told_before_training(command, tmp_path, pairs_folder):
    arguments = ["benchmark", "--presets", "l1", "--data", pairs_folder, "--steps", "2", *OVERRIDES]
    code, _, err = command(*arguments, "--set", "data.ratios=[0.9,0.1,0]", "-o", tmp_path / "out")
    assert code == 2 and "0 test image(s)" in err and not (tmp_path / "out").exists()


def test_what_was_never_trained_leaves_nothing(command, tmp_path, save_png):
    for index in range(8):
        for side in ("s1", "s2"):
            save_png(tmp_path / f"data/{side}/ROIs1_fall_{side}_{index}_p1.png", np.zeros((64, 64), np.uint8))
    (tmp_path / "data/s1/ROIs1_fall_s1_3_p1.png").write_bytes(b"no image")
    arguments = ["benchmark", "--presets", "l1", "--data", tmp_path / "data", "--steps", "2", *OVERRIDES]
    code, _, err = command(*arguments, "--set", "data.ratios=[0.5,0.25,0.25]", "-o", tmp_path / "out")
    assert code == 2 and "s1_3_p1.png" in err and not (tmp_path / "out").exists()


def test_minutes_or_steps_must_be_given(command, tmp_path, pairs_folder):
    code, _, err = command("benchmark", "--data", pairs_folder, "-o", tmp_path / "out")
    assert code == 2 and "give either --minutes or --steps" in err and not (tmp_path / "out").exists()
    code, _, err = command("benchmark", "--presets", "l1,pix3pix", "--steps", "2", "-o", tmp_path / "out")
    assert code == 2 and "pix3pix" in err and not (tmp_path / "out").exists()
