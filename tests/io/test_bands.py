import numpy as np
import pytest
from helpers import one_line, write_tiff
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from sar_keras.config import load_config
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import Pair, find_pairs
from sar_keras.data.reading import PairReader
from sar_keras.errors import ConfigError, DataError
from sar_keras.io.bands import POLARISATIONS, Bands, choose_optical, choose_sar, polarisation
from sar_keras.io.images import read_optical, read_sar

# Descriptions of red, green and blue as files have them.
SPELLINGS = [
    ("B4", "B3", "B2"),
    ("B04", "B03", "B02"),
    ("b4", "b3", "b2"),
    ("red", "green", "blue"),
    ("Red", "Green", "Blue"),
    ("r", "g", "b"),
    ("S2_B04_10m", "S2_B03_10m", "S2_B02_10m"),
    ("B4, central wavelength 665 nm", "B3, central wavelength 560 nm", "B2, central wavelength 490 nm"),
    ("vis-red", "vis-green", "vis-blue"),
]
# Names that must not be taken for them.
OTHERS = [
    "", "B1", "B5", "B8", "B8A", "B12", "B40", "nir", "red edge", "RedEdge 1", "red_edge_2", "coastal blue",
    "near infra red", "infrared", "B11", "angle", "greenness",
]  # fmt: skip


def named(*names):
    return Bands(tuple(range(1, len(names) + 1)), names, (ColorInterp.undefined,) * len(names))


@given(st.data())
def test_bands_are_chosen_by_name_in_any_order_among_any_others(data):
    colours = data.draw(st.sampled_from(SPELLINGS))
    names = data.draw(st.permutations([*colours, *data.draw(st.lists(st.sampled_from(OTHERS), max_size=10))]))
    numbers, said, _ = choose_optical("a.tif", named(*names))
    assert [names[number - 1] for number in numbers] == list(colours)
    if numbers == (1, 2, 3):
        assert said is None
    else:
        assert f"bands {', '.join(map(str, numbers))} of" in said and "data.optical_bands overrules" in said


@pytest.mark.parametrize("count", [5, 7, 11, 14])
def test_many_bands_of_which_nothing_tells_the_colours_are_refused(count):
    for bands in (Bands.unnamed(count), named(*OTHERS[1:][:count])):
        with pytest.raises(DataError, match=rf"a\.tif: has {count} bands.*data\.optical_bands"):
            choose_optical("a.tif", bands)


@pytest.mark.parametrize(
    "names",
    [
        ["B4_2020", "B4_2021", "B3_2020", "B3_2021", "B2_2020"],  # two of one colour
        ["red", "green", "nir", "swir", "angle"],  # no blue
        ["NDVI " + month for month in "JFMAMJJASOND"],  # as many as Sentinel-2 has, but others
        [f"B{number}_{date}" for date in (1, 2, 3) for number in (2, 3, 4, 8)],
    ],
)
def test_names_that_do_not_decide_are_refused(names):
    with pytest.raises(DataError, match="nothing tells"):
        choose_optical("a.tif", named(*names))


@pytest.mark.parametrize("count", [12, 13])
@pytest.mark.parametrize("name", [lambda n: "", lambda n: "bands", lambda n: f"Band {n}", lambda n: f"band_{n:02}"])
def test_the_orders_of_sentinel_2(count, name):
    numbers, said, _ = choose_optical("a.tif", named(*[name(n) for n in range(1, count + 1)]))
    assert numbers == (4, 3, 2) and "Sentinel-2" in said and "data.optical_bands" in said


