import json
import re
import shutil

import numpy as np
import pytest
from helpers import one_line, read_rows
from PIL import Image

import sar_keras
from sar_keras.inference.metadata import metadata_of
from sar_keras.inference.model_file import save_model


@pytest.fixture(scope="module")
def runs(tiny_run, tmp_path_factory):
    """Two runs of one split, the second of which has other weights and another configuration."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        shutil.copytree(tiny_run, folder / name, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    second = folder / "second"
    model = sar_keras.load_model(second)
    weights = model.get_weights()
    model.set_weights([*weights[:-1], weights[-1] + 0.3])
    save_model(model, second / "generator.keras", metadata_of(model))
    text = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(re.sub(r"average: [0-9.]+", "average: 0.75", text))
    # The training pairs may differ.
    lines = (second / "split.csv").read_text().splitlines()
    lines.remove(next(line for line in lines if ",train," in line))
    (second / "split.csv").write_text("\n".join(lines) + "\n")
    sar_keras.compare([folder / "first", second], folder / "page.html")
    return folder


def cells(page, heading):
    """The rows of the table below a heading, as people see them."""
    table = page[page.index(f"<h2>{heading}") :].partition("</table>")[0]
    return [
        re.findall("<t[dh][^>]*>(?:<button[^>]*>)?(.*?)(?:</button>)?</t[dh]>", row) for row in table.split("<tr>")[1:]
    ]


def test_figures_are_those_that_each_run_keeps_of_its_own_weights(runs):
    page = (runs / "page.html").read_text()
    head, *rows = cells(page, "Figures on")
    assert len({row[4] for row in rows[:2]}) == 2
    for name, row in zip(("first", "second"), rows, strict=False):
        figure = json.loads((runs / name / "evaluation.json").read_text())["metrics"]["psnr"]
        assert figure == pytest.approx(sar_keras.evaluate(runs / name)["metrics"]["psnr"])
        assert row[0] == name and head[4].startswith("PSNR")
        assert row[4] == f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"
        last = read_rows(runs / name / "history.csv")[-1]
        batch = sar_keras.load_config(runs / name / "config.yaml").train.batch_size
        assert row[2] == str(int(float(last["step"])) * batch)


def test_it_tells_what_differs_and_only_that(runs):
    page = (runs / "page.html").read_text()
    average = sar_keras.load_config(runs / "first" / "config.yaml").train.average
    assert cells(page, "What differs")[1:] == [["train.average", str(average), "0.75"]]
    assert "Of first." in page and "Of second." in page


def test_each_test_patch_is_there_once_with_all_runs(runs):
    page = (runs / "page.html").read_text()
    tested = [
        row["sar"].rpartition("/")[2] for row in read_rows(runs / "first" / "split.csv") if row["split"] == "test"
    ]
    assert sorted(re.findall('"about">(.*?)</span>', page)) == sorted(tested)
    for name in tested:
        shown = re.findall(f'alt="(.*?) of {re.escape(name)}"', page)
        assert shown == ["SAR", "first", "second", "truth"]


@pytest.mark.slow
def test_the_figures_of_earlier_weights_are_not_taken(runs, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(runs / name, tmp_path / name)
    shutil.copy(runs / "first" / "generator.keras", tmp_path / "second" / "generator.keras")
    sar_keras.compare([tmp_path / "first", tmp_path / "second"], tmp_path / "page.html")
    _, first, second, *_ = cells((tmp_path / "page.html").read_text(), "Figures on")
    assert first[4:] == second[4:]


def test_other_splits_and_other_images_are_refused_in_one_line(command, runs, tmp_path):
    other = shutil.copytree(runs / "second", tmp_path / "other")
    text = (other / "split.csv").read_text()
    (other / "split.csv").write_text(text.replace(",test,", ",train,", 1))
    code, _, err = command("compare", runs / "first", other, "-o", tmp_path / "page.html")
    tests = sum(row["split"] == "test" for row in read_rows(runs / "first" / "split.csv"))
    assert code == 2 and f"has {tests - 1} test images, of which {tests - 1} are among the {tests} of" in one_line(err)

    (other / "split.csv").write_text(text)
    row = next(row for row in read_rows(other / "split.csv") if row["split"] == "test")
    optical = other / "data" / row["optical"]
    Image.fromarray(255 - np.asarray(Image.open(optical))).save(optical)
    code, _, err = command("compare", runs / "first", other, "-o", tmp_path / "page.html")
    assert code == 2 and f"{optical.name}: is another image" in one_line(err)

    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("image_size: 64", "image_size: 96"))
    code, _, err = command("compare", runs / "first", other, "-o", tmp_path / "page.html")
    assert code == 2 and "has data.image_size=96" in one_line(err) and not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("arguments", [["first"], ["first", "first"], ["first", "second/../first"]])
def test_one_run_has_nothing_to_compare_with(command, runs, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(runs)
    code, _, err = command("compare", *arguments, "-o", tmp_path / "page.html")
    assert code == 2 and "two run directories or more, each once" in one_line(err)
    assert command("compare", "first", "nothing")[0] == 2
