"""Trains and scores the model `demo` that comes with the package.

    python benchmarks/demo_model.py patches DATA -o demo_model     # real patches of many places, and their folds
    python benchmarks/demo_model.py train demo_model --fold 0 --minutes 8   # also 1 to 4: on the other places
    python benchmarks/demo_model.py train demo_model --minutes 30           # on all places
    python benchmarks/demo_model.py scores demo_model                       # of the folds, on the places of each
    python benchmarks/demo_model.py pack demo_model --picture places.png    # puts the weights into the package

DATA holds the folders `scenes`, `sen12`, `places` and `geotiff`: Sentinel-1 and true-colour Sentinel-2. A place is a
scene or, of large scenes, a square of ten kilometres. Each is written about as often as the others, in another stretch
of its decibels, polarisation, or without speckle, where it has few patches. All are the preset `guided`.
"""

import csv
import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from common import circumstances, images_of
from PIL import Image

FOLDS = 5
SIZE = 256
PATCHES = 12  # of a place in training at least, and twice as many at most
_BLOCK = 4  # windows a side of the squares that count as a place: 10 km


class Place(NamedTuple):
    """A place, as a table names it, with its test fold, or None where it only trains; `share` of the usual patches."""

    region: str
    name: str
    terrain: str
    fold: int | None
    share: float = 1.0


class Patch(NamedTuple):
    """SAR images (H, W) uint8 of the same ground, in several polarisations or stretches, and the colours.

    `date` is of the ground `ground`, which may have other dates.
    """

    place: Place
    sar: list[np.ndarray]
    optical: np.ndarray
    ground: str = ""


