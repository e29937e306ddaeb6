import functools
import http.server
import re
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from helpers import UTM, write_scene
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from sar_keras.errors import DataError
from sar_keras.io.files import path_or_name
from sar_keras.io.opening import reading
from sar_keras.io.products import find_inputs

GRD = "S1A_IW_GRDH_1SDV_20180716T103822_20180716T103847_022815_027941_4E2F.SAFE"
POINTS = [GroundControlPoint(row, column, 10 + column / 99, 50 - row / 99) for row in (0, 40) for column in (0, 50)]
RADAR = {"crs": "EPSG:4326", "gcps": POINTS, "transform": None}
VALUES = {"VV": 7, "VH": 3, "HH": 5, "HV": 2}


def image(polarisation, kind="float32", shape=(40, 50)):
    """Values that tell the polarisation and the place."""
    return (np.arange(shape[0] * shape[1]).reshape(shape) * 10 + VALUES[polarisation]).astype(kind)


def safe(folder, polarisations, mode="iw-grd", kind="uint16", end=""):
    for number, name in enumerate(polarisations, start=1):
        file = f"s1a-{mode}-{name.lower()}-20180716t103822-20180716t103847-022815-027941-00{number}{end}.tiff"
        write_scene(folder / "measurement" / file, image(name, kind), **RADAR)
    (folder / "preview").mkdir()
    (folder / "preview/map-overlay.kml").touch()
    (folder / "manifest.safe").write_text("<xfdu:XFDU/>")
    return folder


def dimap(folder, bands):
    """A .dim with its .data, as SNAP writes them: big-endian ENVI beside grids of tie points."""
    data = folder.with_name(f"{folder.name}.data")
    for name in bands:
        polarisation = (re.findall("VV|VH|HH|HV", name) or ["VV"])[0]
        write_scene(data / f"{name}.img", image(polarisation), driver="ENVI", descriptions=[name])
    for name in ("latitude", "incident_angle"):
        write_scene(data / f"tie_point_grids/{name}.img", np.ones((12, 12), "float32"), driver="ENVI")
    folder.with_name(f"{folder.name}.dim").write_text("<Dimap_Document/>")
    return data


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path(folder.name) / file.relative_to(folder))
    return path


def read(given):
    """The place, the names of the bands and the values of each scene that is found."""
    found = {}
    for scene in find_inputs(given):
        with scene.open() as source:
            found[str(scene.place)] = source.descriptions, source.read()
    return found


@pytest.mark.parametrize("polarisations", [["VV"], ["VH", "VV"], ["VV", "VH"], ["HH", "HV"]])
@pytest.mark.parametrize("end", ["", "-cog"])
def test_a_sentinel_1_product_is_one_scene_from_its_folder_its_manifest_and_its_zip(tmp_path, polarisations, end):
    folder = safe(tmp_path / GRD, polarisations, end=end)
    archive = zipped(folder, tmp_path / "product.zip")
    ordered = sorted(polarisations, key=["VV", "VH", "HH", "HV"].index)
    for given in (folder, folder / "manifest.safe", archive, archive / GRD, archive / GRD / "manifest.safe", tmp_path):
        scenes = read(given)
        assert len(scenes) == (2 if given == tmp_path else 1)
        for descriptions, values in scenes.values():
            assert descriptions == tuple(ordered)
            np.testing.assert_array_equal(values, [image(name, "uint16") for name in ordered])
        with find_inputs(given)[0].open() as source:
            points, crs = source.gcps
            assert [(p.row, p.col, p.x, p.y) for p in points] == [(p.row, p.col, p.x, p.y) for p in POINTS]
            assert crs == CRS.from_epsg(4326)
    assert list(read(tmp_path)) == [GRD, f"product/{GRD}"]


