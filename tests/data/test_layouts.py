import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sar_keras.data.layouts import read_place
from sar_keras.data.pairs import find_pairs
from sar_keras.data.splits import split_pairs

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


@pytest.mark.parametrize(
    "folders",
    [
        ["train"],  # one alone
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


@pytest.mark.parametrize("name", ["sarajevo", "optics", "s12", "s1a", "rgbn", "topo", "gaussar", "AB", "trainC", "ss2"])
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
