"""What the page does with an uploaded image; nothing here knows of web pages."""

import contextlib
import dataclasses
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import rasterio.warp
from rasterio.enums import Resampling
from rasterio.transform import from_gcps
from rasterio.windows import Window

from sar_keras.errors import DataError, SarKerasError
from sar_keras.evaluation import metrics
from sar_keras.inference.colorize import colorize
from sar_keras.inference.hints import HINTS, NO_HINT, check_is_rgb, hint_of
from sar_keras.inference.network import Network
from sar_keras.io import rasters
from sar_keras.io.bands import Bands, choose_optical
from sar_keras.io.images import read_optical, read_sar, refuse_bomb, to_uint8, write_image
from sar_keras.io.inputs import Input
from sar_keras.io.opening import open_raster
from sar_keras.io.sar import guess_units
from sar_keras.io.warped import open_on_grid
from sar_keras.scenes.colorize import colorize_scene
from sar_keras.scenes.inputs import find_scenes, jobs_for, join_polarisations

# Pixels of the longer side of what is shown of a scene.
OVERVIEW = 1024
# An image of more pixels is a scene, too, which goes through the network in windows.
_LARGEST_PATCH = 2048**2
# What an expected error is coloured as: this and more is white.
_WORST = 0.3
EXPECTED_ERROR = f"expected error (white: {_WORST})"
# How files begin that are what their suffix says. GDAL would also open a text that names other files of this machine.
_BEGINNINGS = {
    (".tif", ".tiff"): (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    (".png",): (b"\x89PNG",),
    (".jpg", ".jpeg"): (b"\xff\xd8\xff",),
    (".bmp",): (b"BM",),
    (".webp",): (b"RIFF",),
    (".zip",): (b"PK",),
}
# What a zip may hold: the images of a product, and files beside them that are not opened. Others may name files of this
# machine, as VRTs do, sidecars of GDAL, and rasters that are looked at for what they are.
_IN_ZIPS = (".tif", ".tiff", ".safe", ".xml", ".xsd", ".html", ".pdf", ".kml", ".png", ".jpg", ".txt", ".md", ".csv")
UPLOADS = tuple(suffix for suffixes in _BEGINNINGS for suffix in suffixes)


_STOPPED = "Stopped; nothing was written"


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
    clouds: str | None = None

    @property
    def hint(self) -> dict[str, str]:
        """The hint alone, by the names of HINTS."""
        return {name: value for name in HINTS if (value := getattr(self, name))}


@dataclasses.dataclass(frozen=True)
class Result:
    """What there is to show of an image.

    Attributes:
        layers: Images (h, w, 3) of uint8 by their names: "SAR", "colours", EXPECTED_ERROR, "truth".
        errors: The expected error (h, w) as fractions of 1, or None.
        file: The colours: a PNG, or of a scene a GeoTIFF.
        picture: The colours as shown, a PNG.
        source: The SAR image as uploaded.
        scene: What it is read as, if it is a scene.
        settings: What it was made with.
        shrink: Pixels of the image in a pixel of a layer.
        said: Lines for people: what was guessed.
        figures: How near the colours are to the truth, by `sar_keras.evaluation.metrics.standard`; empty without one.
        of_mean_colour: The same of the mean colour that the model was trained on, as far as it knows it.
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
    of_mean_colour: dict[str, float]


def check_upload(path: Path) -> None:
    """
    Raises:
        DataError: a file that is not what its suffix says, or none that is read here.
    """
    suffix = path.suffix.lower()
    if suffix not in UPLOADS:
        raise DataError(f"{path.name}: is not read here; give one of {', '.join(UPLOADS)}")
    try:
        with path.open("rb") as file:
            _check_beginning(path.name, suffix, file.read(4))
    except FileNotFoundError as error:
        raise DataError(f"{path.name}: is no longer here; upload it again") from error
    if suffix == ".zip":
        _check_members(path)


def _check_beginning(name: str, suffix: str, beginning: bytes) -> None:
    if not beginning.startswith(next(found for suffixes, found in _BEGINNINGS.items() if suffix in suffixes)):
        raise DataError(f"{name}: is no {suffix[1:].upper()} file, whatever its name says")


def _check_members(path: Path) -> None:
    """Let pass what GDAL does not open, and TIFFs."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len({member.filename for member in members}) < len(members):
                raise DataError(f"{path.name}: holds two files of one name; remove one")
            for member in members:
                suffix = Path(member.filename).suffix.lower()
                if suffix not in _IN_ZIPS or member.filename.lower().endswith(".aux.xml"):
                    raise DataError(f"{path.name}: holds {member.filename}, which is not read here; leave it out")
                if suffix in (".tif", ".tiff"):
                    with archive.open(member) as file:
                        _check_beginning(f"{path.name}: {member.filename}", suffix, file.read(4))
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


def guess(model: Network, scene: Input) -> Guess:
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
    model: Network,
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
    if is_cancelled():
        raise Cancelled(_STOPPED)
    check_upload(path)
    images = [value for name, value in settings.hint.items() if name != "palette"]
    for beside in [*map(Path, images), *([truth] if truth else [])]:
        check_upload(beside)
    scene = scene_of(model, path)
    if scene is None:
        return _colorize_patch(model, path, settings, folder, truth)
    return _colorize_scene(model, path, scene, settings, folder, truth, progress, is_cancelled)


def scene_of(model: Network, path: Path) -> Input | None:
    """What an image is read as if it is a scene.

    Raises:
        DataError: it holds several, claims too many pixels, or names other files.
    """
    found = find_scenes([path], Path("colours"))
    if found is None:
        found = find_scenes([path], Path("colours.tif")) or []
        with found[0].open() as source:
            if source.width * source.height <= _LARGEST_PATCH:
                return None
    if model.channels > 1:
        found = join_polarisations(found)
    if len(found) > 1:
        raise DataError(f"{path.name}: holds {len(found)} scenes; give one of them")
    with found[0].open() as source:
        refuse_bomb(path.name, source.width, source.height)
        if source.tags(ns="OVERVIEWS"):
            raise DataError(f"{path.name}: keeps its overviews in another file; save it anew without")
    return found[0]


def _colorize_patch(model, path, settings, folder, truth) -> Result:
    optical = read_optical(truth) if truth else None
    scale = model.metadata.sar_scale
    values, units = _read_patch(model, path)
    colours = colorize(model, path, detail=settings.detail, **settings.hint)
    low, high = scale.limits(units, values[np.isfinite(values)])
    said = [f"{path.name}: {values.shape[1]} x {values.shape[0]} pixels, {units}; {low:.4g}..{high:.4g} to -1..1"]
    hint = hint_of(model, **settings.hint)
    if model.takes_hint:
        said.append(f"hint: {hint.said if hint else NO_HINT}")
    sar = to_uint8(scale.to_unit(np.nan_to_num(values), units)[..., :1])
    file = folder / f"{path.stem}_colours.png"
    write_image(file, colours)
    layers, errors = {"SAR": np.repeat(sar, 3, -1), "colours": colours}, None
    if expected_error := model.metadata.expected_error:
        expected_error = expected_error.hints.get(hint.kind, expected_error) if hint else expected_error
        errors = expected_error(colours.astype("float32") / 127.5 - 1)[..., 0]
        layers[EXPECTED_ERROR] = _over(colours, errors)
    figures = flat = {}
    if truth and optical is not None:
        check_is_rgb(truth.name, optical.dtype)
        if optical.shape != colours.shape:
            sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (optical, colours))
            raise DataError(f"{truth.name}: is not of the SAR image's size ({sizes}); give one of the same ground")
        layers["truth"] = optical
        figures, flat = _figures(model, optical, colours, np.ones(colours.shape[:2], bool))
    return Result(layers, errors, file, file, path, None, settings, 1.0, said, figures, flat)


