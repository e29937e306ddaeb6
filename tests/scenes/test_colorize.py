import warnings

import keras
import numpy as np
import pytest
import rasterio
from helpers import UTM, one_line, read_scene, speckle, write_scene
from PIL import Image
from rasterio.control import GroundControlPoint
from rio_cogeo import cog_validate

import sar_keras
from sar_keras.errors import OutputError
from sar_keras.inference.confidence import with_uncertainty
from sar_keras.inference.detail import add_detail, fine_structure
from sar_keras.networks.rewriting import for_inference
from sar_keras.scenes import colorize as scenes

PATCH = 64

# Scenes in other units than the tiny model's 8 bits warn, as they should; the test of that warning asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model was trained on:UserWarning")


@pytest.mark.parametrize(("folder", "count"), [("geotiff", 9), pytest.param("scenes", 2, marks=pytest.mark.slow)])
def test_real_files_keep_their_place_to_the_digit(model, shared, tmp_path, folder, count):
    files = [path for path in sorted((shared / "data" / folder).iterdir()) if "S2" not in path.name]
    assert len(files) == count
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
        colours, valid = read_scene(tmp_path / f"{name}_colour.tif")
        np.testing.assert_array_equal(valid, ~hole, err_msg=name)
        results[name] = colours
    for name, colours in results.items():
        np.testing.assert_array_equal(colours, results["nodata"], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "stored", "scale"),
    [
        ("uint16", lambda grey: grey * 20, 1),
        ("float32", lambda grey: grey * 1e-4, 1),
        ("float32", lambda grey: grey / 10 - 24, 1),  # decibel of -24 to 1.5
        ("float64", lambda grey: grey / 8 - 30, 1),
        ("int16", lambda grey: grey * 10 - 2400, 0.01),
    ],
)
@pytest.mark.filterwarnings("ignore:.*of the values are 0")
def test_areas_of_zeros_are_no_data_but_single_ones_and_grey_levels_are(model, tmp_path, kind, stored, scale):
    grey = np.maximum(speckle((200, 200)), 1).astype(int)
    values = stored(grey).astype(kind)
    row, column = np.mgrid[:200, :200]
    outside = (column - 0.35 * row > 80) | (row < 12)  # beside a footprint that is turned
    values[outside] = 0
    values[20::7, :70:5] = 0  # single pixels
    values[20:28, 20:28] = 0  # smaller than an area
    source = write_scene(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as file:
        file.scales = [scale]
    preview = tmp_path / "p.png"
    scenes.colorize_scene(model, source, tmp_path / "c.tif", tile=PATCH, overlap=2, preview=preview)
    _, valid = read_scene(tmp_path / "c.tif")
    np.testing.assert_array_equal(valid, ~outside)
    assert (np.asarray(Image.open(preview))[16:, :200][outside] == 0).all()
    write_scene(tmp_path / "b.tif", np.where(outside, 0, grey).astype("uint8"))
    scenes.colorize_scene(model, tmp_path / "b.tif", tmp_path / "c.tif", tile=PATCH, overlap=2)
    assert read_scene(tmp_path / "c.tif")[1].all()


@pytest.mark.parametrize("sentinel", [-9999, -32768])
@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (0.01, 0), (0.0005, -12)])
def test_sentinels_count_before_the_scale_tag(model, tmp_path, sentinel, factor, offset):
    decibel = speckle((70, 150)).astype("float32") / 12 - 22
    hole = np.zeros((70, 150), bool)
    hole[10:40, 20:130] = True
    stored = np.rint((decibel - offset) / factor).astype("int16")
    results = []
    for fill, nodata in ((sentinel, None), (-30000, -30000)):
        source = write_scene(tmp_path / "a.tif", np.where(hole, fill, stored).astype("int16"), nodata)
        with rasterio.open(source, "r+") as file:
            file.scales, file.offsets = [factor], [offset]
        scenes.colorize_scene(model, source, tmp_path / "c.tif")
        colours, valid = read_scene(tmp_path / "c.tif")
        np.testing.assert_array_equal(valid, ~hole)
        results.append(colours)
    np.testing.assert_array_equal(*results)


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
        return read_scene(tmp_path / "c.tif")[0].astype(int)

    expected = colours("db", decibel)
    assert np.abs(colours("linear", 10 ** (decibel / 10)) - expected).max() <= 1
    assert np.abs(colours("scaled", np.rint(decibel * 1000).astype("int16"), 0.001) - expected).max() <= 1
    assert np.abs(colours("range", decibel, limits=(-25, 0)) - expected).max() <= 1
    assert np.abs(colours("range", decibel, limits=(-20, -5)) - expected).mean() > 1
    assert "band 1, db (float32" in decided[0] and "-25..0 dB to -1..1" in decided[0]
    assert "linear power" in decided[1] and "-20..-5" in decided[4]


