import keras
import numpy as np
import pytest
import rasterio
from helpers import one_line
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject, transform_bounds

import sar_keras
from sar_keras.errors import DataError
from sar_keras.inference.engines import network_of
from sar_keras.inference.hints import Hint
from sar_keras.inference.metadata import ModelMetadata
from sar_keras.inference.model_file import save_model
from sar_keras.io.inputs import single
from sar_keras.io.rasters import SarScene
from sar_keras.networks.guided import GuidedGenerator
from sar_keras.scenes.hints import SceneHint

UTM, TRANSFORM = "EPSG:32633", from_origin(500_000, 5_000_000, 10, 10)
HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def copying_file(tmp_path_factory):
    """A guided generator that adds nothing: its colours are those of a coarse hint, grey where there is none."""
    keras.utils.set_random_seed(0)
    generator = GuidedGenerator((32, 32, 1), filters=2)
    *weights, kernel, bias = generator.get_weights()
    generator.set_weights([*weights, kernel * 0, bias * 0])
    path = tmp_path_factory.mktemp("guided") / "copying.keras"
    save_model(generator, path, ModelMetadata())
    return path


def write(path, levels, crs=UTM, transform=TRANSFORM, **profile):
    count, height, width = levels.shape
    settings = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": levels.dtype}
    with rasterio.open(path, "w", crs=crs, transform=transform, **settings, **profile) as file:
        file.write(levels)
    return path


@pytest.fixture
def scene(tmp_path, random):
    return write(tmp_path / "scene.tif", random.integers(1, 256, (1, HEIGHT, WIDTH), dtype="uint8"))


def smooth_colours(height, width):
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    return np.stack([40 + 150 * rows, 200 - 120 * columns, 90 + 60 * rows * columns]).astype("uint8")


def colours(path):
    with rasterio.open(path) as file:
        return file.read().astype(int)


@pytest.mark.slow
def test_a_basemap_of_the_scene_s_grid_comes_out_where_it_lies(scene, copying_file, tmp_path):
    there = smooth_colours(HEIGHT, WIDTH)
    basemap = write(tmp_path / "basemap.tif", there)
    out = sar_keras.colorize_scene(copying_file, scene, tmp_path / "out.tif", basemap=basemap, tile=64, overlap=16)
    assert np.abs(colours(out) - there).max() <= 1
    with rasterio.open(out) as file:
        assert file.tags()["SAR_KERAS_HINT"] == "the coarse image basemap.tif"


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_another_projection_and_resolution_are_warped(crs, scene, copying_file, tmp_path):
    bounds = rasterio.transform.array_bounds(HEIGHT, WIDTH, TRANSFORM)
    west, south, east, north = transform_bounds(UTM, crs, *bounds)
    margin = 0.1 * (east - west)
    transform = rasterio.transform.from_bounds(west - margin, south - margin, east + margin, north + margin, 60, 50)
    there = smooth_colours(50, 60)
    basemap = write(tmp_path / "basemap.tif", there, crs, transform)
    out = sar_keras.colorize_scene(copying_file, scene, tmp_path / "out.tif", basemap=basemap)
    expected = np.zeros((3, HEIGHT, WIDTH), "uint8")
    reproject(
        there, expected, src_crs=crs, src_transform=transform, dst_crs=UTM, dst_transform=TRANSFORM,
        resampling=Resampling.cubic,
    )  # fmt: skip
    assert np.abs(colours(out) - expected).max() <= 2


