"""Which scenes `sar-keras colorize` makes of its arguments, and where their colours go."""

import contextlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sar_keras.errors import DataError, OutputError, parameter
from sar_keras.inference.jobs import destinations
from sar_keras.io import inputs
from sar_keras.io.bands import POLARISATIONS, group_polarisations, without_polarisation
from sar_keras.io.inputs import Input
from sar_keras.io.products import SUFFIXES, find_inputs
from sar_keras.io.rasters import is_georeferenced
from sar_keras.io.virtual import Grid

# Words in the names of layers that HyP3, OPERA and others give along with radar images.
_BESIDE = {"dem", "inc", "incidence", "angle", "ls", "layover", "shadow", "mask", "area", "rgb", "looks", "anf"}
# 20200131, 2020-01-31 ...
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")


def find_scenes(given: list[Path | str | Input], output: Path) -> list[Input] | None:
    """The scenes that paths and GDAL's names stand for, beside those that are found already; None for mere images.

    It is about scenes where the output is a TIFF, or an input has a georeference or is a product. A folder or a zip
    stands for the rasters and products in it, PNG and JPEG apart; the colours of an earlier run in `output` do not
    count.

    Raises:
        DataError: a folder without scenes, or a product that is not whole.
    """
    named = [[name] if isinstance(name, Input) else find_inputs(name) for name in given]
    found = [scene for scenes in named for scene in scenes if not _is_in(scene, output)]
    are_images = all(isinstance(name, Path) for name in given) and not any(scene.is_product for scene in found)
    if are_images and not is_tiff(output) and not any(map(is_georeferenced, found)):
        return None
    if not found:
        raise DataError(f"{given[0]}: holds no scenes ({', '.join(SUFFIXES)})")
    return found


def _is_in(scene: Input, output: Path) -> bool:
    inside = scene.folder and output.absolute() != scene.folder.absolute()
    return bool(inside) and any(output.absolute() in file.absolute().parents for file in scene.files)


def is_tiff(output: Path) -> bool:
    return output.suffix.lower() in (".tif", ".tiff") and not output.is_dir()


def jobs_for(
    scenes: list[Input],
    output: Path,
    channels: int,
    band: int | str | None = None,
    mosaic: bool = False,
    log: Callable[[str], object] = lambda line: None,
) -> list[tuple[Input, Path]]:
    """(scene, destination) for each scene to colorize; with `mosaic` all of them are one.

    For a model of several bands VV and VH in a file each are one scene. Of what was found in a folder, files of other
    polarisations than `band` are passed over, and what lies beside radar images in products: heights, angles, masks.

    Raises:
        DataError: no scene of that polarisation, or several in a mosaic.
        OutputError: several scenes would become one, or the output is no TIFF.
    """
    scenes = _without_layers_beside(scenes, log)
    wanted = {name.strip().upper() for name in str(band).split(",")}
    if wanted <= {*POLARISATIONS}:
        scenes = _of_polarisations(scenes, wanted, log)
    if channels > 1:
        scenes = join_polarisations(scenes)
    if mosaic and len(scenes) > 1:
        there = {scene.polarisation for scene in scenes if not scene.is_product}
        if len(there) > 1:
            raise DataError(
                f"{scenes[0].name}: the tiles of a mosaic are of one polarisation, here are "
                f"{', '.join(sorted(map(str, there)))}; choose by {parameter('band')}, or name the tiles"
            )
        scenes = [inputs.mosaic(scenes)]
    if len(scenes) == 1 and not output.is_dir():
        if is_tiff(output):
            return [(scenes[0], output)]
        if output.suffix:
            raise OutputError(
                f"{output}: the input is georeferenced: give {parameter('output')} a .tif (a picture: "
                f"{parameter('preview')})"
            )
    elif output.suffix and not output.is_dir():
        raise OutputError(
            f"{output}: is a file; {len(scenes)} scenes need a folder as {parameter('output')}, or "
            f"{parameter('mosaic')}"
        )
    return destinations([(scene, scene.place) for scene in scenes], output, ".tif")


