import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import write_scenes

from sar_keras.data import splits
from sar_keras.data.pairs import SPLITS, Pair, find_pairs, pair_from_names
from sar_keras.data.splits import HeldOut, audit, read_split, split_pairs, write_split
from sar_keras.errors import DataError


def make(scenes: dict, terrain="agri") -> list[Pair]:
    return [
        Pair(Path(f"{scene}_{patch}.png"), Path("x.png"), terrain, "fall", scene, patch)
        for scene, count in scenes.items()
        for patch in range(count)
    ]


def places(pairs, split):
    return {pair.place for pair in pairs if pair.split == split}


@pytest.mark.parametrize("seed", range(5))
def test_scenes_stay_whole_and_no_split_is_empty(seed):
    pairs = split_pairs(make({str(scene): 5 + scene for scene in range(10)}), seed=seed)
    train, validation, test = (places(pairs, split) for split in ("train", "validation", "test"))
    assert train and validation and test
    assert not (train & validation or train & test or validation & test)


def test_a_scene_under_two_terrains_is_one_scene():
    pairs = make({"1": 5, "2": 5, "3": 5}) + make({"3": 5, "4": 5}, "urban")
    assert all(len({p.split for p in split_pairs(pairs) if p.scene == scene}) == 1 for scene in "1234")


def test_same_seed_same_split_other_seed_another():
    pairs = make({str(scene): 10 for scene in range(20)})
    assert split_pairs(pairs, seed=3) == split_pairs(pairs, seed=3)
    assert len({tuple(p.split for p in split_pairs(pairs, seed=seed)) for seed in range(4)}) > 1


def test_two_scenes_train_and_test():
    assert Counter(p.split for p in split_pairs(make({"1": 3, "2": 8}))) == {"train": 8, "test": 3}
    for how in ("scene", "random"):
        assert {p.split for p in split_pairs(make({"1": 1, "2": 1}), how, ratios=(1, 0, 0))} == {"train"}


@pytest.mark.parametrize("scene", ["7", None])
def test_one_or_no_known_scene_warns(scene):
    with pytest.warns(UserWarning, match="split at random"):
        pairs = split_pairs(make({scene: 20}))
    assert Counter(p.split for p in pairs) == {"train": 16, "validation": 2, "test": 2}


def test_random_on_request_counts_the_leak():
    with pytest.warns(UserWarning, match="4 of 4 test patches share a scene"):
        split_pairs(make({"1": 20, "2": 20}), "random")


def test_manifest_split_wins_when_it_is_whole():
    pairs = [Pair(Path("a.png"), Path("a"), split="test"), Pair(Path("b.png"), Path("b"), split="train")]
    assert split_pairs(pairs) == pairs


def test_the_kaggle_subset_splits_by_scene_with_every_terrain(shared):
    with (shared / "data/sen12/kaggle_v_2_files.csv").open() as file:
        rows = list(csv.DictReader(file))
    pairs = split_pairs([pair_from_names(Path(r["sar"]), Path(r["optical"]), r["terrain"]) for r in rows])
    shares = Counter(p.split for p in pairs)
    assert 0.72 < shares["train"] / 16000 < 0.88
    assert not places(pairs, "train") & (places(pairs, "test") | places(pairs, "validation"))
    assert {p.terrain for p in pairs if p.split == "test"} == {"agri", "barrenland", "grassland", "urban"}


def test_split_file_round_trip_even_if_the_data_moved(tmp_path):
    root, moved = tmp_path / "old", tmp_path / "new"
    pairs = [Pair(root / f"s1/{i}.png", root / f"s2/{i}.png", scene=str(i)) for i in range(6)]
    split = split_pairs(pairs)
    write_split(split, tmp_path / "split.csv", root)
    again = [Pair(moved / f"s1/{i}.png", moved / f"s2/{i}.png", scene=str(i)) for i in range(7)]
    read = split_pairs(again, str(tmp_path / "split.csv"))
    assert [p.split for p in read] == [p.split for p in split]


