import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest
import yaml
from helpers import markdown_rows, read_rows, tiny
from skimage.metrics import peak_signal_noise_ratio

import sar_keras
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.io.images import read_optical, read_sar
from sar_keras.io.sar import Scale
from sar_keras.reports import figures
from sar_keras.reports.card import Trained, write_card
from sar_keras.training.history import read_history


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(tiny_run, tmp_path / "my run")


def trained(run, **changes):
    generator, config = sar_keras.load_model(run), sar_keras.load_config(run / "config.yaml")
    found = Trained.load(run, config, generator, read_history(run / "history.csv"))
    return dataclasses.replace(found, **changes)


def card_of(run):
    text = (run / "MODEL_CARD.md").read_text()
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_fit_writes_the_figures_of_its_test_images_into_the_card(tiny_run):
    head, body = card_of(tiny_run)
    model, found = sar_keras.load_model(tiny_run), []
    rows = [row for row in read_rows(tiny_run / "split.csv") if row["split"] == "test"]
    for row in rows:
        sar = read_sar(tiny_run / "data" / row["sar"], 1) / 127.5 - 1
        truth = read_optical(tiny_run / "data" / row["optical"]) / 255
        generated = (model.predict(sar.astype("float32")[None], verbose=0)[0] + 1) / 2
        found.append(peak_signal_noise_ratio(truth, generated, data_range=1))
    (cells,) = [cells for cells in markdown_rows(body) if cells[0].startswith("PSNR")]
    mean, low, high = map(float, re.findall("[0-9.]+", cells[1]))
    assert mean == pytest.approx(np.mean(found), abs=0.01) and min(found) <= low < mean < high <= max(found) + 0.01
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"][0]["type"] == "psnr"
    assert result["metrics"][0]["value"] == pytest.approx(np.mean(found), abs=0.01)
    assert f"On {len(rows)} test images" in body and "No figures" not in body


def test_the_front_matter_is_what_the_hub_reads(tiny_run):
    head, _ = card_of(tiny_run)
    assert head["library_name"] == "keras" and head["pipeline_tag"] == "image-to-image"
    assert {"sar", "sentinel-1", "pix2pix"} <= set(head["tags"]) and "psnr" in head["metrics"] and head["license"]
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard.load(tiny_run / "MODEL_CARD.md").data
    assert data.library_name == "keras" and data.eval_results[0].metric_type == "psnr"


def test_it_says_what_the_run_was_trained_on(tiny_run):
    _, body = card_of(tiny_run)
    rows = read_rows(tiny_run / "split.csv")
    for split in ("train", "validation", "test"):
        of_split = [row for row in rows if row["split"] == split]
        scenes = len({(row["season"], row["scene"]) for row in of_split})
        assert [split, str(len(of_split)), str(scenes)] in markdown_rows(body)
    assert (
        "no leak" in body and "procedural scenes" in body and "They are a toy" in body and "VGG16 in the loss" in body
    )
    assert "trained for 2 epochs, 6 steps" in body
    # What somebody else cannot use, and should not see.
    assert str(tiny_run) not in (tiny_run / "MODEL_CARD.md").read_text()


def test_its_links_lead_to_files_of_the_run(tiny_run):
    _, body = card_of(tiny_run)
    links = re.findall(r"\]\((.*?)\)", body)
    assert {"config.yaml", "split.csv", "history.png"} < set(links)
    assert any(re.fullmatch(r"samples/validation-0002\.png", link) for link in links)
    assert all((tiny_run / link).is_file() for link in links)


def test_it_says_where_there_are_no_figures(run):
    write_card(trained(run, finished=False), None)
    head, body = card_of(run)
    assert "No figures: the training is not finished." in body and "metrics" not in head and "model-index" not in head
    pairs = [pair for pair in trained(run).pairs if pair.split != "test"]
    write_card(trained(run, pairs=pairs), None)
    assert "No figures: the split has 0 test images." in card_of(run)[1]


def test_what_people_wrote_stays(run):
    path = run / "MODEL_CARD.md"
    text = path.read_text().replace("license: other\nlicense_name: not-chosen-yet", "license: cc-by-4.0")
    path.write_text(text.replace("What you write below", "Thanks to all.\n\nWhat you write below"))
    write_card(trained(run), None)
    head, body = card_of(run)
    assert head["license"] == "cc-by-4.0" and "No figures" in body
    assert "license_name" not in head and "nobody has chosen a licence" not in body
    assert body.partition("## Notes\n")[2].startswith("\nThanks to all.\n")
    path.write_text(path.read_text().replace("license: cc-by-4.0", "license: [cc-by-4.0"))
    write_card(trained(run), None)
    head, body = card_of(run)
    assert head["license"] == "other" and "nobody has chosen a licence" in body and "Thanks to all.\n" in body
    path.write_text("no card at all")
    write_card(trained(run), None)
    assert card_of(run)[0]["license"] == "other"


