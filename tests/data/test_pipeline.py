import dataclasses

import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import plain_data, take, write_scenes

from sar_keras.data.loading import load_images
from sar_keras.data.pairs import Pair, find_pairs
from sar_keras.data.pipeline import evaluation_dataset, files_of_step, training_dataset, validation_dataset

pytestmark = pytest.mark.filterwarnings("ignore:the optical images are grey")

AUGMENTED, AS_THEY_ARE = plain_data(augment=True), plain_data()


def equal(a, b):
    return all((x == y).all() for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def images(pairs_folder):
    return load_images(find_pairs(pairs_folder).pairs, size=64)


def test_batches_are_what_the_networks_take(images):
    ((sar, optical),) = take(training_dataset(images, list(range(24)), 4, seed=0, config=AUGMENTED), 1)
    assert sar.shape == (4, 64, 64, 1) and optical.shape == (4, 64, 64, 3)
    assert sar.dtype == optical.dtype == np.float32
    assert min(sar.min(), optical.min()) >= -1 and max(sar.max(), optical.max()) <= 1


def test_same_seed_same_batches_and_a_run_can_begin_anywhere(images):
    indices = list(range(24))
    whole = take(training_dataset(images, indices, 5, seed=1, config=AUGMENTED), 12)
    assert equal(whole, take(training_dataset(images, indices, 5, seed=1, config=AUGMENTED), 12))
    assert equal(whole[7:], take(training_dataset(images, indices, 5, seed=1, config=AUGMENTED, first_step=7), 5))


@pytest.mark.parametrize(("indices", "config"), [(list(range(24)), AS_THEY_ARE), ([0], AUGMENTED)])
def test_another_seed_gives_another_order_and_another_augmentation(indices, config, images):
    one, other = (take(training_dataset(images, indices, 8, seed, config), 1) for seed in (1, 2))
    assert not equal(one, other)


def test_each_pass_shows_each_pair_once_in_an_order_of_its_own(images):
    batches = take(training_dataset(images, list(range(24)), 8, seed=0, config=AS_THEY_ARE), 6)
    plain = take(evaluation_dataset(images, list(range(24)), 24), 1)[0][1]
    shown = np.concatenate([optical for _, optical in batches])
    order = [int(np.abs(plain - image).sum((1, 2, 3)).argmin()) for image in shown]
    assert sorted(order[:24]) == sorted(order[24:]) == list(range(24))
    assert order[:24] != order[24:]


def test_files_give_what_memory_gives(images):
    from_files = dataclasses.replace(images, memory=None)
    indices = list(range(24))
    assert equal(
        take(training_dataset(images, indices, 4, seed=0, config=AUGMENTED), 3),
        take(training_dataset(from_files, indices, 4, seed=0, config=AUGMENTED), 3),
    )


def test_augmentation_treats_both_images_alike(tmp_path, save_png, random):
    # The "optical" image is the SAR image in colour: whatever is done to one must be done to the other.
    pairs = []
    for index in range(4):
        grey = random.integers(0, 255, (64, 64), np.uint8)
        sar = save_png(tmp_path / f"s1/{index}.png", grey)
        pairs.append(Pair(sar, save_png(tmp_path / f"s2/{index}.png", np.repeat(grey[..., None], 3, -1))))
    images = load_images(pairs, size=64)
    batches = take(training_dataset(images, list(range(4)), 4, seed=0, config=AUGMENTED), 8)
    for sar, optical in batches:
        np.testing.assert_allclose(np.repeat(sar, 3, -1), optical, atol=1e-6)
    # and something is done: the images differ from pass to pass
    assert len({sar.sum((1, 2, 3)).round(3).tobytes() for sar, _ in batches}) > 1


def test_patches_come_in_all_eight_orientations_and_half_of_them_enlarged(tmp_path, save_png, random):
    grey = random.integers(0, 255, (64, 64), np.uint8)
    sar = save_png(tmp_path / "s1/a.png", grey)
    images = load_images([Pair(sar, save_png(tmp_path / "s2/a.png", np.stack([grey] * 3, -1)))], size=64)
    ((patches, _),) = take(training_dataset(images, [0], 64, seed=0, config=AUGMENTED), 1)
    whole = [np.rot90(image, turns) for image in (grey, grey.T) for turns in range(4)]
    found = [[np.allclose(patch[..., 0], image / 127.5 - 1, atol=1e-6) for image in whole] for patch in patches]
    assert np.any(found, axis=0).all()
    assert 20 < np.any(found, axis=1).sum() < 44
    assert len({patch.tobytes() for patch in patches}) > 30  # the others are cut at many places


def test_larger_images_are_cropped_smaller_ones_enlarged(tmp_path, save_png, random):
    big = random.integers(0, 255, (100, 80), np.uint8)
    pair = Pair(save_png(tmp_path / "s1/a.png", big), save_png(tmp_path / "s2/a.png", np.stack([big] * 3, -1)))
    ((sar, _),) = take(evaluation_dataset(load_images([pair], size=64), [0], 1), 1)
    np.testing.assert_allclose(sar[0, ..., 0], big[18:82, 8:72] / 127.5 - 1, atol=1e-6)
    ((sar, optical),) = take(evaluation_dataset(load_images([pair], size=64, resize=True), [0], 1), 1)
    assert sar.shape == (1, 64, 64, 1) and optical.shape == (1, 64, 64, 3)
    ((sar, _),) = take(evaluation_dataset(load_images([pair], size=128), [0], 1), 1)
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

    arguments = list(range(20)), 12, 3, AUGMENTED, 1
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
    images = load_images(pairs, size=64)
    assert images.memory is None
    ((sar, _),) = take(training_dataset(images, [0, 1], 4, seed=0, config=AUGMENTED), 1)
    np.testing.assert_allclose(sar, 40 / 127.5 - 1, atol=1e-5)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The images of one scene, (optical as stored, Images); its optical values tell where a patch was cut."""
    folder = tmp_path_factory.mktemp("scene")
    _, optical = write_scenes(folder, "a", 140, 200)
    with rasterio.open(optical) as file:
        return np.moveaxis(file.read(), 0, -1), load_images(find_pairs(folder, size=64).pairs, size=64)


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
    for sar, colour in take(training_dataset(images, [0, 5], 8, seed=0, config=AS_THEY_ARE), 6):
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


def test_unpaired_batches_have_orders_of_their_own(pairs_folder):
    images = load_images(find_pairs(pairs_folder).pairs, size=64)
    indices = list(range(24))
    whole = [pair for batch in evaluation_dataset(images, indices, 1) for pair in [batch]]
    sars, opticals = (np.stack([pair[side].numpy()[0] for pair in whole]) for side in (0, 1))

    def which(image, among):
        return int(np.abs(among - image.numpy()).mean((1, 2, 3)).argmin())

    batch = next(iter(training_dataset(images, indices, 24, 0, config=AS_THEY_ARE, paired=False)))
    sar_order = [which(image, sars) for image in batch[0]]
    optical_order = [which(image, opticals) for image in batch[1]]
    assert sorted(sar_order) == sorted(optical_order) == indices and sar_order != optical_order
    paired = next(iter(training_dataset(images, indices, 24, 0, config=AS_THEY_ARE)))
    assert [which(image, sars) for image in paired[0]] == [which(image, opticals) for image in paired[1]]


def test_speckle_is_added_to_about_half_of_the_sar_patches(pairs_folder):
    images = load_images(find_pairs(pairs_folder).pairs, size=64)
    plain = next(iter(training_dataset(images, list(range(24)), 24, 0, config=AS_THEY_ARE)))
    speckled = next(iter(training_dataset(images, list(range(24)), 24, 0, config=plain_data(speckle=True))))
    changed = [bool((a != b).numpy().any()) for a, b in zip(plain[0], speckled[0], strict=True)]
    assert 6 < sum(changed) < 18
    np.testing.assert_array_equal(plain[1], speckled[1])


def test_the_files_of_a_step_are_those_that_it_reads(hundred):
    images = load_images(hundred, size=32)
    indices = list(range(50, 80))
    for paired in (True, False):
        step = training_dataset(images, indices, 8, seed=3, config=AS_THEY_ARE, first_step=5, paired=paired)
        ((sar, optical),) = take(step, 1)
        shown = [round(float(image[0, 0, 0] + 1) * 127.5) for both in zip(sar, optical, strict=True) for image in both]
        files = files_of_step(images, indices, 8, 3, 5, paired)
        assert [int(path.stem) for path in files] == shown


def test_radiometric_jitter_changes_level_and_contrast_of_each_sar_patch(images):
    (plain,), (jittered,) = (
        take(
            training_dataset(images, list(range(24)), 24, 0, config=plain_data(radiometric_jitter=most)),
            1,
        )
        for most in (0.0, 0.3)
    )
    np.testing.assert_array_equal(plain[1], jittered[1])
    found = []
    for before, after in zip(plain[0], jittered[0], strict=True):
        inside = (np.abs(after) < 1) & (before > -1)  # of the rest some has been cut off
        contrast, level = np.polyfit(before[inside], after[inside], 1)
        expected = np.where(before > -1, np.clip(before * contrast + level, -1, 1), -1)
        np.testing.assert_allclose(after, expected, atol=1e-4)
        found.append((contrast - 1, level))
    found = np.array(found)
    assert np.abs(found).max() < 0.301 and (found.std(0) > 0.1).all() and abs(np.corrcoef(found.T)[0, 1]) < 0.7


def test_to_mean_colour_moves_each_patch_as_a_whole(images):
    (plain,), (moved,) = (
        take(training_dataset(images, list(range(24)), 24, 0, config=plain_data(to_mean_colour=share)), 1)
        for share in (0.0, 0.25)
    )
    np.testing.assert_array_equal(plain[0], moved[0])
    own = plain[1].mean((1, 2), keepdims=True)
    assert np.ptp(own) > 0.1
    # The batch is a pass over all images, so that their mean is that of the batch.
    np.testing.assert_allclose(moved[1], np.clip(plain[1] + 0.25 * (own.mean(0) - own), -1, 1), atol=1e-5)


def test_pixels_without_data_stay_as_they_are(tmp_path, save_png, random):
    pairs = []
    for index in range(2):
        grey, colour = random.integers(100, 150, (64, 64), np.uint8), np.full((64, 64, 3), 60 + 80 * index, np.uint8)
        grey[:40], colour[:40] = 0, 0
        files = save_png(tmp_path / f"s{index}.png", grey), save_png(tmp_path / f"o{index}.png", colour)
        pairs.append(Pair(*files))
    images = load_images(pairs, size=64)
    changes = {"radiometric_jitter": 0.4, "to_mean_colour": 0.5}
    ((sar, optical),) = take(training_dataset(images, [0, 1], 2, 0, config=plain_data(**changes)), 1)
    assert (sar[:, :40] == -1).all() and (sar[:, 40:] > -1).all() and (optical[:, :40] == -1).all()
    # The mean of all counts what is empty as black: it is that of evaluation, too.
    mean = (24 * np.array([60, 140]) / 127.5 - 64).mean() / 64
    own = optical[:, 40:].mean((1, 2, 3))
    np.testing.assert_allclose(sorted(own), np.array([60, 140]) / 255 - 0.5 + mean / 2, atol=1e-4)
    speckled = take(training_dataset(images, [0, 1], 2, 0, config=plain_data(speckle=True)), 8)
    assert any((sar[:, 40:] != plain[:, 40:]).any() for sar, _ in speckled for plain in [speckled[0][0]])
    assert all((sar[:, :40] == -1).all() for sar, _ in speckled)
