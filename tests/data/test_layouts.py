import os
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import one_line, write_scenes, write_tiff
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sar_keras.data.check import check
from sar_keras.data.layouts import read_place
from sar_keras.data.pairs import find_pairs
from sar_keras.data.reading import PairReader
from sar_keras.data.splits import split_pairs, write_split
from sar_keras.errors import DataError

PARTS = {
    "train": ["train", "Training", "TRAIN"],
    "validation": ["val", "Valid", "validation"],
    "test": ["test", "Testing"],
}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read")


def splits(pairs):
    return Counter(pair.split for pair in pairs)


@pytest.mark.parametrize("way", ["{part}/{side}/{n}.png", "{side}/{part}/{n}.png", "agri/{part}/{side}/{n}.png",
                                 "{part}/agri/{side}/{n}.png", "data/{part}/{side}/{n}.png"])  # fmt: skip
@pytest.mark.parametrize("sides", [("s1", "s2"), ("SAR", "opt"), ("A", "B")])
@pytest.mark.parametrize("spelling", [0, -1])
def test_folders_of_a_split_are_the_split(tmp_path, way, sides, spelling):
    counts = {"train": 5, "validation": 2, "test": 3}
    for part, count in counts.items():
        for side in sides:
            touch(tmp_path, *[way.format(part=PARTS[part][spelling], side=side, n=n) for n in range(count)])
    found = find_pairs(tmp_path)
    assert not found.unpaired and splits(found.pairs) == counts
    assert {pair.terrain for pair in found.pairs} == (
        {"agri"} if "agri" in way else {"data"} if "data" in way else {None}
    )
    assert sum("data.split=auto" in line and "train, validation, test" in line for line in found.said) == 1
    assert split_pairs(found.pairs) == found.pairs


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val"), ("val", "test")])
def test_two_parts_are_a_split(tmp_path, parts):
    for part in parts:
        touch(tmp_path, f"{part}/s1/a.png", f"{part}/s2/a.png")
    assert len(splits(find_pairs(tmp_path).pairs)) == 2


@pytest.mark.parametrize("way", ["test/{side}/{n}.png", "{side}/testing/{n}.png", "agri/test/{side}/{n}.png"])
def test_test_data_alone_are_test_data(tmp_path, way):
    touch(tmp_path, *[f"data/{way.format(side=side, n=n)}" for side in ("s1", "s2") for n in range(3)])
    found = find_pairs(tmp_path / "data")
    assert splits(split_pairs(found.pairs)) == {"test": 3} and "all pairs are test data" in found.said[0]
    # Of data that lie in such a folder that says nothing.
    for place in ("test", "test/deep"):
        touch(tmp_path, *[f"{place}/s{side}/{n}.png" for side in (1, 2) for n in range(3)])
        assert splits(find_pairs(tmp_path / place).pairs) == {None: 3}


@pytest.mark.parametrize(
    "folders",
    [
        ["train"],  # one alone
        ["val"],
        ["trainyard", "testbed", "valley"],
        ["train station", "test site"],
        ["train1", "test1"],
        ["agri", "urban"],
    ],
)
def test_other_folders_are_no_split(tmp_path, folders):
    for folder in folders:
        touch(tmp_path, *[f"{folder}/{side}/{n}.png" for side in ("s1", "s2") for n in range(3)])
    found = find_pairs(tmp_path)
    assert splits(found.pairs) == {None: 3 * len(folders)} and found.said == []
    if len(folders) > 1:
        assert {pair.terrain for pair in found.pairs} == set(folders)


def test_names_of_files_are_no_split(tmp_path):
    touch(tmp_path, *[f"{side}/{name}.png" for side in ("s1", "s2") for name in ("train_1", "test_1", "val", "train")])
    assert splits(find_pairs(tmp_path).pairs) == {None: 4}


