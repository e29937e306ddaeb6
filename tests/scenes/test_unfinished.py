import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from helpers import names, read_scene, speckle, write_scene

from sar_keras.errors import DataError
from sar_keras.scenes import colorize as scenes

PATCH = 64


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_finished_and_resume_goes_on(model_file, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((600, 300)))
    options = dict(tile=PATCH, overlap=16, confidence=True)
    scenes.colorize_scene(model_file, source, tmp_path / "whole.tif", **options)
    code = f"""
import time, sar_keras
source, destination = {str(source)!r}, {str(tmp_path / "out/c.tif")!r}
sar_keras.colorize_scene({str(model_file)!r}, source, destination, tile=64, overlap=16, confidence=True,
    progress=lambda pixels: time.sleep(.1))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    journal = tmp_path / "out/.c.partial.npz"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(name.startswith(".") for name in names(tmp_path / "out"))
    with np.load(journal) as state:
        finished = int(state["rows"])
    assert 0 < finished < 12
    steps = []
    scenes.colorize_scene(model_file, source, tmp_path / "out/c.tif", resume=True, progress=steps.append, **options)
    assert steps[0] == (finished * (PATCH - 16) - 8) * 300 and sum(steps) == 600 * 300
    for name in ("", "_confidence"):
        for resumed, expected in zip(
            read_scene(tmp_path / f"out/c{name}.tif"), read_scene(tmp_path / f"whole{name}.tif"), strict=True
        ):
            np.testing.assert_array_equal(resumed, expected)
    assert names(tmp_path / "out") == ["c.tif", "c_confidence.tif"]
    # And once more: it is done already.
    steps = []
    before = (tmp_path / "out/c.tif").stat().st_mtime_ns
    scenes.colorize_scene(model_file, source, tmp_path / "out/c.tif", resume=True, progress=steps.append, **options)
    assert steps == [600 * 300] and (tmp_path / "out/c.tif").stat().st_mtime_ns == before


def test_only_what_fits_is_resumed_and_only_what_may_be_wanted_is_kept(model, tmp_path, capsys):
    source = write_scene(tmp_path / "a.tif", speckle((300, 100)))
    out = tmp_path / "out"

    def stop(pixels, error=KeyboardInterrupt):
        if (out / ".c.partial.npz").exists():
            raise error

    options = dict(tile=PATCH, overlap=16)
    with pytest.raises(KeyboardInterrupt):
        scenes.colorize_scene(model, source, out / "c.tif", progress=stop, **options)
    assert ".c.partial.tif" in names(out) and "the same with resume" in capsys.readouterr().err
    log, steps = [], []
    scenes.colorize_scene(
        model, source, out / "c.tif", resume=True, tile=2 * PATCH, overlap=16, progress=steps.append, log=log.append
    )
    assert "begins anew" in log[1] and len(steps) == 3 and names(out) == ["c.tif"]
    log = []
    scenes.colorize_scene(model, source, out / "c.tif", resume=True, tile=2 * PATCH, overlap=16, detail=0.5)
    scenes.colorize_scene(
        model, source, out / "c.tif", resume=True, tile=2 * PATCH, overlap=16, detail=0.5, log=log.append
    )
    assert "is there already" in log[1] and "SAR_KERAS_DETAIL" in rasterio.open(out / "c.tif").tags()
    (out / "c.tif").unlink()
    with pytest.raises(DataError):
        scenes.colorize_scene(model, source, out / "c.tif", progress=lambda n: stop(n, DataError("x")), **options)
    assert names(out) == []
    with pytest.raises(DataError):
        scenes.colorize_scene(
            model, source, out / "c.tif", progress=lambda n: stop(n, DataError("x")), resume=True, **options
        )
    assert ".c.partial.npz" in names(out)


def test_a_full_disk_is_one_line_and_loses_nothing(command, model_file, tmp_path, small_disk):
    source = write_scene(tmp_path / "a.tif", speckle((1200, 1200)))
    earlier = small_disk / "earlier.tif"
    earlier.write_bytes(b"x" * 1000)
    # While the windows are written; and later, while they are copied: 3 MB hold 900 x 900 x 3 bytes once, not twice.
    for more in (["--tile", "1024"], ["--tile", "256"], ["--tile", "256", "--window", "0", "0", "900", "900"]):
        code, _, err = command("colorize", model_file, source, "-o", small_disk / "c.tif", *more)
        assert code == 2 and "disk is full" in err.splitlines()[-1] and "Traceback" not in err
        assert names(small_disk) == ["earlier.tif"]
    options = ["--tile", "256", "--window", "0", "0", "900", "900", "--resume"]
    assert command("colorize", model_file, source, "-o", small_disk / "c.tif", *options)[0] == 2
    assert ".c.partial.npz" in names(small_disk)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert command("colorize", model_file, source, "-o", small_disk / "c.tif", *options)[0] == 0
    assert names(small_disk) == ["c.tif", "earlier.tif"] and read_scene(small_disk / "c.tif")[1].all()


def test_a_read_only_disk_is_one_line(command, model_file, tmp_path, small_disk):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, out, err = command("colorize", model_file, source, "-o", small_disk / "c.tif")
    assert code == 2 and out == "" and f"{small_disk}: no permission" in err.splitlines()[-1]
