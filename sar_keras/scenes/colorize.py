"""Whole scenes of any size to georeferenced colours. Loads TensorFlow only where the engine is."""

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.windows import Window

import sar_keras
from sar_keras.errors import DataError, OutputError, SarKerasError, parameter
from sar_keras.inference.detail import check_detail
from sar_keras.inference.engines import network_of
from sar_keras.inference.hints import HINTS, NO_HINT, files_of_hint, hint_of
from sar_keras.inference.jobs import do_all
from sar_keras.inference.locate import CONVERTED, model_name
from sar_keras.inference.network import CONFIDENCE_SAID, Network, expected_error_of, to_levels
from sar_keras.io import rasters
from sar_keras.io.bands import warn_if_bands_differ
from sar_keras.io.files import local_path, path_or_name, sha256, sha256_of_arrays
from sar_keras.io.images import captioned, to_uint8, write_image
from sar_keras.io.inputs import Input
from sar_keras.io.opening import open_raster
from sar_keras.io.products import find_inputs
from sar_keras.io.reflectance import tags_of
from sar_keras.io.sar import guess_units, warn_if_units_differ
from sar_keras.scenes.hints import SceneHint
from sar_keras.scenes.inputs import adjoining, join_polarisations
from sar_keras.scenes.statistics import sampled
from sar_keras.scenes.tiles import colorize_tiles, tile_rows
from sar_keras.scenes.unfinished import UNCERTAINTY_STEP, Unfinished

if TYPE_CHECKING:
    import keras

# Measured with trained models: at an overlap of 64 the tone still steps visibly between windows where the network is in
# doubt; at 128 it does not, and the windows cost a third more than the scene's own pixels.
TILE, OVERLAP = 1024, 128
# Changes where a newer version of this package colours otherwise, so that none goes on from what an older one began.
_FORM = 2
_THUMBNAIL = 1024  # pixels of a preview's longer side


