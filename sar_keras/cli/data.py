"""The verbs of `sar-keras data`."""

import functools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from sar_keras.cli.places import catalog_option, range_of
from sar_keras.cli.verbs import PATH, Verbs
from sar_keras.errors import DataError, OutputError

_PATCH = 256  # pixels a side, of most presets


def _of_pairs(verb: Callable) -> Callable:
    """Add the argument and the options that say where pairs are, see `_find`."""
    options = (
        click.argument("folder", required=False, type=PATH, metavar="DIR"),
        click.option("--sar", type=PATH, metavar="DIR", help="SAR images, with --optical, in place of DIR."),
        click.option("--optical", type=PATH, metavar="DIR", help="Optical images with names alike."),
        click.option(
            "--size",
            type=click.IntRange(32),
            default=256,
            show_default=True,
            metavar="N",
            help="Side of the windows of GeoTIFF scenes.",
        ),
        click.option("--allow-outside", is_flag=True, help="Let a manifest name images outside of its own folder."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, such as data.layout=folders."
        ),
    )
    for option in reversed(options):
        verb = option(verb)
    return verb


@click.group(cls=Verbs)
def data() -> None:
    """Look at training data, or make some."""


def _find(
    folder: Path | None,
    sar: Path | None,
    optical: Path | None,
    size: int,
    allow_outside: bool,
    overrides: tuple[str, ...],
    must_exist: bool = True,
    configured: bool = False,
):
    """Where pairs are, the configuration or None, and the pairs that are found, see `sar_keras.data.pairs.Found`.

    Prints what was guessed. The configuration, which takes pydantic and PyYAML, is there for changes of keys, and where
    it is asked for.
    """
    from sar_keras.data.sources import Source, find_source
    from sar_keras.terminal import progress_bar

    if not (folder or sar or optical):
        raise DataError("give DIR, or --sar DIR and --optical DIR")
    if folder and (sar or optical):
        raise DataError("give DIR, or --sar DIR and --optical DIR, not both")
    if size % 32:
        raise DataError(f"--size {size}: must be a multiple of 32")
    source, config = Source(folder, sar, optical, image_size=size, allow_outside=allow_outside), None
    if overrides or configured:
        from sar_keras.config import load_config

        folders = {"data.root": folder, "data.sar": sar, "data.optical": optical}
        changes = [f"{key}={json.dumps(str(path), ensure_ascii=False)}" for key, path in folders.items() if path]
        changes += [f"data.image_size={size}", f"data.allow_outside={json.dumps(allow_outside)}"]
        config = load_config("default", [*changes, *overrides])
        source = config.data
    found = find_source(source, Path(), progress_bar("looking at", "scene"), must_exist)
    for line in found.said:
        click.echo(line)
    return source, config, found


