"""The rooms of the package: no import runs back up."""

import ast
from pathlib import Path

import pytest

import sar_keras

# From below. A module may import its own room and those before it.
ROOMS = (
    *("errors", "terminal", "hint_planes", "compat", "color"),
    *("io", "catalogs", "networks", "models", "config", "data", "inference", "scenes", "reports", "training"),
    *("evaluation", "app", "cli"),
)
PACKAGE = Path(sar_keras.__file__).parent


def room_of(module: str) -> str:
    """The room of "sar_keras.io.files" is "io"; that of the package itself is ""."""
    return [*module.split("."), ""][1]


def imports(source: str) -> list[tuple[int, str]]:
    """Line and room of what a module imports of the package, wherever in it; a version is no import."""
    tree = ast.parse(source)
    versions = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "__version__"}
    used = {node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "sar_keras"}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name != "sar_keras" or used - versions]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute"
            # Of the package itself a room, or a name that it offers.
            names = [f"sar_keras.{a.name}" if a.name in ROOMS else "sar_keras" for a in node.names]
            names = names if node.module == "sar_keras" else [node.module]
        found += [(node.lineno, room_of(name)) for name in names if name.split(".")[0] == "sar_keras"]
    return found


def upward(package: Path) -> list[str]:
    """The imports of a package that run back up."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        room = name.parts[0].removesuffix(".py")
        if room in ("__init__", "configs"):
            continue
        assert room in ROOMS, f"{name} stands in no room"
        for line, other in imports(path.read_text()):
            # What the package itself offers comes from all rooms, which only the uppermost may see.
            if ROOMS.index(room) < ROOMS.index(other or ROOMS[-1]):
                found.append(f"{name}:{line} imports {other or 'the package'}")
    return found


def test_no_import_runs_back_up():
    assert upward(PACKAGE) == []


def test_every_room_is_there():
    assert all((PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file() for room in ROOMS)


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("io/a.py", "def later():\n    from sar_keras.data.pairs import Pair\n", "io/a.py:2 imports data"),
        ("errors.py", "import sar_keras.terminal\n", "errors.py:1 imports terminal"),
        ("data/a.py", "from sar_keras import training\n", "data/a.py:1 imports training"),
        ("evaluation/a.py", "from sar_keras import fit\n", "evaluation/a.py:1 imports the package"),
        ("scenes/a.py", "import sar_keras\nsar_keras.fit()\n", "scenes/a.py:1 imports the package"),
        ("scenes/a.py", "import sar_keras\nprint(sar_keras.__version__)\n", None),
        ("cli/a.py", "import sar_keras\nsar_keras.fit()\n", None),
        ("data/a.py", "from sar_keras.io import files\nfrom sar_keras import errors\nimport numpy\n", None),
    ],
)
def test_one_that_does_is_found(tmp_path, name, source, found):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(source)
    assert upward(tmp_path) == ([found] if found else [])