def colorize_scene(
    model: "keras.Model | Network | str | os.PathLike",
    source: str | os.PathLike | Sequence[str | os.PathLike] | Input,
    destination: str | os.PathLike,
    *,
    band: int | str | None = None,
    units: str = "auto",
    limits: tuple[float, float] | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    batch: int = 1,
    precision: str = "float32",
    engine: str = "auto",
    detail: float = 0.0,
    palette=None,
    basemap: str | os.PathLike | None = None,
    reference: str | os.PathLike | None = None,
    reference_sar: str | os.PathLike | None = None,
    clouds: str | os.PathLike | None = None,
    confidence: bool = False,
    preview: str | os.PathLike | None = None,
    resume: bool = False,
    window: tuple[int, int, int, int] | None = None,
    progress: Callable[[int], object] = lambda pixels: None,
    log: Callable[[str], object] = lambda line: None,
) -> Path:
    """Colorize a SAR scene of any size into a cloud-optimised GeoTIFF, in memory that does not grow with the scene.

    The output has the scene's size, CRS, transform or ground control points; uint8 RGB, black and masked where the SAR
    has no data. Its tags name the model and the input, and say that the colours are synthetic.

    Args:
        model: A model from `load_model`, or the path of one, or of an export for OpenVINO, which each process loads
            once.
        source: Whatever GDAL opens, with or without a georeference: a file, an address, one of its own names such as
            "/vsizip/...". Or a product of Sentinel-1: a .SAFE folder or its zip, SNAP's .dim, OPERA's or NISAR's HDF5.
            Or paths of files that hold a polarisation each.
        destination: The GeoTIFF to write; replaced where it exists.
        band: Number from 1, polarisation ("VV") or name of the band to use; several with commas between ("VV,VH").
            None: those that the model was trained on, else VV before VH, HH and HV, else the first.
        units: "auto", or one of `sar_keras.io.sar.UNITS`.
        limits: The values that become -1 and 1, in `units` (in decibel for "linear"). None: as the model was trained.
        tile: Largest side of the windows that go through the network, in pixels; a multiple of the model's patch. None:
            1024 or the nearest below.
        overlap: Pixels that neighbouring windows share, at most half the tile; they are blended by a raised cosine.
            None: 128, where the tile allows it.
        batch: Windows a call of the network.
        precision: "float32", or "bfloat16", which is faster where the processor has it.
        engine: "auto", "openvino" or "tensorflow", see `sar_keras.colorize`.
        detail: How much of the SAR image's own fine structure comes into the lightness, 0 to 1, see
            `sar_keras.inference.detail`.
        palette, basemap, reference, reference_sar, clouds: A hint for a guided model, see `sar_keras.colorize`: rasters
            of any projection and resolution, warped to the scene's grid as it is read. Where one has no data, there is
            no hint.
        confidence: Also write `<destination>_confidence.tif`: how far each colour may be off, the expected absolute
            error on a scale of 0..1, see `sar_keras.inference.confidence`. One uint8 band; its scale, 0.5 / 255, is in
            the file.
        preview: A PNG of SAR, colours and, with `confidence`, the expected error (black: none).
        resume: Keep what is finished when something fails, and go on from what an earlier run has finished.
        window: (column, row, width, height) of the part to colorize. None: all.
        progress: Called with the number of pixels done since the last call.
        log: Called with lines for people.

    Returns:
        The destination.

    Raises:
        DataError: the scene cannot be read, lacks the band, holds no data; or an option that makes no sense.
        OutputError: the destination is an input, or cannot be written.
        ModelError: `model` is a path without a model, or does not know its error, see `sar_keras.inference.confidence`.
    """
    network = network_of(model, engine, precision)
    destination = local_path(destination)
    preview = local_path(preview) if preview else None
    patch = network.patch
    tile = max(TILE // patch, 1) * patch if tile is None else tile
    overlap = min(OVERLAP, tile // 2) if overlap is None else overlap
    _check_options(tile, overlap, batch, patch, limits, destination, preview)
    check_detail(detail)
    scale, trained_on = network.metadata.sar_scale, network.metadata.sar_bands
    hint = hint_of(network, palette, basemap, reference, reference_sar, clouds)
    source = source if isinstance(source, Input) else _the_scene(source)
    with (
        rasters.SarScene(source, network.channels, scale, trained_on, band, units, limits) as scene,
        SceneHint(network, hint, scene) as scene_hint,
    ):
        outputs = {"colours": destination}
        if confidence:
            outputs["confidence"] = confidence_of(destination)
        _check_not_an_input(
            [*scene.files, *scene_hint.files, *files_of_hint(palette=palette)],
            [*outputs.values(), *([Path(preview)] if preview else [])],
        )
        area = _area(scene, window)
        options = [_FORM, tile, overlap, network.precision, network.engine, confidence, *area.flatten()]
        options.append(network.normalized_by)
        tags, key = _provenance(network, scene, scene_hint, options, detail)
        if network.takes_hint:
            log(f"{source.name}: hint: {scene_hint.said if hint else NO_HINT}")
        if confidence:
            log(f"{source.name}: expected error: {CONFIDENCE_SAID}")
        warn_if_units_differ(scene.units, scale, source.name, network.metadata.sar_units)
        warn_if_bands_differ(scene.names, trained_on, source.name)
        for doubt in scene.doubts():
            warnings.warn(doubt, stacklevel=2)
        scene_hint.compare_dates(scene)
        log(scene.decision)
        partial = Unfinished(destination, outputs, key)
        if resume and partial.is_finished():
            progress(int(area.width * area.height))
            log(f"{destination}: is there already")
        else:
            rows = tile_rows(area, tile, overlap, patch, network.multiple)
            if network.normalizes_each and max(scene.width, scene.height) > patch:
                network = _normalized(network, [(scene, scene_hint)])
            levels = levels_of(network, confidence)
            with rasterio.Env(GDAL_CACHEMAX=scene.cache_for(tile)), partial.kept(resume):
                partial.open(scene, area, tags, resume, log)
                colorize_tiles(levels, scene, area, rows, overlap, batch, partial, progress, detail, scene_hint)
                if not partial.seen:
                    raise DataError(f"{source.name}: holds no data in this window: every pixel is nodata")
                partial.publish()
        if preview:
            _write_preview(Path(preview), scene, area, outputs)
    return destination


def confidence_of(destination: Path) -> Path:
    """Where the expected error of a scene's colours goes."""
    return destination.with_name(f"{destination.stem}_confidence.tif")


def colorize_scenes(
    network: Network, jobs: list[tuple[Input, Path]], log: Callable[[str], object] = lambda line: None, **options
) -> list[Path]:
    """Colorize scenes, each (source, destination), one after the other; options as in `colorize_scene`.

    Tiles of one product are scaled and normalised alike, so that brightness does not jump between them.

    Raises:
        SomeFailed: some of several scenes could not be colorized; the others are written.
        OutputError: a preview of several scenes.
    """
    if options.get("preview") and len(jobs) > 1:
        raise OutputError(f"{parameter('preview')} shows one scene, here are {len(jobs)}; leave it out")
    scenes = [scene for scene, _ in jobs]
    is_shared = network.normalizes_each or not options.get("limits")
    groups = adjoining(scenes) if is_shared and len(scenes) > 1 else []
    shared = _shared_ranges(network, groups, options, log)
    together = {tile: tuple(tiles) for tiles in groups for tile in tiles} if network.normalizes_each else {}

    @functools.cache
    def normalized(tiles: tuple[Input, ...]) -> Network:
        return _normalized_together(network, tiles, options, shared)

    def work(scene: Input, destination: Path) -> None:
        model = normalized(together[scene]) if scene in together else network
        colorize_scene(model, scene, destination, log=log, **options | shared.get(scene, {}))

    return do_all(jobs, work, "scenes")


def _normalized(network: Network, parts: list[tuple[rasters.SarScene, SceneHint]]) -> Network:
    """The network with the normalisation of these scenes and their hints."""
    patches = sampled(parts, network.patch)
    if not patches:
        return network
    normalized = network.normalized_as(*patches)
    normalized.normalized_by = sha256_of_arrays(images for images in patches if images is not None)
    return normalized


def _normalized_together(network: Network, tiles: Sequence[Input], options: dict, shared: dict[Input, dict]) -> Network:
    """The network with the normalisation of all tiles of a product, so that brightness does not jump between them."""
    hint = hint_of(network, *(options.get(name) for name in HINTS))
    with contextlib.ExitStack() as opened:
        parts = []
        for tile in tiles:
            # Those that cannot be read fail in their turn, and those that the hint does not overlap.
            with contextlib.suppress(SarKerasError, OSError):
                scene = opened.enter_context(_opened(network, tile, options | shared.get(tile, {})))
                parts.append((scene, opened.enter_context(SceneHint(network, hint, scene))))
        return _normalized(network, parts) if parts else network


def _opened(network: Network, tile: Input, options: dict) -> rasters.SarScene:
    scale, trained_on = network.metadata.sar_scale, network.metadata.sar_bands
    band, units, limits = options.get("band"), options.get("units", "auto"), options.get("limits")
    return rasters.SarScene(tile, network.channels, scale, trained_on, band, units, limits)


def _shared_ranges(
    network: Network, groups: list[list[Input]], options: dict, log: Callable[[str], object]
) -> dict[Input, dict]:
    """The units and the limits of scenes that are tiles of one product, from samples of all its tiles."""
    scale, units, shared = network.metadata.sar_scale, options.get("units", "auto"), {}
    if options.get("limits"):
        return shared
    for tiles in groups:
        samples = []
        for tile in tiles:
            # Those that cannot be read fail in their turn.
            with contextlib.suppress(SarKerasError, OSError), _opened(network, tile, options) as scene:
                samples.append(scene.samples)
        if samples and not {"db", "linear"} <= {guess_units(values, scale) for values in samples}:
            values = np.concatenate(samples)
            told = guess_units(values, scale) if units == "auto" else units
            low, high = map(float, scale.limits(told, values))
            shared |= {tile: {"units": told, "limits": (low, high)} for tile in tiles}
            log(
                f"{len(tiles)} adjoining tiles, {tiles[0].name} to {tiles[-1].name}, share one range: {low:.4g}.."
                f"{high:.4g} ({parameter('limits')} tells another); {parameter('mosaic')} leaves no seam at all"
            )
    return shared


def count_pixels(jobs: list[tuple[Input, Path]], window: tuple[int, int, int, int] | None = None) -> int:
    """Pixels of all scenes, for a progress bar; of several those that cannot be opened do not count.

    Raises:
        DataError: a single one cannot be opened.
    """
    total = 0
    for scene, _ in jobs:
        with contextlib.suppress(*(SarKerasError, OSError) * (len(jobs) > 1)), scene.open() as raster:
            total += window[2] * window[3] if window else raster.width * raster.height
    return total


def _check_options(tile, overlap, batch, patch, limits, destination, preview) -> None:
    if tile < patch or tile % patch:
        raise DataError(f"{parameter('tile')} {tile}: must be a multiple of {patch}, the model's patch")
    if not 0 <= overlap <= tile // 2:
        raise DataError(f"{parameter('overlap')} {overlap}: must not be more than half of {parameter('tile')} {tile}")
    if batch < 1:
        raise DataError(f"{parameter('batch')} {batch}: must be at least 1")
    if limits and not limits[0] < limits[1]:
        raise DataError(f"{parameter('limits')} {limits[0]:g} {limits[1]:g}: the first must be below the second")
    if destination.suffix.lower() not in (".tif", ".tiff"):
        raise OutputError(f"{destination}: a scene's colours are a GeoTIFF; use .tif")
    if preview and Path(preview).suffix.lower() not in (".png", ".jpg", ".jpeg"):  # a TIFF may be the output itself
        raise OutputError(f"{parameter('preview')} {preview}: is a picture to look at; use .png or .jpg")


def _the_scene(source: str | os.PathLike | Sequence[str | os.PathLike]) -> Input:
    names = [source] if isinstance(source, str | os.PathLike) else source
    found = join_polarisations([scene for name in names for scene in find_inputs(path_or_name(os.fspath(name)))])
    if len(found) != 1:
        raise DataError(f"{source}: holds {len(found)} scenes; give one of them")
    return found[0]


def _check_not_an_input(inputs: list[Path], outputs: list[Path]) -> None:
    for output in outputs:
        if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
            raise OutputError(f"{output}: would replace its own input; write elsewhere")


def _area(scene: rasters.SarScene, window: tuple[int, int, int, int] | None) -> Window:
    column, row, width, height = window or (0, 0, scene.width, scene.height)
    if min(column, row) < 0 or min(width, height) < 1 or column + width > scene.width or row + height > scene.height:
        raise DataError(
            f"{parameter('window')} {column} {row} {width} {height}: not inside {scene.input.name}, which has "
            f"{scene.width} x {scene.height} pixels"
        )
    return Window(column, row, width, height)


def _provenance(
    network: Network, scene: rasters.SarScene, hint: SceneHint, options: list, detail: float
) -> tuple[dict[str, str], str]:
    """The output's tags, and a key that is the same only where the same colours would come out."""
    path, weights_hash = network.metadata.saved_as, network.weights_hash()
    if path:
        name = model_name(path)
        model_hash = weights_hash if path.name == CONVERTED else sha256(path)
    else:
        name, model_hash = network.name, weights_hash
    low, high = scene.limits
    tags = {
        "TIFFTAG_SOFTWARE": f"sar_keras {sar_keras.__version__}",
        "TIFFTAG_IMAGEDESCRIPTION": "Synthetic colours, guessed from SAR by a neural network; not a measurement",
        "SYNTHETIC": "YES",
        "SAR_KERAS_MODEL": name,
        "SAR_KERAS_MODEL_SHA256": model_hash,
        "SAR_KERAS_INPUT": f"{scene.input.place.name}, band {', '.join(map(str, scene.bands))}",
        "SAR_KERAS_SCALE": f"{scene.units}, {low:g} to {high:g} became -1 to 1",
        **tags_of(network.metadata.reflectance),
    }
    if detail:
        tags["SAR_KERAS_DETAIL"] = f"{detail}: fine structure of the lightness is SAR texture"
    if network.takes_hint:
        tags["SAR_KERAS_HINT"] = hint.said
    files = [os.stat(file) for file in [*scene.files, *hint.files] if file.exists()]
    state = [(file.st_size, file.st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([tags, weights_hash, state, options]).encode()).hexdigest()
    return {**tags, "SAR_KERAS_KEY": key}, key


def levels_of(network: Network, confidence: bool) -> Callable[..., np.ndarray]:
    """SAR and hint, as `network` takes them, to colours, with `confidence` also uncertainty, as the outputs hold them.

    (N, H, W, 3 or 4), grey levels of 0..255 that are not rounded yet, float32.
    """
    expected_error = expected_error_of(network.metadata) if confidence else None

    def run(sar: np.ndarray, hint: np.ndarray | None) -> np.ndarray:
        optical = network(sar, hint)
        if expected_error is None:
            return to_levels(optical)
        uncertainty = np.minimum(expected_error(optical, hint) / UNCERTAINTY_STEP, 255)
        return np.concatenate([to_levels(optical), uncertainty], -1)

    return run


def _write_preview(path: Path, scene: rasters.SarScene, area: Window, outputs: dict[str, Path]) -> None:
    """SAR | colours | expected error, from the outputs' overviews."""
    shrink = max(1.0, max(area.width, area.height) / _THUMBNAIL)
    height, width = (max(1, round(size / shrink)) for size in (area.height, area.width))
    panels = {"SAR": np.repeat(to_uint8(scene.thumbnail(area, height, width))[..., None], 3, -1)}
    for name, output in outputs.items():
        with open_raster(Path(output)) as raster:
            pixels = np.moveaxis(raster.read(out_shape=(raster.count, height, width)), 0, -1)
        if name == "confidence":
            white = max(1.0, np.percentile(pixels, 99))
            pixels = np.repeat(np.clip(pixels * (255 / white), 0, 255).astype(np.uint8), 3, -1)
            name = f"expected error (white: {white * UNCERTAINTY_STEP:.2g})"
        panels[name] = pixels
    write_image(path, captioned(np.hstack(list(panels.values())), list(panels)))