@data.command()
@_of_pairs
def check(**source) -> None:
    """Read every pair in DIR and report what is wrong: exit code 0 if nothing is, else 1.

    Broken, blank, duplicate, mis-sized and misaligned images, values that are no numbers, and images without a partner.
    The shift between the images of a pair is searched for in a sample; it is seen where it is that of a whole scene, or
    very clear.
    """
    from sar_keras.data.check import FINDS_SHIFTS
    from sar_keras.data.check import check as check_pairs
    from sar_keras.data.reading import PairReader
    from sar_keras.terminal import progress_bar

    def progress(pairs, total):
        return progress_bar("checking", "pair", total)(pairs)

    data, config, found = _find(**source, must_exist=False)
    channels = config.model.channels if config else 1
    if not data.sar_bands:
        channels = max(channels, *(len(pair.sar_files) for pair in found.pairs))
    if not FINDS_SHIFTS:
        click.echo("shifts are not searched for: pip install scipy scikit-image")
    reader = PairReader(channels, data.sar_bands, data.optical_bands)
    findings = check_pairs(found, reader, progress)
    for line in reader.said:
        click.echo(line)
    for finding in findings:
        click.echo(f"{finding.kind}: {finding.text}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(finding.kind for finding in findings).items())
    click.echo(f"{len(found.pairs)} pairs: {kinds or 'nothing found'}")
    if findings:
        sys.exit(1)


@data.command()
@_of_pairs
@click.option("--html", type=PATH, metavar="FILE", help="Also write a page, with pictures and the split of `fit`.")
def scan(html: Path | None, **source) -> None:
    """Count the pairs in DIR by terrain, season and scene, and list images without a partner."""
    _, config, found = _find(**source, configured=html is not None)
    rows = Counter((pair.terrain or "-", pair.season or "-", pair.scene or "-") for pair in found.pairs)
    width = max(10, *(len(terrain) for terrain, _, _ in rows))
    scene_width = max(12, *(len(scene) for _, _, scene in rows))
    click.echo(f"{'terrain':{width}}  {'season':8}  {'scene':>{scene_width}}  {'pairs':>7}")
    for (terrain, season, scene), count in sorted(rows.items()):
        click.echo(f"{terrain:{width}}  {season:8}  {scene:>{scene_width}}  {count:7}")
    scenes = len({pair.place for pair in found.pairs if pair.scene is not None})
    click.echo(
        f"{len(found.pairs)} pairs, {scenes or 'no known'} scenes, {len(found.unpaired)} images without a partner"
    )
    from sar_keras.data.layouts import BESIDE

    dated = {name: sum(getattr(pair, name) is not None for pair in found.pairs) for name in BESIDE}
    if any(dated.values()):
        of_date = ", ".join(f"{count} {name}" for name, count in dated.items())
        click.echo(f"images of another date, for guided models: {of_date}")
    for path in found.unpaired:
        click.echo(f"no partner: {path}")
    if html and config:
        from sar_keras.reports.scan import write_scan_page
        from sar_keras.terminal import progress_bar

        write_scan_page(html, config, found, progress_bar("drawing", "pair"))


@data.command()
@_of_pairs
@click.option("-o", "--output", required=True, type=PATH, metavar="FILE.csv", help="The split to write.")
@click.option(
    "--by",
    type=click.Choice(["scene", "blocks", "random", "sen12-v2"]),
    default="scene",
    show_default=True,
    help="What is kept together; sen12-v2 is a fixed split of the Kaggle subset.",
)
@click.option(
    "--ratios",
    nargs=3,
    type=click.FloatRange(0),
    default=(0.8, 0.1, 0.1),
    show_default=True,
    metavar="A B C",
    help="Shares of train, validation and test.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Draws other splits.")
def split(output: Path, by: str, ratios: tuple[float, float, float], seed: int, **source) -> None:
    """Split the pairs of DIR, a folder or a CSV manifest, into train, validation and test.

    Whole scenes are kept together; the windows of GeoTIFF scenes also by blocks, with a gap between the splits.

    `sar-keras fit --set data.split=FILE.csv` uses the result.
    """
    from sar_keras.data.pairs import SPLITS
    from sar_keras.data.sources import folder_of_source
    from sar_keras.data.splits import split_pairs, write_split

    if ratios[0] <= 0:
        raise DataError("--ratios: the share of train must be above 0")
    if output.exists():
        raise OutputError(f"{output}: exists already; give another -o")
    data, _, found = _find(**source, must_exist=False)
    pairs = split_pairs(found.pairs, by, ratios, seed)
    folder = folder_of_source(data, Path())
    write_split(pairs, output, folder.parent if folder.is_file() else folder)
    click.echo(f"{output}:")
    for name in SPLITS:
        chosen = [pair for pair in pairs if pair.split == name]
        scenes = len({pair.place for pair in chosen if pair.scene is not None})
        of = f"{scenes or 'no known'} {'scene' if scenes == 1 else 'scenes'}"
        click.echo(f"  {name:10}  {len(chosen):6} pairs, {len(chosen) / len(pairs):4.0%}, of {of}")
    if any(pair.window for pair in pairs):
        click.echo(
            f"{len(found.pairs) - len(pairs)} of {len(found.pairs)} windows lie between the splits and are left out"
        )


@data.command()
@click.argument("split_file", type=PATH, metavar="SPLIT.csv")
def audit(split_file: Path) -> None:
    """Tell whether a split leaks: exit code 0 if not, else 1. Reads names only.

    It leaks where a scene stands in two splits; windows of a scene may if they lie at least a window's side apart.
    """
    from sar_keras.data.splits import audit as audit_split
    from sar_keras.data.splits import read_split

    report = audit_split(read_split(split_file))
    if not report.held_out:
        raise DataError(f"{split_file}: no held-out patch has a name that tells its scene; nothing can be checked")
    for line in report.said:
        click.echo(line)
    if report.leaks:
        sys.exit(1)


@data.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--bbox", "box", nargs=4, type=float, required=True, metavar="W S E N", help="The place, in degrees.")
@click.option("--dates", required=True, metavar="FIRST/LAST", help="Such as 2024-06-01/2024-08-31.")
@catalog_option()
@click.option("--pairs", type=click.IntRange(1), metavar="N", help="At most so many, the nearest in time [all].")
@click.option(
    "--max-days",
    "most_days",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    metavar="DAYS",
    help="Between the two images of a pair.",
)
@click.option(
    "--max-cloud",
    "most_clouds",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="Clouds, shadows and snow, of the whole image and of the place.",
)
@click.option(
    "--orbit",
    type=click.Choice(["ascending", "descending", "both"]),
    help="Direction of the SAR passes [the one with the more images].",
)
@click.option("--polarisations", default="VV,VH", show_default=True, metavar="A,B", help="SAR bands.")
@click.option("--dry-run", is_flag=True, help="Only list what would be fetched, its dates and its size.")
def fetch(
    folder: Path,
    box: tuple[float, float, float, float],
    dates: str,
    catalog: str,
    most_clouds: float,
    polarisations: str,
    dry_run: bool,
    **wanted,
) -> None:
    """Fetch pairs of a place from a STAC catalog into DIR, for `sar-keras fit --data DIR`.

    Sentinel-1 (gamma nought) and Sentinel-2 (true colour) on one grid of 10 m, clouds masked. Give the same command
    again to go on; other places may go into the same DIR.
    """
    from sar_keras.catalogs.fetch import fetch as fetch_plan
    from sar_keras.catalogs.ground import Ground
    from sar_keras.catalogs.plan import Wanted, make_plan, size_of, table
    from sar_keras.catalogs.search import Catalog
    from sar_keras.io.bands import POLARISATIONS
    from sar_keras.terminal import progress_bar

    bands = tuple(name.strip().upper() for name in polarisations.split(","))
    if not set(bands) <= set(POLARISATIONS) or len(set(bands)) < len(bands):
        raise DataError(f"--polarisations {polarisations}: must be of {', '.join(POLARISATIONS)}")
    ground = Ground.of(box)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder")
    api = Catalog(catalog)
    log = functools.partial(click.echo, err=True)
    wishes = Wanted(range_of(dates), most_clouds=most_clouds / 100, polarisations=bands, **wanted)
    plan = make_plan(api, ground, wishes, log, progress_bar("looking at clouds of", "image"))
    if min(ground.width, ground.height) < _PATCH:
        log(
            f"warning: the place has {ground.width} x {ground.height} pixels, less than a patch of {_PATCH}: give a "
            "larger --bbox, or train with --set data.image_size=64"
        )
    size = f"{size_of(plan, len(bands)) / 2**20:.0f} MB before compression"
    about = f"{len(plan.rows)} pairs of {ground.width} x {ground.height} pixels in {len(plan.images)} images, {size}"
    if dry_run:
        click.echo(f"{table(plan)}\n{about}")
        for line in plan.failures:
            click.echo(line, err=True)
        return
    log(about)
    licences = functools.cache(api.licence)
    pixels = ground.width * ground.height * len(plan.images)
    with progress_bar("fetching", "pix", pixels, unit_scale=True)() as bar:
        whole = fetch_plan(plan, folder, bands, lambda item: licences(item.collection), bar.update, log)
    click.echo(f"{len(whole)} pairs in {folder}")


@data.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option(
    "-n",
    "--number",
    "count",
    type=click.IntRange(1),
    default=240,
    show_default=True,
    metavar="N",
    help="Pairs to draw.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Draws other pairs.")
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, metavar="N", help="Pixels a side.")
def synth(folder: Path, count: int, seed: int, size: int) -> None:
    """Draw procedural SAR/optical pairs into DIR, in the layout of the SEN1-2 terrain subset (v_2/...)."""
    from sar_keras.data.synthetic import write_pairs
    from sar_keras.terminal import progress_bar

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists already and is not empty; give another folder")
    try:
        write_pairs(folder, count, seed, size, progress_bar("drawing", "scene"))
    except BaseException:
        shutil.rmtree(folder / "v_2", ignore_errors=True)
        raise
    click.echo(f"{count} pairs in {folder}")
