import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from sar_keras.data.loading import load_images
from sar_keras.data.pairs import find_pairs
from sar_keras.data.pipeline import colours_of_places
from sar_keras.data.references import load_references
from sar_keras.evaluation import hinted
from sar_keras.networks.guided import GuidedGenerator


@pytest.fixture(scope="module")
def copying():
    """A guided generator that adds nothing: a coarse hint comes out as it is, one of another date by half."""
    generator = GuidedGenerator((32, 32, 1), filters=2)
    *weights, kernel, bias = generator.get_weights()
    generator.set_weights([*weights, kernel * 0, bias * 0])
    return generator


@pytest.fixture
def dated(tmp_path, random):
    """write(size, resize) is four pairs of two places, each with an image of another date and a mask."""

    def write(size, resize):
        lines = ["sar,optical,reference,changed,scene"]
        for n in range(4):
            small = random.integers(60, 200, (4, 4, 3), dtype="uint8")
            for name in "or":
                colours = Image.fromarray(small + (name == "r") * np.uint8(20)).resize(
                    (size, size), Image.Resampling.BICUBIC
                )
                colours.save(tmp_path / f"{name}{n}.png")
            Image.fromarray(random.integers(0, 256, (size, size), dtype="uint8")).save(tmp_path / f"s{n}.png")
            mask = np.zeros((size, size), np.uint8)
            mask[:, : size // 2] = 255
            Image.fromarray(mask).save(tmp_path / f"c{n}.png")
            lines.append(f"s{n}.png,o{n}.png,r{n}.png,c{n}.png,place{n // 2}")
        (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
        return load_images(find_pairs(tmp_path).pairs, size=32, resize=resize)

    return write


# Patches as large as the model's, smaller ones, which are enlarged, larger ones, which are cropped, or shrunk.
@pytest.mark.parametrize(("size", "resize"), [(32, False), (20, False), (48, False), (48, True)])
def test_a_model_is_scored_beside_the_hint_alone(copying, dated, tmp_path, size, resize):
    images = dated(size, resize)
    references, colours = load_references(images), colours_of_places(images, [0, 1, 2, 3])
    fit = hinted.fit_dates(images, references, [0, 1, 2, 3])
    report = hinted.summary(hinted.score_hints(copying, images, references, colours, fit))
    assert list(report) == [*hinted.TITLES]

    def cut(name):
        image = np.asarray(Image.open(tmp_path / name)).astype("float32")
        if not resize:
            side = min(32, size)
            first = (size - side) // 2
            image = image[first : first + side, first : first + side]
        return np.asarray(tf.image.resize(image, (32, 32), antialias=resize)) / 255

    truths, others = ([cut(f"{name}{n}.png") for n in range(4)] for name in "or")

    def mean_psnr(answers):
        pairs = zip(truths, answers, strict=True)
        return np.mean([peak_signal_noise_ratio(a, np.float32(b), data_range=1) for a, b in pairs])

    close = {"abs": 0.02}
    assert report["other_date"]["alone"]["psnr"] == pytest.approx(mean_psnr(others), **close)
    assert report["elsewhere"]["alone"]["psnr"] == pytest.approx(mean_psnr([others[n] for n in (2, 2, 0, 0)]), **close)
    places = [np.mean(truths[2 * (n // 2) : 2 * (n // 2) + 2], axis=(0, 1, 2)) for n in range(4)]
    flat = mean_psnr([np.broadcast_to(colour, (32, 32, 3)) for colour in places])
    assert report["palette"]["alone"]["psnr"] == pytest.approx(flat, **close)
    half = mean_psnr([(other * 2 - 1) * 0.5 / 2 + 0.5 for other in others])
    assert report["other_date"]["model"]["psnr"] == pytest.approx(half, **close)
    for kind in ("palette", "coarse", "coarse_elsewhere"):
        assert report[kind]["model"] == report[kind]["alone"]
    assert report["other_date_fitted"]["alone"]["psnr"] > report["other_date"]["alone"]["psnr"] + 3
    left = np.mean([((a - b)[:, :16] ** 2).mean() for a, b in zip(truths, others, strict=True)])
    assert report["other_date"]["alone"]["psnr_changed"] == pytest.approx(-10 * np.log10(left), abs=0.05)


def test_a_table_has_a_line_for_each_hint_and_each_alone(copying, dated):
    images = dated(32, False)
    report = hinted.summary(hinted.score_hints(copying, images, load_references(images), np.zeros((4, 3), "float32")))
    lines = hinted.table(report)
    assert lines[1].split() == ["under", "a", "hint", "images", "PSNR", "SSIM", "changed", "unchanged"]
    numbers = [report["palette"]["model"][key] for key in ("psnr", "ssim", "psnr_changed", "psnr_unchanged")]
    (line,) = (line for line in lines if line.startswith("mean colour of the place"))
    assert line.split()[-4:] == [f"{number:.4g}" for number in numbers]
