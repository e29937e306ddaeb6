"""A message calls a parameter as its caller does: by its name from Python, by its option on the command line."""

import numpy as np
import pytest
from helpers import one_line, write_tiff

import sar_keras
from sar_keras.data.pairs import find_pairs
from sar_keras.errors import SarKerasError, parameter, parameters_called
from sar_keras.inference.export import export_saved_model


def colorize_scene(**options):
    return sar_keras.colorize_scene("demo", "scene.tif", "colour.tif", **options)


def colorize(*options):
    return ["colorize", "demo", "scene.tif", "-o", "colour.tif", *options]


@pytest.mark.parametrize(
    ("from_python", "on_command_line", "message", "name", "flag"),
    [
        (lambda: colorize_scene(limits=(5, -5)), colorize("--range", "5", "-5"), "{} 5 -5: the", "limits", "--range"),
        (lambda: colorize_scene(tile=100), colorize("--tile", "100"), "{} 100: must be a", "tile", "--tile"),
        (
            lambda: colorize_scene(window=(0, 0, 9999, 1)),
            colorize("--window", "0", "0", "9999", "1"),
            "{} 0 0 9999 1: not inside scene.tif",
            "window",
            "--window",
        ),
        (lambda: colorize_scene(band="VV"), colorize("--band", "VV"), "has no band VV ({})", "band", "--band"),
        (
            lambda: colorize_scene(preview="a.bmp"),
            colorize("--preview", "a.bmp"),
            "{} a.bmp: is",
            "preview",
            "--preview",
        ),
        (lambda: colorize_scene(units="db"), colorize("--units", "db"), "what they are by {} and", "units", "--units"),
        (lambda: sar_keras.fit("quick", "full"), ["fit", "--out", "full"], "give another {}", "run", "--out"),
        (lambda: sar_keras.fit("l1", "new"), ["fit", "l1", "--out", "new"], "pairs as {},", "data.root", "--data"),
        (
            lambda: sar_keras.load_config("quick", ["train.epoch=1"]),
            ["fit", "--set", "train.epoch=1"],
            "{}: unknown key train.epoch",
            "overrides",
            "--set",
        ),
        (lambda: sar_keras.evaluate("demo"), ["evaluate", "demo"], "give some as {}", "data", "--data"),
        (
            lambda: sar_keras.benchmark("new"),
            ["benchmark", "-o", "new"],
            "give either {} or",
            "minutes",
            "--minutes",
        ),
        (
            lambda: export_saved_model(sar_keras.load_model("demo"), "full", 1),
            ["export", "demo", "-o", "full", "--version", "1"],
            "give another {}",
            "version",
            "--version",
        ),
        (
            lambda: find_pairs("pairs.csv"),
            ["data", "scan", "pairs.csv"],
            "allow it by {}",
            "data.allow_outside",
            "--allow-outside",
        ),
        (
            lambda: sar_keras.fit(sar_keras.load_config("l1", ["data.root=pairs.csv"]), "new"),
            ["fit", "l1", "--data", "pairs.csv", "--out", "new"],
            "allow it by {}",
            "data.allow_outside",
            "data.allow_outside",  # `fit` has no option of its own for this key
        ),
    ],
)
def test_messages_call_a_parameter_as_the_caller_does(
    command, tmp_path, monkeypatch, from_python, on_command_line, message, name, flag
):
    monkeypatch.chdir(tmp_path)
    write_tiff(tmp_path / "scene.tif", np.full((1, 32, 32), 200, np.uint8))
    (tmp_path / "full/1").mkdir(parents=True)
    (tmp_path / "pairs.csv").write_text("sar,optical\n../a.png,../b.png\n")
    with pytest.raises(SarKerasError) as error:
        from_python()
    code, _, line = command(*on_command_line)
    assert message.format(name) in str(error.value)
    assert code == 2 and message.format(flag) in one_line(line)


def test_names_hold_for_a_command_only():
    with parameters_called({"limits": "--range"}):
        assert (parameter("limits"), parameter("tile")) == ("--range", "tile")
    assert parameter("limits") == "limits"
