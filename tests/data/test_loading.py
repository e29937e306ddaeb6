import dataclasses
import gc
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import plain_data, take, write_tiff

from sar_keras.config import DataConfig
from sar_keras.data import loading
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import Pair
from sar_keras.data.pipeline import evaluation_dataset, training_dataset
from sar_keras.data.reading import PairReader
from sar_keras.errors import ConfigError, DataError


def test_sixteen_bit_and_decibel_images_reach_the_whole_range(tmp_path, save_png, random):
    pairs = []
    for index in range(4):
        sar = save_png(tmp_path / f"s1/{index}.png", random.integers(50, 1200, (64, 64)).astype(np.uint16))
        pairs.append(Pair(sar, save_png(tmp_path / f"s2/{index}.png", np.zeros((64, 64, 3), np.uint8))))
    images = load_images(pairs, size=64)
    assert images.sar_scale.units == "amplitude"
    ((sar, _),) = take(evaluation_dataset(images, [0, 1, 2, 3], 4), 1)
    assert abs(sar.mean()) < 0.1 and sar.std() > 0.4


def test_what_is_held_out_does_not_stretch_the_scale(tmp_path, save_png):
    pairs = []
    for index, (split, highest) in enumerate([("train", 1000), ("test", 50_000)]):
        sar = np.linspace(0, highest, 64 * 64).reshape(64, 64).astype(np.uint16)
        files = (
            save_png(tmp_path / f"s{index}.png", sar),
            save_png(tmp_path / f"o{index}.png", np.zeros((64, 64, 3), np.uint8)),
        )
        pairs.append(Pair(*files, split=split))
    assert load_images(pairs, size=64).sar_scale.high <= 1000


@pytest.mark.parametrize("in_memory", [True, False])
def test_linear_power_is_scaled_in_decibel(tmp_path, save_png, in_memory):
    tiff, colour = tmp_path / "s1/a.tif", save_png(tmp_path / "s2/a.png", np.zeros((64, 64, 3), np.uint8))
    power = np.full((64, 64), 0.001, np.float32)
    power[:, 16:48], power[:, 48:] = 0.01, 0.1
    save_png(tiff, power)
    images = load_images([Pair(tiff, colour)], size=64)
    images = images if in_memory else dataclasses.replace(images, memory=None)
    ((sar, _),) = take(evaluation_dataset(images, [0], 1), 1)
    # -30, -20 and -10 dB are equally far apart, as 0.001, 0.01 and 0.1 are not.
    np.testing.assert_allclose(sar[0, 0, [0, 32, 63], 0], [-1, 0, 1], atol=1e-4)


def test_nodata_in_a_window_is_dark_and_does_not_stretch_the_scale(tmp_path, random):
    power = random.uniform(0.01, 1, (1, 64, 64)).astype("float32")
    reflectance = random.uniform(100, 3000, (3, 64, 64)).astype("int16")
    power[:, :4], reflectance[:, :4] = -99, -9999
    pair = Pair(
        write_tiff(tmp_path / "s.tif", power, nodata=-99),
        write_tiff(tmp_path / "o.tif", reflectance, nodata=-9999),
        window=(0, 0, 64, 64),
    )
    images = load_images([pair], size=64)
    assert images.sar_units == "linear" and images.optical_scale.low >= 0
    ((sar, optical),) = take(evaluation_dataset(images, [0], 1), 1)
    assert (sar[0, :4] == -1).all() and (optical[0, :4] == -1).all() and sar[0, 4:].mean() > 0


