import os
from pathlib import Path

import pytest

from sar_keras.errors import DataError
from sar_keras.inference.jobs import find_below
from sar_keras.io.files import is_utf8, readable, walk
from sar_keras.io.inputs import single
from sar_keras.io.opening import open_raster
from sar_keras.io.rasters import is_georeferenced


def names(root):
    return [str((folder / name).relative_to(root)) for folder, found in walk(root) for name in found]


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def test_what_file_managers_leave_is_passed_over_and_nothing_else(tmp_path):
    kept = ["a.png", "_b.png", "s1/Thumbs.png", "s1/macosx/c.png", "s1/x._y.png"]
    touch(tmp_path, *kept, "._a.png", ".DS_Store", "Thumbs.db", "s1/thumbs.DB", "s1/desktop.ini", "s1/.cache/d.png")
    touch(tmp_path, "__MACOSX/s1/._a.png", "__MACOSX/s1/e.png", ".git/f.png")
    assert names(tmp_path) == sorted(kept, key=lambda path: (path.count("/"), path))
    assert find_below(tmp_path, (".png",), tmp_path / "out") == sorted(tmp_path / path for path in kept)
    # What was asked for by its name is taken, hidden or not.
    assert names(tmp_path / ".git") == ["f.png"]


def test_a_folder_comes_once_however_many_links_lead_there(tmp_path):
    touch(tmp_path, "data/b/x.png", "elsewhere/y.png")
    (tmp_path / "data/a").symlink_to(tmp_path / "data/b")
    (tmp_path / "data/b/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/b/self").symlink_to(".")
    for link in ("one", "two"):
        (tmp_path / f"data/{link}").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "data") == ["b/x.png", "one/y.png"]


ODD = os.fsdecode("测试".encode("gb18030") + b".tif")


@pytest.mark.parametrize("name", ["a.tif", "测试.tif", "é ü.tif", "\\x.tif"])
def test_names_in_utf8_are_as_they_are(name):
    assert is_utf8(name) and readable(name) == name


def test_other_names_are_readable_and_refused_by_gdal_in_one_line(tmp_path):
    path = Path(tmp_path, ODD)
    path.write_bytes(b"x")
    assert not is_utf8(path) and readable(str(path)) == rf"{tmp_path}/\xb2\xe2\xca\xd4.tif"
    assert not is_georeferenced(single(path))
    with pytest.raises(DataError, match=r"\\xb2\\xe2\\xca\\xd4\.tif: the name is not UTF-8"):
        open_raster(path)


def test_of_a_folder_with_such_a_name_all_others_are_colorized(command, tmp_path, model_file, save_png, random):
    for name in ("a.tif", ODD, "b.tif"):
        save_png(tmp_path / "in" / name, random.integers(0, 255, (64, 64)).astype("uint8"))
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and err.count(r"\xb2\xe2\xca\xd4.tif") == 1 and "1 of 3 images failed, the others are done" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
