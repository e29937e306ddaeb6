import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import one_convolution, one_line, tiny_settings, write_scenes, write_tiff
from PIL import Image

import sar_keras
from sar_keras.cli.main import main
from sar_keras.data.synthetic import write_pairs

SET = [argument for override in tiny_settings("default") for argument in ("--set", override)]


def test_importing_help_and_version_need_no_tensorflow():
    code = """
import sys
import click.testing
import sar_keras
from sar_keras.cli.main import main
assert sar_keras.__version__
for arguments in (["--version"], ["--help"], ["fit", "--help"], ["colorize", "--help"], ["data", "--help"]):
    result = click.testing.CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and ("Usage" in result.stdout or "version" in result.stdout), result
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("group", [main, main.commands["data"]])
def test_lists_of_commands_show_whole_sentences(command, monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "60")
    arguments = [] if group is main else [group.name]
    listed = " ".join(command(*arguments, "--help")[1].split())
    for name, verb in group.commands.items():
        first_paragraph = " ".join(verb.callback.__doc__.split("\n\n")[0].split())
        assert f"{name} {first_paragraph.split('. ')[0].rstrip('.')}" in listed


def test_options_for_scenes_stand_in_a_group_and_units_say_their_values(command):
    text = command("colorize", "--help")[1]
    for_all, for_scenes = text.split("\nOptions for scenes:\n")
    assert "--engine" in for_all and "--tile" not in for_all
    assert "--tile" in for_scenes and "--units [auto|uint8|amplitude|db|linear|unit]" in for_scenes


def test_fit_lists_the_presets_with_the_first_lines_of_their_files_as_the_readme_does(command):
    root = Path(__file__).parents[2]
    listed = " ".join(command("fit", "--help")[1].split("\nPresets:\n")[1].split())
    table = (root / "README.md").read_text().split("| preset | what it is |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", table, re.MULTILINE))
    assert set(rows) == {path.stem for path in (root / "configs").glob("*.yaml")}
    assert listed == " ".join(f"{name} {rows[name]}" for name in sorted(rows))
    for name, line in rows.items():
        assert (root / f"configs/{name}.yaml").read_text().startswith(f"# {name}: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--colour"], "no such option '--colour'; see sar-keras --help"),
        (["fitt"], "no such command 'fitt'. Did you mean 'fit'?"),
        (["colorize", "demo", "-o", "c.png"], "missing argument 'INPUT...'; see sar-keras colorize --help"),
        (["colorize", "--confidance"], "no such option '--confidance'. Did you mean '--confidence'?"),
        (["data", "split", "--seed"], "option '--seed' requires an argument; see sar-keras data split --help"),
        (["data", "synth", "x", "-n", "0"], "invalid value for '-n' / '--number': 0 is not in the range x>=1; see"),
    ],
)
def test_bad_usage_is_one_line_with_the_mend(command, arguments, line):
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and one_line(err).startswith(f"sar-keras: {line}")


@pytest.fixture
def terminal(tmp_path):
    """Run the command in a process of its own, to see what a terminal sees: terminal("export", run)."""

    def run(*arguments):
        command = [Path(sys.executable).with_name("sar-keras"), *arguments]
        # Importing sar_keras in this process has set the variable, which tells it that the user wants the log.
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment)

    return run


@pytest.mark.slow
def test_a_terminal_sees_nothing_of_tensorflow(terminal, model_file, pairs_folder, tmp_path):
    image = next(pairs_folder.rglob("s1/*.png"))
    coloured = terminal("colorize", model_file, image, "-o", "colour.png", "--engine", "tensorflow")
    assert coloured.stderr == "engine: tensorflow\n" and coloured.stdout == "colour.png\n"
    assert Image.open(tmp_path / "colour.png").size == (64, 64)


@pytest.mark.slow
def test_the_whole_way_from_a_folder_to_colours_and_an_export(terminal, tmp_path, pairs_folder):
    fitted = terminal("fit", "default", "--data", pairs_folder, *SET)
    assert fitted.stderr == ""
    assert "sar-keras export runs/default-" in fitted.stdout and "PSNR" in fitted.stdout
    next(tmp_path.glob("runs/default-*")).rename(tmp_path / "runs/mine")
    image = next(pairs_folder.rglob("s1/*.png"))
    coloured = terminal("colorize", "runs/mine", image, "-o", "colour.png")
    assert re.fullmatch("engine: (openvino|tensorflow), .*\n", coloured.stderr) and coloured.stdout == "colour.png\n"
    assert Image.open(tmp_path / "colour.png").size == (64, 64)
    assert terminal("export", "runs/mine").stdout == "saved_models/mine/1\n"
    assert terminal("export", "runs/mine/generator.keras", "-o", "served", "--version", "3").stdout == "served/3\n"
    assert (tmp_path / "served/3/saved_model.pb").is_file()
    resumed = terminal("fit", "--out", "runs/mine", "--resume", "--set", "train.epochs=3")
    assert "resumed after epoch 2, step 6" in resumed.stdout and "epoch 3/3" in resumed.stdout


def test_an_export_goes_where_it_is_told(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sar_keras.save_model(one_convolution(), tmp_path / "mine.keras", sar_keras.ModelMetadata())
    assert command("export", "mine.keras")[:2] == (0, "saved_models/mine/1\n")
    assert command("export", "mine.keras", "-o", "served", "--version", "3")[:2] == (0, "served/3\n")
    assert (tmp_path / "served/3/saved_model.pb").is_file()


def test_scan_counts_pairs_and_lists_the_lonely(command, tmp_path, pairs_folder):
    root = shutil.copytree(pairs_folder, tmp_path / "data")
    lonely = next(root.rglob("s2/*.png"))
    next(root.rglob(f"s1/{lonely.name.replace('_s2_', '_s1_')}")).unlink()
    code, out, err = command("data", "scan", root)
    assert code == 0 and err == ""
    assert "23 pairs, 12 scenes, 1 images without a partner" in out and f"no partner: {lonely}" in out


def test_scan_writes_a_page_without_tensorflow(tmp_path, pairs_folder):
    root = shutil.copytree(pairs_folder, tmp_path / "data")
    broken = next(root.rglob("s1/*.png"))
    broken.write_bytes(b"no image")
    page = tmp_path / "page.html"
    code = f"""
