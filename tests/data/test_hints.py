import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import write_scenes, write_tiff
from PIL import Image

from sar_keras.config import DataConfig, HintsConfig, load_config
from sar_keras.data.check import check
from sar_keras.data.hints import Beside, OtherDate, draw_hint
from sar_keras.data.loading import load_images
from sar_keras.data.pairs import find_pairs
from sar_keras.data.pipeline import colours_of_places, training_dataset
from sar_keras.data.references import load_references
from sar_keras.errors import DataError
from sar_keras.networks.guided import KINDS

SIZE = 64
COLOUR = np.array([0.3, -0.2, 0.1], "float32")


@pytest.fixture(scope="module")
def draw():
    """draw(kind, seed) is (hint, optical) that are drawn for a pair, whose images the function holds as attributes."""
    random = np.random.default_rng(0)

    def image(channels):
        small = random.uniform(-0.6, 0.6, (8, 8, channels)).astype("float32")
        return tf.image.resize(small, (SIZE, SIZE), "bicubic")

    sar, optical, before_sar, before, elsewhere_sar, elsewhere = (image(c) for c in (1, 3) * 3)

    @tf.function
    def drawn(shares, seed, has_date):
        date = OtherDate(before_sar, before, has_date, has_date)
        beside = Beside(tf.constant(COLOUR), lambda: date, lambda: (elsewhere_sar, elsewhere))
        return draw_hint(sar, optical, beside, shares, seed)

    def of_kind(kind, seed, has_date=True):
        shares = tuple(float(kind == name) for name in ("none", *KINDS))
        hint, truth = drawn(shares, tf.constant([0, seed], tf.int64), tf.constant(has_date))
        return hint.numpy(), truth.numpy()

    of_kind.optical, of_kind.before, of_kind.elsewhere = optical.numpy(), before.numpy(), elsewhere.numpy()
    of_kind.before_sar, of_kind.elsewhere_sar = before_sar.numpy(), elsewhere_sar.numpy()
    return of_kind


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_without_a_hint_nothing_changes(draw):
    hint, truth = draw("none", 1)
    assert not hint.any() and (truth == draw.optical).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hint_says_what_kind_it_is_and_a_seed_draws_it_again(kind, draw):
    hint, truth = draw(kind, 3)
    planes = dict(zip(KINDS, np.moveaxis(hint[..., 3:6], -1, 0), strict=True))
    assert planes[kind].any() and not any(planes[other].any() for other in KINDS if other != kind)
    assert np.abs(hint).max() <= 1 and np.abs(truth).max() <= 1
    again, other = draw(kind, 3), draw(kind, 4)
    assert (again[0] == hint).all() and (again[1] == truth).all() and (other[0] != hint).any()


def test_a_palette_is_one_colour_near_the_place_s_or_the_patch_s(draw):
    for seed in range(20):
        hint, truth = draw("palette", seed)
        here = hint[..., 3] == 1
        colours = np.unique(hint[here][:, :3], axis=0)
        assert len(colours) == 1
        # The change of colour is the same linear map for place and patch, found here from the images.
        gain, shift = np.polyfit(draw.optical.mean(-1).ravel(), truth.mean(-1).ravel(), 1)
        near = [np.abs(colours.mean() - (gain * colour.mean() + shift)) for colour in (COLOUR, draw.optical)]
        assert min(near) < 0.1


def test_a_coarse_image_shows_the_truth_blurred(draw):
    correlations = []
    for seed in range(20):
        hint, truth = draw("coarse", seed)
        here = hint[..., 4] == 1
        correlations.append(correlation(hint[here][:, :3], truth[here]))
    # The coarsest have 4 pixels a side, where the image itself has 8.
    assert min(correlations) > 0.2 and np.median(correlations) > 0.8


