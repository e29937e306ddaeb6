"""Each script in benchmarks/ in a process of its own: its help, and its smallest size."""

import csv
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import markdown_rows, write_scenes, write_tiff
from PIL import Image

import sar_keras
from sar_keras.inference.locate import DEMO

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in ROOT.glob("benchmarks/*.py") if path.stem != "common")
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_is_the_docstring_and_needs_no_tensorflow(script):
    result = subprocess.run([sys.executable, "-X", "importtime", script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    first_line = script.read_text().split('"""')[1].split("\n\n")[0]
    assert " ".join(first_line.split()) in " ".join(result.stdout.split()) and "Options:" in result.stdout
    assert not re.search(r"\| +(tensorflow|keras)$", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_there_is_a_test_of_its_smallest_size(script):
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert f"def test_{script.stem}(" in tests


@pytest.fixture(scope="module")
def evaluation(tiny_run, tmp_path_factory) -> dict:
    return sar_keras.evaluate(shutil.copytree(tiny_run, tmp_path_factory.mktemp("evaluation") / "run"))


@pytest.mark.slow
def test_ceiling(run, tiny_run, evaluation):
    head, flat, model = markdown_rows(run("ceiling", tiny_run))
    assert head[1:] == ["PSNR (dB)", "with one colour", "with each patch's own colour"]
    assert model[0] == f"`{tiny_run.name}`"
    one_colour = evaluation["baselines"]["mean_colour"]["psnr"]["mean"]
    assert float(flat[2]) == pytest.approx(one_colour, abs=0.006)
    assert float(model[1]) == pytest.approx(evaluation["metrics"]["psnr"]["mean"], abs=0.006)
    # Of all single colours the mean of the truth has the smallest squared error.
    assert float(flat[3]) > float(flat[2])


@pytest.mark.slow
def test_robustness(run, tiny_run, evaluation):
    head, *found = markdown_rows(run("robustness", tiny_run))
    assert [row[1] for row in found] == ["as it is", "4 looks", "2 looks", "1 look", "edges"]
    assert head[2:] == ["PSNR (dB)", "SSIM", "CIEDE2000", "gradient similarity", "VGG16 distance"]
    names = ("psnr", "ssim", "ciede2000", "gradient_similarity", "vgg_distance")
    expected = [evaluation["metrics"][name]["mean"] for name in names]
    np.testing.assert_allclose([float(cell) for cell in found[0][2:]], expected, rtol=1e-3)
    assert np.isfinite([[float(cell) for cell in row[2:]] for row in found]).all()


@pytest.mark.slow
def test_confidence(run, tiny_run, tmp_path):
    others = tmp_path / tiny_run.name
    others.mkdir()
    for name in "ab":
        (others / name).symlink_to(tiny_run)
    printed = run("confidence", tiny_run, "--steps", 1, "--ensembles", tmp_path)
    assert f"{tiny_run}: 2 test images" in printed
    head, *estimates = markdown_rows(printed)
    assert head[1:] == ["pixels of an image", "all pixels", "patches", "AUSE", "estimate / error"]
    of = {row[0].strip("*"): row[1:] for row in estimates}
    bound = [float(cell.split()[0]) for cell in of["bound: the real error around each pixel"][:3]]
    every = np.array([[float(cell.split()[0]) for cell in row[:3]] for row in of.values()])
    assert (np.abs(every) <= 1).all() and min(bound) > 0.5
    areas = {name: float(row[3]) for name, row in of.items()}
    assert min(areas, key=areas.get) == "bound: the real error around each pixel"
    # Two times the same network never disagrees, which ranks nothing.
    assert [float(cell.split()[0]) for cell in of["disagreement of several networks"][:3]] == [0, 0, 0]


@pytest.mark.slow
def test_cold_start(run, tiny_run):
    _, *found = markdown_rows(run("cold_start", "--model", tiny_run, "--runs", 1))
    names = ["first use, openvino", "colorize an image, openvino", "colorize 21 images, openvino"]
    assert [row[0] for row in found][:4] == ["--help", *names] and len(found) == 6
    assert all(float(seconds) > 0 and 10 < float(peak) < 5000 for _, seconds, peak in found)


@pytest.mark.slow
def test_memory(run):
    head, row = markdown_rows(run("memory", "--gigabytes", 0.01, "--side", 256))
    assert head[-1] == "difference / data" and row[:2] == ["0.01", "38"]
    assert all(100 < float(peak) < 10_000 for peak in row[2:4])


@pytest.mark.slow
def test_pipeline(run):
    _, *found = markdown_rows(run("pipeline", "--pairs", 4, "--batch", 2, "--runs", 1, "--seconds", 0.3))
    assert [row[:2] for row in found] == [["files", "2"], ["memory", "2"]]
    assert all(float(row[2]) > 0 and (row[3] == "-") != HAS_TORCH for row in found)


@pytest.mark.slow
def test_ablation(run, tmp_path, pairs_folder):
    tiny = ["--set", "data.image_size=64", "--set", "model.filters=4"]
    printed = run("ablation", "--data", pairs_folder, "--steps", 2, "--only", "without_edges", *tiny, "-o", "out")
    assert printed.splitlines()[-1] == "out/benchmark.md"
    assert sar_keras.load_config(tmp_path / "out/without_edges/config.yaml").loss.edges == 0
    _, row, *baselines = markdown_rows((tmp_path / "out/benchmark.md").read_text())[:5]
    assert row[0] == "without_edges" and row[2] == "16"  # two steps of eight images
    names = ["gradient-boosted trees (SAR)", "mean training colour", "SAR as grey"]
    assert [cells[0] for cells in baselines] == names


@pytest.fixture
def data_of_demo(tmp_path, random, save_png) -> Path:
    """The smallest that has each kind of source."""
    data = tmp_path / "data"

    def pair(sar: str, optical: str) -> None:
        save_png(data / sar, random.integers(1, 255, (256, 256), np.uint8))
        save_png(data / optical, random.integers(1, 255, (256, 256, 3), np.uint8))

    for terrain in ("agri", "grassland", "barrenland", "urban"):
        pair(f"sen12/v_2/{terrain}/s1/ROIs1_s1_1_p1.png", f"sen12/v_2/{terrain}/s2/ROIs1_s2_1_p1.png")
    write_scenes(data / "scenes", "LA", 256, 1024)
    write_scenes(data / "scenes", "Riverside", 256, 512, west=600_000)
    rows = ["sar,optical,reference,scene,terrain,season"]
    for name, scene in (("desert_Apr_p1", "desert"), ("desert_May_p1", "desert"), ("sen12_plots_1", "plot 1")):
        pair(f"places/{name}.png", f"places/{name}_rgb.png")
        rows.append(f"{name}.png,{name}_rgb.png,,{scene},,")
    (data / "places/pairs.csv").write_text("\n".join(rows))
    write_tiff(data / "geotiff/terramesh_38D_1_S1RTC.tif", random.normal(-12, 4, (2, 224, 224)).astype("float32"))
    write_tiff(data / "geotiff/terramesh_38D_1_S2RGB.tif", random.integers(1, 255, (3, 224, 224), np.uint8))
    return data


@pytest.mark.slow
def test_demo_model(run, tmp_path, data_of_demo):
    # It changes the package.
    for part in ("benchmarks", "configs", "sar_keras"):
        shutil.copytree(ROOT / part, tmp_path / part)
    # 3 of 4 windows of Los Angeles: the last shows ground of Riverside.
    assert "9 places" in run("demo_model", "patches", data_of_demo, "-o", "out", root=tmp_path)
    with (tmp_path / "out/fold4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scenes = {
        split: {row["scene"] for row in rows if row["split"] == split} for split in ("train", "validation", "test")
    }
    assert scenes["test"] == {"SEN1-2 fall 13", "TerraMesh 38D"} and not scenes["test"] & scenes["train"]
    assert scenes["validation"] == {"plot 1"} and "Los Angeles 0-0" in scenes["train"]
    # Another date of the desert is a real one.
    desert = [row for row in rows if row["scene"] == "hyper-arid plateau"]
    images = {name: np.asarray(Image.open(tmp_path / "out" / desert[0][name])) for name in ("optical", "reference")}
    assert not (images["optical"] == images["reference"]).all()
    assert (images["reference"] == np.asarray(Image.open(tmp_path / "out" / desert[1]["optical"]))).all()

    for fold in (["--fold", 4], []):
        run("demo_model", "train", "out", *fold, "--minutes", 0.001, root=tmp_path)
    demo = tmp_path / "sar_keras/inference" / DEMO.name
    before = demo.read_bytes()
    assert "procedural scenes: " in run("demo_model", "pack", "out", root=tmp_path)
    assert demo.read_bytes() != before and DEMO.read_bytes() == before
    head, *found = markdown_rows(run("demo_model", "scores", "out", root=tmp_path))
    assert [row[1] for row in found[:2]] == ["SEN1-2 fall 13 (city)", "TerraMesh 38D (dry farmland)"]
    # The mean colour of the training, by hand.
    training, truth = (
        [np.asarray(Image.open(tmp_path / "out" / row["optical"]), "float64") for row in rows if is_wanted(row)]
        for is_wanted in (lambda row: row["split"] == "train", lambda row: row["scene"] == "SEN1-2 fall 13")
    )
    off = np.mean((np.mean(training, (0, 1, 2)) - truth[0]) ** 2)
    assert float(found[0][head.index("one colour for all")]) == pytest.approx(10 * np.log10(255**2 / off), abs=0.02)


@pytest.mark.slow
def test_roofline(run):
    head, train, infer, *projection = markdown_rows(run("roofline", "--steps", 1, "--side", 256, "--only", "fast"))
    assert head[3] == "GFLOP an image"
    assert train[:3] == ["training step of `fast`", "bfloat16", "8"]
    assert infer[:3] == ["inference, `fast`", "bfloat16", "4"]
    # A step runs the network forward, and backward twice: to its inputs and to its weights.
    assert 2.5 < float(train[3]) / float(infer[3]) < 3.5
    assert [row[0] for row in projection] == ["work", train[0], infer[0]]


@pytest.mark.slow
def test_scene(run, tmp_path, tiny_run):
    scene = write_tiff(tmp_path / "scene.tif", np.random.default_rng(0).integers(1, 255, (1, 512, 640), np.uint8))
    options = ["--scene", scene, "--tile", 256, "--overlap", 32, "--sizes", 256]
    printed = run("scene", "--model", tiny_run, *options)
    found = [row for row in markdown_rows(printed) if row[0] != "way"]
    ways = ["openvino", "tensorflow", "in memory"]
    assert [row[0] for row in found] == [*ways, *ways, "openvino", "tensorflow"]
    assert [row[2] for row in found] == ["0.3"] * 6 + ["0.1"] * 2
    off = float(re.search(r"bfloat16 is off by ([\d.]+) of 255", printed)[1])
    assert 0 < off < 3


@pytest.mark.slow
def test_guided(run, tmp_path, random, save_png):
    columns = ["sar", "optical", "reference", "reference_sar", "changed"]
    rows = [",".join([*columns, "scene", "terrain", "split"])]
    for index in range(10):
        names = [f"{column}/{index}.png" for column in columns]
        for name in names:
            bands = (3,) if name.startswith(("optical", "reference/")) else ()
            top = 2 if name.startswith("changed") else 256
            save_png(tmp_path / "data" / name, random.integers(0, top, (32, 32, *bands), np.uint8))
        split = "test" if index >= 6 else "validation" if index == 4 else "train"
        if index in (6, 8):  # one place, whose other date tells everything
            names[2] = names[1]
        place = index if index < 6 else 6 + index % 2
        rows.append(",".join([*names, f"place{place}", ("before", "after")[index % 2], split]))
    (tmp_path / "data" / "pairs.csv").write_text("\n".join(rows))
    small = ["data.image_size=32", "model.filters=2", "train.batch_size=2", "train.steps_per_epoch=1"]
    comparison = tmp_path / "comparison"
    sar_keras.benchmark(comparison, ("guided", "default"), tmp_path / "data", steps=1, overrides=small)
    printed = run("guided", comparison, "--picture", tmp_path / "hints.png")
    assert Image.open(tmp_path / "hints.png").size == (8 * 128, 16 + 4 * 128)
    report = sar_keras.evaluate(comparison / "guided")
    tables = {
        title: markdown_rows(text) for title, _, text in (part.partition("\n") for part in printed.split("\n### "))
    }
    before, after = ({row[0]: row for row in tables[terrain][1:]} for terrain in ("before", "after"))
    # Each terrain has as many test images, so that the mean of the tables is what `evaluate` gives of both.
    for title, key in (("no hint", "none"), ("image of another date", "other_date")):
        both = np.mean([float(rows[title][1]) for rows in (before, after)])
        assert both == pytest.approx(report["hints"][key]["model"]["psnr"], abs=0.011)
    assert {
        "trees: SAR",
        "trees told the terrain: SAR",
        "a linear fit told the terrain",
        "default",
        "*copied*",
    } <= before.keys()
    (difference,) = (row for row in tables["Differences in PSNR (dB)"] if row[:3] == ["no hint", "default", "after"])
    assert float(difference[3]) == pytest.approx(float(after["no hint"][1]) - float(after["default"][1]), abs=0.02)
    _, (*known, sar, other_date) = tables["Known ground, PSNR (dB)"]
    assert known == ["place6", "before", "2"] and float(other_date) > float(sar) + 10


@pytest.mark.slow
def test_train_step(run):
    printed = run("train_step", "--runs", 1, "--steps", 1, "--only", "fast infer 1")
    head, row = markdown_rows(printed)
    assert head[4:] == ["sar_keras", "with --engine openvino", "PyTorch", "OpenVINO"]
    assert row[:4] == ["fast", "infer", "1", "bfloat16"]
    assert row[6] == "-"  # The peer has no `fast`.
    rate, memory = map(float, row[4].split(", "))
    assert rate > 0 and memory > float(re.search(r"sar_keras (\d+) MB", printed)[1])


@pytest.mark.slow
def test_serving(run):
    if not shutil.which("c++"):
        pytest.skip("needs a C++ compiler")
    pytest.importorskip("tensorflow_serving.apis", reason="needs the extra serving")
    small = ["--set", "data.image_size=64", "--set", "model.filters=4"]
    head, *found = markdown_rows(
        run("serving", "--preset", "fast", "--batch", 1, "--batch", 2, "--seconds", 0.1, *small)
    )
    assert head[:3] == ["preset", "signature", "batch"]
    signatures = ("serving_default", "colorize_png")
    assert [row[:3] for row in found] == [["fast", name, count] for count in "12" for name in signatures]
    assert all(float(rate) > 0 for row in found for rate in row[3:])
