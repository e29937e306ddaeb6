import os
import signal

import numpy as np
import pytest
from helpers import names, one_line, read_scene, speckle, write_scene
from PIL import Image
from rio_cogeo import cog_validate

import sar_keras


def test_a_folder_of_which_one_fails(command, model_file, tmp_path):
    for name in ("one.tif", "below/two.tif"):
        write_scene(tmp_path / "in" / name, speckle((70, 70)))
    (tmp_path / "in/broken.tif").write_bytes((tmp_path / "in/one.tif").read_bytes()[:300])
    Image.fromarray(speckle((64, 64))).save(tmp_path / "in/look.png")
    code, out, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in/colours")
    assert code == 1 and str(tmp_path / "in/broken.tif") in err and "1 of 3 scenes failed, the others are done" in err
    assert names(tmp_path / "in/colours") == ["below", "one.tif"]
    assert read_scene(tmp_path / "in/colours/below/two.tif")[0].shape == (70, 70, 3)
    (tmp_path / "in/broken.tif").unlink()
    code, out, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in/colours", "--resume")
    assert code == 0 and "2 scenes in" in out and err.count("is there already") == 2
    files = sorted((tmp_path / "in").glob("*.tif"))
    assert command("colorize", model_file, *files, *files, "-o", tmp_path / "x")[0] == 2


def test_images_stay_images(command, model_file, tmp_path, save_png):
    image = save_png(tmp_path / "a.png", speckle((64, 64)))
    plain = write_scene(tmp_path / "plain.tif", speckle((64, 64)), crs=None, transform=None)
    for source in (image, plain):
        assert command("colorize", model_file, source, "-o", tmp_path / "c.png") == (0, f"{tmp_path / 'c.png'}\n", "")
    assert Image.open(tmp_path / "c.png").size == (64, 64)
    code, _, err = command("colorize", model_file, image, "-o", tmp_path / "d.png", "--tile", "64")
    assert code == 2 and "--tile is for scenes" in one_line(err) and not (tmp_path / "d.png").exists()
    code, out, _ = command("colorize", model_file, image, "-o", tmp_path / "d.tif", "--tile", "64", "--overlap", "8")
    assert code == 0 and out == f"{tmp_path / 'd.tif'}\n" and cog_validate(tmp_path / "d.tif", quiet=True)[0]


def test_detail_is_for_images_and_scenes_alike(command, model_file, tmp_path, save_png):
    image = speckle((64, 64))
    image[:, 30:32] = 255
    source = save_png(tmp_path / "a.png", image)
    colours = {}
    for name, detail in (("plain.png", None), ("none.png", "0"), ("half.png", "0.5"), ("half.tif", "0.5")):
        more = ["--detail", detail] if detail else []
        assert command("colorize", model_file, source, "-o", tmp_path / name, *more)[0] == 0
        colours[name] = np.asarray(Image.open(tmp_path / name)).astype(int)
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    np.testing.assert_array_equal(colours["half.png"], sar_keras.colorize(model_file, image, detail=0.5))
    assert np.abs(colours["half.png"] - colours["plain.png"]).max() > 5
    assert np.quantile(np.abs(colours["half.png"] - colours["half.tif"]), 0.99) <= 2
    for output in ("b.png", "b.tif"):
        code, _, err = command("colorize", model_file, source, "-o", tmp_path / output, "--detail", "1.5")
        assert code == 2 and "--detail: must be from 0 to 1, got 1.5" in one_line(err)
        assert not (tmp_path / output).exists()


def bad_text(path):
    path.write_text("not a raster at all")


def bad_empty(path):
    path.write_bytes(b"")


def bad_truncated(path):
    write_scene(path, speckle((600, 600)), driver="COG")  # which begins with the directory
    path.write_bytes(path.read_bytes()[:100_000])


def bad_no_bands(path):
    for table in ("one", "two"):
        write_scene(path, speckle((64, 64)), driver="GPKG", RASTER_TABLE=table, APPEND_SUBDATASET=str(table == "two"))


def bad_nodata(path):
    write_scene(path, np.full((70, 90), -99, "float32"), nodata=-99)


def bad_zeros(path):
    write_scene(path, np.zeros((70, 90), "uint16"))


def bad_complex(path):
    write_scene(path, np.ones((70, 90), "complex64"))