def _read_patch(model: Network, path: Path) -> tuple[np.ndarray, str]:
    """Values (H, W, channels) as stored, and their units."""
    metadata = model.metadata
    values = read_sar(path, model.channels, trained_on=metadata.sar_bands)
    return values, guess_units(values, metadata.sar_scale)


def _colorize_scene(model, path, scene, settings, folder, truth, progress, is_cancelled) -> Result:
    said: list[str] = []
    destination = folder / f"{path.stem}_colours.tif"
    ((job, destination),) = jobs_for([scene], destination, model.channels, settings.band, log=said.append)
    has_error = model.metadata.expected_error is not None
    done = 0

    def count(pixels: int) -> None:
        nonlocal done
        if is_cancelled():
            raise Cancelled(_STOPPED)
        done += pixels
        progress(done / total)

    with contextlib.ExitStack() as files:
        opened = files.enter_context(_opened(model, job, settings))
        warped = files.enter_context(_open_truth(truth, opened)) if truth else None
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
        with open_raster(destination) as raster:
            colours, has_colours = _overview(raster, [1, 2, 3], height, width)
        layers = {"SAR": np.repeat(to_uint8(sar)[..., None], 3, -1), "colours": colours}
        errors, figures, flat = None, {}, {}
        if has_error:
            with open_raster(destination.with_name(f"{destination.stem}_confidence.tif")) as raster:
                errors = _overview(raster, [1], height, width)[0][..., 0] * raster.scales[0]
            layers[EXPECTED_ERROR] = _over(colours, errors)
        if truth and warped:
            numbers = list(choose_optical(truth, Bands.of(warped), None).numbers)
            optical, has_truth = _overview(warped, numbers, height, width)
            layers["truth"] = np.repeat(optical, 3, -1) if optical.shape[-1] == 1 else optical
            figures, flat = _figures(model, layers["truth"], colours, has_colours & has_truth)
    picture = folder / f"{path.stem}_colours.png"
    write_image(picture, layers["colours"])
    return Result(layers, errors, destination, picture, path, job, settings, shrink, said, figures, flat)


