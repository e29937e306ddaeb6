import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import one_line
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from rio_cogeo import cog_validate

import sar_keras
from sar_keras.data.synthetic import synthesize_scene
from sar_keras.errors import DataError, OutputError
from sar_keras.inference.confidence import ExpectedError, with_uncertainty
from sar_keras.inference.model_file import save_model
from sar_keras.io.sar import Scale
from sar_keras.networks.rewriting import for_inference
from sar_keras.networks.sizes import any_size
from sar_keras.scenes import colorize as scenes

PATCH = 64
UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000.5, 0, -10, 5_400_000.25)}

# Scenes in other units than the tiny model's 8 bits warn, as they should; the test of that warning asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A small generator with weights at random but strong: it answers every change of its input with bright colours."""
    keras.utils.set_random_seed(0)
    generator = sar_keras.UNetGenerator((PATCH, PATCH, 1), filters=4)
    generator.set_weights([weights * 4 if weights.ndim == 4 else weights for weights in generator.get_weights()])
    path = tmp_path_factory.mktemp("models") / "strong.keras"
    error = ExpectedError([0.2, 0.05, 0.03, -0.08, 0, 0, 0, 0, 0, 0], [-1, -1, -1], [1, 1, 1])
    save_model(generator, path, Scale(), expected_error=error)
    return path


@pytest.fixture(scope="module")
def model(model_file):
    return sar_keras.load_model(model_file)


@pytest.fixture(scope="module")
def network(model):
    return any_size(model)


def write_scene(path, bands, nodata=None, mask=None, descriptions=None, tags=None, **profile):
    bands = np.atleast_3d(bands.T).T if bands.ndim == 2 else bands
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", **UTM, **profile}
    count, height, width = bands.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", width=width, height=height, count=count, dtype=bands.dtype, nodata=nodata, **profile
        ) as file,
    ):
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
        if descriptions:
            file.descriptions = descriptions
        file.update_tags(**(tags or {}))
    return path


def read(path):
    """Colours (H, W, bands) and where they are valid (H, W)."""
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1), file.dataset_mask() > 0


def speckle(shape, seed=0):
    """An 8-bit scene with areas, edges and speckle."""
    sar, _ = synthesize_scene("agri", seed, max(*shape, 64))
    return sar[: shape[0], : shape[1]]