def test_split_file_tells_equal_names_in_nested_folders_apart(tmp_path):
    pairs = [
        Pair(tmp_path / folder / f"{i}.png", tmp_path / "o.png", scene=f"{folder}{i}")
        for folder in ("s1", "x/s1")
        for i in range(6)
    ]
    split = split_pairs(pairs)
    write_split(split, tmp_path / "split.csv", tmp_path)
    assert split_pairs(pairs, str(tmp_path / "split.csv")) == split


def test_ratios_are_shares_of_their_sum():
    pairs = make({str(scene): 10 for scene in range(30)})
    for ratios in ((8, 1, 1), (80, 10, 10)):
        assert Counter(p.split for p in split_pairs(pairs, ratios=ratios)) == {
            "train": 240,
            "validation": 30,
            "test": 30,
        }
    assert {p.split for p in split_pairs(pairs, ratios=(0.9, 0, 0.1))} == {"train", "test"}


def test_audit_counts_shared_scenes_and_neighbours():
    def pair(scene, patch, split, terrain="agri"):
        return Pair(Path(f"{terrain}{scene}{patch}"), Path("x"), terrain, "fall", scene, patch, split)

    pairs = [pair("1", 1, "train"), pair("1", 2, "test"), pair("1", 9, "test"), pair("2", 2, "test")]
    pairs += [pair("3", 5, "validation"), pair("3", 6, "train", "urban")]
    found = audit([*pairs, Pair(Path("y"), Path("y"), split="test")])
    assert found.held_out == {"validation": HeldOut(1, 1, 1), "test": HeldOut(3, 2, 1)}
    assert found.shared_scenes == {("fall", "1"): ["train", "test"], ("fall", "3"): ["train", "validation"]}
    assert found.unknown == 1


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_audit_of_the_kaggle_subset(shared, tmp_path, command):
    names = shared / "data/sen12/kaggle_v_2_files.csv"
    code, out, _ = command("data", "split", names, "-o", tmp_path / "scene.csv")
    assert code == 0
    code, out, _ = command("data", "audit", tmp_path / "scene.csv")
    assert code == 0 and "no leak" in out

    _, _, err = command("data", "split", names, "--by", "random", "-o", tmp_path / "random.csv")
    assert "1600 of 1600 test patches share a scene" in err
    assert command("data", "audit", tmp_path / "random.csv")[0] == 1
    test = audit(read_split(tmp_path / "random.csv")).held_out["test"]
    assert test.same_scene == test.total == 1600
    # Both neighbours are elsewhere than in the 80 % of training with a chance of 0.2 squared, and many have only one.
    assert 0.93 < test.neighbour / test.total < 0.96

    code, out, _ = command("data", "split", names, "--by", "sen12-v2", "-o", tmp_path / "canonical.csv")
    assert code == 0 and command("data", "audit", tmp_path / "canonical.csv")[0] == 0
    canonical = read_split(tmp_path / "canonical.csv")
    shares = Counter(pair.split for pair in canonical)
    assert len(canonical) == 16_000 and 0.09 < shares["test"] / 16_000 < 0.11
    assert all(len({pair.terrain for pair in canonical if pair.split == split}) == 4 for split in shares)

    published = names.read_text().replace("published_split", "split")
    (tmp_path / "published.csv").write_text(published)
    code, out, _ = command("data", "audit", tmp_path / "published.csv")
    assert code == 1 and "scene fall 144 stands in" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sar\na.png\n", "columns"),
        ("sar,split\na.png,tain\n", "tain"),
        ("sar,split\nb.png,train\n", "none of its training"),
        ("sar,split\na.png,train\na.png,test\n", "two rows"),
        ("sar,split,window\na.tif,train,0 0 64\n", "line 2.*four numbers"),
        ("sar,split,box\na.tif,train,a b c d\n", "line 2.*must be numbers"),
    ],
)
def test_bad_split_files(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        split_pairs([Pair(Path("a.png"), Path("a.png"))], str(tmp_path / "split.csv"))


def windows(columns: int, rows: int, file: str = "a.tif", scene: str = "a", west: float | None = None) -> list[Pair]:
    """A grid of windows of 64 pixels; on the ground each is 1/64 degree a side."""

    def box(column, row):
        return (
            None if west is None else (west + column / 64, 50 - (row + 1) / 64, west + (column + 1) / 64, 50 - row / 64)
        )

    return [
        Pair(Path(file), Path("rgb.tif"), scene=scene, window=(64 * c, 64 * r, 64, 64), box=box(c, r))
        for r in range(rows)
        for c in range(columns)
    ]


def cells(pairs, split):
    return {(pair.window[0] // 64, pair.window[1] // 64) for pair in pairs if pair.split == split}


@pytest.mark.parametrize(("columns", "rows", "seed"), [(12, 20, 0), (12, 20, 1), (7, 7, 0), (40, 3, 2)])
def test_one_scene_is_split_in_blocks_with_a_gap(columns, rows, seed):
    pairs = split_pairs(windows(columns, rows), seed=seed)
    train, validation, test = (cells(pairs, split) for split in ("train", "validation", "test"))
    assert len(train) > 0.4 * columns * rows and validation and test
    for one, other in ((train, validation), (train, test), (validation, test)):
        assert min(max(abs(a - c), abs(b - d)) for a, b in one for c, d in other) >= 2
    # Nothing but the gap is lost.
    for c, r in {(c, r) for c in range(columns) for r in range(rows)} - train - validation - test:
        around = {(c + x, r + y) for x in (-1, 0, 1) for y in (-1, 0, 1)}
        assert around & test or around & validation
    assert pairs == split_pairs(windows(columns, rows), "blocks", seed=seed)
    assert not audit(pairs).leaks and audit(pairs).held_out["test"] == HeldOut(len(test), len(test), 0)


def test_dates_of_one_ground_stay_together():
    pairs = split_pairs([pair for date in "abc" for pair in windows(12, 12, f"{date}.tif", "place", west=9)])
    for pair in pairs:
        assert {other.split for other in pairs if other.window == pair.window} == {pair.split}
    assert {pair.split for pair in pairs} == {*SPLITS} and len(pairs) > 0.5 * 3 * 12 * 12
    assert not audit(pairs).leaks


def test_whether_windows_lie_near_does_not_depend_on_which_is_asked():
    # One of 30 and one of 60 pixels of 10 m, 40 pixels apart.
    small, large = (0.0, 50.0, 0.003, 50.003), (0.007, 50.0, 0.013, 50.006)
    for first, second in ((small, large), (large, small)):
        pairs = [
            Pair(Path(file), Path("rgb.tif"), scene=file, split=split, window=(0, 0, 64, 64), box=box)
            for file, split, box in (("a", "train", first), ("b", "test", second), ("c", "train", (9, 9, 10, 10)))
        ]
        assert audit(pairs).leaks
        assert [pair.scene for pair in split_pairs(pairs)] == ["b", "c"]


def test_too_small_for_blocks():
    with pytest.raises(DataError, match=r"a\.tif: 4 windows are too few"):
        split_pairs(windows(2, 2))
    with pytest.raises(DataError, match="these pairs are patches"):
        split_pairs(make({"1": 4, "2": 4}), "blocks")


def test_two_scenes_train_on_one_and_test_on_the_other():
    pairs = split_pairs(windows(8, 8) + windows(5, 5, "b.tif", "b"))
    assert places(pairs, "train") == places(pairs, "validation") == {(None, "a")}
    assert places(pairs, "test") == {(None, "b")} and len(cells(pairs, "test")) == 25
    everything = split_pairs(windows(8, 8) + windows(5, 5, "b.tif", "b"), ratios=(0.9, 0, 0.1))
    assert Counter(pair.split for pair in everything) == {"train": 64, "test": 25}


@pytest.mark.parametrize(("columns_apart", "lost"), [(0, 1), (-2, 3), (1, 0)])
def test_scenes_that_overlap_or_touch_keep_the_gap_too(columns_apart, lost):
    ours, theirs = windows(8, 8, west=10), windows(8, 4, "b.tif", "b", west=10 + (8 + columns_apart) / 64)
    pairs = split_pairs(ours + theirs, ratios=(0.9, 0, 0.1))
    assert 64 - len(cells(pairs, "train")) == lost * 5  # the other scene's four rows and one below
    assert not audit(pairs).leaks
    whole = [replace(pair, split="train") for pair in ours] + [replace(pair, split="test") for pair in theirs]
    assert audit(whole).leaks == bool(lost)
    # A manifest's own split is kept, but for the gap.
    assert split_pairs(whole) == pairs


def test_windows_in_a_split_file(tmp_path):
    split = split_pairs(windows(6, 6, str(tmp_path / "a.tif"), west=10.123))
    write_split(split, tmp_path / "split.csv", tmp_path)
    again = windows(6, 6, str(tmp_path / "a.tif"), west=10.123)
    assert split_pairs(again, str(tmp_path / "split.csv")) == split
    assert [(pair.window, pair.box, pair.split) for pair in read_split(tmp_path / "split.csv")] == [
        (pair.window, pair.box, pair.split) for pair in split
    ]
    with pytest.raises(DataError, match=r"another size than data\.image_size"):
        split_pairs([replace(pair, window=(0, 0, 32, 32)) for pair in again], str(tmp_path / "split.csv"))


def test_audit_command_on_windows(command, tmp_path):
    write_scenes(tmp_path, "area", 448, 448)
    code, out, _ = command("data", "split", tmp_path, "--size", "64", "-o", tmp_path / "split.csv")
    assert code == 0 and "windows lie between the splits" in out
    split = read_split(tmp_path / "split.csv")
    for line, name in zip(out.splitlines()[1:4], ("train", "validation", "test"), strict=True):
        count = sum(pair.split == name for pair in split)
        assert line.split()[:4] == [name, str(count), "pairs,", f"{count / len(split):.0%},"]
        assert line.endswith("of 1 scene")
    code, out, _ = command("data", "audit", tmp_path / "split.csv")
    assert code == 0 and "no leak; windows of one scene lie a gap apart" in out
    with pytest.warns(UserWarning, match="random split"):
        write_split(split_pairs(find_pairs(tmp_path, size=64).pairs, "random"), tmp_path / "random.csv", tmp_path)
    code, out, _ = command("data", "audit", tmp_path / "random.csv")
    assert code == 1 and out.endswith("leaks\n")


def test_the_real_scenes_overlap_and_are_kept_apart(shared):
    found = find_pairs(shared / "data/scenes").pairs
    assert audit([replace(pair, split="train" if "LA_" in pair.scene else "test") for pair in found]).leaks
    for how in ("scene", "blocks"):
        pairs = split_pairs(found, how)
        assert not audit(pairs).leaks and len(pairs) > 0.75 * len(found)


def test_the_canonical_split_is_for_its_own_scenes_and_guards_its_file(tmp_path, monkeypatch):
    pair = Pair(Path("a"), Path("b"), season="fall", scene="113")
    assert split_pairs([pair], "sen12-v2")[0].split == "test"
    with pytest.raises(DataError, match="no scene of the split"):
        split_pairs([replace(pair, scene="999")], "sen12-v2")
    changed = tmp_path / "split.csv"
    changed.write_text(splits._CANONICAL.read_text().replace("113,test", "113,train"))
    monkeypatch.setattr(splits, "_CANONICAL", changed)
    with pytest.raises(DataError, match="published"):
        split_pairs([pair], "sen12-v2")