def _opened(model: Network, scene: Input, settings: Settings) -> rasters.SarScene:
    metadata = model.metadata
    read = {"band": settings.band, "units": settings.units, "limits": settings.limits}
    return rasters.SarScene(scene, model.channels, metadata.sar_scale, metadata.sar_bands, **read)


def _open_truth(truth: Path, scene: rasters.SarScene):
    """The true image on the scene's grid."""
    warped = open_on_grid(truth, scene.source, scene.input.path.name)
    try:
        check_is_rgb(truth.name, warped.dtypes[0])
        return warped
    except BaseException:
        warped.close()
        raise


def _overview(raster, bands: list[int], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands of a raster at another size, (height, width, bands), and where it has data, (height, width)."""
    read = {"out_shape": (len(bands), height, width), "resampling": Resampling.average}
    mask = raster.dataset_mask(out_shape=(height, width))
    return np.moveaxis(raster.read(bands, **read), 0, -1), mask > 0


def _over(colours: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The expected error, black to white by yellow, over faint colours."""
    heat = matplotlib.colormaps["inferno"](np.clip(errors / _WORST, 0, 1))[..., :3] * 255
    return np.rint(0.25 * colours + 0.75 * heat).astype(np.uint8)


def _figures(model: Network, truth: np.ndarray, colours: np.ndarray, where: np.ndarray) -> tuple[dict, dict]:
    """How near the colours are to the truth, and how near the mean colour of the model's training is."""
    mean_colour = model.metadata.mean_colour
    flat = {}
    if mean_colour is not None:
        flat = _score(truth, np.broadcast_to(to_uint8(np.array(mean_colour)), colours.shape), where)
    return _score(truth, colours, where), flat


def _score(truth: np.ndarray, colours: np.ndarray, where: np.ndarray) -> dict[str, float]:
    """The figures of the standard protocol; those of single pixels alone where some have no data."""
    if not where.any():
        return {}
    fractions = [image[None].astype("float32") / 255 for image in (truth, colours)]
    if where.all():
        return {name: float(values[0]) for name, values in metrics.standard(*fractions).items()}
    seen = [image[:, where][:, None] for image in fractions]
    error = seen[0] - seen[1]
    return {
        "psnr": float(metrics.psnr(*seen)[0]),
        "mse": float((error**2).mean()),
        "mae": float(np.abs(error).mean()),
    }


def at_pixel(model: Network, result: Result, x: int, y: int) -> dict[str, str]:
    """What is known of a pixel of a layer: name to text."""
    column, row = int((x + 0.5) * result.shrink), int((y + 0.5) * result.shrink)
    known = {}
    if result.scene:
        with _opened(model, result.scene, result.settings) as scene:
            column, row = min(column, scene.width - 1), min(row, scene.height - 1)
            known |= _where(scene.source, column, row)
            values, units = scene.value(column, row), scene.units
    else:
        stored, units = _read_patch(model, result.source)
        values = stored[row, column]
    known["pixel"] = f"column {column}, row {row}"
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
        words += ["--range", *map(str, settings.limits)]
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
