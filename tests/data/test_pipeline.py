import dataclasses

import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import write_scenes, write_tiff

from sar_keras.data.pairs import Pair, find_pairs
from sar_keras.data.pipeline import evaluation_dataset, files_of_step, load, training_dataset, validation_dataset
from sar_keras.errors import ConfigError, DataError


def take(dataset, count):
    return [(sar.numpy(), optical.numpy()) for sar, optical in dataset.take(count)]


def equal(a, b):
    return all((x == y).all() for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def images(pairs_folder):
    return load(find_pairs(pairs_folder).pairs, size=64)


def test_batches_are_what_the_networks_take(images):
    ((sar, optical),) = take(training_dataset(images, list(range(24)), 4, seed=0, augment=True), 1)
    assert sar.shape == (4, 64, 64, 1) and optical.shape == (4, 64, 64, 3)
    assert sar.dtype == optical.dtype == np.float32
    assert min(sar.min(), optical.min()) >= -1 and max(sar.max(), optical.max()) <= 1


def test_same_seed_same_batches_and_a_run_can_begin_anywhere(images):
    indices = list(range(24))
    whole = take(training_dataset(images, indices, 5, seed=1, augment=True), 12)
    assert equal(whole, take(training_dataset(images, indices, 5, seed=1, augment=True), 12))
    assert equal(whole[7:], take(training_dataset(images, indices, 5, seed=1, augment=True, first_step=7), 5))
    assert not equal(whole[:1], take(training_dataset(images, indices, 5, seed=2, augment=True), 1))


def test_each_pass_shows_each_pair_once_in_an_order_of_its_own(images):
    batches = take(training_dataset(images, list(range(24)), 8, seed=0, augment=False), 6)
    plain = take(evaluation_dataset(images, list(range(24)), 24), 1)[0][1]
    shown = np.concatenate([optical for _, optical in batches])
    order = [int(np.abs(plain - image).sum((1, 2, 3)).argmin()) for image in shown]
    assert sorted(order[:24]) == sorted(order[24:]) == list(range(24))
    assert order[:24] != order[24:]


def test_files_give_what_memory_gives(images):
    from_files = dataclasses.replace(images, memory=None)
    indices = list(range(24))
    assert equal(
        take(training_dataset(images, indices, 4, seed=0, augment=True), 3),
        take(training_dataset(from_files, indices, 4, seed=0, augment=True), 3),
    )


def test_augmentation_treats_both_images_alike(tmp_path, save_png, random):
    # The "optical" image is the SAR image in colour: whatever is done to one must be done to the other.
    pairs = []
    for index in range(4):
        grey = random.integers(0, 255, (64, 64), np.uint8)
        sar = save_png(tmp_path / f"s1/{index}.png", grey)
        pairs.append(Pair(sar, save_png(tmp_path / f"s2/{index}.png", np.repeat(grey[..., None], 3, -1))))
    images = load(pairs, size=64)
    batches = take(training_dataset(images, list(range(4)), 4, seed=0, augment=True), 8)
    for sar, optical in batches:
        np.testing.assert_allclose(np.repeat(sar, 3, -1), optical, atol=1e-6)
    # and something is done: the images differ from pass to pass
    assert len({sar.sum((1, 2, 3)).round(3).tobytes() for sar, _ in batches}) > 1


def test_patches_come_in_all_eight_orientations_and_half_of_them_enlarged(tmp_path, save_png, random):
    grey = random.integers(0, 255, (64, 64), np.uint8)
    sar = save_png(tmp_path / "s1/a.png", grey)
    images = load([Pair(sar, save_png(tmp_path / "s2/a.png", np.stack([grey] * 3, -1)))], size=64)
    ((patches, _),) = take(training_dataset(images, [0], 64, seed=0, augment=True), 1)
    whole = [np.rot90(image, turns) for image in (grey, grey.T) for turns in range(4)]
    found = [[np.allclose(patch[..., 0], image / 127.5 - 1, atol=1e-6) for image in whole] for patch in patches]
    assert np.any(found, axis=0).all()
    assert 20 < np.any(found, axis=1).sum() < 44
    assert len({patch.tobytes() for patch in patches}) > 30  # the others are cut at many places


def test_larger_images_are_cropped_smaller_ones_enlarged(tmp_path, save_png, random):
    big = random.integers(0, 255, (100, 80), np.uint8)
    pair = Pair(save_png(tmp_path / "s1/a.png", big), save_png(tmp_path / "s2/a.png", np.stack([big] * 3, -1)))
    ((sar, _),) = take(evaluation_dataset(load([pair], size=64), [0], 1), 1)
    np.testing.assert_allclose(sar[0, ..., 0], big[18:82, 8:72] / 127.5 - 1, atol=1e-6)
    ((sar, optical),) = take(evaluation_dataset(load([pair], size=64, resize=True), [0], 1), 1)
    assert sar.shape == (1, 64, 64, 1) and optical.shape == (1, 64, 64, 3)
    ((sar, _),) = take(evaluation_dataset(load([pair], size=128), [0], 1), 1)
    assert sar.shape == (1, 128, 128, 1)


def test_the_last_evaluation_batch_may_be_smaller(images):
    assert [len(sar) for sar, _ in take(evaluation_dataset(images, list(range(10)), 4), 9)] == [4, 4, 2]


# Twelve images a batch, in six parts: of two devices on each of three machines, of six machines, of six devices.
@pytest.mark.parametrize(("machines", "devices"), [(3, 2), (6, 1), (1, 6)])
def test_the_parts_of_all_devices_are_the_batch(machines, devices, images):
    contexts = [tf.distribute.InputContext(machines, machine, machines * devices) for machine in range(machines)]

    def parts(dataset, *arguments):
        """What the devices of each machine in turn get, put together, for two steps."""
        batches = [list(dataset(images, *arguments, context=context).take(2 * devices)) for context in contexts]
        steps = [[part for batch in batches for part in batch[step * devices :][:devices]] for step in range(2)]
        return [[np.concatenate(side) for side in zip(*step, strict=True)] for step in steps]

    arguments = list(range(20)), 12, 3, True, 1
    assert equal(parts(training_dataset, *arguments), take(training_dataset(images, *arguments), 2))
    (sar, _, weight), (more, _, more_weight) = parts(validation_dataset, list(range(20)), 12)
    (whole,) = take(evaluation_dataset(images, list(range(20)), 20), 1)
    np.testing.assert_array_equal(np.concatenate([sar, more])[:20], whole[0])
    np.testing.assert_array_equal(np.concatenate([weight, more_weight]), [1] * 20 + [0] * 4)


def test_images_of_unequal_size_train_too(tmp_path, save_png):
    pairs = []
    for index, side in enumerate((64, 96)):
        sar = save_png(tmp_path / f"s1/{index}.png", np.full((side, side), 40, np.uint8))
        pairs.append(Pair(sar, save_png(tmp_path / f"s2/{index}.png", np.full((side, side, 3), 80, np.uint8))))
    images = load(pairs, size=64)
    assert images.memory is None
    ((sar, _),) = take(training_dataset(images, [0, 1], 4, seed=0, augment=True), 1)
    np.testing.assert_allclose(sar, 40 / 127.5 - 1, atol=1e-5)


def test_sixteen_bit_and_decibel_images_reach_the_whole_range(tmp_path, save_png, random):
    pairs = []
    for index in range(4):
        sar = save_png(tmp_path / f"s1/{index}.png", random.integers(50, 1200, (64, 64)).astype(np.uint16))
        pairs.append(Pair(sar, save_png(tmp_path / f"s2/{index}.png", np.zeros((64, 64, 3), np.uint8))))
    images = load(pairs, size=64)
    assert images.sar_scale.units == "amplitude"
    ((sar, _),) = take(evaluation_dataset(images, [0, 1, 2, 3], 4), 1)
    assert abs(sar.mean()) < 0.1 and sar.std() > 0.4


@pytest.mark.parametrize("in_memory", [True, False])
def test_linear_power_is_scaled_in_decibel(tmp_path, save_png, in_memory):
    tiff, colour = tmp_path / "s1/a.tif", save_png(tmp_path / "s2/a.png", np.zeros((64, 64, 3), np.uint8))
    power = np.full((64, 64), 0.001, np.float32)
    power[:, 16:48], power[:, 48:] = 0.01, 0.1
    save_png(tiff, power)
    images = load([Pair(tiff, colour)], size=64)
    images = images if in_memory else dataclasses.replace(images, memory=None)
    ((sar, _),) = take(evaluation_dataset(images, [0], 1), 1)
    # -30, -20 and -10 dB are equally far apart, as 0.001, 0.01 and 0.1 are not.
    np.testing.assert_allclose(sar[0, 0, [0, 32, 63], 0], [-1, 0, 1], atol=1e-4)


def test_values_that_are_no_numbers_are_refused(tmp_path, save_png):
    values = np.zeros((64, 64), np.float32)
    values[3, 3] = np.nan
    bad, good = save_png(tmp_path / "b.tif", values), save_png(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    for pair in (Pair(good, bad), Pair(bad, good)):
        with pytest.raises(DataError, match=r"b\.tif.*not numbers"):
            load([pair])


def test_pairs_that_do_not_fit_together(tmp_path, save_png):
    sar = save_png(tmp_path / "s1/a.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: differs in size.*64x64 and 60x64"):
        load([Pair(sar, save_png(tmp_path / "s2/a.png", np.zeros((64, 60, 3), np.uint8)))])
    deep = save_png(tmp_path / "s1/b.png", np.zeros((64, 64), np.uint16))
    colour = save_png(tmp_path / "s2/b.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: is uint16, those before it are uint8"):
        load([Pair(sar, colour), Pair(deep, colour)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The images of one scene, (optical as stored, Images); its optical values tell where a patch was cut."""
    folder = tmp_path_factory.mktemp("scene")
    _, optical = write_scenes(folder, "a", 140, 200)
    with rasterio.open(optical) as file:
        return np.moveaxis(file.read(), 0, -1), load(find_pairs(folder, size=64).pairs, size=64)


@pytest.mark.parametrize("in_memory", [True, False])
def test_evaluation_sees_the_windows_of_a_scene(scene, in_memory):
    optical, images = scene
    assert images.memory
    images = images if in_memory else dataclasses.replace(images, memory=None)
    batches = take(evaluation_dataset(images, list(range(6)), 6), 1)
    for index, (sar, colour) in enumerate(zip(*batches[0], strict=True)):
        row, column = divmod(index, 3)
        expected = optical[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] / 127.5 - 1
        np.testing.assert_allclose(colour, expected, atol=1e-6)
        np.testing.assert_allclose(sar, expected[..., :1], atol=1e-6)


def test_training_crops_anywhere_within_half_a_window(scene):
    optical, images = scene
    mirrored = np.pad(optical, ((32, 32), (32, 32), (0, 0)), "reflect") / 127.5 - 1
    corners = set()
    for sar, colour in take(training_dataset(images, [0, 5], 8, seed=0, augment=False), 6):
        np.testing.assert_allclose(sar, colour[..., :1], atol=1e-6)
        for patch in colour:
            # The one place whose upper left pixel and the next ones are those of the patch.
            rows, columns = np.nonzero((np.abs(mirrored[:-63, :-63] - patch[0, 0]) < 1e-6).all(-1))
            places = [
                (row - 32, column - 32)
                for row, column in zip(rows, columns, strict=True)
                if np.allclose(mirrored[row : row + 64, column : column + 64], patch, atol=1e-6)
            ]
            assert len(places) == 1
            corners.add(places[0])
    first = {(row, column) for row, column in corners if abs(row) <= 32 and abs(column) <= 32}
    last = {(row, column) for row, column in corners if abs(row - 64) <= 32 and abs(column - 128) <= 32}
    assert first | last == corners and len(first) > 10 and len(last) > 10


def test_nodata_in_a_window_is_dark_and_does_not_stretch_the_scale(tmp_path, random):
    power = random.uniform(0.01, 1, (1, 64, 64)).astype("float32")
    reflectance = random.uniform(100, 3000, (3, 64, 64)).astype("int16")
    power[:, :4], reflectance[:, :4] = -99, -9999
    pair = Pair(
        write_tiff(tmp_path / "s.tif", power, nodata=-99),
        write_tiff(tmp_path / "o.tif", reflectance, nodata=-9999),
        window=(0, 0, 64, 64),
    )
    images = load([pair], size=64)
    assert images.sar_units == "linear" and images.optical_scale.low >= 0
    ((sar, optical),) = take(evaluation_dataset(images, [0], 1), 1)
    assert (sar[0, :4] == -1).all() and (optical[0, :4] == -1).all() and sar[0, 4:].mean() > 0


def test_windows_are_not_resized(scene):
    with pytest.raises(ConfigError, match=r"data\.resize"):
        load(scene[1].pairs, size=64, resize=True)


def test_unpaired_batches_have_orders_of_their_own(pairs_folder):
    images = load(find_pairs(pairs_folder).pairs, size=64)
    indices = list(range(24))
    whole = [pair for batch in evaluation_dataset(images, indices, 1) for pair in [batch]]
    sars, opticals = (np.stack([pair[side].numpy()[0] for pair in whole]) for side in (0, 1))

    def which(image, among):
        return int(np.abs(among - image.numpy()).mean((1, 2, 3)).argmin())

    batch = next(iter(training_dataset(images, indices, 24, 0, augment=False, paired=False)))
    sar_order = [which(image, sars) for image in batch[0]]
    optical_order = [which(image, opticals) for image in batch[1]]
    assert sorted(sar_order) == sorted(optical_order) == indices and sar_order != optical_order
    paired = next(iter(training_dataset(images, indices, 24, 0, augment=False)))
    assert [which(image, sars) for image in paired[0]] == [which(image, opticals) for image in paired[1]]


def test_speckle_is_added_to_about_half_of_the_sar_patches(pairs_folder):
    images = load(find_pairs(pairs_folder).pairs, size=64)
    plain = next(iter(training_dataset(images, list(range(24)), 24, 0, augment=False)))
    speckled = next(iter(training_dataset(images, list(range(24)), 24, 0, augment=False, speckle=True)))
    changed = [bool((a != b).numpy().any()) for a, b in zip(plain[0], speckled[0], strict=True)]
    assert 6 < sum(changed) < 18
    np.testing.assert_array_equal(plain[1], speckled[1])


@pytest.fixture
def hundred(tmp_path, save_png):
    """A hundred pairs whose SAR image number i is i everywhere, in training but for the second."""
    pairs = []
    for index in range(100):
        sar = save_png(tmp_path / f"s1/{index}.png", np.full((32, 32), index, np.uint8))
        optical = save_png(tmp_path / f"s2/{index}.png", np.full((32, 32, 3), index, np.uint8))
        pairs.append(Pair(sar, optical, split="validation" if index == 1 else "train"))
    return pairs


def test_pairs_that_cannot_be_read_are_skipped_up_to_one_in_a_hundred(hundred):
    hundred[0].sar.write_bytes(b"")
    with pytest.raises(DataError, match=r"0\.png: the file is empty"):
        load(hundred, size=32)
    with pytest.warns(UserWarning, match=r"skipped: .*0\.png: the file is empty"):
        images = load(hundred, size=32, on_error="skip")
    assert images.pairs == hundred[1:]
    ((sar, _),) = take(evaluation_dataset(images, [0, 98], 2), 1)
    np.testing.assert_allclose(sar[:, 0, 0, 0], np.array([1, 99]) / 127.5 - 1, atol=1e-6)
    hundred[5].optical.write_bytes(b"x")
    with pytest.raises(DataError, match="2 of 100 pairs cannot be read, more than 1%"), pytest.warns(UserWarning):
        load(hundred, size=32, on_error="skip")


def test_a_file_that_breaks_later_gives_its_place_to_the_next_of_its_split(hundred):
    images = dataclasses.replace(load(hundred, size=32, on_error="skip"), memory=None)
    hundred[0].sar.unlink()
    with pytest.warns(UserWarning, match=r"skipped: .*0\.png: no such file"):
        ((sar, _),) = take(evaluation_dataset(images, [0, 4], 2), 1)
    np.testing.assert_allclose(sar[:, 0, 0, 0], np.array([2, 4]) / 127.5 - 1, atol=1e-6)


def test_the_files_of_a_step_are_those_that_it_reads(hundred):
    images = load(hundred, size=32)
    indices = list(range(50, 80))
    for paired in (True, False):
        step = training_dataset(images, indices, 8, seed=3, augment=False, first_step=5, paired=paired)
        ((sar, optical),) = take(step, 1)
        shown = [round(float(image[0, 0, 0] + 1) * 127.5) for both in zip(sar, optical, strict=True) for image in both]
        files = files_of_step(images, indices, 8, 3, 5, paired)
        assert [int(path.stem) for path in files] == shown
