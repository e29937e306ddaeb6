import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import UTM, one_convolution, read_scene, speckle, write_scene
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

import sar_keras
from sar_keras.data.synthetic import synthesize_scene
from sar_keras.errors import DataError
from sar_keras.inference.detail import add_detail, fine_structure
from sar_keras.networks.sizes import any_size
from sar_keras.scenes import colorize as scenes

PATCH, MULTIPLE = 64, 8  # of the tiny model, which halves an image three times

# Scenes in other units than the tiny model's 8 bits warn, as they should; the test of that warning asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")


@pytest.fixture(scope="module")
def network(model):
    network = any_size(model)
    anything = tf.TensorSpec((1, None, None, 1))
    return tf.function(lambda sar: network(sar, training=False), input_signature=[anything])


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
        # As few windows as of `tile`, each as small as so many may be.
        needed = size + 2 * margin
        counts = {side: 1 for side in range(MULTIPLE, tile + 1, MULTIPLE) if side >= max(PATCH, 2 * overlap)}
        for side in counts:
            while side + (counts[side] - 1) * (side - overlap) < needed:
                counts[side] += 1
        side = min(side for side in counts if counts[side] == counts[tile])
        spans.append([(n * (side - overlap), n * (side - overlap) + side) for n in range(counts[side])])

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
            colours = network(padded[window][None, ..., None].astype("float32"))[0].numpy()
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
    colours, valid = read_scene(tmp_path / "colour.tif")
    assert valid.all()
    assert np.abs(colours.astype(int) - sar_keras.colorize(model, image)).max() <= 1


KINDS = ("uint8", "uint16", "int16", "float32", "float64")

HOLES = ("none", "nodata", "not a number", "infinity", "mask")


@settings(
    max_examples=10,
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
        colours, is_colour = read_scene(destination)
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


def test_a_large_scene_is_stretched_once_not_by_window(model, network, tmp_path):
    # Counts that grow from left to right: a stretch by window would make all windows alike.
    values = (np.linspace(100, 4000, 600)[None] * np.ones((300, 1))).astype("uint16")
    scenes.colorize_scene(model, write_scene(tmp_path / "a.tif", values), tmp_path / "c.tif", tile=128, overlap=32)
    low, high = np.percentile(values, [1, 99])
    unit = np.clip((values - low) / (high - low) * 2 - 1, -1, 1)
    difference = np.abs(read_scene(tmp_path / "c.tif")[0] - whole_array(network, unit, 128, 32))
    assert difference.mean() < 1


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
        whole, part = (read_scene(tmp_path / f"{name}.tif")[0].astype(int) for name in ("all", "part"))
        assert np.abs(whole[48:138, 48:168] - part)[:72, :96].max() <= 1
    with pytest.raises(DataError, match=r"^window 72 20 200 110: not inside"):
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
        results[tile] = read_scene(tmp_path / "c.tif")[0]
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


@pytest.mark.parametrize("overlap", [0, 8, 32])
def test_detail_is_that_of_the_whole_scene(tmp_path, overlap):
    image = speckle((200, 230))
    image[:, 90:92] = 255
    valid = np.ones(image.shape, bool)
    valid[120:150, 100:180] = False
    source = write_scene(tmp_path / "a.tif", image, mask=valid)
    local = one_convolution()  # its windows agree where they overlap, so that whatever differs is the detail's
    options = dict(tile=64, overlap=overlap, batch=2)
    plain, _ = read_scene(scenes.colorize_scene(local, source, tmp_path / "plain.tif", **options))
    colours, _ = read_scene(scenes.colorize_scene(local, source, tmp_path / "detail.tif", detail=0.7, **options))
    sar = (image / 127.5 - 1).astype("float32")[..., None]
    expected = add_detail(plain.astype("float32"), 0.7 * fine_structure(sar, valid))
    difference = np.abs(colours - expected)[valid]
    assert np.abs(colours.astype(int) - plain)[valid].max() > 10
    assert np.quantile(difference, 0.999) <= 1.5 and difference.max() <= 5  # `plain` is rounded, dark colours most so


@keras.saving.register_keras_serializable("tests")
class OffsetByWindow(keras.layers.Layer):
    """A brightness of its own for each image."""

    def call(self, colours):
        mean = tf.reduce_mean(colours, axis=[1, 2, 3], keepdims=True)
        return colours + 0.3 * tf.sin(1e4 * mean)


def test_the_size_of_the_windows_does_not_show(tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((200, 230)))
    model = one_convolution(size=PATCH)
    bad = keras.Model(model.inputs, OffsetByWindow()(model.outputs[0]))
    differences = []
    for generator in (model, bad):
        small, large = (
            read_scene(scenes.colorize_scene(generator, source, tmp_path / "c.tif", tile=tile, overlap=16))[0].astype(
                int
            )
            for tile in (64, 128)
        )
        differences.append(np.abs(small - large))
    assert differences[0].max() <= 1 and differences[1].mean() > 2


@pytest.mark.slow
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
    from helpers import tiny

    more = ["train.epochs=6", "train.steps_per_epoch=40", "data.limit=60", "model.filters=8"]
    run = tmp_path_factory.mktemp("runs") / "trained"
    sar_keras.fit(tiny("quick", *more), run)
    return sar_keras.load_model(run)