@pytest.mark.parametrize("way", ["nan", "tag", "sentinel", "logarithm of zero"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_of_a_patch_is_no_data_is_dark_and_does_not_stretch_the_scale(tmp_path, random, way, in_memory):
    sar = random.normal(-12, 2, (1, 64, 64)).astype("float32")
    optical = random.uniform(500, 3000, (3, 64, 64)).astype("float32")
    ranges = [np.percentile(values, [1, 99]) for values in (sar[:, :, 5:], optical[:, :, 6:])]
    value = {"nan": np.nan, "tag": -99, "sentinel": -9999, "logarithm of zero": -np.inf}[way]
    sar[:, :, :5], optical[:, :, :6] = value, np.nan
    pair = Pair(
        write_tiff(tmp_path / "s.tif", sar, nodata=-99 if way == "tag" else None),
        write_tiff(tmp_path / "o.tif", optical, nodata=-1),
    )
    images = load_images([pair], size=64)
    images = images if in_memory else dataclasses.replace(images, memory=None)
    scales = [(scale.low, scale.high) for scale in (images.sar_scale, images.optical_scale)]
    np.testing.assert_allclose(scales, ranges, rtol=1e-3)
    for dataset in (evaluation_dataset(images, [0], 1), training_dataset(images, [0], 1, 0, plain_data())):
        for values, first in zip(take(dataset, 1)[0], (5, 6), strict=True):
            assert (values[0, :, :first] == -1).all() and abs(values[0, :, first:].mean()) < 0.1


@pytest.mark.parametrize(
    ("side", "way"),
    [("sar", "nan"), ("sar", "sentinel"), ("optical", "nan"), ("optical", "sentinel"), ("optical", "zeros of 16 bits")],
)
@pytest.mark.filterwarnings("ignore:the optical images are grey")
@pytest.mark.parametrize(("columns", "kept"), [(0, True), (6, True), (7, False), (64, False)])
def test_a_patch_that_lacks_more_than_a_tenth_is_left_out(tmp_path, save_png, way, side, columns, kept):
    value, kind = {"nan": (np.nan, "float32"), "sentinel": (-9999, "float32"), "zeros of 16 bits": (0, "uint16")}[way]
    whole = np.full((1, 64, 64), 500 if kind == "uint16" else -5, kind)
    lacking = whole.copy()
    lacking[:, :, :columns] = value
    grey = save_png(tmp_path / "grey.png", np.zeros((64, 64), np.uint8))  # dark, which is no lack of data
    pairs = []
    for name, values in (("a", whole), ("b", lacking)):
        path = write_tiff(tmp_path / f"{name}.tif", values)
        pairs.append(Pair(path, grey) if side == "sar" else Pair(grey, path))
    if kept:
        assert load_images(pairs, 64).pairs == pairs
        return
    with pytest.warns(UserWarning, match=rf"left out: .*b\.tif: {columns / 64:.0%} of it hold no data.*1 of 2 pairs"):
        assert load_images(pairs, 64).pairs == pairs[:1]
    with pytest.raises(DataError, match=r"b\.tif: .* hold no data, more than 10%"):
        load_images(pairs[1:], 64)


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("skipped", [0, 1])
def test_training_changes_nothing_of_what_is_in_memory(hundred, monkeypatch, skipped):
    for pair in hundred:  # floats, which operations might change where they are
        values = np.full((1, 32, 32), -int(pair.sar.stem), np.float32)
        values[:, 3:5] = np.nan
        write_tiff(pair.sar.with_suffix(".tif"), values)
    pairs = [dataclasses.replace(pair, sar=pair.sar.with_suffix(".tif")) for pair in hundred]
    if skipped:
        pairs[7].optical.write_bytes(b"")
    images = load_images(pairs, size=32, on_error="skip")
    assert images.memory and len(images.pairs) == len(images.memory[0]) == 100 - skipped
    before = [store.copy() for store in images.memory]
    for _ in training_dataset(images, list(range(90)), 9, 0, DataConfig(speckle=True, radiometric_jitter=0.2)).take(20):
        pass
    for store, expected in zip(images.memory, before, strict=True):
        np.testing.assert_array_equal(store, expected)


def test_images_that_nothing_reads_any_more_leave_the_memory(hundred):
    images = load_images(hundred[:4], size=32)
    take(training_dataset(images, list(range(4)), 2, 0, DataConfig()), 1)
    take(evaluation_dataset(images, list(range(4)), 2), 1)
    there = weakref.ref(images.memory[0].base)
    del images
    gc.collect()
    assert there() is None


def test_pairs_that_do_not_fit_together(tmp_path, save_png):
    sar = save_png(tmp_path / "s1/a.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: differs in size.*64x64 and 60x64"):
        load_images([Pair(sar, save_png(tmp_path / "s2/a.png", np.zeros((64, 60, 3), np.uint8)))])
    deep = save_png(tmp_path / "s1/b.png", np.zeros((64, 64), np.uint16))
    colour = save_png(tmp_path / "s2/b.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: is uint16, those before it are uint8"):
        load_images([Pair(sar, colour), Pair(deep, colour)])


def test_windows_are_not_resized():
    with pytest.raises(ConfigError, match=r"data\.resize"):
        load_images([Pair(Path("s.tif"), Path("o.tif"), window=(0, 0, 64, 64))], size=64, resize=True)


def test_the_first_broken_pair_ends_the_reading(hundred, monkeypatch):
    hundred[0].sar.write_bytes(b"")
    read, before = [], loading._read

    def slowly(pair, reader):
        read.append(pair)
        time.sleep(0.01)
        return before(pair, reader)

    monkeypatch.setattr(loading, "_read", slowly)
    with pytest.raises(DataError, match="empty"):
        load_images(hundred, size=32)
    assert len(read) < 50


def test_pairs_that_cannot_be_read_are_skipped_up_to_one_in_a_hundred(hundred):
    hundred[0].sar.write_bytes(b"")
    with pytest.raises(DataError, match=r"0\.png: the file is empty"):
        load_images(hundred, size=32)
    with pytest.warns(UserWarning, match=r"skipped: .*0\.png: the file is empty"):
        images = load_images(hundred, size=32, on_error="skip")
    assert images.pairs == hundred[1:]
    ((sar, _),) = take(evaluation_dataset(images, [0, 98], 2), 1)
    np.testing.assert_allclose(sar[:, 0, 0, 0], np.array([1, 99]) / 127.5 - 1, atol=1e-6)
    hundred[5].optical.write_bytes(b"x")
    with pytest.raises(DataError, match="2 of 100 pairs cannot be read, more than 1%"), pytest.warns(UserWarning):
        load_images(hundred, size=32, on_error="skip")


def test_a_file_that_breaks_later_gives_its_place_to_the_next_of_its_split(hundred):
    images = dataclasses.replace(load_images(hundred, size=32, on_error="skip"), memory=None)
    hundred[0].sar.unlink()
    with pytest.warns(UserWarning, match=r"skipped: .*0\.png: no such file"):
        ((sar, _),) = take(evaluation_dataset(images, [0, 4], 2), 1)
    np.testing.assert_allclose(sar[:, 0, 0, 0], np.array([2, 4]) / 127.5 - 1, atol=1e-6)


def decibels(random, size=96) -> tuple[np.ndarray, np.ndarray]:
    """Speckle about -12 dB, exactly zero outside of a slanted footprint, and where it is (size, size)."""
    rows, columns = np.mgrid[:size, :size]
    outside = columns + 0.35 * rows < size / 3
    values = random.normal(-12, 2, (1, size, size)).astype("float32")
    values[:, outside] = 0
    return values, outside


@pytest.mark.parametrize("kind", ["windows", "patches", "patches from files", "two bands", "scaled integers"])
def test_zeros_around_a_footprint_in_decibel_are_no_data(tmp_path, random, kind):
    values, outside = decibels(random)
    channels = 2 if kind == "two bands" else 1
    values = np.repeat(values, channels, 0)
    values[:, 80, 80] = 0  # a single bright target
    stored = (values * 100).round().astype("int16") if kind == "scaled integers" else values
    sar = write_tiff(tmp_path / "s.tif", stored)
    if kind == "scaled integers":
        with rasterio.open(sar, "r+") as file:
            file.scales = (0.01,)
    optical = write_tiff(tmp_path / "o.tif", random.integers(1, 255, (3, 96, 96)).astype("uint8"))
    window = (0, 0, 96, 96) if kind == "windows" else None
    images = load_images([Pair(sar, optical, window=window)], 96, PairReader(channels))
    assert images.sar_units == "db"
    measured = values[:, ~outside]
    low, high = np.percentile(measured, [1, 99])
    np.testing.assert_allclose([images.sar_scale.low, images.sar_scale.high], [low, high], atol=0.05)
    if kind == "patches from files":
        images = dataclasses.replace(images, memory=None)
    ((patch, _),) = take(evaluation_dataset(images, [0], 1), 1)
    assert (patch[0, outside] == -1).all() and abs(patch[0, ~outside].mean()) < 0.1
    assert (patch[0, 80, 80] == 1).all()


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_zeros_of_other_units_stay_as_they_are(tmp_path, random, low):
    values = random.uniform(low, 1, (1, 64, 64)).astype("float32")
    values[:, :20, :20] = 0
    pair = Pair(write_tiff(tmp_path / "s.tif", values), write_tiff(tmp_path / "o.tif", np.ones((3, 64, 64), np.uint8)))
    images = load_images([pair], 64)
    assert images.sar_units == ("unit" if low else "linear")
    ((patch, _),) = take(evaluation_dataset(images, [0], 1), 1)
    assert (patch[0, :20, :20] == (0 if low else -1)).all()


def test_zeros_of_amplitude_do_not_stretch_the_scale(tmp_path, save_png, random):
    values = random.integers(100, 200, (64, 64)).astype(np.uint16)
    values[:, :30] = 0
    sar = save_png(tmp_path / "s.png", values)
    images = load_images([Pair(sar, save_png(tmp_path / "o.png", np.zeros((64, 64, 3), np.uint8)))], 64)
    assert images.sar_units == "amplitude" and images.sar_scale.low >= 100


@pytest.mark.parametrize("sentinel", [-9999, -32768])
@pytest.mark.parametrize("factor", [1, 0.01, 0.001])
def test_sentinels_are_no_data_also_below_a_scale_tag(tmp_path, random, sentinel, factor):
    stored = (random.normal(-12, 2, (1, 64, 64)) / factor).clip(-32000, 0).astype("int16" if factor < 1 else "float32")
    expected = stored[:, :, 4:] * factor
    stored[:, :, :4] = sentinel
    sar = write_tiff(tmp_path / "s.tif", stored)
    with rasterio.open(sar, "r+") as file:
        file.scales = (factor,)
    pair = Pair(sar, write_tiff(tmp_path / "o.tif", np.ones((3, 64, 64), np.uint8)), window=(0, 0, 64, 64))
    images = load_images([pair], 64)
    ((patch, _),) = take(evaluation_dataset(images, [0], 1), 1)
    assert (patch[0, :, :4] == -1).all() and abs(patch[0, :, 4:].mean()) < 0.2
    assert images.sar_units == "db"
    np.testing.assert_allclose(
        [images.sar_scale.low, images.sar_scale.high], np.percentile(expected, [1, 99]), atol=0.2
    )


def test_without_sysconf_as_on_windows_images_are_kept_and_read(hundred, monkeypatch):
    expected = load_images(hundred, size=32)
    monkeypatch.delattr("os.sysconf")
    images = load_images(hundred, size=32)
    assert images.memory and expected.memory
    for (sar, optical), (other_sar, other_optical) in zip(
        take(evaluation_dataset(images, [3, 50], 2), 1), take(evaluation_dataset(expected, [3, 50], 2), 1), strict=True
    ):
        np.testing.assert_array_equal(sar, other_sar)
        np.testing.assert_array_equal(optical, other_optical)


def test_swapped_folders_are_noticed(save_png, tmp_path, random):
    sar = save_png(tmp_path / "sar.png", random.integers(1, 256, (64, 64), np.uint8))
    optical = save_png(tmp_path / "optical.png", random.integers(1, 256, (64, 64, 3), np.uint8))
    load_images([Pair(sar, optical)], size=64)
    with pytest.warns(UserWarning, match="the optical images are grey"):
        load_images([Pair(optical, sar)], size=64)
