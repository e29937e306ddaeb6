import shutil

import numpy as np
import pytest
import rasterio
from helpers import write_scenes, write_tiff
from PIL import Image
from scipy.ndimage import shift as shifted

from sar_keras.data.check import check, match_edges, shift_of
from sar_keras.data.pairs import find_pairs
from sar_keras.data.synthetic import write_pairs


def kinds(root, **options):
    found = {}
    for finding in check(find_pairs(root, **options)):
        found.setdefault(finding.kind, []).append(finding.text)
    return found


def test_sound_pairs_are_sound(command, pairs_folder, tmp_path):
    code, out, err = command("data", "check", pairs_folder)
    assert (code, out, err) == (0, "24 pairs: nothing found\n", "")
    write_scenes(tmp_path, "area", 192, 128)
    assert check(find_pairs(tmp_path, size=64)) == []


def test_everything_that_is_wrong_is_found(command, pairs_folder, tmp_path):
    root = shutil.copytree(pairs_folder, tmp_path / "data")
    pairs = find_pairs(root).pairs
    pairs[0].sar.write_bytes(pairs[0].sar.read_bytes()[:300])
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(pairs[1].sar)
    Image.fromarray(np.asarray(Image.open(pairs[2].sar))[:60]).save(pairs[2].sar)
    shutil.copy(pairs[4].optical, pairs[3].optical)
    pairs[5].sar.unlink()
    Image.fromarray(np.asarray(Image.open(pairs[6].sar)).astype(np.uint16) + 3).save(pairs[6].sar)
    found = kinds(root)
    assert set(found) == {"broken", "blank", "mis-sized", "duplicate", "no partner", "other type"}
    assert all(len(texts) == 1 for texts in found.values())
    assert str(pairs[0].sar) in found["broken"][0] and str(pairs[1].sar) in found["blank"][0]
    assert "64x60 and 64x64" in found["mis-sized"][0] and str(pairs[5].optical) in found["no partner"][0]
    assert found["duplicate"][0] == f"{pairs[4].optical}: the same image as {pairs[3].optical}"
    assert f"{pairs[6].sar}: uint16" in found["other type"][0]
    code, out, _ = command("data", "check", root)
    assert code == 1 and "23 pairs: " in out and "1 duplicate" in out


def test_swapped_folders_are_found_once(command, save_png, tmp_path, random):
    for n in range(3):
        save_png(tmp_path / f"radar/{n}.png", random.integers(1, 256, (64, 64), np.uint8))
        save_png(tmp_path / f"colours/{n}.png", random.integers(1, 256, (64, 64, 3), np.uint8))
    folders = [tmp_path / "radar", tmp_path / "colours"]
    for (sar, optical), expected in ((folders, (0, 0)), (folders[::-1], (1, 1))):
        code, out, _ = command("data", "check", "--sar", sar, "--optical", optical)
        assert (code, out.count("no colours: the optical images are grey")) == expected


def test_another_type_is_told_once_for_all_windows_of_a_scene(tmp_path):
    for n in range(3):
        write_scenes(tmp_path, f"area{n}", 192, 128, 500_000 + 5000 * n)
    with rasterio.open(tmp_path / "area1_S1_VH.tif") as file:
        values, profile = file.read().astype("float32"), file.profile | {"dtype": "float32"}
    with rasterio.open(tmp_path / "area1_S1_VH.tif", "w", **profile) as file:
        file.write(values)
    found = [finding.text for finding in check(find_pairs(tmp_path, size=64)) if finding.kind == "other type"]
    assert len(found) == 1 and "area1_S1_VH.tif: float32" in found[0]


def test_values_that_are_no_numbers_are_found(tmp_path, random):
    bands = random.normal(-12, 3, (1, 64, 64)).astype("float32")
    bands[0, 0, :8] = np.nan
    write_tiff(tmp_path / "sar/a.tif", bands)
    write_tiff(tmp_path / "optical/a.tif", random.integers(0, 255, (3, 64, 64), np.uint8))
    assert "0.2% of the values" in kinds(tmp_path)["no numbers"][0]


@pytest.mark.parametrize(("rows", "columns"), [(5, -9), (-7, 0)])
def test_a_shift_is_found_and_measured(tmp_path, rows, columns):
    write_pairs(tmp_path / "data", 8, image_size=128)
    pairs = find_pairs(tmp_path / "data").pairs
    matches = []
    for pair in pairs:
        sar, optical = np.asarray(Image.open(pair.sar))[..., None], np.asarray(Image.open(pair.optical))
        assert np.hypot(*shift_of(match_edges(sar, optical))[:2]) <= 2
        moved = shifted(optical, (rows, columns, 0), order=0, mode="nearest")
        matches.append(shift_of(match_edges(sar, moved)))
        Image.fromarray(moved).save(pair.optical)
    # What was moved on by (rows, columns) is found as far back in the SAR image.
    assert np.abs(np.median([match[:2] for match in matches], axis=0) - (-rows, -columns)).max() <= 1
    assert any("columns" in text for text in kinds(tmp_path / "data")["misaligned"])


def test_real_pairs_lie_upon_each_other_and_shifted_ones_are_found(shared, tmp_path):
    root = shared / "data/sen12/v_2"
    assert "misaligned" not in kinds(root)
    for pair in find_pairs(root).pairs:
        if pair.terrain != "urban":
            continue
        for path in (pair.sar, pair.optical):
            copy = tmp_path / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(path)
            (
                image.transform(image.size, Image.Transform.AFFINE, (1, 0, 6, 0, 1, -4))
                if path == pair.optical
                else image
            ).save(copy)
    (text,) = kinds(tmp_path)["misaligned"][-1:]
    assert "fall 13: the optical images fit better moved by +6 columns, -4 rows" in text
