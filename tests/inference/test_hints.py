import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import one_line
from PIL import Image

import sar_keras
from sar_keras.errors import DataError, ModelError
from sar_keras.hint_planes import compose_hint
from sar_keras.inference.engines import network_of
from sar_keras.inference.expected_error import ExpectedError
from sar_keras.inference.export import export_saved_model
from sar_keras.inference.hints import Hint, image_hint
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model
from sar_keras.networks.guided import GuidedGenerator


@pytest.fixture(scope="module")
def guided_file(tmp_path_factory):
    """A small guided generator with weights at random."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("guided") / "guided.keras"
    save_model(GuidedGenerator((32, 32, 1), filters=2), path, ModelMetadata())
    return path


@pytest.fixture
def files(tmp_path, random, save_png):
    """A SAR image, images of the same and of another size, its SAR image, and a mask."""
    levels = {
        "sar": random.integers(0, 256, (32, 32), dtype="uint8"),
        "same": random.integers(0, 256, (32, 32, 3), dtype="uint8"),
        "small": random.integers(0, 256, (4, 4, 3), dtype="uint8"),
        "before": random.integers(0, 256, (32, 32), dtype="uint8"),
        "mask": np.pad(np.full((16, 32), 255, "uint8"), ((0, 16), (0, 0))),
    }
    return {name: save_png(tmp_path / f"{name}.png", image) for name, image in levels.items()}


def unit(path):
    image = np.asarray(Image.open(path)).astype("float32") / 127.5 - 1
    return image if image.ndim == 3 else image[..., None]


def expected(guided_file, files, *hint):
    """By the network itself."""
    model = sar_keras.load_model(guided_file)
    sar, hint = unit(files["sar"])[None], compose_hint(*hint)[None]
    optical = model.predict({"sar": sar, "hint": hint}, verbose=0)[0]
    return np.clip(np.rint((optical + 1) * 127.5), 0, 255).astype("uint8")


def cases(files):
    flat = np.broadcast_to(np.float32([0x5C, 0x6B, 0x3A]) / 127.5 - 1, (32, 32, 3))
    enlarged = np.clip(tf.image.resize(unit(files["small"]), (32, 32), "bicubic", antialias=True), -1, 1)
    mean = np.broadcast_to(unit(files["same"]).mean((0, 1)), (32, 32, 3))
    clear = np.float32(np.asarray(Image.open(files["mask"])) == 0)[..., None]
    same = unit(files["same"])
    return [
        ({"palette": "#5c6b3a"}, (flat, "palette")),
        ({"palette": "5c6b3a"}, (flat, "palette")),
        ({"palette": files["same"]}, (mean, "palette")),
        ({"basemap": files["small"]}, (enlarged, "coarse")),
        ({"reference": files["same"]}, (same, "other_date")),
        (
            {"reference": files["same"], "reference_sar": files["before"]},
            (same, "other_date", None, unit(files["before"])),
        ),
        ({"reference": files["same"], "clouds": files["mask"]}, (same, "other_date", clear)),
    ]


@pytest.mark.parametrize("case", range(7))
def test_a_hint_reaches_the_network_from_python_and_from_the_command_line(case, guided_file, files, command, tmp_path):
    options, hint = cases(files)[case]
    of_network = expected(guided_file, files, *hint)
    np.testing.assert_array_equal(sar_keras.colorize(guided_file, files["sar"], **options), of_network)
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    assert command("colorize", guided_file, files["sar"], "-o", tmp_path / "out.png", *flags)[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), of_network)


def test_without_a_hint_a_guided_model_colours_too(guided_file, files, command, tmp_path):
    none = np.zeros((32, 32, 8), "float32")
    model = sar_keras.load_model(guided_file)
    optical = model.predict({"sar": unit(files["sar"])[None], "hint": none[None]}, verbose=0)[0]
    got = sar_keras.colorize(guided_file, files["sar"])
    np.testing.assert_array_equal(got, np.clip(np.rint((optical + 1) * 127.5), 0, 255))
    _, _, said = command("colorize", guided_file, files["sar"], "-o", tmp_path / "out.png")
    assert "hint: none, so that colours are a guess; a palette, a basemap or a reference guides them" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--palette", "grassy"], "--palette grassy: neither a colour such as '#5c6b3a' nor a file"),
        (["--palette", "#fff", "--basemap", "x.png"], "--palette and --basemap: give one of them"),
        (["--reference-sar", "x.png"], "--reference-sar: belongs to --reference, which is not given"),
        (["--basemap", "nowhere.png"], "nowhere.png: no such file"),
    ],
)
def test_a_hint_that_cannot_be_is_one_line(options, said, guided_file, files, command, tmp_path):
    code, _, errors = command("colorize", guided_file, files["sar"], "-o", tmp_path / "out.png", *options)
    assert code == 2 and said in one_line(errors) and not (tmp_path / "out.png").exists()


def test_a_model_that_takes_no_hint_says_so(model_file, files, command, tmp_path):
    with pytest.raises(ModelError, match="takes no hint, so palette has no effect"):
        sar_keras.colorize(model_file, files["sar"], palette="#5c6b3a")
    code, _, errors = command("colorize", model_file, files["sar"], "-o", tmp_path / "out.png", "--palette", "#5c6b3a")
    assert code == 2 and "strong.keras: takes no hint" in one_line(errors)


def test_what_does_not_count_is_no_hint(guided_file, files, tmp_path, random):
    levels = random.integers(1, 256, (32, 32, 4), dtype="uint8")
    levels[..., 3] = 255
    levels[:8, :, 3], levels[8:16, :, :3] = 0, 0  # transparent, and black
    Image.fromarray(levels).save(tmp_path / "alpha.png")
    where = np.ones((32, 32, 1), "float32")
    where[:16] = 0
    colours = levels[..., :3].astype("float32") / 127.5 - 1
    got = sar_keras.colorize(guided_file, files["sar"], basemap=tmp_path / "alpha.png")
    np.testing.assert_array_equal(got, expected(guided_file, files, colours, "coarse", where))
    clouds = np.zeros((32, 32), bool)
    clouds[:, 16:] = True
    where[:, 16:] = 0
    got = sar_keras.colorize(guided_file, files["sar"], reference=tmp_path / "alpha.png", clouds=clouds)
    np.testing.assert_array_equal(got, expected(guided_file, files, colours, "other_date", where))


@pytest.mark.parametrize("palette", [(0.3, 0.4, 0.2), (300, 0, 0), (1, 2), np.full((4, 4, 3), 999, "uint16")])
def test_a_palette_that_is_no_colour_is_refused(guided_file, files, palette):
    with pytest.raises(DataError, match=r"palette: is|the hint: is uint16"):
        sar_keras.colorize(guided_file, files["sar"], palette=palette)


def test_sar_of_another_date_has_the_bands_of_the_model(files, tmp_path, random, save_png):
    model = GuidedGenerator((32, 32, 2), filters=2)
    pair = [
        save_png(tmp_path / f"a_{name}.png", random.integers(0, 256, (32, 32), dtype="uint8")) for name in ("VV", "VH")
    ]
    both = np.stack([np.asarray(Image.open(path)) for path in pair], -1)
    with pytest.raises(DataError, match=r"reference_sar: has the shape \(32, 32, 1\); the model takes 2 bands"):
        sar_keras.colorize(model, both, reference=files["same"], reference_sar=both[..., 0])
    as_files, as_array = (
        sar_keras.colorize(model, both, reference=files["same"], reference_sar=s) for s in (pair, both)
    )
    np.testing.assert_array_equal(as_files, as_array)


def test_a_grey_image_of_another_date_may_be_the_sar_image(guided_file, files):
    with pytest.warns(UserWarning, match=r"before\.png: is grey, so it tells no colours; is it the SAR image\?"):
        sar_keras.colorize(guided_file, files["sar"], reference=files["before"], reference_sar=files["same"])


def test_a_reference_of_another_size_is_stretched_with_a_warning(guided_file, files):
    with pytest.warns(UserWarning, match=r"small\.png: has 4x4 pixels, stretched to 32x32"):
        sar_keras.colorize(guided_file, files["sar"], reference=files["small"])


def test_a_hint_is_rgb_of_8_bits(guided_file, files):
    with pytest.raises(DataError, match="is uint16, not RGB of 8 bits"):
        sar_keras.colorize(guided_file, files["sar"], basemap=np.zeros((4, 4, 3), "uint16"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(has 4x4 pixels, stretched|is grey)")
def test_an_export_takes_hints(guided_file, files, tmp_path, save_png):
    model = sar_keras.load_model(guided_file)
    served = tf.saved_model.load(str(export_saved_model(model, tmp_path / "served"))).signatures
    sar, hint = unit(files["sar"])[None], np.asarray(compose_hint(unit(files["same"]), "coarse"))[None]
    optical = served["serving_default"](sar=tf.constant(sar), hint=tf.constant(hint))["optical"]
    np.testing.assert_allclose(optical, model.predict({"sar": sar, "hint": hint}, verbose=0), atol=1e-5)
    image = tf.constant([files["sar"].read_bytes()])
    rgb = np.asarray(Image.open(files["small"]))
    alpha = np.pad(np.full((2, 4, 1), 255, "uint8"), [(0, 2), (0, 0), (0, 0)])
    others = {"alpha": np.concatenate([rgb, alpha], -1), "grey": rgb[..., 0]}
    others = [save_png(tmp_path / f"{name}.png", levels) for name, levels in others.items()]
    for name, hint_file in itertools.product(("reference", "basemap"), (files["small"], *others)):
        answer = served[f"colorize_png_with_{name}"](
            image_bytes=image, hint_bytes=tf.constant([hint_file.read_bytes()])
        )
        got = tf.io.decode_png(answer["png_bytes"][0]).numpy().astype(int)
        own = sar_keras.colorize(model, files["sar"], **{name: hint_file})
        assert np.abs(got - own).max() <= 1
    got = tf.io.decode_png(served["colorize_png"](image_bytes=image)["png_bytes"][0]).numpy().astype(int)
    assert np.abs(got - sar_keras.colorize(model, files["sar"])).max() <= 1


def test_uncertainty_with_and_without_a_hint_also_inside_a_graph(files, tmp_path):
    model, path = GuidedGenerator((32, 32, 1), filters=2), tmp_path / "guided.keras"
    error = ExpectedError([0.2, 0.05, 0.03, -0.08, 0, 0, 0, 0, 0, 0], [-1, -1, -1], [1, 1, 1])
    save_model(model, path, ModelMetadata(expected_error=error))
    model = sar_keras.load_model(path)
    run, sar = sar_keras.with_uncertainty(model), tf.constant(unit(files["sar"])[None])
    hint = compose_hint(unit(files["same"])[None], "coarse")
    for planes, given in ((sar, None), (tf.concat([sar, hint], -1), hint)):
        expected = model.predict(sar_keras.inputs_of(model, sar, given), verbose=0)
        for function in (run, tf.function(run)):
            np.testing.assert_allclose(function(planes)[0], expected, atol=1e-5)


@pytest.mark.slow
def test_each_request_of_the_warm_up_is_answered(guided_file, tmp_path):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    target = export_saved_model(sar_keras.load_model(guided_file), tmp_path / "served")
    served, seen = tf.saved_model.load(str(target)).signatures, set()
    for record in tf.data.TFRecordDataset(str(target / "assets.extra/tf_serving_warmup_requests")):
        request = logs.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert served[request.model_spec.signature_name](**inputs)
        seen.add(request.model_spec.signature_name)
    assert seen == set(served) - {"__saved_model_init_op"}


def ground(random, noise=40):
    """Two SAR images of one ground, with noise of their own, uint8 (128, 128)."""
    field = np.asarray(Image.fromarray(random.uniform(0, 255, (32, 32)).astype("uint8")).resize((128, 128)), float)
    return [np.clip(field + random.normal(0, noise, field.shape), 0, 255).astype("uint8") for _ in range(2)]


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_reference_whose_sar_image_shows_other_ground_is_told(guided_file, random):
    reference = random.integers(1, 256, (128, 128, 3), dtype="uint8")
    (now, before), (elsewhere, _) = ground(random), ground(random)
    sar_keras.colorize(guided_file, now, reference=reference, reference_sar=before)
    with pytest.warns(UserWarning, match=r"an array: has nothing in common with the SAR image .*correlation -?0\.0"):
        sar_keras.colorize(guided_file, now, reference=reference, reference_sar=elsewhere)
    # Too small to tell.
    small = {"reference": reference[:64, :64], "reference_sar": elsewhere[:64, :64]}
    sar_keras.colorize(guided_file, now[:64, :64], **small)


def test_pixels_that_do_not_count_leave_those_beside_them_alone(guided_file, files, random):
    """Under transparency, black and clouds may be any colour."""
    network = network_of(guided_file)
    levels = random.integers(60, 200, (8, 8, 3), dtype="uint8")
    alpha = np.full((8, 8, 1), 255, "uint8")
    alpha[2:4, 2:4] = 0
    white, black = (np.where(alpha == 0, np.uint8(fill), levels) for fill in (255, 0))
    clouds = np.repeat(np.repeat(alpha[..., 0] == 0, 4, 0), 4, 1)
    planes = [
        image_hint(network, Hint("coarse", image, mask=mask), 32, 32)
        for image, mask in (
            (np.concatenate([white, alpha], -1), None),
            (np.concatenate([black, alpha], -1), None),
            (Image.fromarray(np.concatenate([white, alpha], -1)), None),
            (black, None),
            (white, clouds),
        )
    ]
    for other in planes[1:]:
        np.testing.assert_allclose(other, planes[0], atol=1e-6)
    here = planes[0][..., 4] > 0
    assert not here[8:16, 8:16].any() and here.sum() == 32 * 32 - 64
    # Beside the hole the colours are as bright as those that they are made of.
    ring = np.zeros((32, 32), bool)
    ring[5:19, 5:19] = True
    assert np.abs(planes[0][ring & here][:, :3]).max() < 1 and planes[0][ring & here][:, :3].max() < 0.8


@pytest.mark.filterwarnings("ignore:the image holds amplitude values")
def test_both_dates_of_a_patch_are_read_alike(guided_file, random):
    """Of 16 bits each would be stretched by itself."""
    network = network_of(guided_file)
    now = random.integers(100, 1000, (32, 32), dtype="uint16")
    rgb = random.integers(1, 255, (32, 32, 3), dtype="uint8")
    scale = network.metadata.sar_scale
    limits = {"amplitude": scale.limits("amplitude", now)}
    hint = Hint("other_date", rgb, np.float32(3) * now)
    alike = image_hint(network, hint, 32, 32, "amplitude", limits)[..., 7:]
    low, high = np.percentile(now, [1, 99], method="lower")
    np.testing.assert_allclose(alike[..., 0], np.clip(2 * (3.0 * now - low) / (high - low) - 1, -1, 1), atol=1e-4)
    brighter = sar_keras.colorize(guided_file, now, reference=rgb, reference_sar=3 * now)
    assert (brighter != sar_keras.colorize(guided_file, now, reference=rgb, reference_sar=now)).any()


def test_where_the_sar_image_of_the_other_date_has_no_data_there_is_none(guided_file, random):
    network, before = network_of(guided_file), random.uniform(0, 255, (32, 32)).astype("float32")
    before[:16] = np.nan
    rgb = random.integers(1, 255, (32, 32, 3), dtype="uint8")
    planes = image_hint(network, Hint("other_date", rgb, before), 32, 32, "uint8")
    assert not planes[:16, :, 6:].any() and (planes[16:, :, 6] == 1).all()


@pytest.mark.parametrize(
    "palette", [(0.3, 0.5, 1.0), np.ones(3), np.zeros((4, 4, 3), "uint8"), np.zeros((4, 4, 4), "uint8")]
)
def test_what_is_no_palette(guided_file, files, palette):
    with pytest.raises(DataError, match=r"palette: .*(three levels of 0 to 255|transparent or black everywhere)"):
        sar_keras.colorize(guided_file, files["sar"], palette=palette)


def test_no_output_replaces_its_hint(guided_file, files, command):
    for option in ("reference", "basemap", "palette"):
        before = files["same"].read_bytes()
        code, _, err = command("colorize", guided_file, files["sar"], "-o", files["same"], f"--{option}", files["same"])
        assert code == 2 and "would replace its own input" in one_line(err) and files["same"].read_bytes() == before


def test_levels_are_no_hint():
    with pytest.raises(ValueError, match=r"rgb: is uint8; it must be in \[-1, 1\]"):
        compose_hint(np.zeros((4, 4, 3), "uint8"), "palette")
    with pytest.raises(ValueError, match="it must be in"):
        compose_hint(tf.zeros((4, 4, 3), tf.uint8), "palette")
