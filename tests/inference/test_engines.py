"""Which engine colours, in processes where TensorFlow cannot be imported, and where converted models are kept."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from helpers import bessel, one_convolution

import sar_keras
from sar_keras.cli.main import main
from sar_keras.errors import ConfigError, ModelError
from sar_keras.inference import engines
from sar_keras.inference.converted import export_openvino
from sar_keras.inference.engines import network_of
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.io.images import read_optical

pytest.importorskip("openvino")
SIDE = 32

# Colorizes by the command line, with the packages of its first argument out of reach; prints what it imported of them,
# and the memory of the process and of those that it started.
WITHOUT = """
import json, resource, sys

names = sys.argv.pop(1).split(",")

sys.modules |= dict.fromkeys(names)  # as if they were not installed
from sar_keras.cli.main import main
try:
    main.main(standalone_mode=False)
finally:
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    peak += resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"loaded": [name for name in names if sys.modules[name]], "peak": peak}))
"""
# All that `pip install numpy pillow rasterio click openvino` does not bring.
OTHERS = ("tensorflow", "keras", "tensorboard", "matplotlib", "pydantic", "yaml", "tqdm", "jinja2", "scipy", "skimage")


def elsewhere(*arguments, without=OTHERS) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT, ",".join(without), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def succeeded(result: subprocess.CompletedProcess) -> dict:
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["loaded"] == []
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/sar_keras/openvino"


@pytest.fixture
def image(random):
    return random.integers(0, 256, (SIDE, SIDE), np.uint8)


def save(path, seed):
    keras.utils.set_random_seed(seed)
    sar_keras.save_model(one_convolution(size=SIDE), path, ModelMetadata())
    return path


def test_images_without_tensorflow(tmp_path, save_png, random):
    for name in "ab":
        save_png(tmp_path / f"in/{name}.png", random.integers(0, 256, (300, 260), np.uint8))
    result = elsewhere("colorize", "demo", tmp_path / "in", "-o", tmp_path / "out", "--palette", "5c6b3a")
    found = succeeded(result)
    assert "engine: openvino\n" in result.stderr
    # TensorFlow alone takes 600 MB.
    assert found["peak"] < 350
    model = sar_keras.load_model("demo")
    for name in "ab":
        wanted = sar_keras.colorize(model, tmp_path / f"in/{name}.png", palette="#5c6b3a").astype(int)
        assert np.abs(read_optical(tmp_path / f"out/{name}.png") - wanted).max() <= 1 and wanted.std() > 1


@pytest.mark.slow
def test_a_scene_without_tensorflow(tmp_path, random):
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5000000)}
    decibel = random.normal(-12, 4, (1, 400, 500)).astype("float32")
    decibel[:, :60] = 0  # not measured
    for name, values in {"scene": decibel, "coarse": random.integers(0, 256, (3, 40, 50), np.uint8)}.items():
        if name == "coarse":
            place["transform"] @= rasterio.Affine.scale(10)
        profile = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
        with rasterio.open(tmp_path / f"{name}.tif", "w", "GTiff", **profile, **place) as file:
            file.write(values)
    options = ["--confidence", "--detail", "0.5", "--basemap", tmp_path / "coarse.tif", "--tile", "256"]
    succeeded(elsewhere("colorize", "demo", tmp_path / "scene.tif", "-o", tmp_path / "ours.tif", *options))
    sar_keras.colorize_scene(
        "demo", tmp_path / "scene.tif", tmp_path / "theirs.tif", engine="tensorflow", confidence=True, detail=0.5,
        basemap=tmp_path / "coarse.tif", tile=256,
    )  # fmt: skip
    for name in ("", "_confidence"):
        with (
            rasterio.open(tmp_path / f"ours{name}.tif") as ours,
            rasterio.open(tmp_path / f"theirs{name}.tif") as theirs,
        ):
            pixels, wanted = ours.read().astype(int), theirs.read()
            assert np.abs(pixels - wanted).max() <= 1 and wanted.std() > 1
            assert (ours.dataset_mask() == theirs.dataset_mask()).all() and not ours.dataset_mask()[:60].any()


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["fit", "quick"], "pydantic"),
        (["evaluate", "demo", "--data", "."], "tensorflow"),
        (["data", "scan", ".", "--set", "data.layout=folders"], "pydantic"),
    ],
)
def test_what_is_missing_is_one_line(arguments, packages):
    result = elsewhere(*arguments)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert f"{packages} is not installed" in result.stderr and "pip install" in result.stderr


def test_data_is_looked_at_with_little_installed(tmp_path, save_png, random):
    for name in ("s1/1_p1", "s1/1_p2", "s1/2_p3", "s1/2_p4"):
        save_png(tmp_path / f"in/{name}.png", random.integers(0, 256, (64, 64), np.uint8))
        save_png(tmp_path / f"in/{name.replace('s1', 's2')}.png", random.integers(0, 256, (64, 64, 3), np.uint8))
    folder, split = tmp_path / "in", tmp_path / "split.csv"
    folders = ["--sar", folder / "s1", "--optical", folder / "s2"]
    said = ""
    for arguments in (["scan", *folders], ["check", *folders], ["split", *folders, "-o", split, "--by", "random"]):
        result = elsewhere("data", *arguments)
        succeeded(result)
        said += result.stdout
    assert "4 pairs, " in said and "shifts are not searched for: pip install" in said and "4 pairs: nothing" in said
    with split.open() as file:
        assert len(file.readlines()) == 5


@pytest.mark.slow
def test_a_model_that_was_never_converted_says_what_to_do(tmp_path, save_png, image):
    model, file = save(tmp_path / "model.keras", 0), save_png(tmp_path / "image.png", image)
    result = elsewhere("colorize", model, file, "-o", tmp_path / "colour.png")
    assert result.returncode == 2 and "sar-keras export MODEL --format openvino" in result.stderr
    exported = export_openvino(sar_keras.load_model(model), tmp_path / "exported").parents[1]
    succeeded(elsewhere("colorize", exported, file, "-o", tmp_path / "colour.png"))
    wanted = sar_keras.colorize(model, image, engine="tensorflow").astype(int)
    assert np.abs(read_optical(tmp_path / "colour.png") - wanted).max() <= 1 and wanted.std() > 10


@pytest.mark.slow
def test_a_model_that_was_trained_on_never_meets_its_old_form(tmp_path, image, cache, monkeypatch):
    monkeypatch.setattr(engines, "_KEPT", 2)
    model, seen = tmp_path / "model.keras", []
    for seed in range(3):
        save(model, seed)
        ours = sar_keras.colorize(model, image).astype(int)
        assert network_of(model).engine == "openvino"
        assert np.abs(ours - sar_keras.colorize(sar_keras.load_model(model), image)).max() <= 1
        seen.append(ours)
    assert np.std(seen, 0).mean() > 10
    assert len([*cache.iterdir()]) == 2  # the newest


@pytest.mark.slow
def test_where_a_converted_model_is_kept(tmp_path, image, cache):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    save(run / "generator.keras", 0)
    assert str(run / "openvino") in network_of(run).said and not cache.exists()
    shutil.rmtree(run / "openvino")
    (run / "openvino").touch()  # nothing can be written there
    save(run / "generator.keras", 1)
    assert str(cache) in network_of(run).said
    engines._network_of.cache_clear()
    assert network_of(run).said == "openvino"


@pytest.mark.slow
def test_an_export_in_a_run_is_not_the_run(tmp_path, image):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    before = sar_keras.load_model(save(run / "generator.keras", 0))
    for folder in (run, run / "openvino"):
        export_openvino(before, folder)
    after = sar_keras.load_model(save(run / "generator.keras", 1))
    colours = sar_keras.colorize(run, image).astype(int)
    assert np.abs(colours - sar_keras.colorize(after, image)).max() <= 1
    assert np.abs(colours - sar_keras.colorize(before, image)).max() > 10
    assert (run / "openvino/1/model.xml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_converted_model_that_is_damaged_is_made_again(name, tmp_path, image, cache):
    model = save(tmp_path / "model.keras", 0)
    expected = sar_keras.colorize(model, image)
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:20]), lambda path: path.unlink()):
        damage(next(cache.glob(f"*/{name}")))
        engines._network_of.cache_clear()
        np.testing.assert_array_equal(sar_keras.colorize(model, image), expected)
        assert network_of(model).engine == "openvino"


def test_no_telemetry(tmp_path, save_png, image):
    """OpenVINO reports its import to Google Analytics where it finds the package that does so."""
    file = save_png(tmp_path / "image.png", image)
    code = "import sys; from sar_keras.cli.main import main; main.main(sys.argv[1:], standalone_mode=False)\n"
    code += "assert sys.modules['openvino'] and not sys.modules['openvino_telemetry']"
    command = [sys.executable, "-c", code, "colorize", "demo", file, "-o", tmp_path / "colour.png"]
    result = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=os.environ | {"HOME": str(tmp_path)}
    )
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "intel").exists()


def test_the_engine_that_is_chosen(tmp_path, monkeypatch, image):
    model = save(tmp_path / "model.keras", 0)
    assert network_of(sar_keras.load_model(model)).engine == "tensorflow"
    there = {"openvino": False, "tensorflow": True}
    monkeypatch.setattr(engines, "is_installed", there.get)
    assert 'tensorflow, because openvino is not installed: pip install ".[openvino]"' in network_of(model).said
    there["tensorflow"] = False
    engines._network_of.cache_clear()
    with pytest.raises(ConfigError, match="neither openvino nor tensorflow is installed"):
        network_of(model)


@pytest.mark.slow
def test_a_model_that_openvino_cannot_take(tmp_path, image, save_png):
    sar = keras.Input((SIDE, SIDE, 1))
    model = keras.Model(sar, keras.layers.Conv2D(3, 3, padding="same", activation="tanh")(bessel()()(sar)))
    sar_keras.save_model(model, tmp_path / "model.keras", ModelMetadata())
    save_png(tmp_path / "image.png", image)
    arguments = ["colorize", str(tmp_path / "model.keras"), str(tmp_path / "image.png"), "-o", str(tmp_path / "c.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("engine: tensorflow, because OpenVINO cannot take this model: ")
    assert "BesselI0e" in result.stderr and len(result.stderr.splitlines()) == 1
    for given in (tmp_path / "model.keras", model):
        with pytest.raises(ModelError, match=r"cannot take this model: .*BesselI0e"):
            sar_keras.colorize(given, image, engine="openvino")


def test_an_export_for_openvino_is_no_keras_model(tmp_path, image):
    exported = export_openvino(sar_keras.load_model(save(tmp_path / "model.keras", 0)), tmp_path / "exported")
    with pytest.raises(ModelError, match="for OpenVINO, which only colorize takes"):
        sar_keras.load_model(exported)
    with pytest.raises(ModelError, match="not for TensorFlow"):
        sar_keras.colorize(exported, image, engine="tensorflow")
    exported.write_text(exported.read_text()[:500])
    with pytest.raises(ModelError, match="not a model for OpenVINO that this version has exported"):
        sar_keras.colorize(exported, image)
