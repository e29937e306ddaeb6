import csv

import numpy as np
import pytest
from helpers import write_scenes, write_tiff

from sar_keras.data.pairs import find_pairs, pair_from_names
from sar_keras.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read")


def test_terrain_layout(tmp_path):
    touch(tmp_path, "v_2/agri/s1/ROIs1868_summer_s1_59_p10.png", "v_2/agri/s2/ROIs1868_summer_s2_59_p10.png")
    touch(tmp_path, "v_2/agri/s1/ROIs1868_summer_s1_59_p2.png", "v_2/agri/s2/ROIs1868_summer_s2_59_p2.png")
    touch(tmp_path, "v_2/urban/s1/ROIs1970_fall_s1_13_p2.png", "v_2/urban/s2/ROIs1970_fall_s2_13_p3.png")
    for root in (tmp_path, tmp_path / "v_2"):
        found = find_pairs(root)
        assert [(p.terrain, p.season, p.scene, p.patch) for p in found.pairs] == [
            ("agri", "summer", "59", 2),
            ("agri", "summer", "59", 10),
        ]
        assert [p.optical.name for p in found.pairs] == [
            "ROIs1868_summer_s2_59_p2.png",
            "ROIs1868_summer_s2_59_p10.png",
        ]
        assert [path.name for path in found.unpaired] == ["ROIs1970_fall_s1_13_p2.png", "ROIs1970_fall_s2_13_p3.png"]


@pytest.mark.parametrize("name", ["rois/s1_1/ROIs1158_spring_s1_1_p1.png", "agri/s1/ROIs1868_summer_s1_59_p1.png"])
def test_a_folder_without_its_partner_is_not_passed_over(tmp_path, name):
    touch(tmp_path, "a/s1/x.png", "a/s2/x.png", name)
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 1 and found.unpaired == [tmp_path / name]


def test_symbolic_links_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "agri/s1/x.png", "agri/s2/x.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/v_2").symlink_to(tmp_path / "elsewhere")
    assert find_pairs(tmp_path / "data").pairs[0].terrain == "agri"


def test_one_terrain_folder_alone(tmp_path):
    touch(tmp_path, "agri/s1/ROIs1868_summer_s1_59_p2.png", "agri/s2/ROIs1868_summer_s2_59_p2.png")
    assert find_pairs(tmp_path / "agri").pairs[0].scene == "59"


def test_original_sen12_layout(tmp_path):
    for scene in ("0", "12"):
        touch(
            tmp_path,
            f"ROIs1158_spring/s1_{scene}/ROIs1158_spring_s1_{scene}_p30.png",
            f"ROIs1158_spring/s2_{scene}/ROIs1158_spring_s2_{scene}_p30.png",
        )
    for root in (tmp_path, tmp_path / "ROIs1158_spring"):
        assert [(p.season, p.scene, p.patch, p.terrain) for p in find_pairs(root).pairs] == [
            ("spring", "0", 30, None),
            ("spring", "12", 30, None),
        ]


@pytest.mark.parametrize("folders", [("s1", "s2"), ("sar", "optical"), ("A", "B")])
def test_parallel_folders(tmp_path, folders):
    sar, optical = folders
    touch(tmp_path, f"{sar}/a.png", f"{optical}/a.tif", f"{sar}/b_sar.png", f"{optical}/b_optical.png", f"{sar}/.x")
    found = find_pairs(tmp_path)
    assert [(p.sar.name, p.optical.name, p.scene) for p in found.pairs] == [
        ("a.png", "a.tif", None),
        ("b_sar.png", "b_optical.png", None),
    ]
    assert found.unpaired == []


def test_manifest_by_file_and_by_folder(tmp_path):
    touch(tmp_path, "s1/x.png", "s2/x.png", "s1/y.png", "s2/y.png")
    (tmp_path / "pairs.csv").write_text(
        "sar,optical,scene,terrain,split\ns1/x.png,s2/x.png,delta,wet,test\ns1/y.png,s2/y.png,,,\n"
    )
    for root in (tmp_path, tmp_path / "pairs.csv"):
        first, second = find_pairs(root).pairs
        assert (first.scene, first.terrain, first.split) == ("delta", "wet", "test")
        assert first.optical == tmp_path / "s2" / "x.png"
        assert (second.scene, second.terrain, second.split) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns sar and optical"),
        ("sar,optical\n", "no pairs"),
        ("sar,optical\nx.png,\n", "line 2"),
        ("sar,optical,split\nx.png,y.png,tset\n", "line 2.*tset"),
        ("sar,optical\nx.png,y.png\nx.png,y.png\n", "line 3.*second time"),
        ("sar,optical\nx.png,z.png\n", "line 2.*z.png, which does not exist"),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    touch(tmp_path, "x.png", "y.png")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)


