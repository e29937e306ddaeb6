"""Every command in README and docs: its options exist, and it runs, or not_run.yaml says why not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers import those_of, write_tiff
from PIL import Image

from sar_keras.cli.main import main
from sar_keras.config import _all_keys, load_config
from sar_keras.data.synthetic import synthesize_scene, write_pairs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = yaml.safe_load(Path(__file__).with_name("not_run.yaml").read_text())
# What a fence may hold: sh and python are run, the others are shown. "{...}" is one of Sphinx's.
LANGUAGES = {"sh", "python", "text", "yaml", "diff", "console"}
# Options that stand in the text and are of other programs.
OF_OTHERS = {
    "--enable_batching",
    "--batching_parameters_file",
    "--ensembles",
    "--runs",
    "--only",
    "--help",
    "--version",
}
# What looks like a key and is a method.
OF_PYTHON = {"model.predict", "model.reshape"}


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(path.relative_to(ROOT).as_posix(), language, text) for language, text in found]


def statements(text: str) -> list[str]:
    """The commands of a shell block, one after the other; what stands in quotes or a loop stays together."""
    found, pending, end = [], "", None
    for line in text.splitlines():
        pending += line + "\n"
        if end:
            if line != end:
                continue
            end = None
        elif heredoc := re.search(r"<<'(\w+)'", line):
            end = heredoc[1]
            continue
        elif line.endswith("\\") or (re.match(r"for ", pending) and line != "done") or not _is_whole(pending):
            continue
        found += _parts(pending.replace("\\\n", " "))
        pending = ""
    assert not pending, f"does not end: {pending}"
    return found


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def _parts(text: str) -> list[str]:
    """A line without its comment, cut where && and | join two commands; not where they are quoted."""
    if text.startswith("#"):
        return []
    if any(sign in text for sign in ("<<", "$(")) or text.startswith("for "):
        return [text.strip()]
    lexer = shlex.shlex(text, posix=False, punctuation_chars="|&")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for token in lexer:
        if set(token) <= set("|&"):
            parts.append([])
        else:
            parts[-1].append(token)
    return [" ".join(part) for part in parts if part]


def commands() -> list[tuple[str, str]]:
    """(page, command) of every shell block, and every Python block as one."""
    found = []
    for path in PAGES:
        for block in blocks(path):
            if block.language == "sh":
                found += [(block.page, statement) for statement in statements(block.text)]
            elif block.language == "python":
                found.append((block.page, block.text))
    return found


COMMANDS = commands()


def excuse(page: str, command: str) -> dict | None:
    """The entry of not_run.yaml that is for a command."""
    for entry in NOT_RUN:
        if command.startswith(entry["starts"]) and entry.get("page", page) == page:
            return entry
    return None


def verb_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of `sar-keras ...` and its arguments."""
    command: click.Command = main
    words = words[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_shell_blocks_are_cut_into_their_commands():
    text = "a 'x && y' | b  # comment\nc \\\n  d && e\n# only a comment\npython - <<'EOF'\nf | g\nEOF\nh 'i\nj'\n"
    assert statements(text) == ["a 'x && y'", "b", "c d", "e", "python - <<'EOF'\nf | g\nEOF", "h 'i\nj'"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_say_what_they_hold_and_python_is_python(page):
    for block in blocks(page):
        assert block.language in LANGUAGES or re.fullmatch(r"\{[\w-]+\}", block.language), block
        if block.language == "python":
            compile(block.text, block.page, "exec")
        elif block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in COMMANDS if line.startswith("sar-keras ")])
def test_commands_have_options_that_there_are(page, line):
    command, words = verb_of(shlex.split(line))
    context = command.make_context(command.name, words)
    overrides = context.params.get("overrides", ())
    preset = context.params.get("config") or "default"
    if (ROOT / f"configs/{preset}.yaml").is_file() and command.name == "fit":
        assert load_config(preset, overrides)


