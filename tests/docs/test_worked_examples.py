"""The worked examples of `docs/contribute/adding.md`: each change is made to a copy, in which its test passes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/contribute/adding.md").read_text()
EXAMPLES = re.findall(r"^```diff\n(.*?)^```$.*?^```python\n# (tests/\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_three():
    assert [name for _, name, _ in EXAMPLES] == [
        "tests/models/test_total_variation.py",
        "tests/models/test_residual.py",
        "tests/data/test_radar_and_multispectral.py",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "name", "test"), EXAMPLES, ids=[name for _, name, _ in EXAMPLES])
def test_a_worked_example_works(tmp_path, change, name, test):
    for folder in ("sar_keras", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / name).parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests/helpers.py", tmp_path / "tests")
    (tmp_path / name).write_text(test)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(tmp_path / "tests")])}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        tmp_path,
        "-p",
        "no:cacheprovider",
        name,
    ]
    subprocess.run(["git", "apply", "-"], input=change, text=True, cwd=tmp_path, check=True)
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