@given(
    st.permutations(
        [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined, ColorInterp.undefined]
    )
)
def test_bands_are_chosen_by_colour_interpretation(kinds):
    bands = Bands((1, 2, 3, 4, 5), ("",) * 5, tuple(kinds))
    numbers, said, _ = choose_optical("a.tif", bands)
    assert [kinds[number - 1].name for number in numbers] == ["red", "green", "blue"]
    assert (said is None) == (numbers == (1, 2, 3))
    # Names say more: writers call any three bands of 8 bits red, green and blue.
    assert choose_optical("a.tif", Bands((1, 2, 3), ("B2", "B3", "B4"), tuple(kinds[:3]))).numbers == (3, 2, 1)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1,)), (2, (1,)), (3, (1, 2, 3)), (4, (1, 2, 3))], ids=["grey", "grey2", "rgb", "rgbn"]
)
def test_few_bands_without_names_are_taken_as_they_stand(count, expected):
    assert choose_optical("a.tif", Bands.unnamed(count))[:2] == (expected, None)
    assert choose_optical("a.tif", named(*["b1", "b2", "b3"][:count])).numbers == expected[: min(count, 3)]


@pytest.mark.parametrize("wanted", [[5, 1, 3], ["5", 1, "c"], ["NIR", "b02", "swir"]])
def test_what_is_asked_for_overrules(wanted):
    bands = named("B2", "c", "SWIR 1", "B4", "nir")
    if wanted[1] == 1:
        bands = named("B2", "B3", "c", "B4", "nir")
    assert choose_optical("a.tif", bands, wanted)[:2] == ((5, 1, 3), None)


