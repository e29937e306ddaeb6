import warnings

import numpy as np
import pytest
import scipy.ndimage
import skimage.color

import sar_keras
from sar_keras.errors import DataError
from sar_keras.inference.detail import LIGHTNESS, REACH, add_detail, fine_structure

GREEN = np.array([120, 130, 90], "float32")


def speckled(power, looks, seed=0, spread=0.0):
    """Backscatter power (H, W) under fully developed speckle, as SAR (H, W, 1) in [-1, 1] of -25 to 0 dB.

    `spread` is that of a Gaussian which correlates neighbouring pixels, as products do whose pixels are finer than the
    radar's resolution.
    """
    field = np.random.default_rng(seed).normal(size=(2 * looks, *power.shape))
    if spread:
        field = scipy.ndimage.gaussian_filter(field, (0, spread, spread), mode="wrap")
    decibel = 10 * np.log10(power * (field**2).mean(0) / field.var())
    return np.clip((decibel + 25) / 12.5 - 1, -1, 1).astype("float32")[..., None]


def lightness(sar, detail, valid=None, colour=GREEN):
    """Of a flat colour with the detail of a SAR image: L of CIE Lab, (H, W)."""
    levels = add_detail(np.broadcast_to(colour, (*sar.shape[:2], 3)), detail * fine_structure(sar, valid))
    return skimage.color.rgb2lab(levels / 255)[..., 0]


@pytest.mark.parametrize("spread", [0, 0.7])
@pytest.mark.parametrize("looks", [1, 2, 4])
def test_a_flat_field_under_speckle_stays_flat(looks, spread):
    sar = speckled(np.full((512, 512), 0.06), looks, spread=spread)
    # A difference of 1 is just noticeable.
    assert lightness(sar, 1.0).std() < 0.35 and lightness(sar, 0.5).std() < 0.18


@pytest.mark.parametrize("looks", [4, 100])
def test_lines_and_edges_show(looks):
    power = np.full((256, 256), 0.03)
    power[:, 128:] *= 4
    power[:, 60:62] *= 10
    power[200:202, :60] *= 10
    shown = lightness(speckled(power, looks), 1.0)
    assert shown[20:180, 60:62].mean() > shown[20:180, 45:50].mean() + 3
    assert shown[200:202, 5:50].mean() > shown[210:215, 5:50].mean() + 3
    assert shown[20:236, 128:131].mean() > shown[20:236, 125:128].mean() + 3


def test_colour_itself_stays():
    power = np.full((64, 64), 0.03)
    power[:, 30:32] = 0.6
    sar = speckled(power, 100)
    levels = np.broadcast_to(GREEN, (64, 64, 3))
    before, after = (skimage.color.rgb2lab(add_detail(levels, d * fine_structure(sar)) / 255) for d in (0, 1))
    assert np.ptp(after[..., 0]) > 10 and np.abs(after[..., 1:] - before[..., 1:]).max() < 0.1
    np.testing.assert_allclose(before, skimage.color.rgb2lab(levels / 255), atol=1e-4)


def test_lightness_changes_as_in_scikit_image(random):
    levels = random.uniform(0, 255, (60, 50, 3)).astype("float32")
    structure = random.normal(0, 0.3, (60, 50)).astype("float32")
    lab = skimage.color.rgb2lab(levels / 255)
    lab[..., 0] = np.clip(lab[..., 0] + LIGHTNESS * structure, 0, 100)
    with warnings.catch_warnings(action="ignore"):  # of colours that are none
        expected = skimage.color.lab2rgb(lab) * 255
    # Beyond what sRGB can show both clip, of dark colours in another order.
    difference = np.abs(add_detail(levels, structure) - expected)
    assert np.quantile(difference, 0.95) < 0.05
    untouched = add_detail(levels, np.where(structure > 0, structure, 0))[structure <= 0]
    np.testing.assert_array_equal(untouched, levels[structure <= 0])


def test_what_has_no_data_makes_no_edges():
    power = np.full((200, 200), 0.06)
    valid = np.ones((200, 200), bool)
    valid[60:140, 60:] = False
    valid[20, 20] = False
    sar = speckled(power, 4)
    structures = []
    for fill in (-1, 1):
        filled = np.where(valid[..., None], sar, np.float32(fill))
        assert lightness(filled, 1.0, valid)[valid].std() < 0.35
        structures.append(fine_structure(filled, valid))
        assert not structures[-1][~valid].any()
    np.testing.assert_array_equal(*structures)


def test_a_pixel_depends_on_its_neighbourhood_only(random):
    power = np.full((3 * REACH, 3 * REACH), 0.03)
    power[:, REACH + 15 :] *= 5
    sar = np.concatenate([speckled(power, 2, seed) for seed in (1, 2)], -1)
    valid = random.random(power.shape) > 0.01
    whole = fine_structure(sar, valid)
    part = fine_structure(sar[5:-5, 3:-7], valid[5:-5, 3:-7], margin=REACH)
    np.testing.assert_array_equal(part, whole[5:-5, 3:-7][REACH:-REACH, REACH:-REACH])


def test_colorize_adds_it_to_the_models_colours(model_file, random):
    model = sar_keras.load_model(model_file)
    image = random.integers(0, 256, (90, 70), np.uint8)
    image[:, 30:32] = 255
    plain = sar_keras.colorize(model, image)
    np.testing.assert_array_equal(sar_keras.colorize(model, image, detail=0), plain)
    sar = (image / 127.5 - 1).astype("float32")[..., None]
    for detail in (0.25, 1):
        expected = np.rint(add_detail(plain.astype("float32"), detail * fine_structure(sar)))
        found = sar_keras.colorize(model, image, detail=detail)
        assert found.dtype == np.uint8 and (found != plain).any()
        np.testing.assert_array_equal(found, expected)
    assert sar_keras.colorize(model, image[:1, :1], detail=1).shape == (1, 1, 3)


@pytest.mark.parametrize("detail", [-0.1, 1.01, float("nan")])
def test_other_amounts_are_refused(model_file, detail):
    with pytest.raises(DataError, match=f"^detail: must be from 0 to 1, got {detail}$"):
        sar_keras.colorize(model_file, np.zeros((8, 8), np.uint8), detail=detail)