def whole_array(network, unit, tile, overlap):
    """The obvious alternative: everything in memory, a loop of tiles, sums of weighted colours and of weights."""
    height, width = unit.shape
    margins = [0 if size <= PATCH else overlap // 2 for size in (height, width)]
    padded = np.pad(unit, [(margin, margin + 2 * tile) for margin in margins], "reflect")
    total = np.zeros((*padded.shape, 3))
    weights = np.zeros((*padded.shape, 1))
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    spans = []
    for size, margin in zip((height, width), margins, strict=True):
        starts = [0]
        while starts[-1] + tile < size + 2 * margin:
            starts.append(starts[-1] + tile - overlap)
        ends = [start + tile for start in starts[:-1]]
        ends.append(starts[-1] + -(-(size + 2 * margin - starts[-1]) // PATCH) * PATCH)
        spans.append(list(zip(starts, ends, strict=True)))

    def weight(span, all_spans):
        values = np.ones(span[1] - span[0])
        if overlap and span != all_spans[0]:
            values[:overlap] = ramp
        if overlap and span != all_spans[-1]:
            values[-overlap:] = ramp[::-1]
        return values

    for rows in spans[0]:
        for columns in spans[1]:
            window = slice(*rows), slice(*columns)
            colours = network(padded[window][None, ..., None].astype("float32"), training=False)[0].numpy()
            both = (weight(rows, spans[0])[:, None] * weight(columns, spans[1]))[..., None]
            total[window] += colours * both
            weights[window] += both
    inner = slice(margins[0], margins[0] + height), slice(margins[1], margins[1] + width)
    return np.clip((total[inner] / weights[inner] + 1) * 127.5, 0, 255)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (40, 64), (64, 64)])
def test_what_fits_one_patch_is_what_colorize_gives(model, tmp_path, shape):
    image = speckle(shape)
    path = write_scene(tmp_path / "scene.tif", image)
    scenes.colorize_scene(model, path, tmp_path / "colour.tif")
    colours, valid = read(tmp_path / "colour.tif")
    assert valid.all()
    assert np.abs(colours.astype(int) - sar_keras.colorize(model, image)).max() <= 1


KINDS = ("uint8", "uint16", "int16", "float32", "float64")
HOLES = ("none", "nodata", "not a number", "infinity", "mask")


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    kind=st.sampled_from(KINDS),
    holes=st.sampled_from(HOLES),
    share=st.sampled_from(["few", "border", "most"]),
    tile=st.sampled_from([64, 128, 192]),
    overlap=st.integers(0, 32),
    batch=st.integers(1, 3),
    layout=st.sampled_from([{}, {"tiled": True, "blockxsize": 64, "blockysize": 32}, {"compress": "deflate"}]),
    seed=st.integers(0, 99),
)
@example(300, 200, "float32", "not a number", "border", 64, 32, 2, {}, 0)
@example(1, 300, "uint16", "nodata", "few", 128, 7, 1, {}, 1)
def test_any_scene_is_what_the_obvious_way_gives(
    model, network, height, width, kind, holes, share, tile, overlap, batch, layout, seed
):
    random = np.random.default_rng(seed)
    unit = np.clip(random.normal(0, 0.4, (height, width)), -1, 1)
    # In other units: -30..0 dB, or 100..4000 counts.
    low, high = (-30, 0) if kind.startswith("float") else (1, 255) if kind == "uint8" else (100, 4000)
    values = (low + (unit + 1) / 2 * (high - low)).astype(kind)
    unit = np.clip((values.astype("float64") - low) / (high - low) * 2 - 1, -1, 1)

    valid = np.ones((height, width), bool)
    if share == "few":
        valid = random.random((height, width)) > 0.02
    elif share == "border":
        valid[:, : width // 3] = False
    else:
        valid[height // 4 :] = False
    valid[0, -1] = True
    nodata = mask = None
    if holes == "none":
        valid[:] = True
    elif holes == "nodata":
        nodata = 0 if kind == "uint8" else -99 if low < 0 else -32768 if kind == "int16" else 65535
        values[~valid] = nodata
    elif holes == "mask":
        mask = valid
    elif kind.startswith("float"):
        values[~valid] = np.nan if holes == "not a number" else np.resize([np.inf, -np.inf], (~valid).sum())
    else:
        valid[:] = True

    with tempfile.TemporaryDirectory() as folder:
        source = write_scene(Path(folder) / "scene.tif", values, nodata, mask, **layout)
        before = source.read_bytes()
        destination = Path(folder) / "out" / "colour.tif"
        done = []
        scenes.colorize_scene(
            model,
            source,
            destination,
            limits=(low, high),
            tile=tile,
            overlap=overlap,
            batch=batch,
            progress=done.append,
        )
        colours, is_colour = read(destination)
        with rasterio.open(destination) as file:
            assert (file.crs, file.transform, file.shape) == (UTM["crs"], UTM["transform"], (height, width))
        assert [path.name for path in destination.parent.iterdir()] == ["colour.tif"]
        assert source.read_bytes() == before
    assert sum(done) == height * width
    np.testing.assert_array_equal(is_colour, valid)
    assert (colours[~valid] == 0).all()
    unit[~valid] = np.median(unit[valid])
    expected = whole_array(network, unit, tile, overlap)
    assert np.abs(colours[valid] - expected[valid]).max() <= 1


def test_real_files_keep_their_place_to_the_digit(model, shared, tmp_path):
    files = [path for path in sorted((shared / "data/geotiff").iterdir()) if "S2" not in path.name]
    files += sorted((shared / "data/scenes").glob("*_S1_*"))
    assert len(files) == 11
    for path in files:
        destination = tmp_path / f"{path.stem}.tif"
        scenes.colorize_scene(model, path, destination)
        with rasterio.open(path) as sar, rasterio.open(destination) as colours:
            assert (colours.crs, colours.transform, colours.shape) == (sar.crs, sar.transform, sar.shape)
            assert [point.asdict() for point in colours.gcps[0]] == [point.asdict() for point in sar.gcps[0]]
            assert colours.gcps[1] == sar.gcps[1] and colours.dtypes == ("uint8",) * 3
            assert colours.tags()["SYNTHETIC"] == "YES" and path.name in colours.tags()["SAR_KERAS_INPUT"]
            values, valid = sar.read(1), colours.dataset_mask() > 0
            expected = np.isfinite(values) & (sar.read_masks(1) > 0)
            if "GRDH" in path.name:  # it has a ragged border of zeros, at least 25 columns wide
                np.testing.assert_array_equal(valid, values > 0)
                assert not valid[:, -25:].any() and valid[:, :1250].all()
            else:
                np.testing.assert_array_equal(valid, expected)
            assert colours.read(1)[valid].std() > 0
        is_valid, problems, remarks = cog_validate(destination, quiet=True)
        assert is_valid and not problems and not remarks, path


@pytest.mark.parametrize("suffix", [".vrt", ".png"])
def test_other_formats_and_no_georeference(model, tmp_path, suffix):
    image = speckle((100, 90))
    source = tmp_path / "plain.png"
    Image.fromarray(image).save(source)
    if suffix == ".vrt":
        rasterio.shutil.copy(source, tmp_path / "plain.vrt", driver="VRT")
    scenes.colorize_scene(model, source.with_suffix(suffix), tmp_path / "colour.tif", tile=PATCH, overlap=8)
    with rasterio.open(tmp_path / "colour.tif") as file:
        assert file.shape == (100, 90) and file.crs is None and file.transform.is_identity


def test_ways_to_say_nodata_agree(model, tmp_path):
    image = speckle((70, 150)).astype("float32") / 10 - 25
    hole = np.zeros((70, 150), bool)
    hole[10:40, 20:130] = True
    opaque = np.where(hole, 0, 255).astype("float32")
    ways = {
        "nodata": dict(bands=np.where(hole, -99, image).astype("float32"), nodata=-99),
        "undeclared": dict(bands=np.where(hole, -9999, image).astype("float32")),
        "nan": dict(bands=np.where(hole, np.nan, image).astype("float32")),
        "infinite": dict(bands=np.where(hole, -np.inf, image).astype("float32")),
        "mask": dict(bands=image, mask=~hole),
        "alpha": dict(bands=np.stack([image, opaque]), photometric="MINISBLACK", alpha="YES"),
    }
    results = {}
    for name, what in ways.items():
        source = write_scene(tmp_path / f"{name}.tif", **what)
        scenes.colorize_scene(model, source, tmp_path / f"{name}_colour.tif", tile=PATCH, overlap=16)
        colours, valid = read(tmp_path / f"{name}_colour.tif")
        np.testing.assert_array_equal(valid, ~hole, err_msg=name)
        results[name] = colours
    for name, colours in results.items():
        np.testing.assert_array_equal(colours, results["nodata"], err_msg=name)


@pytest.mark.parametrize(("kind", "factor"), [("uint16", 20), ("float32", 1e-4)])
def test_areas_of_zeros_are_nodata_in_counts_and_power_but_dark_pixels_are_not(model, tmp_path, kind, factor):
    values = (np.maximum(speckle((200, 200)), 1) * factor).astype(kind)
    values[:, 110:] = 0
    values[::7, :100:5] = 0  # single pixels
    values[20:25, 20:25] = 0  # smaller than an area
    scenes.colorize_scene(model, write_scene(tmp_path / "a.tif", values), tmp_path / "c.tif", tile=PATCH, overlap=2)
    _, valid = read(tmp_path / "c.tif")
    assert valid[:, :110].all() and not valid[:, 110:].any()


def test_decibel_linear_power_and_scaled_integers_agree(model, tmp_path):
    decibel = speckle((80, 80)).astype("float32") / 12 - 22
    decided = []

    def colours(name, values, scale=None, **options):
        path = write_scene(tmp_path / f"{name}.tif", values)
        if scale:
            with rasterio.open(path, "r+") as file:
                file.scales = [scale]
        with pytest.warns(UserWarning, match="the model was trained on uint8"):
            scenes.colorize_scene(model, path, tmp_path / "c.tif", log=decided.append, **options)
        return read(tmp_path / "c.tif")[0].astype(int)

    expected = colours("db", decibel)
    assert np.abs(colours("linear", 10 ** (decibel / 10)) - expected).max() <= 1
    assert np.abs(colours("scaled", np.rint(decibel * 1000).astype("int16"), 0.001) - expected).max() <= 1
    assert np.abs(colours("range", decibel, limits=(-25, 0)) - expected).max() <= 1
    assert np.abs(colours("range", decibel, limits=(-20, -5)) - expected).mean() > 1
    assert "band 1, db (float32" in decided[0] and "-25..0 dB to -1..1" in decided[0]
    assert "linear power" in decided[1] and "-20..-5" in decided[4]


def test_a_large_scene_is_stretched_once_not_by_window(model, network, tmp_path):
    # Counts that grow from left to right: a stretch by window would make all windows alike.
    values = (np.linspace(100, 4000, 1200)[None] * np.ones((1000, 1))).astype("uint16")
    scenes.colorize_scene(model, write_scene(tmp_path / "a.tif", values), tmp_path / "c.tif", tile=256, overlap=32)
    low, high = np.percentile(values, [1, 99])
    unit = np.clip((values - low) / (high - low) * 2 - 1, -1, 1)
    difference = np.abs(read(tmp_path / "c.tif")[0] - whole_array(network, unit, 256, 32))
    assert difference.mean() < 1


def test_bands_are_chosen_by_number_and_polarisation(model, command, model_file, tmp_path):
    one, two = speckle((64, 64), 1), speckle((64, 64), 2)
    both = write_scene(tmp_path / "both.tif", np.stack([one, two]), descriptions=("Sigma0_VV", "Sigma0_VH"))
    alone = write_scene(tmp_path / "iw-vh.tif", two)
    expected = {"VV": sar_keras.colorize(model, one), "VH": sar_keras.colorize(model, two)}
    for source, band, name in [
        (both, None, "VV"), (both, "1", "VV"), (both, 2, "VH"), (both, "vv", "VV"), (both, "VH", "VH"),
        (alone, "VH", "VH"),
    ]:  # fmt: skip
        scenes.colorize_scene(model, source, tmp_path / "c.tif", band=band)
        assert np.abs(read(tmp_path / "c.tif")[0].astype(int) - expected[name]).max() <= 1
    for source, band, message in [
        (both, "3", "has no band 3"),
        (both, "HH", "band 2: VH"),
        (alone, "VV", "band 1: VH"),
    ]:
        code, _, err = command("colorize", model_file, source, "-o", tmp_path / "no.tif", "--band", band)
        assert code == 2 and message in one_line(err) and str(source) in err


def test_a_window_lies_where_it_was_cut_out(model, tmp_path):
    points = [
        GroundControlPoint(row, column, 10 + column / 100, 50 - row / 100) for row in (0, 150) for column in (0, 200)
    ]
    image = speckle((150, 200))
    source = write_scene(tmp_path / "a.tif", image)
    radar = write_scene(tmp_path / "radar.tif", image, crs="EPSG:4326", gcps=points, transform=None)
    for path in (source, radar):
        scenes.colorize_scene(model, path, tmp_path / "all.tif", tile=PATCH, overlap=16)
        scenes.colorize_scene(model, path, tmp_path / "part.tif", window=(48, 48, 120, 90), tile=PATCH, overlap=16)
        with rasterio.open(tmp_path / "part.tif") as part:
            assert part.shape == (90, 120)
            if path == source:
                assert part.transform == Affine(10, 0, 500_480.5, 0, -10, 5_399_520.25)
            else:
                assert [(point.row, point.col) for point in part.gcps[0]] == [(p.row - 48, p.col - 48) for p in points]
        # The windows are the same but for those at the border of the part.
        whole, part = (read(tmp_path / f"{name}.tif")[0].astype(int) for name in ("all", "part"))
        assert np.abs(whole[48:138, 48:168] - part)[16:32, 16:80].max() <= 1
    with pytest.raises(DataError, match="--window 72 20 200 110: not inside"):
        scenes.colorize_scene(model, source, tmp_path / "x.tif", window=(72, 20, 200, 110))


def gradient(colours, lines):
    """Mean step across vertical `lines`, from pixel to pixel and between 16-pixel blocks on either side."""
    colours = colours.astype("float64")
    fine = np.abs(np.diff(colours, axis=1)).mean((0, 2))
    blocks = colours[: len(colours) // 16 * 16].reshape(-1, 16, *colours.shape[1:]).mean(1)
    smooth = np.cumsum(np.pad(blocks, ((0, 0), (1, 0), (0, 0))), axis=1)
    means = (smooth[:, 16:] - smooth[:, :-16]) / 16  # [c]: of the columns c .. c + 15
    coarse = np.abs(means[:, 24:] - means[:, :-24]).mean((0, 2))  # [c]: from c .. c + 15 to c + 24 .. c + 39
    return np.array([fine[lines - 1].mean(), coarse[lines - 20].mean()])


def seams(model, tmp_path, source):
    """(gradient across tile lines over that at the same places inside tiles, mean difference of two tile sizes)."""
    results = {}
    for tile in (512, 1024):
        scenes.colorize_scene(model, source, tmp_path / "c.tif", tile=tile)
        results[tile] = read(tmp_path / "c.tif")[0]
    overlap, size = scenes.OVERLAP, len(results[1024])
    lines = {tile: np.arange(tile - overlap, size - overlap, tile - overlap) for tile in results}
    ratios = []
    for tile, other in ((512, 1024), (1024, 512)):
        # Where the other result has no line near.
        chosen = np.array([line for line in lines[tile] if np.abs(lines[other] - line).min() >= overlap])
        for turn in (lambda image: image, lambda image: image.swapaxes(0, 1)):
            here, inside = (gradient(turn(results[name]), chosen) for name in (tile, other))
            ratios.append(here / inside)
    return np.max(ratios), np.abs(results[512].astype(int) - results[1024]).mean()


@keras.saving.register_keras_serializable("tests")
class OffsetByWindow(keras.layers.Layer):
    """A brightness of its own for each image."""

    def call(self, colours):
        mean = tf.reduce_mean(colours, axis=[1, 2, 3], keepdims=True)
        return colours + 0.3 * tf.sin(1e4 * mean)


def test_no_seams_and_a_model_that_makes_some_is_caught(tmp_path, trained):
    source = write_scene(tmp_path / "a.tif", synthesize_scene("agri", 7, 2100)[0])
    ratio, difference = seams(trained, tmp_path, source)
    assert ratio <= 1.05 and difference < 2
    bad = keras.Model(trained.inputs, OffsetByWindow()(trained.outputs[0]))
    ratio, difference = seams(bad, tmp_path, source)
    assert ratio > 1.05 and difference > 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator that has learnt something: its colours follow the ground."""
    from helpers import TINY

    more = ["train.epochs=6", "train.steps_per_epoch=40", "data.limit=60", "model.filters=8"]
    run = tmp_path_factory.mktemp("runs") / "trained"
    sar_keras.fit(sar_keras.load_config("quick", [*TINY, *more]), run)
    return sar_keras.load_model(run)


def test_bfloat16_is_close_and_really_bfloat16(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((150, 150)))
    scenes.colorize_scene(model, source, tmp_path / "single.tif")
    scenes.colorize_scene(model, source, tmp_path / "half.tif", precision="bfloat16")
    difference = np.abs(read(tmp_path / "single.tif")[0].astype(int) - read(tmp_path / "half.tif")[0])
    assert 0 < difference.mean() < 1.5
    lower = for_inference(model, "bfloat16")
    convolutions = [layer for layer in lower.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
    assert lower.output.dtype == "float32" and model.layers[1].compute_dtype == "float32"


def test_confidence_lies_on_the_same_grid_and_holds_the_expected_error(model, tmp_path):
    image = speckle((64, 64))
    source = write_scene(tmp_path / "a.tif", image, mask=np.arange(64 * 64).reshape(64, 64) > 640)
    scenes.colorize_scene(model, source, tmp_path / "c.tif", confidence=True, preview=tmp_path / "p.png")
    unit = (image / 127.5 - 1).astype("float32")
    unit.ravel()[:641] = np.median(unit.ravel()[641:])
    colours, uncertainty = with_uncertainty(model)(unit[None, ..., None])
    with rasterio.open(tmp_path / "c_confidence.tif") as file:
        assert (file.count, file.crs, file.transform, file.shape) == (1, UTM["crs"], UTM["transform"], (64, 64))
        stored = file.read(1) * file.scales[0]
        valid = file.dataset_mask() > 0
        assert "Expected absolute error" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    assert valid.sum() == 64 * 64 - 641 and stored[valid].max() > 0
    assert np.abs(stored - np.minimum(uncertainty[0, ..., 0], 0.5))[valid].max() <= 0.5 / 255
    assert np.abs(read(tmp_path / "c.tif")[0] - (colours[0].numpy() + 1) * 127.5)[valid].max() <= 1
    assert cog_validate(tmp_path / "c_confidence.tif", quiet=True)[0]
    assert Image.open(tmp_path / "p.png").size == (3 * 64, 64 + 16)


def test_a_model_that_was_trained_on_gives_its_new_colours(tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    generator = sar_keras.UNetGenerator((PATCH, PATCH, 1), filters=2)
    before, _ = read(scenes.colorize_scene(generator, source, tmp_path / "before.tif"))
    generator.layers[-2].bias.assign([0.5, 0.5, 0.5])
    after, _ = read(scenes.colorize_scene(generator, source, tmp_path / "after.tif"))
    assert (after.astype(int) - before).min() > 10


def test_preview_shows_sar_beside_colours(model, tmp_path):
    image = np.zeros((600, 2048), np.uint8)
    image[:, 1024:] = 255
    scenes.colorize_scene(model, write_scene(tmp_path / "a.tif", image), tmp_path / "c.tif", preview=tmp_path / "p.png")
    preview = np.asarray(Image.open(tmp_path / "p.png"))[16:]
    assert preview.shape == (300, 2048, 3)
    assert (preview[:, :500] == 0).all() and (preview[:, 524:1024] == 255).all()
    np.testing.assert_allclose(
        preview[100:200, 1100:1200].mean((0, 1)), read(tmp_path / "c.tif")[0][200:400, 152:352].mean((0, 1)), atol=1
    )


def test_tags_name_model_and_input(model_file, tmp_path):
    import hashlib

    source = write_scene(
        tmp_path / "a.tif",
        speckle((64, 64)),
        tags={"TIFFTAG_DATETIME": "2020:01:02 03:04:05", "AREA_OR_POINT": "Point"},
    )
    assert sar_keras.colorize_scene(model_file, source, str(tmp_path / "c.tif")) == tmp_path / "c.tif"
    with rasterio.open(tmp_path / "c.tif") as file:
        tags = file.tags()
        assert file.transform == rasterio.open(source).transform
    digest = hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert tags["SAR_KERAS_MODEL"] == "strong" and tags["SAR_KERAS_MODEL_SHA256"] == digest
    assert tags["SAR_KERAS_INPUT"] == "a.tif, band 1" and tags["SAR_KERAS_SCALE"] == "uint8, 0 to 255 became -1 to 1"
    assert (
        tags["TIFFTAG_SOFTWARE"] == f"sar_keras {sar_keras.__version__}"
        and "Synthetic" in tags["TIFFTAG_IMAGEDESCRIPTION"]
    )
    assert tags["TIFFTAG_DATETIME"] == "2020:01:02 03:04:05" and tags["AREA_OR_POINT"] == "Point"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_run_leaves_nothing_that_looks_finished_and_resume_goes_on(model, model_file, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((600, 300)))
    options = dict(tile=PATCH, overlap=16, confidence=True)
    scenes.colorize_scene(model, source, tmp_path / "whole.tif", **options)
    code = f"""
import time, sar_keras
source, destination = {str(source)!r}, {str(tmp_path / "out/c.tif")!r}
sar_keras.colorize_scene({str(model_file)!r}, source, destination, tile=64, overlap=16, confidence=True,
    progress=lambda pixels: time.sleep(.1))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    journal = tmp_path / "out/.c.partial.npz"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(name.startswith(".") for name in names(tmp_path / "out"))
    with np.load(journal) as state:
        finished = int(state["rows"])
    assert 0 < finished < 12
    steps = []
    scenes.colorize_scene(model, source, tmp_path / "out/c.tif", resume=True, progress=steps.append, **options)
    assert steps[0] == (finished * (PATCH - 16) - 8) * 300 and sum(steps) == 600 * 300
    for name in ("", "_confidence"):
        for resumed, expected in zip(
            read(tmp_path / f"out/c{name}.tif"), read(tmp_path / f"whole{name}.tif"), strict=True
        ):
            np.testing.assert_array_equal(resumed, expected)
    assert names(tmp_path / "out") == ["c.tif", "c_confidence.tif"]
    # And once more: it is done already.
    steps = []
    before = (tmp_path / "out/c.tif").stat().st_mtime_ns
    scenes.colorize_scene(model, source, tmp_path / "out/c.tif", resume=True, progress=steps.append, **options)
    assert steps == [600 * 300] and (tmp_path / "out/c.tif").stat().st_mtime_ns == before


def test_only_what_fits_is_resumed_and_only_what_may_be_wanted_is_kept(model, tmp_path, capsys):
    source = write_scene(tmp_path / "a.tif", speckle((300, 100)))
    out = tmp_path / "out"

    def stop(pixels, error=KeyboardInterrupt):
        if (out / ".c.partial.npz").exists():
            raise error

    options = dict(tile=PATCH, overlap=16)
    with pytest.raises(KeyboardInterrupt):
        scenes.colorize_scene(model, source, out / "c.tif", progress=stop, **options)
    assert ".c.partial.tif" in names(out) and "--resume" in capsys.readouterr().err
    log, steps = [], []
    scenes.colorize_scene(
        model, source, out / "c.tif", resume=True, tile=2 * PATCH, overlap=16, progress=steps.append, log=log.append
    )
    assert "begins anew" in log[1] and len(steps) == 3 and names(out) == ["c.tif"]
    (out / "c.tif").unlink()
    with pytest.raises(DataError):
        scenes.colorize_scene(model, source, out / "c.tif", progress=lambda n: stop(n, DataError("x")), **options)
    assert names(out) == []
    with pytest.raises(DataError):
        scenes.colorize_scene(
            model, source, out / "c.tif", progress=lambda n: stop(n, DataError("x")), resume=True, **options
        )
    assert ".c.partial.npz" in names(out)


def test_a_folder_of_which_one_fails(command, model_file, tmp_path):
    for name in ("one.tif", "below/two.tif"):
        write_scene(tmp_path / "in" / name, speckle((70, 70)))
    (tmp_path / "in/broken.tif").write_bytes((tmp_path / "in/one.tif").read_bytes()[:300])
    Image.fromarray(speckle((64, 64))).save(tmp_path / "in/look.png")
    code, out, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in/colours")
    assert code == 1 and str(tmp_path / "in/broken.tif") in err and "1 of 3 scenes failed, the others are done" in err
    assert names(tmp_path / "in/colours") == ["below", "one.tif"]
    assert read(tmp_path / "in/colours/below/two.tif")[0].shape == (70, 70, 3)
    (tmp_path / "in/broken.tif").unlink()
    code, out, err = command("colorize", model_file, tmp_path / "in", "-o", tmp_path / "in/colours", "--resume")
    assert code == 0 and "2 scenes in" in out and err.count("is there already") == 2
    files = sorted((tmp_path / "in").glob("*.tif"))
    assert command("colorize", model_file, *files, *files, "-o", tmp_path / "x")[0] == 2


def test_images_stay_images(command, model_file, tmp_path, save_png):
    image = save_png(tmp_path / "a.png", speckle((64, 64)))
    plain = write_scene(tmp_path / "plain.tif", speckle((64, 64)), crs=None, transform=None)
    for source in (image, plain):
        assert command("colorize", model_file, source, "-o", tmp_path / "c.png") == (0, f"{tmp_path / 'c.png'}\n", "")
    assert Image.open(tmp_path / "c.png").size == (64, 64)
    code, _, err = command("colorize", model_file, image, "-o", tmp_path / "d.png", "--tile", "64")
    assert code == 2 and "--tile is for scenes" in one_line(err) and not (tmp_path / "d.png").exists()
    code, out, _ = command("colorize", model_file, image, "-o", tmp_path / "d.tif", "--tile", "64", "--overlap", "8")
    assert code == 0 and out == f"{tmp_path / 'd.tif'}\n" and cog_validate(tmp_path / "d.tif", quiet=True)[0]


def bad_text(path):
    path.write_text("not a raster at all")


def bad_empty(path):
    path.write_bytes(b"")


def bad_truncated(path):
    write_scene(path, speckle((600, 600)), driver="COG")  # which begins with the directory
    path.write_bytes(path.read_bytes()[:100_000])


def bad_no_bands(path):
    for table in ("one", "two"):
        write_scene(path, speckle((64, 64)), driver="GPKG", RASTER_TABLE=table, APPEND_SUBDATASET=str(table == "two"))


def bad_nodata(path):
    write_scene(path, np.full((70, 90), -99, "float32"), nodata=-99)


def bad_zeros(path):
    write_scene(path, np.zeros((70, 90), "uint16"))


def bad_complex(path):
    write_scene(path, np.ones((70, 90), "complex64"))


def bad_decibel(path):
    write_scene(path, np.full((70, 90), -1500, "int16"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bad_text, "not a raster"),
        (bad_empty, "not a raster"),
        (bad_truncated, "cut off or broken"),
        (bad_no_bands, "has no bands"),
        (bad_nodata, "holds no data"),
        (bad_zeros, "holds no data"),
        (bad_complex, "complex values"),
        (bad_decibel, "--units"),
    ],
)
def test_bad_scenes_are_one_line_and_leave_nothing(command, model_file, tmp_path, make, message):
    path = tmp_path / "bad.tif"
    make(path)
    code, out, err = command("colorize", model_file, path, "-o", tmp_path / "c.tif")
    assert code == 2 and out == "" and str(path) in one_line(err) and message in err
    assert names(tmp_path) == ["bad.tif"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "c.tif", "--band", "2"], "has no band 2"),
        (["-o", "c.tif", "--band", "VV"], "has no band named VV"),
        (["-o", "c.tif", "--tile", "64", "--overlap", "64"], "--overlap 64: must not be more than half"),
        (["-o", "c.tif", "--tile", "100"], "multiple of 64"),
        (["-o", "c.tif", "--overlap", "-1"], "--overlap -1"),
        (["-o", "c.tif", "--batch", "0"], "--batch 0"),
        (["-o", "c.tif", "--range", "5", "-5"], "--range 5 -5"),
        (["-o", "c.tif", "--window", "0", "0", "999", "1"], "--window 0 0 999 1"),
        (["-o", "c.tif", "--window", "40", "60", "5", "5"], "holds no data in this window"),
        (["-o", "c.tif", "--preview", "p.bmp"], "p.bmp"),
        (["-o", "c.png"], "give -o a .tif"),
        (["-o", "a.tif"], "replace its own input"),
        (["-o", "c.tif", "--preview", "c.tif"], "--preview c.tif: is a picture to look at; use .png"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(command, model_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    scene = speckle((80, 80))
    scene[50:] = 0
    write_scene(tmp_path / "a.tif", scene, nodata=0)
    before = (tmp_path / "a.tif").read_bytes()
    code, out, err = command("colorize", model_file, "a.tif", *arguments)
    assert code == 2 and out == "" and message in err.splitlines()[-1] and "Traceback" not in err
    assert names(tmp_path) == ["a.tif"] and (tmp_path / "a.tif").read_bytes() == before


def test_a_source_of_a_vrt_is_not_replaced(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
    with pytest.raises(OutputError, match="own input"):
        scenes.colorize_scene(model, tmp_path / "a.vrt", source)


def test_a_full_disk_is_one_line_and_loses_nothing(command, model_file, tmp_path, small_disk):
    source = write_scene(tmp_path / "a.tif", speckle((1200, 1200)))
    earlier = small_disk / "earlier.tif"
    earlier.write_bytes(b"x" * 1000)
    # While the windows are written; and later, while they are copied: 3 MB hold 900 x 900 x 3 bytes once, not twice.
    for more in (["--tile", "1024"], ["--tile", "256"], ["--tile", "256", "--window", "0", "0", "900", "900"]):
        code, _, err = command("colorize", model_file, source, "-o", small_disk / "c.tif", *more)
        assert code == 2 and "disk is full" in err.splitlines()[-1] and "Traceback" not in err
        assert names(small_disk) == ["earlier.tif"]
    options = ["--tile", "256", "--window", "0", "0", "900", "900", "--resume"]
    assert command("colorize", model_file, source, "-o", small_disk / "c.tif", *options)[0] == 2
    assert ".c.partial.npz" in names(small_disk)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert command("colorize", model_file, source, "-o", small_disk / "c.tif", *options)[0] == 0
    assert names(small_disk) == ["c.tif", "earlier.tif"] and read(small_disk / "c.tif")[1].all()


def test_a_read_only_disk_is_one_line(command, model_file, tmp_path, small_disk):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, out, err = command("colorize", model_file, source, "-o", small_disk / "c.tif")
    assert code == 2 and out == "" and f"{small_disk}: no permission" in err.splitlines()[-1]


def test_normalisation_by_window_is_warned_of(tmp_path):
    generator = sar_keras.UNetGenerator((64, 64, 1), filters=2, normalization="instance")
    with pytest.warns(UserWarning, match="normalises each window"):
        scenes.colorize_scene(generator, write_scene(tmp_path / "a.tif", speckle((64, 64))), tmp_path / "c.tif")


def test_scenes_map_over_a_dask_cluster(model_file, model, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    sources = [write_scene(tmp_path / f"{seed}.tif", speckle((100, 90), seed)) for seed in range(3)]
    destinations = [tmp_path / "out" / source.name for source in sources]
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.map(
            sar_keras.colorize_scene, [str(model_file)] * 3, sources, destinations, tile=64, overlap=16
        )
        assert client.gather(futures) == destinations
        (broken,) = client.map(
            sar_keras.colorize_scene, [str(model_file)], [tmp_path / "none.tif"], [tmp_path / "n.tif"]
        )
        assert "none.tif: no such file" in str(broken.exception())
    for source, destination in zip(sources, destinations, strict=True):
        scenes.colorize_scene(model, source, tmp_path / "here.tif", tile=64, overlap=16)
        np.testing.assert_array_equal(read(destination)[0], read(tmp_path / "here.tif")[0])