def join_polarisations(scenes: list[Input]) -> list[Input]:
    """The scenes, those of them joined that are one with a file for each polarisation."""
    single = [scene for scene in scenes if scene.polarisation and _has_one_band(scene)]
    joined = {}
    for group in group_polarisations([scene.path for scene in single]):
        if len(group) > 1:
            members = [single[index] for index in group]
            joined |= dict.fromkeys(members) | {min(members, key=scenes.index): inputs.joined(members)}
    return [scene for scene in (joined.get(scene, scene) for scene in scenes) if scene]


def _of_polarisations(scenes: list[Input], wanted: set[str], log: Callable[[str], object]) -> list[Input]:
    others = [
        scene
        for scene in scenes
        if scene.folder and scene.polarisation and scene.polarisation not in wanted and _has_one_band(scene)
    ]
    if others and len(others) == len(scenes):
        raise DataError(f"{scenes[0].folder}: holds no scene of {', '.join(sorted(wanted))}, but {scenes[0].name}")
    return _passing_over(scenes, others, f"{parameter('band')} passes over other polarisations", log)


def _without_layers_beside(scenes: list[Input], log: Callable[[str], object]) -> list[Input]:
    """Leave out the layers whose names are those of radar images but for a word such as "dem"."""
    images = {(scene.path.parent, without_polarisation(scene.path).stem) for scene in scenes if scene.polarisation}
    beside = []
    for scene in scenes:
        if scene.folder and not scene.is_product and not scene.polarisation:
            words = re.split(r"[_.\- ]", scene.path.stem)
            names = ((scene.path.parent, scene.path.stem[: len(name)]) for _, name in images)
            if _BESIDE & {word.lower() for word in words} and any(name in images for name in names):
                beside.append(scene)
    return _passing_over(scenes, beside, "passes over what lies beside radar images; to colorize it give its name", log)


def _passing_over(scenes: list[Input], others: list[Input], why: str, log: Callable[[str], object]) -> list[Input]:
    if others:
        log(f"{why}: {', '.join(scene.name for scene in others)}")
    return [scene for scene in scenes if scene not in others]


def _has_one_band(scene: Input) -> bool:
    """Whether a scene has one band; one that cannot be opened is taken to have, because its name says so."""
    try:
        with scene.open() as source:
            return source.count == 1
    except (DataError, PermissionError):
        return True


def adjoining(scenes: list[Input]) -> list[list[Input]]:
    """The groups of scenes that are tiles of one product, two or more each.

    They lie side by side on one grid, hold the same kind of bands, and their names tell the same dates and the same
    polarisation. Scenes of which half or more lies on one another are of one place at several times.
    """
    grids: dict[Input, Grid] = {}
    for scene in scenes:
        with contextlib.suppress(DataError, PermissionError), scene.open() as source:
            grids[scene] = Grid.of(source)
    groups = {scene: [scene] for scene in grids}
    for one, other in itertools.combinations(grids, 2):
        if groups[one] is groups[other] or one.polarisation != other.polarisation or _dates(one) != _dates(other):
            continue
        if _adjoin(grids[one], grids[other]):
            joined = groups[one] + groups[other]
            groups |= dict.fromkeys(joined, joined)
    found = {id(group): group for group in groups.values() if len(group) > 1}
    return [sorted(group, key=scenes.index) for group in found.values()]


def _adjoin(one: Grid, other: Grid) -> bool:
    if one.kinds != other.kinds or not one.is_placed:
        return False
    offset = one.offset_from(other)
    if offset is None:
        return False
    ends = np.minimum(np.add(offset, one.shape[::-1]), other.shape[::-1])
    shared = ends - np.maximum(offset, 0)  # columns and rows; negative where there is a gap
    return shared.min() >= 0 and 2 * shared.prod() < min(np.prod(one.shape), np.prod(other.shape))


def _dates(scene: Input) -> list[tuple[str, ...]]:
    return _DATE.findall(scene.place.stem)