def test_folders_of_like_names_are_none(tmp_path):
    write_scene(tmp_path / "my.safe/a.tif", image("VV"))
    write_scene(tmp_path / "my.data/b.tif", image("VV"))
    write_scene(tmp_path / "c.img", image("VV"), driver="HFA")
    write_scene(tmp_path / "measurement/d.tif", image("VV"))
    for name in ("._a.tif", ".hidden/e.tif", "__MACOSX/f.tif"):
        write_scene(tmp_path / name, image("VV"))
    assert list(read(tmp_path)) == ["c.img", "measurement/d.tif", "my.data/b.tif", "my.safe/a.tif"]


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (["Sigma0_VH", "Sigma0_VV"], ["Sigma0_VV", "Sigma0_VH"]),
        (["Gamma0_VV", "Beta0_VH", "Beta0_VV", "Sigma0_VV"], ["Sigma0_VV", "Gamma0_VV", "Beta0_VV", "Beta0_VH"]),
        (["Amplitude_HH", "elevation", "i_HH", "q_HH", "coh_IW1_VV_01Jan2020", "Phase_VV"], ["Amplitude_HH"]),
        (["Sigma0_VV_db", "Sigma0_IW1_VH_mst_22Aug2018"], ["Sigma0_VV_db", "Sigma0_IW1_VH_mst_22Aug2018"]),
    ],
)  # fmt: skip
def test_snap_s_bands_of_backscatter_are_a_scene_without_angles_and_tie_points(tmp_path, bands, expected):
    data = dimap(tmp_path / "scene", bands)
    for given in (data, data.with_suffix(".dim"), tmp_path, zipped(data, tmp_path.parent / f"{tmp_path.name}.zip")):
        ((place, (descriptions, values)),) = read(given).items()
        assert place == "scene.data" and descriptions == tuple(expected)
        for name, there in zip(expected, values, strict=True):
            np.testing.assert_array_equal(there, image(re.search("VV|VH|HH|HV", name)[0]))
        with find_inputs(given)[0].open() as source:
            assert source.crs == UTM["crs"] and source.transform.almost_equals(UTM["transform"])


def test_products_that_are_not_whole_say_so(tmp_path):
    dimap(tmp_path / "only_angles", ["localIncidenceAngle", "i_VV", "q_VV"])
    (tmp_path / "alone.dim").write_text("<Dimap_Document/>")
    (tmp_path / "empty.SAFE").mkdir()
    (tmp_path / "empty.SAFE/manifest.safe").touch()
    (tmp_path / "text.zip").write_text("no zip")
    zipfile.ZipFile(tmp_path / "notes.zip", "w").writestr("notes.txt", "")
    for name in ("only_angles.dim", "empty.SAFE"):
        (scene,) = find_inputs(tmp_path / name)
        with pytest.raises(DataError, match=rf"{scene.name}: holds no image of a polarisation"):
            scene.open()
    with pytest.raises(DataError, match=r"alone.dim: lacks alone.data"):
        find_inputs(tmp_path / "alone.dim")
    with pytest.raises(DataError, match=r"text.zip: not a zip"):
        find_inputs(tmp_path / "text.zip")
    assert find_inputs(tmp_path / "notes.zip") == []