POINTS = [GroundControlPoint(row, column, 10 + column / 100, 50 - row / 100) for row in (0, 64) for column in (0, 64)]
RADAR = {"crs": "EPSG:4326", "gcps": POINTS, "transform": None}


@pytest.mark.parametrize(
    ("kind", "place", "scale", "units", "raw"),
    [
        ("uint16", RADAR, 1, "auto", True),
        ("uint16", RADAR, 1, "amplitude", True),
        ("uint16", UTM, 1, "auto", False),  # on a map it has been processed
        ("uint16", RADAR, 0.001, "auto", False),  # as well as with a scale
        ("uint16", RADAR, 1, "linear", False),
        ("float32", RADAR, 1, "auto", False),
        ("uint8", RADAR, 1, "auto", False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*of the values lie beyond")
def test_raw_numbers_of_a_grd_product_are_called_so(model, tmp_path, kind, place, scale, units, raw):
    source = write_scene(
        tmp_path / "a.tif", (speckle((64, 64)) * (1 if kind == "uint8" else 20.0)).astype(kind), **place
    )
    with rasterio.open(source, "r+") as file:
        file.scales = [scale]
    lines = []
    scenes.colorize_scene(model, source, tmp_path / "c.tif", units=units, log=lines.append)
    assert ("raw digital numbers in radar geometry, which are not calibrated to sigma nought" in lines[0]) == raw


def test_bands_are_chosen_by_number_and_polarisation(model, command, model_file, tmp_path):
    one, two = speckle((64, 64), 1), speckle((64, 64), 2)
    both = write_scene(tmp_path / "both.tif", np.stack([one, two]), descriptions=("Sigma0_VV", "Sigma0_VH"))
    alone = write_scene(tmp_path / "iw-vh.tif", two)
    expected = {"VV": sar_keras.colorize(model, one), "VH": sar_keras.colorize(model, two)}
    for source, band, name in [
        (both, None, "VV"), (both, "1", "VV"), (both, 2, "VH"), (both, "vv", "VV"), (both, "sigma0_vh", "VH"),
        (alone, "VH", "VH"),
    ]:  # fmt: skip
        scenes.colorize_scene(model, source, tmp_path / "c.tif", band=band)
        assert np.abs(read_scene(tmp_path / "c.tif")[0].astype(int) - expected[name]).max() <= 1
    for source, band, message in [
        (both, "3", "has no band 3"),
        (both, "HH", "has no band HH (--band); it has 1 Sigma0_VV, 2 Sigma0_VH"),
        (alone, "VV", "it has 1 VH"),
    ]:
        code, _, err = command("colorize", model_file, source, "-o", tmp_path / "no.tif", "--band", band)
        assert code == 2 and message in one_line(err) and str(source) in err


def test_bfloat16_is_close_and_really_bfloat16(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((150, 150)))
    scenes.colorize_scene(model, source, tmp_path / "single.tif")
    scenes.colorize_scene(model, source, tmp_path / "half.tif", precision="bfloat16")
    difference = np.abs(read_scene(tmp_path / "single.tif")[0].astype(int) - read_scene(tmp_path / "half.tif")[0])
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
    assert np.abs(read_scene(tmp_path / "c.tif")[0] - (colours[0].numpy() + 1) * 127.5)[valid].max() <= 1
    assert cog_validate(tmp_path / "c_confidence.tif", quiet=True)[0]
    assert Image.open(tmp_path / "p.png").size == (3 * 64, 64 + 16)


def test_a_model_that_was_trained_on_gives_its_new_colours(tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    generator = sar_keras.UNetGenerator((PATCH, PATCH, 1), filters=2)
    before, _ = read_scene(scenes.colorize_scene(generator, source, tmp_path / "before.tif"))
    generator.layers[-2].bias.assign([0.5, 0.5, 0.5])
    after, _ = read_scene(scenes.colorize_scene(generator, source, tmp_path / "after.tif"))
    assert (after.astype(int) - before).min() > 10


@pytest.mark.filterwarnings("ignore:.*of the values are 0")
def test_preview_shows_sar_beside_colours(model, tmp_path):
    image = np.zeros((600, 2048), np.uint8)
    image[:, 1024:] = 255
    scenes.colorize_scene(model, write_scene(tmp_path / "a.tif", image), tmp_path / "c.tif", preview=tmp_path / "p.png")
    preview = np.asarray(Image.open(tmp_path / "p.png"))[16:]
    assert preview.shape == (300, 2048, 3)
    assert (preview[:, :500] == 0).all() and (preview[:, 524:1024] == 255).all()
    np.testing.assert_allclose(
        preview[100:200, 1100:1200].mean((0, 1)),
        read_scene(tmp_path / "c.tif")[0][200:400, 152:352].mean((0, 1)),
        atol=1,
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


def test_detail_is_told_by_the_tags_and_none_of_it_leaves_the_file_as_it_is(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((150, 100)))
    for name, options in (("plain", {}), ("none", {"detail": 0}), ("half", {"detail": 0.5})):
        scenes.colorize_scene(model, source, tmp_path / f"{name}.tif", tile=PATCH, overlap=16, **options)
    assert (tmp_path / "none.tif").read_bytes() == (tmp_path / "plain.tif").read_bytes()
    with rasterio.open(tmp_path / "plain.tif") as plain, rasterio.open(tmp_path / "half.tif") as half:
        assert half.tags()["SAR_KERAS_DETAIL"] == "0.5: fine structure of the lightness is SAR texture"
        new = {"SAR_KERAS_DETAIL", "SAR_KERAS_KEY"}
        assert half.tags().items() - plain.tags().items() == {(name, half.tags()[name]) for name in new}
        assert (half.read() != plain.read()).any()


@pytest.mark.parametrize(
    "options", [{"precision": "bfloat16"}, pytest.param({"engine": "openvino"}, marks=pytest.mark.slow)]
)
def test_detail_comes_after_the_network_whatever_runs_it(model, tmp_path, options):
    image = speckle((64, 64))
    image[:, 30:32] = 255
    source = write_scene(tmp_path / "a.tif", image)
    plain, _ = read_scene(scenes.colorize_scene(model, source, tmp_path / "c.tif", **options))
    scenes.colorize_scene(model, source, tmp_path / "d.tif", detail=1, **options)
    fine = fine_structure((image / 127.5 - 1).astype("float32")[..., None])
    difference = np.abs(read_scene(tmp_path / "d.tif")[0] - add_detail(plain.astype("float32"), fine))
    assert np.quantile(difference, 0.99) <= 1.5 and fine.any()


def test_detail_leaves_the_confidence_as_it_is(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    for name, detail in (("plain", 0), ("detail", 1)):
        scenes.colorize_scene(model, source, tmp_path / f"{name}.tif", confidence=True, detail=detail)
    confidence = [read_scene(tmp_path / f"{name}_confidence.tif")[0] for name in ("plain", "detail")]
    np.testing.assert_array_equal(*confidence)


def test_a_source_of_a_vrt_is_not_replaced(model, tmp_path):
    source = write_scene(tmp_path / "a.tif", speckle((64, 64)))
    rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
    with pytest.raises(OutputError, match="own input"):
        scenes.colorize_scene(model, tmp_path / "a.vrt", source)


@pytest.mark.slow
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
        np.testing.assert_array_equal(read_scene(destination)[0], read_scene(tmp_path / "here.tif")[0])
