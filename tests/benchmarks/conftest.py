import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """Run a script in tmp_path: run("scene", "--tile", 128) to what it prints."""

    def run(name: str, *arguments, root: Path = ROOT) -> str:
        result = subprocess.run(
            [sys.executable, root / f"benchmarks/{name}.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run
