import keras
import numpy as np
import pytest
from helpers import tiny

import sar_keras
from sar_keras.errors import ModelError
from sar_keras.inference.confidence import with_uncertainty
from sar_keras.inference.expected_error import ExpectedError, fit_expected_error
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
    found = expected(colours).numpy()
    assert found.shape == (1, 20, 30, 1)
    np.testing.assert_allclose(found[..., 0], true_error(colours), atol=1e-3)


def test_colours_that_were_not_seen_count_as_the_nearest():
    expected = ExpectedError([0.0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [-0.5] * 3, [0.5] * 3)
    colours = np.array([[[[0.9, 0, 0], [0.2, 0, 0], [-0.9, 0, 0]]]], "float32")
    np.testing.assert_allclose(expected(colours).numpy().ravel(), [0.5, 0.2, 0])  # no error is below 0


def test_it_travels_with_the_models_file(tmp_path, random):
    generator = copies_three_bands()
    expected = fit_expected_error(generator, batches(random, 1))
    save_model(generator, tmp_path / "with.keras", ModelMetadata(expected_error=expected))
    assert metadata_of(load_model(tmp_path / "with.keras")).expected_error == expected
    save_model(generator, tmp_path / "without.keras", ModelMetadata())
    with pytest.raises(ModelError, match="does not know its error"):
        with_uncertainty(load_model(tmp_path / "without.keras"))


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