def test_pairs_outside_the_folders_of_a_split_are_named(tmp_path):
    for folder in ("train", "test", "more"):
        touch(tmp_path, f"{folder}/s1/a.png", f"{folder}/s2/a.png")
    found = find_pairs(tmp_path)
    assert splits(found.pairs) == {None: 3}
    assert len(found.said) == 1 and "not taken for a split" in found.said[0] and "more/s1/a.png" in found.said[0]


def test_scan_and_fit_tell_of_the_own_split(command, tmp_path):
    said = "folders split the data into train, test, which data.split=auto takes"
    for part in ("train", "test"):
        touch(tmp_path, f"data/{part}/sar/a.png", f"data/{part}/opt/a.png")
    _, out, _ = command("data", "scan", tmp_path / "data")
    assert out.count(said) == 1
    touch(tmp_path, "data/train/sar/alone.png")
    code, out, err = command("fit", "fast", "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert code == 2 and out.count(said) == 1 and "alone.png: has no partner" in err


@pytest.mark.parametrize("way", ["{side}/{name}.png", "v_2/agri/{side}/{name}.png"])
@pytest.mark.parametrize("where", ["beside", "above"])
def test_what_macs_leave_is_no_image(tmp_path, way, where):
    for side in ("s1", "s2"):
        for n in range(3):
            touch(tmp_path, way.format(side=side, name=f"p{n}"), way.format(side=side, name=f"._p{n}"))
            touch(tmp_path, ("__MACOSX/" if where == "above" else "") + way.format(side=side, name=f"._p{n}"))
        touch(tmp_path, way.format(side=side, name="x").replace("x.png", ".DS_Store"))
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 3 and not found.unpaired and not found.said


def test_a_link_to_a_parent_is_followed_once(tmp_path):
    touch(tmp_path, *[f"data/{side}/{n}.png" for side in ("s1", "s2") for n in range(4)])
    (tmp_path / "data/s1/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/again").symlink_to(tmp_path / "data")
    assert len(find_pairs(tmp_path / "data").pairs) == 4


def test_names_that_are_not_utf8_are_passed_over_and_named(tmp_path):
    odd = [os.fsdecode(f"测{n}".encode("gbk") + b".png") for n in range(3)]
    for side in ("s1", "s2"):
        touch(tmp_path, *[f"{side}/{name}" for name in ["a.png", "测.png", *odd]])
    found = find_pairs(tmp_path)
    assert [pair.sar.name for pair in found.pairs] == ["a.png", "测.png"] and not found.unpaired
    assert len(found.said) == 1 and r"s1/\xb2\xe20.png: the name is not UTF-8, nor are those of 5 more" in found.said[0]


WORDS = [("s1", "s2"), ("S1", "S2"), ("sar", "optical"), ("SAR", "Opt"), ("Sar", "RGB")]


@given(
    st.lists(st.sampled_from(["agri", "x-y_2", "2020", "ROIs1_fall", "train", "Städte"]), max_size=3),
    st.sampled_from(WORDS),
    st.sampled_from(["{}", "{}_12", "{}_256_oc_0.2", "area {}", "ROIs1158_spring_{}", "{}-images"]),
    st.integers(0, 3),
)
def test_the_two_sides_have_one_key_wherever_their_word_stands(folders, words, way, at):
    sides = [(*folders[:at], way.format(word), *folders[at:]) for word in words]
    sar, optical = (read_place(side) for side in sides)
    assert (sar.side, optical.side) == ("sar", "optical") and sar.key == optical.key
    other = read_place((*sides[1][:-1], sides[1][-1] + "_cloudy"))
    assert other.key != sar.key


@pytest.mark.parametrize(
    "name", ["sarajevo", "optics", "s12", "s1a", "rgbn", "topo", "gaussar", "AB", "trainC", "ss2", "S1Handy"]
)
def test_words_inside_other_words_name_no_side(name):
    assert read_place((name,)).side is None


@pytest.mark.parametrize(
    ("folders", "side"),
    [
        (("sar_optical_pairs", "s1"), "sar"),
        (("optical", "sar"), "sar"),
        (("s2_tiles", "optical"), "optical"),
        (("A", "s2"), "optical"),
        (("s1", "B"), "sar"),
    ],
)
def test_the_deepest_word_counts_and_words_before_letters(folders, side):
    assert read_place(folders).side == side


def draw(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95, lossless=True)  # what the format knows


def grey_and_colour(random, size=32):
    """A pair of images, (size, size) and (size, size, 3)."""
    grey = np.kron(random.integers(30, 220, (4, 4)), np.ones((size // 4, size // 4))).astype("uint8")
    return grey, np.stack([grey, 255 - grey, grey // 2], -1)


# Layouts as they are published, of the n-th pair: SAR, optical.
PUBLISHED = {
    "CycleGAN": ("train{A}/{n}.png", "train{B}/{n}.png"),
    "CycleGAN with tests": ("{part}{A}/{n}.png", "{part}{B}/{n}.png"),
    "pix2pix": ("{A}/{part}/{n}.jpg", "{B}/{part}/{n}.jpg"),
    "numbered": ("sar/sar{n}.png", "opt/opt{n}.png"),
    "numbered in one folder": ("sar{n}.png", "opt{n}.png"),
    "named in one folder": ("x/{n}_SAR.bmp", "x/{n}_rgb.webp"),
    "QXS-SAROPT": ("sar_256_oc_0.2/{n}.png", "opt_256_oc_0.2/{n}.png"),
    "SEN12MS": ("ROIs1_fall/s1_{n}/ROIs1_fall_s1_{n}_p1.tif", "ROIs1_fall/s2_{n}/ROIs1_fall_s2_{n}_p1.tif"),
    "SEN12MS-CR": ("ROIs1_fall_s1/s1_{n}/ROIs1_fall_s1_{n}_p1.tif", "ROIs1_fall_s2/s2_{n}/ROIs1_fall_s2_{n}_p1.tif"),
    "Sen1Floods11": ("S1Hand/Ghana_{n}_S1Hand.tif", "S2Hand/Ghana_{n}_S2Hand.tif"),
    "products": ("Sentinel-1/S1RTC_{n}.tif", "Sentinel-2/S2L2A_{n}.tif"),
    "capitals": ("SAR/{n}.png", "Optical/{n}.png"),
    "parts": ("Train/S1/{n}.png", "Train/S2/{n}.png"),
    "suffixes": ("s1/a-{n}_s1.tif", "s2/a-{n}_s2.png"),
    "tiles below": ("sar/{n}/tile.png", "optical/{n}/tile.png"),
}


def names_of(layout, n, part="train"):
    return [name.format(n=n, A="A", B="B", part=part) for name in PUBLISHED[layout]]


@pytest.mark.parametrize("layout", PUBLISHED)
@pytest.mark.parametrize("place", ["folder", "deeper", "zip", "zip of a folder"])
def test_published_layouts_are_found_in_folders_and_zips(tmp_path, random, layout, place):
    root = tmp_path / ("data/v_2" if place in ("deeper", "zip of a folder") else "data")
    for n in range(1, 12):
        part = ("train", "val", "test")[n % 3]
        for name, image in zip(names_of(layout, n, part), grey_and_colour(random), strict=True):
            draw(root / name, image)
        if layout == "SEN12MS-CR":
            draw(root / names_of(layout, n)[1].replace("s2", "s2_cloudy"), grey_and_colour(random)[1])
        if layout == "SEN12MS":
            draw(root / names_of(layout, n)[0].replace("s1", "lc"), grey_and_colour(random)[0])
    source = tmp_path / "data"
    if place.startswith("zip"):
        source = Path(shutil.make_archive(str(tmp_path / "data"), "zip", source))
    found = find_pairs(source)
    assert len(found.pairs) == 11 and not found.unpaired
    assert len({pair.sar for pair in found.pairs}) == len({pair.optical for pair in found.pairs}) == 11
    assert {pair.split for pair in found.pairs} == (
        {"train", "validation", "test"} if "{part}" in PUBLISHED[layout][0] else {None}
    )
    assert sum("A is taken for SAR" in line for line in found.said) == ("{A}" in PUBLISHED[layout][0])
    for pair in found.pairs:
        sar, optical = PairReader().read(pair)
        assert np.abs(sar[..., 0].astype(int) - optical[..., 0]).mean() < 16  # red is the SAR image, JPEG apart
        assert np.abs(optical[..., 1].astype(int) - (255 - optical[..., 0].astype(int))).mean() < 16


def test_a_split_of_pairs_in_a_zip_holds_after_it_was_unpacked(tmp_path, random):
    for n in range(6):
        for name, image in zip(names_of("SEN12MS", n), grey_and_colour(random), strict=True):
            draw(tmp_path / "data" / name, image)
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "data"))
    split = split_pairs(find_pairs(archive).pairs)
    write_split(split, tmp_path / "split.csv", archive)
    unpacked = split_pairs(find_pairs(tmp_path / "data").pairs, str(tmp_path / "split.csv"))
    assert [pair.split for pair in unpacked] == [pair.split for pair in split]


def test_zips_that_are_none_or_hold_too_much_or_lead_out(tmp_path, monkeypatch, random):
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"a\.zip: not a zip"):
        find_pairs(tmp_path / "a.zip")
    grey, _ = grey_and_colour(random)
    draw(tmp_path / "x.png", grey)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name in ("s1/a.png", "s2/a.png", "../s1/b.png", "../s2/b.png", "/s1/c.png", "s1\\d.png", "s2\\d.png"):
            archive.write(tmp_path / "x.png", name)
            archive.infolist()[-1].filename = name
    found = find_pairs(tmp_path / "b.zip")
    assert [pair.sar.name for pair in found.pairs] == ["a.png", "d.png"] and not found.unpaired
    assert PairReader().read(found.pairs[1])[0].shape == (32, 32, 1)
    monkeypatch.setattr("sar_keras.io.zips._LARGEST", 10)
    with pytest.raises(DataError, match=r"b\.zip/s1/a\.png: unpacks to"):
        PairReader().read(found.pairs[0])


def test_manifests_and_scenes_in_a_zip(tmp_path, random):
    write_scenes(tmp_path / "data", "area", 128, 192)
    with rasterio.open(tmp_path / "data/area_S1_VH.tif") as file:
        expected = file.read(1)
    archive = Path(shutil.make_archive(str(tmp_path / "scenes"), "zip", tmp_path / "data"))
    found = find_pairs(archive, size=64)
    assert [pair.window[:2] for pair in found.pairs] == [(x, y) for y in (0, 64) for x in (0, 64, 128)]
    np.testing.assert_array_equal(PairReader().read(found.pairs[4])[0][..., 0], expected[64:, 64:128])
    (tmp_path / "data/pairs.csv").write_text("sar,optical,scene\narea_S1_VH.tif,area_S2_RGB.tif,delta\n")
    archive = Path(shutil.make_archive(str(tmp_path / "pairs"), "zip", tmp_path, "data"))
    (pair,) = find_pairs(archive).pairs
    assert pair.scene == "delta"
    np.testing.assert_array_equal(PairReader().read(pair)[0][..., 0], expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_images_side_by_side(tmp_path, random, suffix, side):
    for n, part in enumerate(["train"] * 4 + ["val", "test"]):
        grey, colour = grey_and_colour(random)
        halves = [np.repeat(grey[..., None], 3, -1), colour]
        draw(tmp_path / part / f"{n}{suffix}", np.hstack(halves if side == "left" else halves[::-1]))
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 6 and splits(found.pairs) == {"train": 4, "validation": 1, "test": 1}
    assert any(
        f"the {side} half is taken for SAR, because it is grey; data.sar_side overrules" in x for x in found.said
    )
    (test,) = (number for number, pair in enumerate(found.pairs) if pair.split == "test")
    sar, optical = PairReader().read(found.pairs[test])
    assert sar.shape == (32, 32, 1) and optical.shape == (32, 32, 3)
    assert np.abs(sar[..., 0].astype(int) - grey).mean() < 8 and np.abs(optical.astype(int) - colour).mean() < 16
    other = "right" if side == "left" else "left"
    overruled = find_pairs(tmp_path, "aligned", sar_side=other)
    assert not any("half" in line for line in overruled.said)
    np.testing.assert_array_equal(PairReader().read(overruled.pairs[test])[1][..., 0], sar[..., 0])
    assert check(found) == []


@pytest.mark.parametrize("what", ["panoramas in colour", "grey panoramas", "squares", "one square among them", "three"])
def test_other_images_are_not_taken_for_pairs_side_by_side(tmp_path, random, what):
    for n in range(4):
        grey, colour = grey_and_colour(random)
        grey = np.repeat(grey[..., None], 3, -1)
        parts = {
            "panoramas in colour": [colour, colour],
            "grey panoramas": [grey, grey],
            "three": [grey, colour, colour],
        }
        parts = parts.get(what, [grey, colour] if what == "one square among them" and n else [colour])
        draw(tmp_path / f"{n}.png", np.hstack(parts))
    with pytest.raises(DataError, match=r"no name tells which are SAR.*data\.layout=aligned"):
        find_pairs(tmp_path)


def test_an_odd_width_cannot_be_two_images(tmp_path, random):
    draw(tmp_path / "a.png", np.zeros((32, 65, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: is 65 pixels wide"):
        PairReader().read(find_pairs(tmp_path, "aligned").pairs[0])


@pytest.mark.parametrize("in_colour", ["A", "B", "neither", "both"])
def test_where_letters_tell_the_sides_the_grey_one_is_sar(tmp_path, random, in_colour):
    for n in range(3):
        for letter in "AB":
            grey, colour = grey_and_colour(random)
            draw(tmp_path / f"train{letter}/{n}.png", colour if in_colour in (letter, "both") else grey)
    found = find_pairs(tmp_path)
    sar = "B" if in_colour == "A" else "A"
    assert all(pair.sar.parent.name == f"train{sar}" for pair in found.pairs)
    assert len(found.said) == 1 and found.said[0].startswith(f"{sar} is taken for SAR") and "data.sar" in found.said[0]


TREES = {
    "equal": ("{n}.png", "{n}.png"),
    "deep": ("x/{n}.png", "x/{n}.tif"),
    "deep on one side": ("x/y/{n}.png", "{n}.png"),
    "words": ("sar_{n}.png", "{n}-RGB.png"),
    "polarisations": ("{n}_VV.tif", "{n}.tif"),
    "what differs": ("sentinel1_{n}_gamma.tif", "sentinel2_{n}_toa.png"),
    "what differs between products": ("S1A_{n}_RTC30_VV.tif", "T33_{n}_L2A.tif"),
    "what differs, and words": ("S1A_IW_{n}_VH.tif", "T33UXP_{n}_B432.png"),
}


@pytest.mark.parametrize("layout", TREES)
@pytest.mark.parametrize("width", [1, 3])
def test_two_folders_whatever_they_are_called(command, tmp_path, random, layout, width):
    for n in range(1, 13):
        for folder, name, image in zip("xy", TREES[layout], grey_and_colour(random), strict=True):
            draw(tmp_path / folder / name.format(n=f"{n:0{width}}"), image)
    found = find_pairs(None, sar=tmp_path / "x", optical=tmp_path / "y")
    assert len(found.pairs) == 12 and not found.unpaired
    for pair in found.pairs:
        numbers = [[int(part) for part in re.findall(r"\d+", path.stem)] for path in (pair.sar, pair.optical)]
        assert set(numbers[0]) & set(numbers[1]) - {432}
        assert np.array_equal(*(image[..., 0] for image in PairReader().read(pair)))
    assert len(found.said) == ("differs" in layout)
    code, out, _ = command("data", "scan", "--sar", tmp_path / "x", "--optical", tmp_path / "y")
    assert code == 0 and "12 pairs" in out


def test_two_folders_keep_their_split_and_refuse_what_is_no_pair(command, tmp_path, random):
    for part in ("train", "test"):
        touch(tmp_path, f"x/{part}/1.png", f"y/{part}/1.png")
    assert splits(find_pairs(None, sar=tmp_path / "x", optical=tmp_path / "y").pairs) == {"train": 1, "test": 1}
    touch(tmp_path, "y/more/1.png")
    assert find_pairs(None, sar=tmp_path / "x", optical=tmp_path / "y").unpaired == [tmp_path / "y/more/1.png"]
    touch(tmp_path, "z/2.png", "z/3.png", "v/1_5.png", "v/1_4.png")
    with pytest.raises(DataError, match="hold 2 and 2 images, of which no two"):
        find_pairs(None, sar=tmp_path / "z", optical=tmp_path / "v")
    for options, message in (
        (["--sar", "x"], "give both folders, --sar and --optical"),
        (["--sar", "x", "--optical", "x"], "give two folders"),
        (["--sar", "x", "--optical", "w"], "w: no such folder (--optical)"),
        ([], "give DIR, or --sar DIR and --optical DIR"),
        (["DIR", "--sar", "DIR", "--optical", "DIR"], "give DIR, or --sar DIR and --optical DIR, not both"),
    ):
        options = [option if option.startswith("--") else tmp_path / option for option in options]
        code, _, err = command("data", "check", *options)
        assert code == 2 and message in one_line(err)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"no images; what is read are \.png"),
        (["a.gif", "b.gif", "c.npy"], r"no images, and files that are not read \(2 \.gif, 1 \.npy\)"),
        (["x/1.png", "x/2.png"], r"2 images, such as .*1\.png, and no name tells which are SAR; name two folders"),
        (
            ["sar/1.png", "opt/b2.png"],
            r"2 images, of which no two have names alike.*data\.sar .*/sar and data\.optical",
        ),
        (["trainA/1.png", "trainA/2.png"], r"2 images, and beside .*/trainA no folder.*closest layout is A and B"),
        (["sar/1.png"], "closest layout is sar and optical"),
        (["s2_7/1.png"], "closest layout is s1 and s2"),
    ],
)
def test_where_nothing_is_found_the_message_says_what_there_is(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=rf"{tmp_path}: no pairs: it holds .*{message}"):
        find_pairs(tmp_path)
    touch(tmp_path, "s1/a.png", "s2/a.png")
    with pytest.raises(DataError, match=r"'terrain': it holds 1 pairs of another layout.*; leave out data\.layout"):
        find_pairs(tmp_path, "terrain")


@pytest.mark.parametrize(
    "way", ["{side}/{n}.png", "agri/{side}/{n}.png", "{side}/agri/{n}.png", "{part}/{side}/{n}.png"]
)
@pytest.mark.parametrize("names", [("s1", "s2"), ("SAR", "optical"), ("A", "B")])
def test_folders_of_another_date_are_of_the_pairs_that_they_are_named_like(tmp_path, way, names):
    for n, part in ((1, "train"), (2, "test")):
        touch(tmp_path, *[way.format(side=side, n=n, part=part) for side in (*names, "Reference", "reference_sar")])
    for side, n in (("changed", 2), ("reference", 3)):
        touch(tmp_path, way.format(side=side, n=n, part="test"))
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 2
    for pair, part in zip(sorted(found.pairs, key=lambda pair: pair.sar.stem), ("train", "test"), strict=True):
        n = int(pair.sar.stem)
        beside = [way.format(side=side, n=n, part=part) for side in ("Reference", "reference_sar", "changed")]
        expected = [tmp_path / name for name in beside[: n + 1]] + [None] * (2 - n)
        assert [pair.reference, pair.reference_sar, pair.changed] == expected
    assert found.unpaired == [tmp_path / way.format(side="reference", n=3, part="test")]


def test_a_data_set_may_itself_be_called_reference(tmp_path):
    touch(tmp_path, "reference/s1/0.png", "reference/s2/0.png", "reference/reference/0.png")
    (pair,) = find_pairs(tmp_path / "reference").pairs
    assert pair.reference == tmp_path / "reference/reference/0.png"


def test_two_files_of_another_date_for_one_pair_are_named(tmp_path):
    touch(tmp_path, "s1/0_VV.png", "s1/0_VH.png", "s2/0.png", "reference_sar/0_VV.png", "reference_sar/0_VH.png")
    with pytest.raises(DataError, match=r"put all bands of an image of reference_sar into one file"):
        find_pairs(tmp_path)


@pytest.fixture
def large_is_96(monkeypatch):
    """Images of 96 pixels a side are large, which keeps tests small."""
    monkeypatch.setattr("sar_keras.data.windows._LARGE_PIXELS", 96)


@pytest.mark.parametrize("layout", ["{side}/area{n}.tif", "v/{side}_scenes/{n}.tif", "{part}/{side}/{n}.tif"])
def test_large_georeferenced_images_in_folders_are_scenes(large_is_96, tmp_path, random, layout):
    for n, part in enumerate(("train", "test")):
        for side, bands in (("s1", 1), ("s2", 3)):
            path = tmp_path / layout.format(side=side, n=n, part=part)
            write_tiff(path, random.integers(1, 255, (bands, 96, 130), np.uint8), west=500_000 + 10_000 * n)
    found = find_pairs(tmp_path, size=32)
    assert len(found.pairs) == 2 * 3 * 4 and len({pair.place for pair in found.pairs}) == 2
    assert all(pair.window and pair.box for pair in found.pairs)
    assert any("windows of 32 pixels; data.layout=folders" in line for line in found.said)
    assert splits(found.pairs) == ({"train": 12, "test": 12} if "part" in layout else {None: 24})
    assert len(find_pairs(tmp_path, "scenes", size=32).pairs) == 24
    if "_scenes" not in layout:
        assert [pair.window for pair in find_pairs(tmp_path, "folders", size=32).pairs] == [None, None]


@pytest.mark.parametrize("what", ["small", "small for its patches", "no place", "png", "one small", "called patches"])
def test_other_images_in_folders_are_patches(large_is_96, tmp_path, random, what):
    for n in range(2):
        height = 95 if what == "small" or (what == "one small" and n) else 96
        for side, bands in (("s1", 1), ("s2", 3)):
            image = random.integers(1, 255, (bands, height, 130), np.uint8)
            name = f"{side}/ROIs1_fall_{side}_7_p{n}.tif" if what == "called patches" else f"{side}/{n}.tif"
            if what == "png":
                draw(tmp_path / f"{side}/{n}.png", np.moveaxis(image, 0, -1).squeeze())
            else:
                write_tiff(tmp_path / name, image, crs=None if what == "no place" else "EPSG:32631")
    found = find_pairs(tmp_path, size=64 if what == "small for its patches" else 32)
    assert [pair.window for pair in found.pairs] == [None, None] and not found.said


def test_the_usual_patches_are_none_of_them(tmp_path):
    for side, size in (("s1", 512), ("s2", 512)):
        write_tiff(tmp_path / side / "a.tif", np.ones((1, size, size), np.uint8))
    assert find_pairs(tmp_path, size=64).pairs[0].window is None
