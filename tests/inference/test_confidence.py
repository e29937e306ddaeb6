import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers import tiny

import sar_keras
from sar_keras.errors import ModelError
from sar_keras.inference.confidence import with_uncertainty
from sar_keras.inference.expected_error import ExpectedError, fit_expected_error, polynomial
from sar_keras.inference.metadata import ModelMetadata, metadata_of
from sar_keras.inference.model_file import load_model, save_model


def true_error(colour):
    """Some quadratic function of the colour, above 0 for all that is between -1 and 1."""
    r, g, b = np.moveaxis(colour, -1, 0)
    return 0.3 + 0.1 * r - 0.05 * b + 0.08 * g**2 - 0.04 * r * b + 0.02 * r**2


def copies_three_bands() -> keras.Model:
    sar = keras.Input((64, 64, 3))
    return keras.Model(sar, keras.layers.Rescaling(1.0)(sar))


def batches(random, count=4):
    for _ in range(count):
        colour = random.uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
        sign = random.choice([-1, 1], (2, 64, 64, 3))
        # Errors count on the scale of RGB from 0 to 1, half of that from -1 to 1.
        yield colour, (colour + sign * 2 * true_error(colour)[..., None]).astype("float32")


def test_the_expected_error_is_that_of_the_colour(random):
    expected = fit_expected_error(copies_three_bands(), batches(random))
    colours = random.uniform(-0.95, 0.95, (1, 20, 30, 3)).astype("float32")
    found = expected(colours)
    assert found.shape == (1, 20, 30, 1)
    # But for the hundredths of the colours whose errors are the least and the largest.
    usual = np.percentile(true_error(random.uniform(-1, 1, (200_000, 3))), [1, 99])
    np.testing.assert_allclose(found[..., 0], np.clip(true_error(colours), *usual), atol=5e-3)


def test_colours_that_were_not_seen_count_as_the_nearest():
    expected = ExpectedError([0.6, 1, 0, 0, 0, 0, 0, 0, 0, 0], [-0.5] * 3, [0.5] * 3, 0.2, 1.0)
    colours = np.array([[[[0.9, 0, 0], [0.2, 0, 0], [-0.9, 0, 0]]]], "float32")
    np.testing.assert_allclose(expected(colours).ravel(), [1.0, 0.8, 0.2], rtol=1e-6)


def test_it_travels_with_the_models_file(tmp_path, random):
    generator = copies_three_bands()
    expected = fit_expected_error(generator, batches(random, 1))
    save_model(generator, tmp_path / "with.keras", ModelMetadata(expected_error=expected))
    assert metadata_of(load_model(tmp_path / "with.keras")).expected_error == expected
    save_model(generator, tmp_path / "without.keras", ModelMetadata())
    with pytest.raises(ModelError, match="does not know its error"):
        with_uncertainty(load_model(tmp_path / "without.keras"))


def takes_the_hint() -> keras.Model:
    """A guided model whose colours are those of the hint, and grey where there is none."""
    sar, hint = keras.Input((32, 32, 1), name="sar"), keras.Input((32, 32, 8), name="hint")
    return keras.Model({"sar": sar, "hint": hint}, keras.layers.Lambda(lambda planes: planes[..., :3])(hint))


def test_each_kind_of_hint_has_an_error_of_its_own(random, tmp_path):
    generator = takes_the_hint()
    errors = {None: 0.3, "palette": 0.2, "coarse": 0.05}

    def batches():
        for kind, error in errors.items():
            colour = random.uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
            # A hint that covers the left half only: the right half counts as without.
            where = np.where(np.arange(32) < 16, 1.0, 0.0).reshape(1, 1, 32, 1) * np.ones((2, 32, 1, 1))
            hint = sar_keras.compose_hint(colour, kind or "palette", where * bool(kind))
            off = np.where(where * bool(kind), error, errors[None]) * 2
            yield {"sar": colour[..., :1], "hint": hint}, (hint[..., :3] + off).astype("float32")

    expected = fit_expected_error(generator, batches())
    assert expected == ExpectedError.from_json(json.loads(json.dumps(dataclasses.asdict(expected))))
    assert set(expected.hints) == {"palette", "coarse"}
    colours = np.zeros((1, 4, 4, 3), "float32")
    for kind, error in [*errors.items(), ("other_date", 0.3)]:  # of the last it knows nothing
        hint = None if kind is None else sar_keras.compose_hint(colours, kind)
        np.testing.assert_allclose(expected(colours, hint), error, atol=0.01)


@pytest.mark.parametrize("shape", [(2, 64, 64, 1), (1, 64, 192, 1)])
def test_same_colours_with_uncertainty_as_without(model_file, random, shape):
    model = sar_keras.load_model(model_file)
    run = with_uncertainty(model)
    sar = random.uniform(-1, 1, shape).astype("float32")
    optical, uncertainty = run(sar)
    assert optical.shape == (*shape[:3], 3) and uncertainty.shape == shape
    assert uncertainty.dtype == np.float32 and (uncertainty.numpy() >= 0).all()
    if shape[1:] == model.input_shape[1:]:
        np.testing.assert_allclose(optical, model.predict(sar, verbose=0), atol=1e-5)
    np.testing.assert_array_equal(run(sar)[1], uncertainty)  # nothing is drawn by chance


@pytest.mark.slow
def test_a_run_learns_its_errors_from_its_validation_pairs(tiny_run, tmp_path, pairs_folder):
    assert metadata_of(sar_keras.load_model(tiny_run)).expected_error is not None
    changes = [f"data.root={pairs_folder}", "data.ratios=[0.8,0,0.2]", "train.epochs=1"]
    run = sar_keras.fit(tiny("l1", *changes), tmp_path / "run")
    assert metadata_of(sar_keras.load_model(run)).expected_error is None
    report = sar_keras.evaluate(run)
    assert report["confidence"] is None


def test_a_colour_between_the_seen_ones_is_never_certain(random):
    """Of greys, of which bright and dark ones are more off: a quadratic polynomial falls below zero far from them."""
    grey = random.uniform(-1, 1, (2000, 1))
    colours = (grey + random.normal(0, 0.02, (2000, 3))).astype("float32")
    errors = 0.1 + 0.1 * grey[:, 0] ** 2 - 0.5 * (colours[:, 0] - colours[:, 1]) ** 2
    expected = polynomial(colours, errors)
    green, dark = (np.float32(each).reshape(1, 1, 1, 3) for each in ([-0.7, 0.9, -0.7], [-0.9, -0.9, -0.9]))
    assert expected(green).item() == pytest.approx(0.2, abs=0.01)
    assert expected(dark).item() == pytest.approx(0.1 + 0.1 * 0.81, abs=0.01)