class Row(NamedTuple):
    """A patch as written; `is_first` where its place has not shown it before, `is_real` its image of another date."""

    names: list[str]
    place: Place
    is_first: bool
    is_real: bool


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", default=Path("demo_model"), show_default=True, type=click.Path(path_type=Path))
def patches(data: Path, output: Path) -> None:
    """Write the patches as PNG files, and a manifest for each fold and for all places."""
    from sar_keras.io.images import write_image
    from sar_keras.terminal import progress_bar

    folder = output / "patches"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random, of_place, of_ground = np.random.default_rng(0), defaultdict(list), defaultdict(list)
    for patch in [*sen12(data / "sen12" / "v_2"), *scenes(data / "scenes"), *places(data / "places"),
                  *geotiffs(data / "geotiff")]:  # fmt: skip
        of_place[patch.place].append(patch)
        if patch.ground:
            of_ground[patch.ground].append(patch)
    rows = []
    for place, there in progress_bar("writing", "place", len(of_place))(of_place.items()):
        there = [there[n] for n in _evenly(len(there), 2 * PATCHES)]
        for number in range(max(len(there), round(PATCHES * place.share))):
            patch, again = there[number % len(there)], number >= len(there)
            sar = patch.sar[number // len(there) % len(patch.sar)] if again else patch.sar[number % len(patch.sar)]
            # Every fourth is as if averaged over dates, but what is scored is as it came.
            if number % 4 == 3 and (again or place.fold is None):
                sar = _smooth(sar)
            reference, reference_sar, is_real = other_date(patch, of_ground[patch.ground], there, random)
            names = [f"patches/{len(rows):05d}_{side}.png" for side in ("sar", "optical", "reference", "reference_sar")]
            for name, image in zip(names, (sar, patch.optical, reference, reference_sar), strict=True):
                write_image(output / name, image)
            rows.append(Row(names, place, not again, is_real))
    for fold in (None, *range(FOLDS)):
        write_manifest(output, rows, fold)
    print(f"{len(of_place)} places, {len(rows)} patches")


@main.command()
@click.argument("output", type=click.Path(path_type=Path, exists=True))
@click.option("--fold", type=click.IntRange(0, FOLDS - 1), help="Leave out the places of this fold.  [default: none]")
@click.option("--minutes", default=6.0, show_default=True)
def train(output: Path, fold: int | None, minutes: float) -> None:
    """Train the preset `guided`, or go on with it."""
    import sar_keras
    from sar_keras.config import load_config

    run = run_of(output, fold)
    # Speckle on half of the patches, so that it does not hang on how much there is.
    changes = [f"data.root={output / manifest_name(fold)}", "data.speckle=true", f"train.minutes={minutes}"]
    changes += ["train.epochs=1000000", "train.steps_per_epoch=200"]
    sar_keras.fit(load_config("guided", changes), run, resume=run.is_dir())


def run_of(output: Path, fold: int | None) -> Path:
    return output / ("all" if fold is None else f"fold{fold}")


# Fold, place and which of its patches the picture shows: a city, fields, a desert, mountains, grassland and forest.
SHOWN = (
    (0, "Los Angeles", 3), (1, "SEN1-2 summer 59", 5), (2, "hyper-arid plateau", 2), (3, "SEN1-2 fall 114", 6),
    (2, "SEN1-2 fall 115", 4),
)  # fmt: skip


@main.command()
@click.argument("output", type=click.Path(path_type=Path, exists=True))
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write it: places of the folds.")
def pack(output: Path, picture: Path | None) -> None:
    """Put the weights of the run on all places into the package."""
    import sar_keras
    from sar_keras.config import load_config
    from sar_keras.inference.converted import convert_for_openvino
    from sar_keras.inference.engines import DEMO_CONVERTED
    from sar_keras.inference.locate import DEMO
    from sar_keras.inference.metadata import attach, metadata_of
    from sar_keras.inference.model_file import save_demo

    settings = load_config("guided").model
    generator = sar_keras.load_model(run_of(output, None))
    # Many of the patches were decibels, stretched to 8 bits.
    attach(generator, dataclasses.replace(metadata_of(generator), sar_units=("db",)))
    save_demo(
        generator,
        filters=settings.filters,
        normalization=settings.normalization,
        dropout=settings.dropout,
    )
    shutil.rmtree(DEMO_CONVERTED.parent, ignore_errors=True)
    convert_for_openvino(sar_keras.load_model("demo"), DEMO_CONVERTED.parent, half=True)
    for file in (DEMO, DEMO_CONVERTED.with_suffix(".bin")):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    without, hinted = procedural_scores(sar_keras.load_model("demo"))
    print(f"procedural scenes: {without:.2f} dB without a hint and {hinted:.2f} dB with the mean colour of each")
    if picture:
        draw(output, picture)


def procedural_scores(model) -> list[float]:
    """PSNR on a procedural scene of each terrain: without a hint, and with its mean colour."""
    import sar_keras
    from sar_keras.data.synthetic import TERRAINS, synthesize_scene

    scenes = [synthesize_scene(terrain, 0, SIZE) for terrain in TERRAINS]
    found = []
    for hinted in (False, True):
        images = [sar_keras.colorize(model, sar, palette=rgb.mean((0, 1)) if hinted else None) for sar, rgb in scenes]
        squared = [np.mean((image - rgb.astype(float)) ** 2) for image, (_, rgb) in zip(images, scenes, strict=True)]
        found.append(float(np.mean(10 * np.log10(255**2 / np.array(squared)))))
    return found


def draw(output: Path, path: Path) -> None:
    """A row a place, by the model of the fold that has not seen it: SAR, colours under several hints, and the truth."""
    import sar_keras
    from sar_keras.config import load_run
    from sar_keras.data.sources import pairs_of_run
    from sar_keras.io.images import captioned, read_optical, write_image

    rows, columns = [], {}
    for fold, place, which in SHOWN:
        run = run_of(output, fold)
        tested = [pair for pair in pairs_of_run(load_run(run).data, run) if pair.split == "test"]
        there = [pair for pair in tested if pair.scene == place]
        pair, colour = there[which], np.mean([read_optical(pair.optical).mean((0, 1)) for pair in there], 0)
        truth, model = read_optical(pair.optical), sar_keras.load_model(run)
        coarse = np.asarray(Image.fromarray(truth).resize((8, 8), Image.Resampling.BOX))
        columns = {
            "SAR": np.asarray(Image.open(pair.sar).convert("RGB")),
            "no hint": sar_keras.colorize(model, pair.sar),
            "no hint, detail": sar_keras.colorize(model, pair.sar, detail=0.5),
            "one colour": sar_keras.colorize(model, pair.sar, palette=colour, detail=0.5),
            "8 x 8 pixels": sar_keras.colorize(model, pair.sar, basemap=coarse, detail=0.5),
            "truth": truth,
        }
        small = [Image.fromarray(image).resize((180, 180), Image.Resampling.LANCZOS) for image in columns.values()]
        rows.append(np.hstack([np.asarray(image) for image in small]))
    write_image(path, captioned(np.vstack(rows), list(columns)))


# Columns of the table: what `sar_keras.evaluation.hinted` calls them, and whose.
COLUMNS = {
    "one colour for all": ("flat", "alone"),
    "no hint": ("none", "model"),
    "*that colour*": ("palette", "alone"),
    "colour of the place": ("palette", "model"),
    "*8 x 8 enlarged*": ("coarse", "alone"),
    "8 x 8 pixels": ("coarse", "model"),
    "*other date*": ("other_date", "alone"),
    "other date": ("other_date", "model"),
}


@main.command()
@click.argument("output", type=click.Path(path_type=Path, exists=True))
def scores(output: Path) -> None:
    """Print what the folds that are trained reach on the places that they have not seen."""
    found = {}
    for fold in (fold for fold in range(FOLDS) if run_of(output, fold).is_dir()):
        for region, rows in scores_of(run_of(output, fold)).items():
            found[fold, region] = rows
    print(circumstances("tensorflow"))
    print("\n".join(table(found)))


def scores_of(run: Path) -> dict[str, dict]:
    """Each place that a run has not seen, with its terrain, to name in `hinted.TITLES` to side to figures (n,)."""
    import sar_keras
    from sar_keras.data.pipeline import colours_of_places
    from sar_keras.data.references import load_references
    from sar_keras.evaluation import hinted
    from sar_keras.inference.metadata import metadata_of

    generator = sar_keras.load_model(run)
    images, mean = images_of(run, generator, "test"), metadata_of(generator).mean_colour
    everywhere, references = list(range(len(images.pairs))), load_references(images)
    colours, found = colours_of_places(images, everywhere), {}
    for place in dict.fromkeys(pair.place for pair in images.pairs):
        there = [n for n in everywhere if images.pairs[n].place == place]
        rows = hinted.score_hints(generator, images, references, colours, indices=there)
        flat = hinted.score(
            lambda sar: np.broadcast_to(np.float32(mean), (1, SIZE, SIZE, 3)), images, references, there
        )
        found[f"{place[1]} ({images.pairs[there[0]].terrain})"] = rows | {"flat": {"alone": flat}}
    return found


def table(found: dict[tuple[int, str], dict]) -> list[str]:
    """PSNR of each place, with intervals over its patches, and means over the places."""
    from sar_keras.evaluation.evaluate import intervals

    lines = [f"| fold | place | patches | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for (fold, place), rows in found.items():
        cells = []
        for row, side in COLUMNS.values():
            figure = intervals({"psnr": rows[row][side]["psnr"]})["psnr"]
            own = " [{low:.1f}, {high:.1f}]".format(**figure) if side == "model" else ""
            cells.append(f"{figure['mean']:.2f}{own}")
        lines.append(f"| {fold} | {place} | {len(rows['none']['model']['psnr'])} | {' | '.join(cells)} |")
    for fold in (*sorted({fold for fold, _ in found}), None):
        of_fold = [rows for (each, _), rows in found.items() if fold in (None, each)]
        for key, name, digits in (("psnr", "PSNR (dB)", 2), ("ssim", "SSIM", 3)):
            means = [np.mean([rows[row][side][key].mean() for rows in of_fold]) for row, side in COLUMNS.values()]
            title = f"mean of {'all' if fold is None else f'fold {fold}'}, {name}"
            cells = " | ".join(f"{mean:.{digits}f}" for mean in means)
            if key == "psnr" or fold is None:
                lines.append(f"| {'' if fold is None else fold} | *{title}* | {len(of_fold)} places | {cells} |")
    return lines


def write_manifest(output: Path, rows: list[Row], fold: int | None) -> None:
    """The patches with their split: the places of a fold test, a tenth of those of lower quality validates."""
    validates = set(list(dict.fromkeys(row.place.name for row in rows if row.place.share < 1))[::10])
    of_region = defaultdict(list)
    for n, row in enumerate(rows):
        if fold is not None and row.place.fold == fold and row.is_first:
            of_region[row.place.region].append(n)
    tested = {there[n] for there in of_region.values() for n in _evenly(len(there), 2 * PATCHES)}
    with (output / manifest_name(fold)).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sar", "optical", "reference", "reference_sar", "scene", "terrain", "split"])
        for n, (names, place, _, is_real) in enumerate(rows):
            if fold is None or place.fold != fold:
                split = "validation" if place.name in validates else "train"
                table.writerow([*names, place.name, place.terrain, split])
            elif n in tested:
                # One place, whose colour a palette is, also where it is large.
                terrain = f"{place.terrain}{' (two dates)' if is_real else ''}"
                table.writerow([*names, place.region, terrain, "test"])


def _evenly(count: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def manifest_name(fold: int | None) -> str:
    return "all.csv" if fold is None else f"fold{fold}.csv"


def other_date(patch: Patch, same_ground: list[Patch], same_place: list[Patch], random) -> tuple:
    """Colours and SAR image of another date, and whether they are real.

    Simulated ones have other colours as a whole, and a quarter of the ground has changed.
    """
    others = [other for other in same_ground if other.optical is not patch.optical]
    if others:
        other = others[random.integers(len(others))]
        return other.optical, other.sar[0], True
    other = same_place[random.integers(len(same_place))]
    gain, shift = random.uniform(0.75, 1.25), random.normal(0, 18, 3)
    spots = _spots(random)[..., None]
    optical = np.where(spots, other.optical[::-1, ::-1], patch.optical) * gain + shift
    sar = np.where(spots[..., 0], other.sar[0][::-1, ::-1], patch.sar[0]) + random.normal(0, 10)
    return *(np.clip(image, 1, 255).astype(np.uint8) for image in (optical, sar)), False


def _spots(random) -> np.ndarray:
    from scipy.ndimage import zoom

    smooth = zoom(random.normal(size=(6, 6)), SIZE / 6, order=3)[:SIZE, :SIZE]
    return smooth > np.quantile(smooth, 0.75)


def _smooth(sar: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.clip(gaussian_filter(sar.astype(float), 1.2), 0, 255).astype(np.uint8)


def sen12(folder: Path) -> Iterator[Patch]:
    """SEN1-2, 20 patches of each of four scenes."""
    of_terrain = {
        "agri": Place("SEN1-2 summer 59", "SEN1-2 summer 59", "farmland", 1),
        "grassland": Place("SEN1-2 fall 115", "SEN1-2 fall 115", "grassland and forest", 2),
        "barrenland": Place("SEN1-2 fall 114", "SEN1-2 fall 114", "bare mountains", 3),
        "urban": Place("SEN1-2 fall 13", "SEN1-2 fall 13", "city", 4),
    }
    for terrain, place in of_terrain.items():
        for path in sorted((folder / terrain / "s1").iterdir()):
            yield Patch(place, [_grey(path)], _rgb(folder / terrain / "s2" / path.name.replace("_s1_", "_s2_")))


def scenes(folder: Path) -> Iterator[Patch]:
    """Two scenes of cities at ten metres, in squares of ten kilometres."""
    import rasterio
    from rasterio.windows import Window

    regions = {"LA": ("Los Angeles", "city", 0), "Riverside": ("Riverside", "city and dry hills", 1)}
    # The last windows of each row of Los Angeles show ground that Riverside shows, too: another fold.
    shared = {"LA": 1, "Riverside": 0}
    for sar_path in sorted(folder.glob("*_S1_*.tif")):
        key = sar_path.name.partition("_")[0]
        region, terrain, fold = regions[key]
        optical_path = next(folder.glob(f"{sar_path.name.partition('_S1_')[0]}_S2_*.tif"))
        with rasterio.open(sar_path) as sar, rasterio.open(optical_path) as optical:
            for row in range(sar.height // SIZE):
                for column in range(sar.width // SIZE - shared[key]):
                    window = Window(column * SIZE, row * SIZE, SIZE, SIZE)
                    grey, rgb = sar.read(1, window=window), np.moveaxis(optical.read(window=window), 0, -1)
                    if (rgb.max(-1) == 0).mean() < 0.1:
                        square = f"{region} {row // _BLOCK}-{column // _BLOCK}"
                        yield Patch(Place(region, square, terrain, fold), [grey], rgb)


def places(folder: Path) -> Iterator[Patch]:
    """Many places with few patches each, see the README beside them."""
    # Single patches of SEN1-2 may be neighbours of those of a scene that a fold tests: they are left out with it.
    known = {
        "desert": ("hyper-arid plateau", "desert", 2),
        "0060c0a5": ("Finland", "boreal forest", 3),
        "001b0634": ("Finland", "boreal forest", 3),
        "SSL4EO 0000200 T43RCP": ("Punjab", "irrigated farmland", 4),
        "ROIs1868_summer_59": ("SEN1-2 summer 59", "farmland", 1),
        "ROIs1970_fall_13": ("SEN1-2 fall 13", "city", 4),
    }
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        scene, ground = row["scene"], ""
        if scene in known:
            region, terrain, fold = known[scene]
            place = Place(region, region if region.startswith("SEN1-2") or scene == "desert" else scene, terrain, fold)
            # The patch's number, or, of other places, the place is one patch.
            ground = f"desert {row['sar'].rpartition('_')[2]}" if scene == "desert" else scene
            if region.startswith("SEN1-2"):
                ground = ""
        elif "sathya" in scene:
            place = Place("SEN1-2, unknown", scene, "farmland", 1)
        elif "karthik_E4" in row["sar"]:
            place = Place("SEN1-2, unknown", scene, "mountains, fields", 3)
        else:
            # Those cut out of figures are of lower quality.
            place = Place(scene, scene, row["terrain"], None, 0.5 if row["sar"].startswith("sen12_plots") else 1.0)
        yield Patch(place, [_grey(folder / row["sar"])], _rgb(folder / row["optical"]), ground)


def geotiffs(folder: Path) -> Iterator[Patch]:
    """Decibels in VV and VH, in several stretches."""
    import rasterio

    terrains = {
        "282D": ("coast", 4), "38D": ("dry farmland", 4), "433D": ("villages and fields", 0),
        "609U": ("snowy tundra", 3), "637U": ("farmland", 0), "Spain": ("farmland and towns", 0),
    }  # fmt: skip
    for sar_path in sorted([*folder.glob("terramesh_*_S1RTC.tif"), *folder.glob("Spain_*_S1Hand.tif")]):
        is_spain = sar_path.name.startswith("Spain")
        key = "Spain" if is_spain else sar_path.name.split("_")[1]
        name = f"{'Sen1Floods11' if is_spain else 'TerraMesh'} {key}"
        place = Place(name, name, *terrains[key])
        with rasterio.open(sar_path) as source:
            decibel = source.read()
        with rasterio.open(str(sar_path).replace("S1RTC", "S2RGB").replace("S1Hand", "S2Hand")) as source:
            optical = np.moveaxis(source.read([4, 3, 2] if is_spain else [1, 2, 3]), 0, -1)
        if is_spain:
            optical = np.clip(optical / 3000 * 255, 1, 255).astype(np.uint8)
        stretched = [
            np.clip((np.nan_to_num(band, nan=low) - low) / (high - low) * 255, 1, 255).astype(np.uint8)
            for low, high in ((-25, 0), (-30, 0), (-20, 5))
            for band in decibel
        ]
        side = min(SIZE, *optical.shape[:2])
        for row in range(optical.shape[0] // side):
            for column in range(optical.shape[1] // side):
                cut = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
                sar, colours = [_enlarged(image[cut]) for image in stretched], _enlarged(optical[cut])
                yield Patch(place, sar, colours)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _grey(path: Path) -> np.ndarray:
    from sar_keras.io.images import read_sar

    return read_sar(path, 1)[..., 0]


def _rgb(path: Path) -> np.ndarray:
    from sar_keras.io.images import read_optical

    return read_optical(path)


if __name__ == "__main__":
    main()