def test_options_and_keys_in_the_text_are_there():
    options = {
        option
        for group in (main, main.commands["data"])
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    keys = set(_all_keys())
    sections = {part for key in keys for part in (key.rpartition(".")[0], key.partition(".")[0])}
    for path in PAGES:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`([^`\n]+)`", text):
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span):
                if span.startswith(("--", "sar-keras")):
                    assert option in options | OF_OTHERS, f"{path.name}: {span}"
            for key in re.findall(r"^(?:--set )?'?((?:data|model|loss|train|optimizer|refinement)\.[\w.]+)", span):
                known = key in keys or key.rstrip(".") in sections or ".config." in key
                assert known or span in OF_PYTHON, f"{path.name}: {span}"
            if span.startswith("sar-keras "):
                verb_of(shlex.split(span))


def test_what_is_not_run_is_there():
    unused = [entry for entry in NOT_RUN if not any(excuse(*command) is entry for command in COMMANDS)]
    assert unused == []
    assert all(entry["why"] for entry in NOT_RUN)


def test_every_other_command_is_one_that_the_test_below_can_run():
    for page, command in COMMANDS:
        if not excuse(page, command):
            assert command.startswith(("sar-keras", "rio ")) or "import" in command, (page, command)


# Small, but with the sizes that the pages speak of.
SMALL = [
    "data.ratios=[0.5, 0.2, 0.3]",
    "model.filters=2",
    "model.discriminator_filters=2",
    "model.blocks=1",
    "loss.perceptual_layer=block1_conv1",
    "train.steps_per_epoch=1",
    "train.epochs=1",
    "train.batch_size=2",
    "train.precision=float32",
]


def small(words: list[str]) -> list[str]:
    """The arguments of a command, with small settings."""
    command, arguments = verb_of(words)
    if command.name == "fit":
        if "--resume" in arguments:
            return [re.sub(r"^train\.epochs=\d+$", "train.epochs=2", word) for word in words[1:]]
        given = command.make_context("fit", list(arguments)).params["config"] or "quick"
        settings = those_of(given, SMALL) if (ROOT / f"configs/{given}.yaml").is_file() else those_of("default", SMALL)
        settings += [] if "--data" in words else ["data.limit=12"]  # those that it would draw
        return [*words[1:], *(word for setting in settings for word in ("--set", setting))]
    if command.name == "benchmark":
        at = words.index("--minutes")
        words = [*words[:at], "--steps", "2", *words[at + 2 :]]
        if "--presets" in words:
            at = words.index("--presets")
            words = [*words[:at], *words[at + 2 :]]
        words += ["--presets", "fast,l1"]  # the two that take least
        settings = [setting for setting in those_of("default", SMALL) if not setting.startswith("train.epochs")]
        return [*words[1:], *(word for setting in settings for word in ("--set", setting))]
    return words[1:]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with all that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    for name, seed in (("DIR", 0), ("OTHER", 1)):
        write_pairs(folder / name, 24, seed)
    rows = []
    for number, sar in enumerate(sorted((folder / "DIR").rglob("s1/*.png"))):
        optical = sar.parents[1] / "s2" / sar.name.replace("_s1_", "_s2_")
        for side, path in (("SAR", sar), ("OPTICAL", optical)):
            (folder / side).mkdir(exist_ok=True)
            shutil.copy(path, folder / side / f"{number}.png")
        rows.append(f"SAR/{number}.png,OPTICAL/{number}.png,scene {number}")
    (folder / "pairs.csv").write_text("\n".join(["sar,optical,scene", *rows]) + "\n")
    grey, colours = synthesize_scene("agri", 0, 1024)
    grey, colours = grey.reshape(1, 1024, 1024), np.moveaxis(colours, -1, 0)
    decibels = grey.astype("float32") / 10 - 25.5
    for number, name in enumerate(("scene", "earlier_vv", "SCENES/a", "SCENES/b")):
        write_tiff(folder / f"{name}.tif", decibels - number, names=["VV"])
    for name, west in (("left", 500_000), ("right", 505_120)):
        write_tiff(folder / f"TILES/{name}.tif", decibels[:, :512, :512], west, names=["VV"])
    write_tiff(folder / "earlier.tif", colours)
    write_tiff(folder / "optical.tif", colours, 499_000)
    write_tiff(folder / "coarse.tif", colours[:, ::64, ::64].repeat(64, 1).repeat(64, 2))
    write_tiff(folder / "area_S1_VH.tif", grey)
    for name, image in (("S1_VH", grey), ("S2_RGB", colours)):
        write_tiff(folder / f"SCENE_PAIRS/north_{name}.tif", np.tile(image, 2)[:, :, :1536], 500_000)
        write_tiff(folder / f"SCENE_PAIRS/south_{name}.tif", image[:, :768, :768], 600_000)
    for name in ("image", "patch", "FOLDER/1", "FOLDER/2"):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(grey[0, :256, :256]).save(path)
    Image.fromarray(np.moveaxis(colours[:, :256, :256], 0, -1)).save(folder / "earlier.png")
    shutil.copytree(ROOT / "sar_keras/app/examples", folder / "sar_keras/app/examples")
    for block in blocks(ROOT / "docs/guides/presets.md"):
        if block.text.startswith("# mine.yaml"):
            (folder / "mine.yaml").write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("sar-keras fit default --data DIR --out runs/mine")
        run("sar-keras fit guided --data pairs.csv --out runs/guided")
        run("sar-keras data split DIR -o split.csv --ratios 0.5 0.2 0.3")
    for copy in ("area", "tuned", "other"):
        shutil.copytree(folder / "runs/mine", folder / "runs" / copy)
    return folder


def run(command: str) -> None:
    """Run a shell command as a page has it, but with small settings."""
    words = shlex.split(command)
    if words[0] != "sar-keras":
        path = Path(sys.executable).parent
        subprocess.run(words, check=True, env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"})
        return
    verb, arguments = verb_of(words)
    parameters = verb.make_context(verb.name, list(arguments)).params
    # What the reader does not have yet.
    if verb.name == "fit" and parameters["run"] and not parameters["resume"]:
        shutil.rmtree(parameters["run"], ignore_errors=True)
    if verb.name == "split":
        parameters["output"].unlink(missing_ok=True)
    result = CliRunner().invoke(main, small(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{command}\n{result.output}"


ALREADY_RUN: set[tuple[str, ...]] = set()


@pytest.mark.slow
@pytest.mark.parametrize("page", dict.fromkeys(page for page, command in COMMANDS if not excuse(page, command)))
@pytest.mark.filterwarnings("default")  # of what is stretched or few
def test_commands_run(page, prepared, tmp_path, monkeypatch):
    folder = shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(folder)
    for _, command in [each for each in COMMANDS if each[0] == page and not excuse(*each)]:
        # Two that differ in what is small here, or in the order of their options, are one.
        words = shlex.split(command) if command.startswith(("sar-keras", "rio ")) else [command]
        key = tuple(sorted(small(words) if words[0] == "sar-keras" else words))
        if key in ALREADY_RUN:
            continue
        if len(words) > 1:
            run(command)
        else:
            run_python(command)
        ALREADY_RUN.add(key)


def run_python(text: str) -> None:
    """Run a block, with small settings."""
    import tensorflow as tf

    images = tf.random.uniform((1, 64, 64, 1)), tf.random.uniform((1, 64, 64, 3))
    settings = ", ".join(f'"{setting}"' for setting in those_of("default", SMALL))
    text = text.replace('"train.epochs=50"', settings).replace("epochs=10", "epochs=1")
    text = text.replace("UNetGenerator()", "UNetGenerator((64, 64, 1), 2)")
    text = text.replace("PatchDiscriminator()", "PatchDiscriminator((64, 64, 2), 2)")
    exec(compile(text, "a page", "exec"), {"dataset": tf.data.Dataset.from_tensors(images)})
