import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import scipy.stats
import skimage.metrics
from helpers import read_rows

import sar_keras
from sar_keras.errors import DataError, ModelError
from sar_keras.evaluation.evaluate import intervals
from sar_keras.inference.confidence import with_uncertainty
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model
from sar_keras.io.images import read_optical, read_sar


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy, since a run keeps what is found."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def report(run):
    return sar_keras.evaluate(run, html=run / "page.html")


def test_scores_are_those_of_the_saved_model_on_the_test_split(tiny_run, report):
    rows = [row for row in read_rows(tiny_run / "split.csv") if row["split"] == "test"]
    model = sar_keras.load_model(tiny_run)
    errors, copied = [], []
    for row in rows:
        sar = read_sar(tiny_run / "data" / row["sar"], 1) / 255
        truth = read_optical(tiny_run / "data" / row["optical"]) / 255
        generated = (model.predict((sar * 2 - 1).astype("float32")[None], verbose=0)[0] + 1) / 2
        errors.append(np.abs(generated - truth).mean())
        copied.append(((sar - truth) ** 2).mean())
    assert (report["n"], report["split"], report["protocol"]) == (len(rows), "test", "standard")
    assert report["metrics"]["mae"]["mean"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert report["baselines"]["copy_sar"]["mse"]["mean"] == pytest.approx(np.mean(copied), abs=1e-5)


def test_the_mean_colour_is_that_of_the_training_split(tiny_run, report):
    rows = read_rows(tiny_run / "split.csv")
    optical = {
        split: [read_optical(tiny_run / "data" / row["optical"]) / 255 for row in rows if row["split"] == split]
        for split in ("train", "test")
    }
    colour = np.mean(optical["train"], axis=(0, 1, 2))
    expected = np.mean([((image - colour) ** 2).mean() for image in optical["test"]])
    assert report["baselines"]["mean_colour"]["mse"]["mean"] == pytest.approx(expected, abs=1e-5)


def test_the_page_has_each_test_image_with_its_own_figures(run, report):
    page = (run / "page.html").read_text()
    rows = [row for row in read_rows(run / "split.csv") if row["split"] == "test"]
    model, found = sar_keras.load_model(run), []
    for row in rows:
        sar = read_sar(run / "data" / row["sar"], 1) / 127.5 - 1
        truth = read_optical(run / "data" / row["optical"]) / 255
        generated = (model.predict(sar.astype("float32")[None], verbose=0)[0] + 1) / 2
        psnr = skimage.metrics.peak_signal_noise_ratio(truth, generated, data_range=1)
        name = row["sar"].rpartition("/")[2]
        (caption,) = re.findall(rf'"about">{name} · PSNR \(dB\) ([0-9.]+) · SSIM', page)
        assert float(caption) == pytest.approx(psnr, abs=0.01)
        found.append(psnr)
    figure = report["metrics"]["psnr"]
    assert figure["mean"] == pytest.approx(np.mean(found), abs=1e-3)
    assert f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]" in page
    assert page.count('class="patch"') == len(rows)


def test_a_run_keeps_what_was_found_on_its_test_images_alone(run, report, tmp_path):
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["metrics"] == report["metrics"] and kept["split"] == "test"
    card = (run / "MODEL_CARD.md").read_text()
    assert f"| CIEDE2000 ↓ | {report['metrics']['ciede2000']['mean']:.4g} " in card
    copy = shutil.copytree(run, tmp_path / "copy")
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    sar_keras.evaluate(copy, split="validation")
    sar_keras.evaluate(copy / "generator_best.keras", split="validation")
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before


def test_groups_add_up_to_the_whole(report, tiny_run):
    rows = [row for row in read_rows(tiny_run / "split.csv") if row["split"] == "test"]
    assert set(report["by_terrain"]) == {row["terrain"] for row in rows}
    assert report["scenes"] == len(report["by_scene"]) == len({(row["season"], row["scene"]) for row in rows})


def test_how_well_the_expected_error_ranks_the_real_one(tiny_run, report):
    rows = [row for row in read_rows(tiny_run / "split.csv") if row["split"] == "test"]
    run = with_uncertainty(sar_keras.load_model(tiny_run))
    errors, expected = [], []
    for row in rows:
        sar = read_sar(tiny_run / "data" / row["sar"], 1)[None].astype("float32") / 127.5 - 1
        optical, uncertainty = run(sar)
        truth = read_optical(tiny_run / "data" / row["optical"]) / 255
        errors.append(np.abs((optical.numpy()[0] + 1) / 2 - truth).mean(-1)[::4, ::4])
        expected.append(uncertainty.numpy()[0, ::4, ::4, 0])
    found = report["confidence"]
    ranks = found["rank_correlation"]
    pixels = [scipy.stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(errors, expected, strict=True)]
    assert ranks["pixels"]["mean"] == pytest.approx(np.mean(pixels), abs=1e-3)
    means = [[image.mean() for image in side] for side in (errors, expected)]
    assert ranks["patches"] == pytest.approx(scipy.stats.spearmanr(*means)[0], abs=1e-3)
    whole = np.mean(errors)
    assert found["sparsification"]["random"] == pytest.approx([whole] * 10, abs=1e-4)
    assert found["sparsification"]["ause"] >= 0


