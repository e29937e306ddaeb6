"""The verbs of `sar-keras data`."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import click

from sar_keras.cli.verbs import PATH, Verbs
from sar_keras.errors import DataError, OutputError

# Only scenes are cut; patches come in the size that they have.
_SIZE = click.option(
    "--size",
    type=click.IntRange(32),
    default=256,
    show_default=True,
    metavar="N",
    help="Side of the windows of GeoTIFF scenes.",
)
_ALLOW_OUTSIDE = click.option(
    "--allow-outside", is_flag=True, help="Let a manifest name images that do not lie below its own folder."
)


@click.group(cls=Verbs)
def data() -> None:
    """Look at training data, or make some."""


def _find(folder: Path, size: int, allow_outside: bool, must_exist: bool = True):
    """What `sar_keras.data.pairs.find_pairs` finds; prints what it guessed."""
    from sar_keras.data.pairs import find_pairs
    from sar_keras.terminal import progress_bar

    found = find_pairs(folder, "auto", must_exist, size, progress_bar("looking at", "scene"), allow_outside)
    for line in found.said:
        click.echo(line)
    return found


@data.command()
@click.argument("folder", type=PATH, metavar="DIR")
@_SIZE
@_ALLOW_OUTSIDE
def check(folder: Path, size: int, allow_outside: bool) -> None:
    """Read every pair in DIR and report what is wrong: exit code 0 if nothing is, else 1.

    Broken, blank, duplicate, mis-sized and misaligned images, values that are no numbers, and images without a partner.
    The shift between the images of a pair is searched for in a sample; it is seen where it is that of a whole scene, or
    very clear.
    """
    from sar_keras.data.check import check as check_pairs
    from sar_keras.data.reading import PairReader
    from sar_keras.terminal import progress_bar

    def progress(pairs, total):
        return progress_bar("checking", "pair", total)(pairs)

    found = _find(folder, size, allow_outside, must_exist=False)
    reader = PairReader(channels=max(len(pair.sar_files) for pair in found.pairs))
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
@click.argument("folder", type=PATH, metavar="DIR")
@_SIZE
@_ALLOW_OUTSIDE
def scan(folder: Path, size: int, allow_outside: bool) -> None:
    """Count the pairs in DIR by terrain, season and scene, and list images without a partner."""
    found = _find(folder, size, allow_outside)
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
    for path in found.unpaired:
        click.echo(f"no partner: {path}")


@data.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("-o", "--output", required=True, type=PATH, metavar="FILE.csv", help="The split to write.")
@click.option(
    "--by",
    type=click.Choice(["scene", "blocks", "random", "sen12-v2"]),
    default="scene",
    show_default=True,
    help="What is kept together; sen12-v2 is a fixed split of the Kaggle subset.",
)
@_SIZE
@_ALLOW_OUTSIDE
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
def split(
    folder: Path,
    output: Path,
    by: str,
    size: int,
    allow_outside: bool,
    ratios: tuple[float, float, float],
    seed: int,
) -> None:
    """Split the pairs of DIR, a folder or a CSV manifest, into train, validation and test.

    Whole scenes are kept together; the windows of GeoTIFF scenes also by blocks, with a gap between the splits.

    `sar-keras fit --set data.split=FILE.csv` uses the result.
    """
    from sar_keras.data.splits import split_pairs, write_split

    if ratios[0] <= 0:
        raise DataError("--ratios: the share of train must be above 0")
    if output.exists():
        raise OutputError(f"{output}: exists already; give another -o")
    found = _find(folder, size, allow_outside, must_exist=False).pairs
    pairs = split_pairs(found, by, ratios, seed)
    write_split(pairs, output, folder.parent if folder.is_file() else folder)
    shares = Counter(pair.split for pair in pairs)
    click.echo(f"{output}: " + ", ".join(f"{shares[name]} {name}" for name in ("train", "validation", "test")))
    if any(pair.window for pair in pairs):
        click.echo(f"{len(found) - len(pairs)} of {len(found)} windows lie between the splits and are left out")


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
    for name, found in report.held_out.items():
        click.echo(
            f"{name}: {found.total} patches, {found.same_scene} ({found.same_scene / found.total:.1%}) share a scene "
            f"with training, {found.neighbour} ({found.neighbour / found.total:.1%}) have a neighbouring patch there"
        )
    for place, splits in report.shared_scenes.items():
        click.echo(f"scene {' '.join(filter(None, place))} stands in {', '.join(splits)}")
    if report.unknown:
        click.echo(f"{report.unknown} patches whose names tell no scene were left out")
    apart = "; windows of one scene lie a gap apart" if report.shared_scenes else ""
    click.echo("leaks" if report.leaks else f"no leak{apart}")
    if report.leaks:
        sys.exit(1)


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