def test_scenes_by_their_names(tmp_path):
    for name, height in (("delta", 130), ("coast", 64)):
        write_scenes(tmp_path, name, height, 200)
    (tmp_path / "coast_height.tif").write_bytes(b"of no matter")
    for layout in ("auto", "scenes"):
        found = find_pairs(tmp_path, layout, size=64)
        assert [(p.scene, p.window) for p in found.pairs[:4]] == [
            *(("coast", (column, 0, 64, 64)) for column in (0, 64, 128)),
            ("delta", (0, 0, 64, 64)),
        ]
        assert len(found.pairs) == 9 and not found.unpaired
        assert (found.pairs[0].sar.name, found.pairs[0].optical.name) == ("coast_S1_VH.tif", "coast_S2_RGB.tif")
    (tmp_path / "delta_S2_RGB.tif").unlink()
    assert find_pairs(tmp_path, size=64).unpaired == [tmp_path / "delta_S1_VH.tif"]


def test_scenes_in_a_manifest(tmp_path):
    for name in ("a", "b"):
        write_scenes(tmp_path / "tiffs", name, 64, 128)
    (tmp_path / "scenes.csv").write_text(
        "sar,optical,scene,split\n"
        "tiffs/a_S1_VH.tif,tiffs/a_S2_RGB.tif,,train\n"
        "tiffs/b_S1_VH.tif,tiffs/b_S2_RGB.tif,delta,test\n"
    )
    for root in (tmp_path, tmp_path / "scenes.csv"):
        pairs = find_pairs(root, size=64).pairs
        assert [(pair.scene, pair.split, pair.window[0]) for pair in pairs] == [
            ("a_S1_VH", "train", 0),
            ("a_S1_VH", "train", 64),
            ("delta", "test", 0),
            ("delta", "test", 64),
        ]


def test_scenes_without_a_window_are_left_out(tmp_path):
    write_scenes(tmp_path, "a", 64, 128)
    write_tiff(tmp_path / "b_S1_VH.tif", np.ones((1, 64, 128), np.uint8))
    write_tiff(tmp_path / "b_S2_RGB.tif", np.zeros((3, 64, 128), np.uint8))
    (tmp_path / "scenes.csv").write_text("sar,optical\na_S1_VH.tif,a_S2_RGB.tif\nb_S1_VH.tif,b_S2_RGB.tif\n")
    found = find_pairs(tmp_path, size=64)
    assert {pair.scene for pair in found.pairs} == {"a_S1_VH"}
    assert [line for line in found.said if "left out" in line and "b_S1_VH.tif: no window" in line]


def test_nothing_found(tmp_path):
    with pytest.raises(DataError, match="no such"):
        find_pairs(tmp_path / "missing")
    with pytest.raises(DataError, match="no pairs"):
        find_pairs(tmp_path)
    touch(tmp_path, "s1/a.png", "s2/a.png")
    with pytest.raises(DataError, match="'terrain'"):
        find_pairs(tmp_path, "terrain")
    assert len(find_pairs(tmp_path, "folders").pairs) == 1


def test_equal_names_with_two_suffixes_are_refused(tmp_path):
    touch(tmp_path, "s1/a.png", "s1/a.tif", "s2/a.png")
    with pytest.raises(DataError, match="same name"):
        find_pairs(tmp_path)


def test_the_16000_pairs_of_the_kaggle_subset(tmp_path, shared):
    with (shared / "data/sen12/kaggle_v_2_files.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in [row[side] for row in rows for side in ("sar", "optical")]:
        touch(tmp_path, f"v_2/{name}")
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 16000 and not found.unpaired
    expected = {(row["sar"].split("/")[-1], row["optical"].split("/")[-1], row["terrain"]) for row in rows}
    assert {(p.sar.name, p.optical.name, p.terrain) for p in found.pairs} == expected
    # 32 (terrain, season, scene), but two scenes stand under two terrains.
    assert len({p.place for p in found.pairs}) == 30


def test_the_real_data_beside_the_checkout(shared):
    assert len(find_pairs(shared / "data/sen12/v_2").pairs) == 80
    ombria = find_pairs(shared / "data/ombria").pairs
    assert len(ombria) == 568 and ombria[0].scene == "2021albania"


def test_a_name_that_tells_nothing(tmp_path):
    pair = pair_from_names(tmp_path / "a.png", tmp_path / "b.png")
    assert (pair.season, pair.scene, pair.patch) == (None, None, None)


@pytest.mark.parametrize("name", ["../elsewhere/a.png", "{}/elsewhere/a.png", "below/../../elsewhere/a.png"])
def test_a_manifest_does_not_leave_its_folder_unless_it_may(command, tmp_path, save_png, name):
    save_png(tmp_path / "elsewhere/a.png", np.zeros((32, 32), np.uint8))
    save_png(tmp_path / "data/b.png", np.zeros((32, 32, 3), np.uint8))
    manifest = tmp_path / "data/pairs.csv"
    manifest.write_text(f"sar,optical\n{name.format(tmp_path)},below/../b.png\n")
    for verb in (["scan"], ["check"], ["split", "-o", tmp_path / "x.csv"]):
        code, _, err = command("data", *verb, tmp_path / "data")
        assert code == 2 and "does not lie below the manifest's folder" in err and "by --allow-outside" in err
    assert "1 pairs" in command("data", "scan", tmp_path / "data", "--allow-outside")[1]
    assert find_pairs(manifest, allow_outside=True).pairs[0].sar == tmp_path / "elsewhere/a.png"