def test_a_zip_that_leads_out_of_its_folder_leads_nowhere(tmp_path):
    source = write_scene(tmp_path / "a.tif", image("VV"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../../evil.tif", "/evil.tif", "good.tif"):
            archive.writestr(name, source.read_bytes())
    assert list(read(tmp_path / "a.zip")) == ["good.tif"]


def hdf5(path, layers, georeferenced=False):
    """A file laid out as OPERA's and NISAR's are; with the attributes of the CF conventions, which tell its place."""
    with h5py.File(path, "w") as file:
        for name, values in layers.items():
            group = file.require_group(str(Path(name).parent))
            layer = group.create_dataset(Path(name).name, data=values)
            if georeferenced:
                if "xCoordinates" not in group:
                    x = group.create_dataset("xCoordinates", data=5e5 + 15 + 30.0 * np.arange(values.shape[1]))
                    y = group.create_dataset("yCoordinates", data=54e5 - 15 - 30.0 * np.arange(values.shape[0]))
                    for axis, called in ((x, "x"), (y, "y")):
                        axis.attrs["standard_name"] = np.bytes_(f"projection_{called}_coordinate")
                        axis.make_scale(axis.name)
                    group.create_dataset("projection", data=np.uint32(32633))
                    group["projection"].attrs["spatial_ref"] = np.bytes_(CRS.from_epsg(32633).to_wkt())
                    group["projection"].attrs["grid_mapping_name"] = np.bytes_("universal_transverse_mercator")
                layer.attrs["grid_mapping"] = np.bytes_("projection")
                layer.dims[0].attach_scale(group["yCoordinates"])
                layer.dims[1].attach_scale(group["xCoordinates"])
    return path


GCOV = "science/LSAR/GCOV/grids/frequency"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"data/VH": "VH", "data/VV": "VV", "data/mask": "HH", "data/VV_looks": "HH"}, ["VV", "VH"]),
        ({f"{GCOV}A/HVHV": "HV", f"{GCOV}A/HHHH": "HH", f"{GCOV}A/HHHV": "VV", f"{GCOV}B/VVVV": "VV"}, ["HH", "HV"]),
        ({"VV": "VV", "a": "HH"}, ["VV"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("georeferenced", [False, True])
def test_layers_of_hdf5_are_found_by_their_polarisation(tmp_path, layers, expected, georeferenced):
    path = hdf5(tmp_path / "a.h5", {name: image(value) for name, value in layers.items()}, georeferenced)
    ((_, (descriptions, values)),) = read(path).items()
    assert descriptions == tuple(expected)
    np.testing.assert_array_equal(values, [image(name) for name in expected])
    with rasterio.open(path) as source:
        names = source.subdatasets
    wanted = next(name for name, value in layers.items() if value == expected[0])
    # The very name that GDAL, and our message, prints; and with the quotes that some put around the path.
    printed = next(name for name in names if name.endswith(f"//{wanted}"))
    for name in (printed, printed.replace(str(path), f'"{path}"')):
        ((place, (_, values)),) = read(path_or_name(name)).items()
        assert place == f"a_{Path(wanted).name}.h5"
        np.testing.assert_array_equal(values[0], image(expected[0]))
    with find_inputs(path)[0].open() as source:
        assert (source.crs == CRS.from_epsg(32633)) == georeferenced
        if georeferenced:
            assert tuple(source.transform)[:6] == (30, 0, 5e5, 0, -30, 54e5)


def test_layers_of_hdf5_without_a_polarisation_are_named(tmp_path):
    path = hdf5(tmp_path / "a.h5", {"data/height": image("VV"), "data/VVHV": image("VV")})
    with find_inputs(path)[0].open() as source:
        assert source.count == 0 and len(source.subdatasets) == 2


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("http://host/a.tif?sig=x%2F", True), ("https://host//a.tif", True), ("s3://bucket/a.tif", True),
        ("gs://bucket/a.tif", True), ("/vsicurl/http://host/a.tif", True), ("/vsizip/{a.zip}/b.tif", True),
        ("HDF5:a.h5://data/VV", True), ('NETCDF:"a.nc":VV', True), ("a.tif", False), ("/data//a.tif", False),
        ("C:\\data\\a.tif", False), ("./a:b.tif", False), ("vsi/a.tif", False),
    ],
)  # fmt: skip
def test_names_of_gdal_s_reach_it_as_they_are(text, is_name):
    assert path_or_name(text) == (text if is_name else Path(text))


def test_a_file_of_such_a_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "S1:20200101.tif", image("VV"))
    assert path_or_name("S1:20200101.tif") == Path("S1:20200101.tif")
    assert list(read(path_or_name("S1:20200101.tif"))) == ["S1:20200101.tif"]


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Answers requests for parts of a file, as hosts of cloud-optimised GeoTIFFs do."""

    def do_GET(self):
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path):
    """A server on the loopback interface, of what is in tmp_path."""
    handler = functools.partial(_Ranges, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_addresses_are_read_from_where_they_are(tmp_path, address):
    write_scene(tmp_path / "data/iw-vv.rtc.tiff", image("VV"))
    for name in (f"{address}/data/iw-vv.rtc.tiff?sig=a%2Fb.c", f"/vsicurl/{address}/data/iw-vv.rtc.tiff"):
        (scene,) = find_inputs(path_or_name(name))
        assert scene.name == name and scene.place.name == "iw-vv.rtc.tiff" and scene.polarisation == "VV"
        with scene.open() as source:
            np.testing.assert_array_equal(source.read(1), image("VV"))
            assert source.crs == UTM["crs"]


def test_a_connection_that_breaks_off_is_one_line(tmp_path, address, monkeypatch):
    write_scene(tmp_path / "a.tif", np.ones((600, 600), "float32"))
    (scene,) = find_inputs(path_or_name(f"{address}/a.tif"))
    with scene.open() as source:
        monkeypatch.setattr(_Ranges, "do_GET", lambda handler: handler.connection.close())
        with (
            pytest.raises(DataError, match=rf"{address}/a.tif: cannot be read to its end: ") as caught,
            reading(scene.name),
        ):
            source.read()
    assert "\n" not in str(caught.value)


def test_what_cannot_be_reached_is_one_line(tmp_path, address):
    names = [f"{address}/none.tif", "http://127.0.0.1:9/none.tif", "s3://bucket/none.tif", "HDF5:none.h5://data/VV"]
    for name in names:
        (scene,) = find_inputs(path_or_name(name))
        with pytest.raises(DataError, match=re.escape(f"{name}: GDAL cannot open it: ")) as caught:
            scene.open()
        assert "\n" not in str(caught.value)