def test_a_leak_and_a_model_that_is_worse_than_one_colour_are_told(run):
    report = {
        "protocol": "standard",
        "split": "test",
        "n": 4,
        "scenes": 1,
        "metrics": {"psnr": {"mean": 11.0, "low": 10.0, "high": 12.0}},
        "baselines": {"mean_colour": {"psnr": {"mean": 13.0, "low": 12.0, "high": 14.0}}},
    }
    write_card(trained(run), report)
    body = card_of(run)[1]
    assert "By PSNR the mean colour of the training images is nearer" in body and "The split leaks" not in body
    pairs = [dataclasses.replace(pair, scene="1", season="fall") for pair in trained(run).pairs]
    write_card(trained(run, pairs=pairs), report)
    assert "The split leaks" in card_of(run)[1]


def test_of_a_guided_model_it_tells_the_hint_and_its_worth(run):
    keras.utils.set_random_seed(0)
    generator = sar_keras.GuidedGenerator((64, 64, 2), filters=2, depth=3)
    metadata = ModelMetadata(Scale("db", -19.0, -5.0), sar_bands=("VV", "VH"), parent="other_run, SHA-256 12ab")
    numbers = {"psnr": 15.5, "ssim": 0.5, "n": 4}
    config = tiny("guided", "data.root=/private/folder/pairs")
    report = {
        "protocol": "standard",
        "split": "test",
        "n": 4,
        "scenes": 0,
        "metrics": {"psnr": {"mean": 15.0, "low": 14.0, "high": 16.0}},
        "baselines": {"mean_colour": {"psnr": {"mean": 13.0, "low": 12.0, "high": 14.0}}},
        "hints": {
            "none": {"model": numbers, "alone": None},
            "palette": {"model": numbers | {"psnr": 17.25}, "alone": numbers | {"psnr": 16.75}},
        },
    }
    write_card(trained(run, config=config, generator=generator, metadata=metadata), report)
    head, body = card_of(run)
    assert "guided" in head["tags"] and "without a hint:" in body and "--palette" in body
    assert ["mean colour of the place", "4", "17.25", "0.5"] in markdown_rows(body)
    assert any(cells[0].endswith("without a model") and cells[2] == "16.75" for cells in markdown_rows(body))
    assert "2 (VV and VH)" in body and "decibel" in body and "-19 becomes -1 and -5 becomes 1" in body
    assert "other\\_run" not in body and "`other_run, SHA-256 12ab`" in body and "bind this one, too" in body
    assert "Data: `pairs`." in body and "/private" not in body and "toy" not in body


def test_figures_of_other_weights_are_not_kept(run):
    generator = sar_keras.load_model(run)
    figures.keep(run, {"split": "test", "n": 4}, generator)
    report = figures.kept(run, sar_keras.load_model(run))
    assert report and report["n"] == 4
    (run / "evaluation.json").write_text(json.dumps(report | {"device": "CPU"}))
    figures.keep(run, {"split": "test", "n": 5}, generator)
    assert {"n": 5, "device": "CPU"}.items() <= figures.kept(run, generator).items()
    weights = generator.get_weights()
    generator.set_weights([weights[0] + 1e-3, *weights[1:]])
    assert figures.kept(run, generator) is None
    figures.keep(run, {"split": "test", "n": 6}, generator)
    assert "device" not in figures.kept(run, generator)
    (run / "evaluation.json").write_text("no json")
    assert figures.kept(run, generator) is None


def test_the_runs_page_has_the_figures_of_its_history(tiny_run):
    page = (tiny_run / "report.html").read_text()
    for row in read_rows(tiny_run / "history.csv"):
        for name in ("l1", "val_psnr", "discriminator_loss"):
            assert f'<td data-key="{float(row[name])!r}" class="number">{float(row[name]):.4g}</td>' in page
    (cells,) = [cells for cells in markdown_rows(card_of(tiny_run)[1]) if cells[0].startswith("PSNR")]
    assert cells[1].replace("\\", "") in page and "no leak" in page and '<td data-key="train.seed">' in page
    tests = sum(row["split"] == "test" for row in read_rows(tiny_run / "split.csv"))
    assert page.count("· PSNR (dB)") == tests and page.count("<svg") == 3


@pytest.mark.slow
def test_a_run_that_goes_on_writes_both_anew(run, command):
    before = (run / "report.html").read_text()
    (run / "MODEL_CARD.md").unlink()
    code, _, err = command("fit", "--out", run, "--resume", "--set", "train.epochs=3")
    assert code == 0, err
    assert "trained for 3 epochs, 9 steps" in card_of(run)[1]
    row = read_rows(run / "history.csv")[2]
    cell = f'<td data-key="{float(row["l1"])!r}" class="number">'
    assert cell in (run / "report.html").read_text() and cell not in before