def test_where_a_reference_ends_has_nodata_or_clouds_there_is_no_hint(scene, copying_file, tmp_path):
    there = np.full((3, HEIGHT, WIDTH // 2), 200, "uint8")  # the western half
    there[:, 10:20, 10:20] = 7
    basemap = write(tmp_path / "basemap.tif", there, nodata=7)
    mask = np.zeros((1, HEIGHT, WIDTH), "uint8")
    mask[:, 60:70, 30:40] = 1
    clouds = write(tmp_path / "clouds.tif", mask)
    out = sar_keras.colorize_scene(copying_file, scene, tmp_path / "out.tif", basemap=basemap, clouds=clouds)
    with rasterio.open(out) as file:
        assert file.tags()["SAR_KERAS_HINT"] == (
            "the coarse image basemap.tif, without the clouds of clouds.tif, which covers 49% of the scene"
        )
    got = colours(out)
    grey, hinted = (np.abs(got - level).max(0) <= 1 for level in (127.5, 200))
    assert hinted[40:50, 10:50].all() and hinted[80:, :60].all()
    assert grey[:, WIDTH // 2 + 2 :].all() and grey[12:18, 12:18].all() and grey[62:68, 32:38].all()


@pytest.mark.parametrize("clouded", [1, 255])
@pytest.mark.parametrize("pixel", [2.5, 40])
def test_clouds_of_another_grid_hide_all_that_they_touch(scene, copying_file, tmp_path, clouded, pixel):
    basemap = write(tmp_path / "basemap.tif", np.full((3, HEIGHT, WIDTH), 200, "uint8"))
    side = int(HEIGHT * 10 / pixel), int(WIDTH * 10 / pixel)
    mask = np.zeros((1, *side), "uint8")
    if pixel < 10:
        mask[0, 160, 200] = clouded  # a sixteenth of the pixel in row 40, column 50
    else:
        mask[0, 8:12, 10:14] = clouded  # rows 32 to 48, columns 40 to 56
    clouds = write(tmp_path / "clouds.tif", mask, transform=from_origin(500_000, 5_000_000, pixel, pixel))
    out = sar_keras.colorize_scene(copying_file, scene, tmp_path / "out.tif", basemap=basemap, clouds=clouds)
    hidden = (np.abs(colours(out) - 127.5) <= 1).all(0)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[np.s_[40:41, 50:51] if pixel < 10 else np.s_[32:48, 40:56]] = True
    assert (hidden == expected).all()


def test_black_is_no_hint_and_a_palette_of_a_raster_is_refused(scene, copying_file, tmp_path, command):
    there = np.full((3, HEIGHT, WIDTH), 200, "uint8")
    there[:, :, :32] = 0
    out = sar_keras.colorize_scene(
        copying_file, scene, tmp_path / "out.tif", basemap=write(tmp_path / "basemap.tif", there)
    )
    assert (np.abs(colours(out)[:, :, :30] - 127.5) <= 1).all() and (colours(out)[:, :, 34:] == 200).all()
    paletted = write(tmp_path / "paletted.tif", np.ones((1, HEIGHT, WIDTH), "uint8"), photometric="palette")
    with rasterio.open(paletted, "r+") as file:
        file.write_colormap(1, {1: (10, 150, 30, 255)})
    code, _, errors = command("colorize", copying_file, scene, "-o", tmp_path / "new.tif", "--basemap", paletted)
    assert code == 2 and "paletted.tif: keeps its colours in a palette; make it RGB" in one_line(errors)


def test_a_reference_of_other_ground_is_one_line_and_leaves_nothing(scene, copying_file, tmp_path, command):
    far = write(tmp_path / "far.tif", smooth_colours(50, 60), transform=from_origin(700_000, 5_000_000, 10, 10))
    code, _, errors = command("colorize", copying_file, scene, "-o", tmp_path / "out.tif", "--reference", far)
    assert code == 2 and "far.tif: does not overlap" in one_line(errors)
    plain = write(tmp_path / "plain.tif", smooth_colours(50, 60), crs=None, transform=None)
    code, _, errors = command("colorize", copying_file, scene, "-o", tmp_path / "out.tif", "--reference", plain)
    assert code == 2 and "plain.tif: does not say where on a map it lies" in one_line(errors)
    assert not list(tmp_path.glob("out*"))


def test_the_sar_image_of_the_other_date_reaches_the_network(scene, tmp_path, random):
    keras.utils.set_random_seed(0)
    path = tmp_path / "guided.keras"
    save_model(GuidedGenerator((32, 32, 1), filters=2), path, ModelMetadata())
    reference = write(tmp_path / "reference.tif", smooth_colours(HEIGHT, WIDTH))
    before = write(tmp_path / "before.tif", random.integers(1, 256, (1, HEIGHT, WIDTH), dtype="uint8"))
    outputs = [
        sar_keras.colorize_scene(path, scene, tmp_path / f"{n}.tif", reference=reference, **options)
        for n, options in enumerate([{}, {"reference_sar": before}, {"reference_sar": scene}])
    ]
    one, two, three = map(colours, outputs)
    assert (one != two).any() and (two != three).any()
    with rasterio.open(scene) as sar, rasterio.open(before) as earlier:
        images = [sar.read(1)[:32, :32], earlier.read(1)[:32, :32]]
    window = sar_keras.colorize_scene(
        path, scene, tmp_path / "window.tif", reference=reference, reference_sar=before, window=(0, 0, 32, 32)
    )
    patch = sar_keras.colorize(
        path,
        images[0],
        reference=np.moveaxis(smooth_colours(HEIGHT, WIDTH)[:, :32, :32], 0, -1),
        reference_sar=images[1],
    )
    assert np.abs(colours(window) - np.moveaxis(patch.astype(int), -1, 0)).max() <= 1


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_reference_whose_sar_image_shows_other_ground_is_told(copying_file, tmp_path, random):
    grounds = random.normal(0, 1, (2, 1, 192, 192)).cumsum(-1).cumsum(-2)
    grounds = 128 + 100 * grounds / np.abs(grounds).max((-1, -2), keepdims=True)
    levels = [*(grounds + random.normal(0, 5, grounds.shape)), grounds[0]]
    now, elsewhere, before = (
        write(tmp_path / f"{n}.tif", np.clip(image, 1, 255).astype("uint8")) for n, image in enumerate(levels)
    )
    hint = {"reference": write(tmp_path / "rgb.tif", smooth_colours(192, 192))}
    sar_keras.colorize_scene(copying_file, now, tmp_path / "a.tif", **hint, reference_sar=before)
    with pytest.warns(UserWarning, match=r"1\.tif: has nothing in common with the SAR image"):
        sar_keras.colorize_scene(copying_file, now, tmp_path / "b.tif", **hint, reference_sar=elsewhere)


def test_both_dates_of_sar_are_scaled_alike(copying_file, tmp_path, random):
    """The same file as both, under options that say how it is read."""
    decibel = random.uniform(-20, -5, (2, HEIGHT, WIDTH)).astype("float32")
    path = write(tmp_path / "scene.tif", decibel)
    network, read = network_of(copying_file), ("2", "db", (-20.0, -5.0))
    with (
        SarScene(single(path), 1, network.metadata.sar_scale, (), *read) as sar,
        SceneHint(
            network, Hint("other_date", write(tmp_path / "rgb.tif", smooth_colours(HEIGHT, WIDTH)), path), sar
        ) as hint,
    ):
        window = 10, 10, 40, 30
        np.testing.assert_allclose(hint.read(*window)[..., 7:], sar.read(*window)[0], atol=1e-6)


def test_the_hint_of_a_scene_is_a_file(scene, copying_file, tmp_path):
    basemap, clouds = write(tmp_path / "basemap.tif", smooth_colours(HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH), "uint8")
    for given in ({"basemap": smooth_colours(HEIGHT, WIDTH)}, {"basemap": basemap, "clouds": clouds}):
        with pytest.raises(DataError, match="the hint of a scene is a file: give its path"):
            sar_keras.colorize_scene(copying_file, scene, tmp_path / "out.tif", **given)


def test_no_colours_replace_the_image_of_a_palette(scene, copying_file, tmp_path, command):
    palette = write(tmp_path / "palette.tif", smooth_colours(8, 8))
    before = palette.read_bytes()
    code, _, errors = command("colorize", copying_file, scene, "-o", palette, "--palette", palette)
    assert code == 2 and "palette.tif" in one_line(errors) and palette.read_bytes() == before