def bad_decibel(path):
    write_scene(path, np.full((70, 90), -1500, "int16"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bad_text, "not a raster"),
        (bad_empty, "not a raster"),
        (bad_truncated, "cut off or broken"),
        (bad_no_bands, "has no bands"),
        (bad_nodata, "holds no data"),
        (bad_zeros, "holds no data"),
        (bad_complex, "complex values"),
        (bad_decibel, "--units"),
    ],
)
def test_bad_scenes_are_one_line_and_leave_nothing(command, model_file, tmp_path, make, message):
    path = tmp_path / "bad.tif"
    make(path)
    code, out, err = command("colorize", model_file, path, "-o", tmp_path / "c.tif")
    assert code == 2 and out == "" and str(path) in one_line(err) and message in err
    assert names(tmp_path) == ["bad.tif"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "c.tif", "--band", "2"], "has no band 2"),
        (["-o", "c.tif", "--band", "VV"], "has no band VV"),
        (["-o", "c.tif", "--tile", "64", "--overlap", "64"], "--overlap 64: must not be more than half"),
        (["-o", "c.tif", "--tile", "100"], "multiple of 64"),
        (["-o", "c.tif", "--overlap", "-1"], "--overlap -1"),
        (["-o", "c.tif", "--batch", "0"], "--batch 0"),
        (["-o", "c.tif", "--range", "5", "-5"], "--range 5 -5"),
        (["-o", "c.tif", "--window", "0", "0", "999", "1"], "--window 0 0 999 1"),
        (["-o", "c.tif", "--window", "40", "60", "5", "5"], "holds no data in this window"),
        (["-o", "c.tif", "--preview", "p.bmp"], "p.bmp"),
        (["-o", "c.png"], "give -o a .tif"),
        (["-o", "a.tif"], "replace its own input"),
        (["-o", "c.tif", "--preview", "c.tif"], "--preview c.tif: is a picture to look at; use .png"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(command, model_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    scene = speckle((80, 80))
    scene[50:] = 0
    write_scene(tmp_path / "a.tif", scene, nodata=0)
    before = (tmp_path / "a.tif").read_bytes()
    code, out, err = command("colorize", model_file, "a.tif", *arguments)
    assert code == 2 and out == "" and message in err.splitlines()[-1] and "Traceback" not in err
    assert names(tmp_path) == ["a.tif"] and (tmp_path / "a.tif").read_bytes() == before


def test_several_images_of_which_some_fail(command, model_file, tmp_path, save_png):
    good = save_png(tmp_path / "in/good.png", np.zeros((30, 50), np.uint8))
    bad = tmp_path / "in/bad.png"
    bad.write_bytes(good.read_bytes()[:40])
    code, _, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and str(bad) in err and "1 of 2 images failed" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    code, _, err = command("colorize", model_file, bad, "-o", tmp_path / "colour.png")
    assert code == 2 and str(bad) in one_line(err) and not (tmp_path / "colour.png").exists()
    code, _, err = command("colorize", model_file, good, tmp_path / "none.png", "-o", tmp_path / "out2")
    assert code == 1 and "none.png: no such file" in err


def test_outputs_that_cannot_be(command, model_file, tmp_path, save_png):
    image = save_png(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    before = image.read_bytes()
    code, _, err = command("colorize", model_file, image, "-o", image)
    assert code == 2 and "replace its own input" in one_line(err) and image.read_bytes() == before
    code, _, err = command("colorize", model_file, image, "-o", tmp_path / "a.bmp")
    assert code == 2 and ".png" in one_line(err)
    code, _, err = command("colorize", model_file, image, image, "-o", tmp_path / "b.png")
    assert code == 2
    save_png(tmp_path / "s1/x.png", np.zeros((8, 8), np.uint8))
    code, _, err = command("colorize", model_file, image, tmp_path / "s1", "-o", image)
    assert code == 2 and "is a file" in one_line(err)


def test_sigterm_ends_a_job_of_several_files(command, monkeypatch, tmp_path, model_file, save_png):
    from sar_keras.inference import jobs

    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "c"):
        save_png(folder / f"{name}.png", np.zeros((64, 64), np.uint8) + 9)
    colorize = jobs.colorize

    def colorize_and_be_told_to_stop(*arguments, **_):
        colours = colorize(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return colours

    monkeypatch.setattr(jobs, "colorize", colorize_and_be_told_to_stop)
    code, _, err = command("colorize", model_file, folder, "-o", tmp_path / "out")
    assert code == 143 and one_line(err) == "sar-keras: stopped"
    assert not list((tmp_path / "out").glob("*"))