def test_an_image_of_another_date_is_that_one_or_now_and_then_another_place(draw):
    of_date, wrong, with_sar = 0, 0, 0
    for seed in range(60):
        hint, _ = draw("other_date", seed)
        here = hint[..., 5] == 1
        to_date, to_other = (correlation(hint[here][:, :3], image[here]) for image in (draw.before, draw.elsewhere))
        of_date, wrong = of_date + (to_date > 0.6), wrong + (to_other > 0.6)
        if hint[..., 6].any():
            with_sar += 1
            sar = draw.before_sar if to_date > to_other else draw.elsewhere_sar
            np.testing.assert_allclose(hint[..., 7:], sar, atol=1e-6)
    assert of_date > 1.5 * wrong > 10 and 30 < with_sar < 55


def test_without_a_real_one_another_date_is_the_pair_changed(draw):
    near = []
    for seed in range(20):
        hint, truth = draw("other_date", seed, has_date=False)
        here = hint[..., 5] == 1
        near.append(correlation(hint[here][:, :3], truth[here]))
    assert np.median(near) > 0.5 and min(near) < 0.9


@pytest.fixture
def dated(tmp_path):
    """A manifest of four pairs, of which the first names an image of another date, its SAR image and a mask."""
    random, lines = np.random.default_rng(0), ["sar,optical,reference,reference_sar,changed,scene"]
    for n in range(4):
        for name, shape in {"s": (32, 32), "o": (32, 32, 3), "r": (32, 32, 3), "rs": (32, 32), "c": (32, 32)}.items():
            Image.fromarray(random.integers(0, 2 if name == "c" else 256, shape, dtype="uint8")).save(
                tmp_path / f"{name}{n}.png"
            )
        lines.append(f"s{n}.png,o{n}.png" + (f",r{n}.png,rs{n}.png,c{n}.png" if n == 0 else ",,,") + f",place{n % 2}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_pairs_name_images_of_another_date(dated):
    images = load_images(find_pairs(dated).pairs, size=32)
    references = load_references(images)
    assert set(references.optical) == set(references.sar) == set(references.changed) == {0}
    assert (references.optical[0] == np.asarray(Image.open(dated / "r0.png"))).all()
    assert (references.changed[0] == (np.asarray(Image.open(dated / "c0.png")) > 0)).all()
    for index, expected in ((0, (True, True)), (1, (False, False))):
        sar, optical, has_sar, has_optical = references.read(tf.constant(index), *images.read(tf.constant(index)))
        assert (bool(has_sar), bool(has_optical)) == expected
        name = "r" if index == 0 else "o"
        assert (optical.numpy() == np.asarray(Image.open(dated / f"{name}{index}.png"))).all() and sar.shape[-1] == 1


def test_an_image_of_another_date_that_does_not_fit_is_named(dated):
    Image.new("L", (40, 40)).save(dated / "c0.png")
    with pytest.raises(DataError, match=r"c0\.png: is 40x40, its partner s0\.png 32x32"):
        load_references(load_images(find_pairs(dated).pairs, size=32))
    Image.new("RGB", (40, 40)).save(dated / "r0.png")
    with pytest.raises(DataError, match=r"r0\.png: is 40x40 uint8, its partner s0\.png 32x32"):
        load_references(load_images(find_pairs(dated).pairs, size=32))
    (dated / "r0.png").unlink()
    with pytest.raises(DataError, match=r"line 2 names .*r0\.png, which does not exist"):
        find_pairs(dated)
    manifest = dated / "pairs.csv"
    manifest.write_text(manifest.read_text().replace(",r0.png,", ",,"))
    with pytest.raises(DataError, match="line 2 names reference_sar and changed, which need a reference"):
        find_pairs(dated)


def test_scan_counts_images_of_another_date_and_check_reads_them(dated, command):
    code, out, _ = command("data", "scan", dated)
    assert code == 0 and "images of another date, for guided models: 1 reference, 1 reference_sar, 1 changed" in out
    assert {finding.kind for finding in check(find_pairs(dated))} == set()
    Image.new("RGB", (40, 40)).save(dated / "c0.png")
    (dated / "rs0.png").write_text("no image")
    Image.fromarray(np.asarray(Image.open(dated / "s1.png"))).save(dated / "r0.png")
    found = {finding.kind: finding.text for finding in check(find_pairs(dated))}
    assert set(found) == {"mis-sized", "broken", "no colours"}
    assert "c0.png and s0.png: 40x40 and 32x32" in found["mis-sized"] and "rs0.png" in found["broken"]
    assert "r0.png: is grey; is it the SAR image of that date?" in found["no colours"]


def test_images_of_another_date_fit_the_memory(dated, monkeypatch):
    monkeypatch.setattr("sar_keras.data.references.memory_limit", lambda: 5000)
    with pytest.raises(DataError, match=r"the images of another date take .* more than half of the memory"):
        load_references(load_images(find_pairs(dated).pairs, size=32))


@pytest.fixture
def dated_scenes(tmp_path):
    """A manifest of one scene and what is known of it at another date, of which the first window holds no colours."""
    sar, optical = write_scenes(tmp_path, "today", 64, 128)
    with rasterio.open(optical) as file:
        colours = file.read()
    colours[:, :32, :32] = 0
    write_tiff(tmp_path / "earlier.tif", colours[::-1])
    write_tiff(tmp_path / "earlier_vv.tif", colours[:1])
    rows = "sar,optical,reference,reference_sar", f"{sar.name},{optical.name},earlier.tif,earlier_vv.tif"
    (tmp_path / "scenes.csv").write_text("\n".join(rows))
    return tmp_path


def test_windows_of_scenes_have_the_same_windows_of_another_date(dated_scenes):
    images = load_images(find_pairs(dated_scenes, size=32).pairs, size=32)
    references = load_references(images)
    assert len(images.pairs) == len(references.optical) == len(references.sar) == 8
    for index in range(8):
        assert (references.optical[index][20:, 20:] == images.stored(index)[1][20:, 20:, ::-1]).mean() > 0.4
    config = DataConfig(hints=HintsConfig(none=0, palette=0, coarse=0, other_date=1))
    batches = training_dataset(images, [0], 64, seed=0, config=config, references=references)
    hint = next(iter(batches))[0]["hint"].numpy()
    # Where nothing is known of the other date nothing is told, unless a cloud lies there.
    empty = (hint[..., :6] == 0).all(-1)
    assert 0.1 < empty.mean() < 0.9


def test_scenes_of_another_date_on_another_grid_are_refused(dated_scenes):
    write_tiff(dated_scenes / "earlier_vv.tif", np.ones((1, 64, 128), np.uint8), west=500_030)
    with pytest.raises(DataError, match=r"today_S1_VH\.tif: lies 3\.0 pixels off .*earlier_vv\.tif; .*gdalwarp"):
        find_pairs(dated_scenes, size=32)


def test_the_colour_of_a_place_is_the_mean_of_its_pairs(dated):
    images = load_images(find_pairs(dated).pairs, size=32)
    colours = colours_of_places(images, [0, 1, 2])
    means = [np.asarray(Image.open(dated / f"o{n}.png")).mean((0, 1)) / 127.5 - 1 for n in range(3)]
    np.testing.assert_allclose(colours[0], (means[0] + means[2]) / 2, atol=1e-5)
    np.testing.assert_allclose(colours[1], means[1], atol=1e-5)


def test_columns_that_are_not_read_are_named(dated):
    assert find_pairs(dated).said == []
    manifest = dated / "pairs.csv"
    manifest.write_text(manifest.read_text().replace("reference_sar", "reference_ssar"))
    assert find_pairs(dated).said == ["columns of pairs.csv that are not read: reference_ssar"]


def test_the_preset_default_lists_the_shares_of_hints():
    assert load_config("default").data.hints == HintsConfig()
