"""What the page does with an uploaded image; nothing here knows of web pages."""

import dataclasses
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import matplotlib
import numpy as np
import rasterio.warp
import tensorflow as tf
from rasterio.transform import from_gcps
from rasterio.windows import Window

from sar_keras.errors import DataError, SarKerasError
from sar_keras.evaluation import metrics
from sar_keras.inference.colorize import colorize
from sar_keras.inference.hints import check_is_rgb
from sar_keras.inference.metadata import metadata_of
from sar_keras.io import rasters
from sar_keras.io.bands import Bands, choose_optical
from sar_keras.io.images import read_optical, read_sar, refuse_bomb, to_uint8, write_image
from sar_keras.io.inputs import Input
from sar_keras.io.sar import guess_units
from sar_keras.io.warped import open_on_grid
from sar_keras.networks.sizes import sar_channels
from sar_keras.scenes.colorize import colorize_scene
from sar_keras.scenes.inputs import find_scenes, jobs_for

# Pixels of the longer side of what is shown of a scene.
OVERVIEW = 1024
# What an expected error is coloured as: this and more is white.
_WORST = 0.3
# How files begin that are what their suffix says. GDAL would also open a text that names other files of this machine.
_BEGINNINGS = {
    (".tif", ".tiff"): (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    (".png",): (b"\x89PNG",),
    (".jpg", ".jpeg"): (b"\xff\xd8\xff",),
    (".bmp",): (b"BM",),
    (".webp",): (b"RIFF",),
    (".zip",): (b"PK",),
}
UPLOADS = tuple(suffix for suffixes in _BEGINNINGS for suffix in suffixes)


class Cancelled(SarKerasError):
    """The person at the page has stopped it."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the controls of the page say; the names are those of `sar_keras.colorize` and `colorize_scene`."""

    band: str | None = None
    units: str = "auto"
    limits: tuple[float, float] | None = None
    detail: float = 0.0
    palette: str | None = None
    basemap: str | None = None
    reference: str | None = None
    reference_sar: str | None = None

    @property
    def hint(self) -> dict[str, str]:
        """The hint alone."""
        names = ("palette", "basemap", "reference", "reference_sar")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclasses.dataclass(frozen=True)
class Result:
    """What there is to show of an image.

    Attributes:
        layers: Images (h, w, 3) of uint8 by their names: "SAR", "colours", "expected error", "truth".
        errors: The expected error (h, w) as fractions of 1, or None.
        file: The colours: a PNG, or of a scene a GeoTIFF.
        picture: The colours as shown, a PNG.
        source: The SAR image as uploaded.
        scene: What it is read as, if it is a scene.
        settings: What it was made with.
        shrink: Pixels of the image in a pixel of a layer.
        said: Lines for people: what was guessed.
        figures: How near the colours are to the truth, by `sar_keras.evaluation.metrics.standard`; empty without one.
    """

    layers: dict[str, np.ndarray]
    errors: np.ndarray | None
    file: Path
    picture: Path
    source: Path
    scene: Input | None
    settings: Settings
    shrink: float
    said: list[str]
    figures: dict[str, float]


def check_upload(path: Path) -> None:
    """
    Raises:
        DataError: a file that is not what its suffix says, or none that is read here.
    """
    suffix = path.suffix.lower()
    beginnings = next((found for suffixes, found in _BEGINNINGS.items() if suffix in suffixes), None)
    if beginnings is None:
        raise DataError(f"{path.name}: is not read here; give one of {', '.join(UPLOADS)}")
    with path.open("rb") as file:
        if not file.read(4).startswith(beginnings):
            raise DataError(f"{path.name}: is no {suffix[1:].upper()} file, whatever its name says")
    if suffix == ".zip":
        _check_members(path)


def _check_members(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                suffix = Path(member).suffix.lower()
                if suffix == ".vrt":
                    raise DataError(f"{path.name}: holds {member}, which may name other files; leave it out")
                if suffix in (".tif", ".tiff"):
                    with archive.open(member) as file:
                        if not file.read(4).startswith(_BEGINNINGS[".tif", ".tiff"]):
                            raise DataError(f"{path.name}: holds {member}, which is no TIFF file")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path.name}: is a broken or locked zip") from error


@dataclasses.dataclass(frozen=True)
class Guess:
    """How a scene is read where nobody says otherwise.

    Attributes:
        bands: The bands to choose from, as "number" or "number (name)".
        band: Those that are taken, as one of `bands`, or for a model of several as numbers with commas between.
        units: The units.
        limits: The values that become -1 and 1.
    """

    bands: list[str]
    band: str
    units: str
    limits: tuple[float, float]


def guess(model: keras.Model, scene: Input) -> Guess:
    """
    Raises:
        DataError: the scene cannot be read, or its units cannot be told.
    """
    with _opened(model, scene, Settings()) as opened:
        bands = Bands.of(opened.source)
        names = bands.names if any(bands.names) else ("",) * len(bands.numbers)
        numbered = zip(bands.numbers, names, strict=True)
        titles = {number: f"{number} ({name})" if name else str(number) for number, name in numbered}
        chosen = opened.bands
        band = titles[chosen[0]] if len(chosen) == 1 else ",".join(map(str, chosen))
        return Guess([*titles.values()], band, opened.units, opened.limits)


def colorize_upload(
    model: keras.Model,
    path: Path,
    settings: Settings,
    folder: Path,
    truth: Path | None = None,
    progress: Callable[[float], object] = lambda share: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Result:
    """Colorize an uploaded image: a scene where it says where on Earth it lies or is a product, else a patch.

    Args:
        model: The model.
        path: The file.
        settings: What the controls say.
        folder: Where files are written.
        truth: An optical image of the same ground and date.
        progress: Called with the share that is done, 0 to 1.
        is_cancelled: Asked between the windows of a scene.

    Raises:
        SarKerasError: what the person can mend.
        Cancelled: `is_cancelled` said so; nothing is left behind.
    """
    check_upload(path)
    images = [value for name, value in settings.hint.items() if name != "palette"]
    for beside in [*map(Path, images), *([truth] if truth else [])]:
        check_upload(beside)
    scene = scene_of(path)
    make = _colorize_patch if scene is None else _colorize_scene
    return make(model, path, scene, settings, folder, truth, progress, is_cancelled)


def scene_of(path: Path) -> Input | None:
    """What an image is read as if it is a scene."""
    found = find_scenes([path], Path("colours"))
    if found is None:
        return None
    if len(found) > 1:
        raise DataError(f"{path.name}: holds {len(found)} scenes; give one of them")
    with found[0].open() as source:
        refuse_bomb(path.name, source.width, source.height)
    return found[0]


def _colorize_patch(model, path, scene, settings, folder, truth, progress, is_cancelled) -> Result:
    scale = metadata_of(model).sar_scale
    values, units = _read_patch(model, path)
    colours = colorize(model, path, detail=settings.detail, **settings.hint)
    low, high = scale.limits(units, values[np.isfinite(values)])
    said = [f"{path.name}: {values.shape[1]} x {values.shape[0]} pixels, {units}; {low:.4g}..{high:.4g} to -1..1"]
    sar = to_uint8(np.asarray(scale.to_unit(np.nan_to_num(values), units))[..., :1])
    file = folder / f"{path.stem}_colours.png"
    write_image(file, colours)
    layers, errors = {"SAR": np.repeat(sar, 3, -1), "colours": colours}, None
    if expected_error := metadata_of(model).expected_error:
        errors = np.asarray(expected_error(tf.constant(colours[None].astype("float32") / 127.5 - 1)))[0, ..., 0]
        layers["expected error"] = _over(colours, errors)
    figures = {}
    if truth:
        layers["truth"] = read_optical(truth)
        if layers["truth"].shape != colours.shape:
            sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (layers["truth"], colours))
            raise DataError(f"{truth.name}: is not of the SAR image's size ({sizes}); give one of the same ground")
        figures = _figures(truth, layers)
    return Result(layers, errors, file, file, path, None, settings, 1.0, said, figures)


def _read_patch(model: keras.Model, path: Path) -> tuple[np.ndarray, str]:
    """Values (H, W, channels) as stored, and their units."""
    metadata = metadata_of(model)
    values = read_sar(path, sar_channels(model), trained_on=metadata.sar_bands)
    return values, guess_units(values, metadata.sar_scale)


def _colorize_scene(model, path, scene, settings, folder, truth, progress, is_cancelled) -> Result:
    said: list[str] = []
    destination = folder / f"{path.stem}_colours.tif"
    ((job, destination),) = jobs_for([scene], destination, sar_channels(model), settings.band, log=said.append)
    has_error = metadata_of(model).expected_error is not None
    done = 0

    def count(pixels: int) -> None:
        nonlocal done
        if is_cancelled():
            raise Cancelled("Stopped; nothing was written")
        done += pixels
        progress(done / total)

    with _opened(model, job, settings) as opened:
        total = opened.width * opened.height
        colorize_scene(
            model,
            job,
            destination,
            band=settings.band,
            units=settings.units,
            limits=settings.limits,
            detail=settings.detail,
            **settings.hint,
            confidence=has_error,
            progress=count,
            log=said.append,
        )
        shrink = max(1.0, max(opened.height, opened.width) / OVERVIEW)
        height, width = (max(1, round(side / shrink)) for side in (opened.height, opened.width))
        sar = opened.thumbnail(Window(0, 0, opened.width, opened.height), height, width)
        layers = {"SAR": np.repeat(to_uint8(sar)[..., None], 3, -1), "colours": _overview(destination, height, width)}
        errors, figures = None, {}
        if has_error:
            confidence = destination.with_name(f"{destination.stem}_confidence.tif")
            with rasters.open_raster(confidence) as raster:
                errors = raster.read(1, out_shape=(height, width)) * raster.scales[0]
            layers["expected error"] = _over(layers["colours"], errors)
        if truth:
            with open_on_grid(truth, opened.source, path.name) as warped:
                numbers = list(choose_optical(truth, Bands.of(warped), None).numbers)
                optical = np.moveaxis(warped.read(numbers, out_shape=(3, height, width)), 0, -1)
            layers["truth"] = optical
            figures = _figures(truth, layers)
    picture = folder / f"{path.stem}_colours.png"
    write_image(picture, layers["colours"])
    return Result(layers, errors, destination, picture, path, job, settings, shrink, said, figures)


def _opened(model: keras.Model, scene: Input, settings: Settings) -> rasters.SarScene:
    metadata = metadata_of(model)
    read = {"band": settings.band, "units": settings.units, "limits": settings.limits}
    return rasters.SarScene(scene, sar_channels(model), metadata.sar_scale, metadata.sar_bands, **read)


def _overview(path: Path, height: int, width: int) -> np.ndarray:
    with rasters.open_raster(path) as raster:
        return np.moveaxis(raster.read([1, 2, 3], out_shape=(3, height, width)), 0, -1)


def _over(colours: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The expected error, black to white by yellow, over faint colours."""
    heat = matplotlib.colormaps["inferno"](np.clip(errors / _WORST, 0, 1))[..., :3] * 255
    return np.rint(0.25 * colours + 0.75 * heat).astype(np.uint8)


def _figures(truth: Path, layers: dict[str, np.ndarray]) -> dict[str, float]:
    check_is_rgb(truth.name, layers["truth"].dtype)
    fractions = [layers[name][None].astype("float32") / 255 for name in ("truth", "colours")]
    return {name: float(values[0]) for name, values in metrics.standard(*fractions).items()}


def at_pixel(model: keras.Model, result: Result, x: int, y: int) -> dict[str, str]:
    """What is known of a pixel of a layer: name to text."""
    column, row = int((x + 0.5) * result.shrink), int((y + 0.5) * result.shrink)
    known = {"pixel": f"column {column}, row {row}"}
    if result.scene:
        with _opened(model, result.scene, result.settings) as scene:
            known |= _where(scene.source, column, row)
            values, units = scene.value(column, row), scene.units
    else:
        stored, units = _read_patch(model, result.source)
        values = stored[row, column]
    known["SAR"] = (
        "no data" if not np.isfinite(values).all() else ", ".join(_in_words(value, units) for value in values)
    )
    red, green, blue = result.layers["colours"][y, x]
    known["colour"] = f"#{red:02x}{green:02x}{blue:02x} ({red}, {green}, {blue})"
    if result.errors is not None:
        known["expected error"] = f"{result.errors[y, x]:.3f} of 1"
    return known


def _in_words(value: Any, units: str) -> str:
    if units == "linear":
        return f"{10 * np.log10(max(float(value), 1e-10)):.1f} dB"
    return f"{float(value):.1f} dB" if units == "db" else f"{float(value):.4g} ({units})"


def _where(source, column: int, row: int) -> dict[str, str]:
    """Coordinates of the middle of a pixel."""
    transform, crs = source.transform, source.crs
    points, of_points = source.gcps
    if points:
        transform, crs = from_gcps(points), of_points
    if not crs or transform.is_identity:
        return {}
    east, north = transform @ (column + 0.5, row + 0.5)
    known = {} if crs.is_geographic else {str(crs.to_string() if crs.to_epsg() else "map"): f"{east:.1f}, {north:.1f}"}
    (longitude,), (latitude,) = rasterio.warp.transform(crs, "EPSG:4326", [east], [north])[:2]
    return known | {"longitude, latitude": f"{longitude:.5f}, {latitude:.5f}"}


def command_line(model: str, result: Result) -> str:
    """The command that gives the same colours."""
    settings, scene = result.settings, result.scene is not None
    words = ["sar-keras", "colorize", model, result.source.name, "-o", result.file.name]
    options: dict[str, Any] = {"detail": settings.detail or None}
    if scene:
        options |= {"band": settings.band, "units": None if settings.units == "auto" else settings.units}
    for name, value in (options | settings.hint).items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", _named(name, value)]
    if scene and settings.limits:
        words += ["--range", *(f"{limit:g}" for limit in settings.limits)]
    return shlex.join(words)


def python_lines(model: str, result: Result) -> str:
    """The lines of Python that give the same colours."""
    settings, scene = result.settings, result.scene is not None
    options: dict[str, Any] = {"detail": settings.detail} if settings.detail else {}
    if scene:
        options |= {"units": settings.units} if settings.units != "auto" else {}
        options |= {name: value for name in ("band", "limits") if (value := getattr(settings, name))}
    options |= {name: _named(name, value) for name, value in settings.hint.items()}
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    if scene:
        files = f"{result.source.name!r}, {result.file.name!r}"
        return f"import sar_keras\n\nsar_keras.colorize_scene({model!r}, {files}{given})"
    return (
        "import sar_keras\nfrom PIL import Image\n\n"
        f"rgb = sar_keras.colorize({model!r}, {result.source.name!r}{given})\n"
        f"Image.fromarray(rgb).save({result.file.name!r})"
    )


def _named(name: str, value: Any) -> str:
    """A colour or a number as it is, a file by its name."""
    return str(value) if name in ("palette", "detail", "band", "units") else Path(value).name
