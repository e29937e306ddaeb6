"""The model that comes with the package is the one that its page describes."""

import re

import numpy as np
import pytest

import sar_keras
from sar_keras.data.hints import coarsened
from sar_keras.data.synthetic import TERRAINS, synthesize_scene
from sar_keras.inference.locate import DEMO


@pytest.fixture(scope="module")
def scenes():
    return [synthesize_scene(terrain, 0, 256) for terrain in TERRAINS]


@pytest.fixture(scope="module")
def colours(scenes):
    """Without a hint, and with the mean colour of each scene."""
    model = sar_keras.load_model("demo")
    return [
        [sar_keras.colorize(model, sar, palette=optical.mean((0, 1)) if hinted else None) for sar, optical in scenes]
        for hinted in (False, True)
    ]


def test_it_has_the_published_scores(scenes, colours):
    published = re.search(
        r"procedural scenes .*?([\d.]+) dB without a hint and\s+([\d.]+) dB",
        DEMO.with_name("DEMO_MODEL.md").read_text(),
        re.DOTALL,
    )
    for number, images in zip(published.groups(), colours, strict=True):
        squared = [
            np.mean((image.astype(float) - optical) ** 2) for image, (_, optical) in zip(images, scenes, strict=True)
        ]
        assert np.mean(10 * np.log10(255**2 / np.array(squared))) == pytest.approx(float(number), abs=0.05)


def test_a_palette_moves_its_mean_colour(scenes, colours):
    off = np.array(
        [
            [
                np.abs(image.mean((0, 1)) - optical.mean((0, 1))).max()
                for image, (_, optical) in zip(of, scenes, strict=True)
            ]
            for of in colours
        ]
    )
    assert off[1].max() < 30 and off[1].mean() < off[0].mean()


def test_a_hint_lowers_its_expected_error(scenes):
    run = sar_keras.with_uncertainty(sar_keras.load_model("demo"))
    sar, optical = (np.stack(images).astype("float32") / 127.5 - 1 for images in zip(*scenes, strict=True))
    flat = np.broadcast_to(optical.mean((1, 2), keepdims=True), optical.shape)
    hints = [sar_keras.compose_hint(flat, "palette"), sar_keras.compose_hint(coarsened(optical, 8), "coarse")]
    planes = [np.concatenate([sar[..., None], hint], -1) for hint in (np.zeros_like(hints[0]), *hints)]
    none, palette, coarse = (float(np.mean(run(each)[1])) for each in planes)
    assert none > palette > coarse > 0