def test_figures_with_detail_are_those_of_what_colorize_gives(tiny_run, report):
    rows = [row for row in read_rows(tiny_run / "split.csv") if row["split"] == "test"]
    model = sar_keras.load_model(tiny_run)
    assert list(report["detail"]) == ["0", "0.25", "0.5"]
    for detail, figures in report["detail"].items():
        psnr = []
        for row in rows:
            truth = read_optical(tiny_run / "data" / row["optical"])
            colours = sar_keras.colorize(model, tiny_run / "data" / row["sar"], detail=float(detail))
            psnr.append(skimage.metrics.peak_signal_noise_ratio(truth, colours))
        assert figures["psnr"]["mean"] == pytest.approx(np.mean(psnr), abs=0.02)
    for name, figure in report["detail"]["0"].items():
        assert figure == report["metrics"][name]


def test_intervals_cover_the_mean_and_shrink_with_more_images(random):
    few, many = (intervals({"x": random.normal(5, 1, n)})["x"] for n in (20, 2000))
    assert few["low"] < few["mean"] < few["high"]
    # 1.96 standard errors to each side
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.15)


def test_command_prints_and_writes_json(command, run, tmp_path):
    code, out, err = command("evaluate", run, "--by", "terrain", "--json", tmp_path / "scores.json")
    assert code == 0 and err == ""
    assert "PSNR" in out and "mean colour" in out and "not LPIPS" in out and "VGG16 loss" in out and "\nterrain" in out
    assert "(colorize --detail)\n" in out and re.search("PSNR.*\\n.*gradient similarity", out.split("--detail")[1])
    figure = json.loads((tmp_path / "scores.json").read_text())["metrics"]["psnr"]
    assert set(figure) == {"mean", "low", "high"} and figure["low"] <= figure["mean"] <= figure["high"]


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is not None, reason="the extra `metrics` is there")
def test_lpips_and_fid_say_what_to_install(command, tiny_run):
    code, _, err = command("evaluate", tiny_run, "--perceptual")
    assert code == 2 and ".[metrics]" in err and err.count("\n") == 1


def test_data_that_do_not_fit_the_model(command, tiny_run, tmp_path, random):
    import rasterio

    generator = sar_keras.UNetGenerator((64, 64, 2), 4)
    save_model(generator, tmp_path / "two.keras", ModelMetadata())
    code, _, err = command("evaluate", tmp_path / "two.keras", "--data", tiny_run / "data")
    assert code == 2 and "1 band(s), the model takes 2" in err and err.count("\n") == 1

    profile = {"driver": "GTiff", "width": 64, "height": 64, "dtype": "float32"}
    for folder, count in (("sar", 1), ("optical", 3)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for scene in range(20):
            values = random.random((count, 64, 64)).astype("float32")
            if folder == "optical":
                values[0, :7] = np.nan
            name = tmp_path / "data" / folder / f"ROIs1_fall_s1_{scene}_p1.tif"
            with rasterio.open(name, "w", count=count, **profile) as file:
                file.write(values)
    code, _, err = command("evaluate", tiny_run / "generator.keras", "--data", tmp_path / "data")
    assert code == 2 and ".tif: 11% of it hold no data" in err


def test_other_data_is_split_by_scene(command, tiny_run, tmp_path):
    from sar_keras.data.synthetic import write_pairs

    write_pairs(tmp_path / "other", 36, seed=9, image_size=64)
    model = shutil.copy(tiny_run / "generator.keras", tmp_path)
    code, out, err = command("evaluate", model, "--data", tmp_path / "other")
    assert code == 0 and "3 test images of 1 scenes" in out and "rank correlation" in out and not err
    # Beside the run's split, names that both have count as the same images.
    with pytest.warns(UserWarning, match="24 of 36 pairs"):
        assert sar_keras.evaluate(tiny_run, tmp_path / "other", "validation")["n"] == 2
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "split.csv").write_text("sar,optical\na.png,b.png\n")
    with pytest.raises(DataError, match="needs the columns sar and split"):
        sar_keras.evaluate(run, tmp_path / "other")


def test_the_best_generator_of_a_run_knows_its_data_and_its_errors(tiny_run):
    rows = read_rows(tiny_run / "history.csv")
    best = max(rows, key=lambda row: float(row["val_psnr"]))
    report = sar_keras.evaluate(tiny_run / "generator_best.keras", split="validation")
    assert report["n"] == 2 and report["confidence"] is not None
    assert report["metrics"]["psnr"]["mean"] == pytest.approx(float(best["val_psnr"]), abs=1e-2)


def test_what_cannot_be_evaluated(tiny_run, tmp_path, save_png):
    shutil.copy(tiny_run / "generator.keras", tmp_path)
    with pytest.raises(ModelError, match=r"give some as data$"):
        sar_keras.evaluate(tmp_path / "generator.keras")
    with pytest.raises(ModelError, match="255"):
        sar_keras.evaluate(tiny_run, protocol="paper")
    for folder in ("s1", "s2"):
        for scene in (1, 2):
            name = f"ROIs1_fall_{folder}_{scene}_p1.png"
            save_png(tmp_path / folder / name, np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match=r"'test' has 1 image"):
        sar_keras.evaluate(tiny_run, tmp_path)