@pytest.mark.parametrize("wanted", [[0, 1, 2], [1, 2, 6], ["red", 1, 2], ["s", 1, 2], ["2020", 1, 2]])
def test_what_is_not_there_is_refused(wanted):
    with pytest.raises(DataError, match=rf"a\.tif: has .* {wanted[0] if wanted[0] != 1 else 6} \(data\.optical_bands"):
        choose_optical("a.tif", named("a", "s 1", "s 2", "a 2020", "b 2020"), wanted)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_files_of_any_depth_and_with_transparency(tmp_path, random, dtype):
    bands = random.integers(1, 200, (5, 32, 32)).astype(dtype)
    path = write_tiff(tmp_path / "a.tif", bands, names=["B2", "B3", "B4", "B8", "mask"])
    np.testing.assert_array_equal(read_optical(path), np.moveaxis(bands[[2, 1, 0]], 0, -1))
    np.testing.assert_array_equal(read_optical(path, bands=[4, "b4", 1]), np.moveaxis(bands[[3, 2, 0]], 0, -1))
    kinds = [ColorInterp.alpha, ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    path = write_tiff(tmp_path / "b.tif", bands, kinds=kinds)
    np.testing.assert_array_equal(read_optical(path), np.moveaxis(bands[[3, 2, 1]], 0, -1))


@pytest.mark.parametrize("kind", ["folders", "manifest", "scenes", "a manifest of scenes"])
def test_one_rule_for_every_layout(tmp_path, random, kind):
    scenes = "scenes" in kind
    sar, optical = ("s1/a.tif", "s2/a.tif") if not scenes else ("a_S1.tif", "a_S2.tif")
    stored = random.integers(1, 3000, (13, 64, 64)).astype("uint16")
    write_tiff(tmp_path / sar, random.normal(-12, 3, (1, 64, 64)).astype("float32"))
    write_tiff(tmp_path / optical, stored)
    if "manifest" in kind:
        name = "scenes.csv" if scenes else "pairs.csv"
        (tmp_path / name).write_text(f"sar,optical\n{sar},{optical}\n")
    pairs = find_pairs(tmp_path, size=64).pairs
    for bands, expected in ((None, [3, 2, 1]), ((8, "4", 3), [7, 3, 2])):
        images = load_images(pairs, 64, PairReader(optical_bands=bands))
        optical_image = images.memory[1][0]
        if scenes:
            optical_image = optical_image[32:96, 32:96]
        np.testing.assert_array_equal(optical_image, np.moveaxis(stored[expected], 0, -1))
        assert len(images.reader.said) == (bands is None)


def test_fit_refuses_and_check_says_which_bands_are_taken_in_one_line(command, tmp_path, random):
    for index in range(3):
        write_tiff(
            tmp_path / f"data/s1/ROIs1_fall_s1_{index}_p1.tif", random.normal(-12, 3, (1, 64, 64)).astype("float32")
        )
        write_tiff(
            tmp_path / f"data/s2/ROIs1_fall_s2_{index}_p1.tif", random.integers(1, 3000, (5, 64, 64)).astype("uint16")
        )
    code, _, err = command("fit", "fast", "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert code == 2 and "5 bands" in one_line(err) and "data.optical_bands" in err
    assert not (tmp_path / "run").exists()
    names = ["B2", "B3", "B4", "B8", "B11"]
    for path in (tmp_path / "data/s2").iterdir():
        write_tiff(path, random.integers(1, 3000, (5, 64, 64)).astype("uint16"), names=names)
    code, out, _ = command("data", "check", tmp_path / "data")
    assert out.count("bands 3, 2, 1 of 1 B2, 2 B3, 3 B4, 4 B8, 5 B11 are red, green and blue, by their names") == 1


SAR_NAMES = ["{}", "Sigma0_{}", "gamma0 {} db", "Intensity_{}_S1A", "{} (dB)"]


@given(st.permutations(POLARISATIONS), st.integers(1, 4), st.sampled_from(SAR_NAMES), st.booleans(), st.data())
def test_sar_bands_are_put_in_order_by_their_names(order, count, way, lower, data):
    there = order[:count]
    named_so = [way.format(name.lower() if lower else name) for name in there]
    names = data.draw(st.permutations([*named_so, *["", "angle", "mask"][: data.draw(st.integers(0, 3))]]))
    channels = data.draw(st.integers(1, count))
    numbers, said, told = choose_sar("a.tif", named(*names), channels)
    expected = sorted(there, key=POLARISATIONS.index)[:channels]
    assert [polarisation(names[number - 1]) for number in numbers] == expected == list(told)
    assert (said is None) == (numbers == tuple(range(1, len(names) + 1)))


@pytest.mark.parametrize(
    "names",
    [
        ["VV_before", "VH_before", "VV_after", "VH_after"],
        ["", "", ""],
        ["a", "VHF", "VVV"],
        ["VH/VV", "VV-VH", "ratio"],
    ],
)
def test_names_that_tell_no_single_polarisation_leave_the_order(names):
    assert choose_sar("a.tif", named(*names), 2).numbers == (1, 2)


@pytest.mark.parametrize(
    ("wanted", "numbers", "told"),
    [
        (["VH"], (1,), ("VH",)),
        (["vv", "VH"], (2, 1), ("VV", "VH")),
        ([2], (2,), ("VV",)),
        (["x"], (3,), ("x",)),
    ],
)
def test_sar_bands_that_are_asked_for(wanted, numbers, told):
    bands = named("Gamma0_VH", "Gamma0_VV", "x")
    assert choose_sar("a.tif", bands, len(wanted), wanted) == (numbers, None, told)
    with pytest.raises(DataError, match=r"has no band HH \(data\.sar_bands\); it has 1 Gamma0_VH, 2 Gamma0_VV, 3 x"):
        choose_sar("a.tif", bands, 1, ["HH"])
    with pytest.raises(DataError, match=r"has 3 band\(s\), the model takes 4"):
        choose_sar("a.tif", bands, 4)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("order", [("VV", "VH"), ("vh", "vv"), ("HV", "HH")])
def test_a_file_for_each_polarisation_is_one_image(tmp_path, random, save_png, suffix, order):
    first, second = (random.integers(0, 255, (20, 30), np.uint8) for _ in order)
    files = [save_png(tmp_path / f"S1A_RTC30_{order[0]}{suffix}", first)]
    files += [save_png(tmp_path / f"S1A_RTC30_{order[1]}{suffix}", second)]
    straight = order == ("VV", "VH")
    expected = np.stack([first, second] if straight else [second, first], -1)
    np.testing.assert_array_equal(read_sar(files, 2), expected)
    np.testing.assert_array_equal(read_sar(files, 1), expected[..., :1])
    np.testing.assert_array_equal(read_sar(files, 1, bands=[order[0]])[..., 0], first)
    save_png(files[1], second[:10])
    with pytest.raises(DataError, match="differs in size"):
        read_sar(files, 2)


def write_polarisations(root, layout, random, size=64):
    """Four pairs, of two polarisations each, one file each; returns VV and VH, (4, size, size)."""
    values = random.normal(-12, 3, (2, 4, size, size)).astype("float32")
    for index in range(4):
        for number, name in enumerate(("VV", "VH")):
            write_tiff(
                root / layout.format(side="sar", index=index, _band=f"_{name}", band=f"/{name}"),
                values[number, index][None],
            )
        optical = random.integers(1, 255, (3, size, size)).astype("uint8")
        write_tiff(root / layout.format(side="opt", index=index, _band="", band=""), optical)
    return values


@pytest.mark.parametrize(
    "layout",
    [
        "{side}/scene{index}{_band}.tif",
        "{side}{_band}/{index}.tif",
        "x/{side}{band}/{index}.tif",
        "n{index}_{side}{_band}.tif",
    ],
)
def test_files_of_each_polarisation_are_one_input_of_two_bands(tmp_path, random, layout):
    vv, vh = write_polarisations(tmp_path, layout, random)
    found = find_pairs(tmp_path, size=64)
    assert len(found.pairs) == 4 and not found.unpaired
    cut = slice(32, 96) if found.pairs[0].window else slice(None)
    for reader, expected, names, said in (
        (PairReader(2), [vv, vh], ("VV", "VH"), 0),
        (PairReader(1), [vv], ("VV",), 1),
        (PairReader(1, ["VH"]), [vh], ("VH",), 0),
        (PairReader(2, ["VH", 1]), [vh, vv], ("VH", "VV"), 0),
    ):
        images = load_images(found.pairs, 64, reader)
        np.testing.assert_array_equal(images.memory[0][:, cut, cut], np.stack(expected, -1))
        assert images.sar_bands == names and len(reader.said) == said
        assert all("data.sar_bands" in line for line in reader.said)


def test_one_polarisation_twice_or_not_named_is_refused(tmp_path, random):
    write_polarisations(tmp_path, "{side}/{index}{_band}.tif", random, 32)
    write_tiff(tmp_path / "sar/0 VV.tif", np.zeros((1, 32, 32), "float32"))
    with pytest.raises(DataError, match=r"0_VV\.tif: has the same name as"):
        find_pairs(tmp_path)


def test_files_whose_bands_differ_are_put_in_order_or_named(tmp_path, random):
    pairs, values = [], random.normal(-12, 3, (4, 2, 32, 32)).astype("float32")
    for index, names in enumerate([("VV", "VH"), ("VH", "VV"), ("VV", "VH"), ("HH", "HV")]):
        sar = write_tiff(tmp_path / f"s1/{index}.tif", values[index], names=names)
        pairs.append(
            Pair(sar, write_tiff(tmp_path / f"s2/{index}.tif", random.integers(1, 9, (3, 32, 32)).astype("uint8")))
        )
    images = load_images(pairs[:3], 32, PairReader(2))
    values[1] = values[1, ::-1]
    np.testing.assert_array_equal(images.memory[0], np.moveaxis(values[:3], 1, -1))
    assert images.sar_bands == ("VV", "VH") and len(images.reader.said) == 1
    images = load_images(pairs, 32, PairReader(2))
    assert images.sar_bands == () and "VV and VH in some files, HH and HV in others" in images.reader.said[-1]


def test_sar_bands_must_be_as_many_as_the_model_takes():
    for changes in (["data.sar_bands=VH"], ["data.sar_bands=[1]"], ["data.sar_bands=[VV, VH]", "model.channels=2"]):
        load_config("default", changes)
    with pytest.raises(ConfigError, match=r"data\.sar_bands.*model\.channels"):
        load_config("default", ["data.sar_bands=[VV, VH]"])