import sys
from sar_keras.cli.main import main
main(["data", "scan", {str(root)!r}, "--html", {str(page)!r}], standalone_mode=False)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    text = page.read_text()
    names = sorted(path.name for path in root.rglob("s1/*.png"))
    assert text.count('class="patch"') == 24 and all(name in text for name in names)
    assert f"{broken}: not a readable image" in text and "no leak" in text
    for terrain in ("agri", "barrenland", "grassland", "urban"):
        scenes = len({path.name.split("_")[3] for path in (root / "v_2" / terrain / "s1").iterdir()})
        assert len(re.findall(rf'<td data-key="{terrain}">', text)) == scenes


def test_synth_draws_pairs_and_spares_what_is_there(command, tmp_path):
    assert command("data", "synth", tmp_path / "new", "-n", "8", "--size", "32")[0] == 0
    assert "8 pairs, 8 scenes" in command("data", "scan", tmp_path / "new")[1]
    code, _, err = command("data", "synth", tmp_path / "new", "-n", "8")
    assert code == 2 and "not empty" in one_line(err)


def test_sigterm_cleans_up_as_ctrl_c_does(command, tmp_path, monkeypatch):
    from sar_keras.data import synthetic

    def draw_and_be_told_to_stop(*arguments):
        write_pairs(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(synthetic, "write_pairs", draw_and_be_told_to_stop)
    code, out, err = command("data", "synth", tmp_path / "new", "-n", "4", "--size", "32")
    assert (code, out, one_line(err)) == (143, "", "sar-keras: stopped") and not any((tmp_path / "new").iterdir())


def break_truncated(root):
    path = next(root.rglob("s1/*.png"))
    path.write_bytes(path.read_bytes()[:500])
    return path


def break_empty(root):
    path = next(root.rglob("s2/*.png"))
    path.write_bytes(b"")
    return path


def break_text(root):
    path = next(root.rglob("s2/*.png"))
    path.write_text("not an image at all")
    return path


def break_size(root):
    path = next(root.rglob("s1/*.png"))
    Image.fromarray(np.zeros((40, 64), np.uint8)).save(path)
    return path


def break_pair(root):
    path = next(root.rglob("s1/*.png"))
    path.unlink()
    return path.parents[1] / "s2" / path.name.replace("_s1_", "_s2_")


@pytest.mark.parametrize("breakage", [break_truncated, break_empty, break_text, break_size, break_pair])
def test_broken_data_names_the_file_and_leaves_nothing(command, tmp_path, pairs_folder, breakage):
    root = shutil.copytree(pairs_folder, tmp_path / "data")
    path = breakage(root)
    code, _, err = command("fit", "default", "--data", root, "--out", tmp_path / "run", *SET)
    assert code == 2 and str(path) in one_line(err)
    assert not (tmp_path / "run").exists()


def test_scenes_that_do_not_fit_name_both_and_leave_nothing(command, tmp_path):
    sar, _ = write_scenes(tmp_path / "data", "area", 64, 128)
    optical = write_tiff(tmp_path / "data/area_S2_RGB.tif", np.ones((3, 64, 120), np.uint8))
    for arguments in (["fit", "default", "--data"], ["data", "scan"], ["data", "split", "-o", tmp_path / "s.csv"]):
        code, out, err = command(*arguments, tmp_path / "data")
        assert code == 2 and out == "" and str(sar) in one_line(err) and str(optical) in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "papr"], "did you mean paper"),
        (["fit", "missing.yaml"], "missing.yaml"),
        (["fit", "default"], "--data"),
        (["fit", "default", "--data", "missing"], "missing: no such"),
        (["fit", "default", "--data", "empty"], "empty: no pairs"),
        (["fit", "--set", "train.epoch=1"], "did you mean train.epochs"),
        (["fit", "--set", "train.epochs=x"], "train.epochs"),
        (["fit", "--set", "train.epochs"], "KEY=VALUE"),
        (["fit", "--resume"], "--out"),
        (["fit", "--resume", "--out", "missing"], "no run to resume"),
        (["fit", "--out", "full"], "full: exists already"),
        (["fit", "--data", "full/file.txt"], "columns sar and optical"),
        (["fit", "--set", "data.limit=8", "--set", "data.split=missing.csv"], "missing.csv"),
        (["colorize", "missing", "full/file.txt", "-o", "x.png"], "missing: no such model"),
        (["colorize", "full", "full/file.txt", "-o", "x.png"], "not a run directory"),
        (["fit", "--out", "full/file.txt/run", "--set", "data.limit=8", "--set", "data.image_size=32"], "file.txt"),
        (["data", "synth", "full/file.txt/x", "-n", "1"], "file.txt"),
        (["colorize", "full", "missing.png", "-o", "x.png"], "missing.png: no such"),
        (["export", "full/file.txt"], "not a .keras file"),
        (["data", "scan", "missing"], "no such"),
        (["data", "scan", "empty"], "no pairs"),
    ],
)
def test_bad_requests_say_what_and_how_to_mend_and_leave_nothing(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/file.txt").write_text("hello\n")
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and message in one_line(err)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != "runs") == ["empty", "file.txt", "full"]


@pytest.mark.slow
def test_resume_finds_nothing_to_do(command, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    code, out, _ = command("fit", "--out", run, "--resume")
    assert code == 0 and "train.epochs" in out


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(command, small_disk, tmp_path, tiny_run):
    write_pairs(tmp_path / "data", 12, image_size=64)
    run = small_disk / "run"
    larger = ["--set", "model.filters=32"]
    code, _, err = command("fit", "default", "--data", tmp_path / "data", "--out", run, *SET, *larger)
    assert code == 2 and "disk is full" in one_line(err) and not run.exists()
    (small_disk / "filler").write_bytes(b"\0" * 2_900_000)
    code, _, err = command("export", tiny_run, "-o", small_disk / "served")
    assert code == 2 and "disk is full" in one_line(err)
    assert list((small_disk / "served").iterdir()) == []
