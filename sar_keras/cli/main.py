"""The `sar-keras` command: one thin function a verb. TensorFlow is imported by the verbs that need it."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import click

import sar_keras
from sar_keras.cli.exits import ErrorsToLines
from sar_keras.errors import DataError, OutputError
from sar_keras.inference.openvino import ENGINES, PRECISIONS, check_engine

_PATH = click.Path(path_type=Path, readable=False)
_UNITS = ["auto", "db", "linear", "amplitude", "uint8"]  # of `sar_keras.io.sar.UNITS`, which would load TensorFlow


@click.group(cls=ErrorsToLines, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sar_keras.__version__, prog_name="sar-keras")
def main() -> None:
    """Colorize Sentinel-1 SAR images: train, use and export."""


@main.command()
@click.argument("config", required=False)
@click.option("--data", type=_PATH, metavar="DIR", help="Folder or CSV manifest of pairs.")
@click.option("--out", type=_PATH, metavar="RUN", help="Run directory [runs/<preset>-<date>-<time>].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, such as train.epochs=2.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its last checkpoint.")
def fit(config: str | None, data: Path | None, out: Path | None, overrides: tuple[str, ...], resume: bool) -> None:
    """Train a colorizer.

    CONFIG is a preset (quick if left out; the README lists them) or a YAML file. `quick` draws procedural scenes to
    train on; give the others your pairs with --data.
    """
    from sar_keras.config import load_config, load_run, override

    if resume:
        if out is None:
            raise OutputError("--resume needs --out RUN, the run to go on with")
        if not (out / "config.yaml").is_file():
            raise OutputError(f"{out}: holds no run to resume")
    settings = load_run(out) if resume and config is None else load_config(config or "quick")
    if data:
        layout = [] if settings.data.layout != "synthetic" else ["data.layout=auto", "data.limit=null"]
        settings = override(settings, [f"data.root={_quoted(data.absolute())}", *layout])
    settings = override(settings, overrides)
    fit = sar_keras.fit  # loads TensorFlow without its start-up lines, which the import below would not
    if out is None:
        from sar_keras.training.fit import new_run

        out = new_run(config or "quick")
    fit(settings, out, resume)


def _quoted(path: Path) -> str:
    """As a YAML string, whatever characters the path has."""
    import json

    return json.dumps(str(path), ensure_ascii=False)


@main.command()
@click.argument("model", type=_PATH)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="File, or folder for several inputs.")
@click.option("--band", metavar="N|VV|VH", help="Scenes: the band to use [the first].")
@click.option("--units", type=click.Choice(_UNITS, case_sensitive=False), help="Scenes: [auto]")
@click.option("--range", "limits", nargs=2, type=float, metavar="LO HI", help="Scenes: what becomes -1 and 1.")
@click.option("--tile", type=int, metavar="N", help="Scenes: side of the windows [1024].")
@click.option("--overlap", type=int, metavar="N", help="Scenes: pixels that windows share [128].")
@click.option("--batch", type=int, metavar="N", help="Scenes: windows at a time [1].")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="bfloat16 is faster where the processor has it [float32]",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="openvino, an extra, is faster on CPUs [tensorflow]",
)
@click.option("--confidence", is_flag=True, help="Scenes: also write OUTPUT_confidence.tif.")
@click.option("--preview", type=_PATH, metavar="FILE.png", help="Scenes: a quick-look of one scene.")
@click.option("--resume", is_flag=True, help="Scenes: keep finished windows, and go on from them.")
@click.option("--window", nargs=4, type=int, metavar="COL ROW W H", help="Scenes: only this part.")
def colorize(model: Path, inputs: tuple[Path, ...], output: Path, **options) -> None:
    """Colorize SAR images and georeferenced scenes of any size.

    MODEL is a run directory, a .keras file, or `demo`, which comes with the package.

    One INPUT: OUTPUT is a file. Several, or a folder: OUTPUT is a folder.

    Images (PNG, JPEG, TIFF) become PNG, JPEG or TIFF. Where OUTPUT is a .tif or an INPUT is georeferenced, they are
    scenes: whatever GDAL opens becomes a cloud-optimised GeoTIFF in the same place.
    """
    from sar_keras.terminal import progress_bar

    for path in inputs:
        # GDAL has names that are no files: /vsizip/..., NETCDF:file:variable ...
        if not path.exists() and len(inputs) == 1 and not any(mark in str(path) for mark in ("/vsi", ":")):
            raise DataError(f"{path}: no such file or folder")
    # Once, and before TensorFlow loads.
    check_engine(options["engine"] or "tensorflow", options["precision"] or "float32")
    loaded = sar_keras.load_model(model)
    from sar_keras.inference.jobs import colorize_files
    from sar_keras.scenes.colorize import colorize_scenes, count_pixels, find_scenes

    options = {name: value for name, value in options.items() if value is not None and value is not False}
    jobs = find_scenes(list(inputs), output)
    if jobs is None:
        how = {name: options.pop(name) for name in ("precision", "engine") if name in options}
        if options:
            raise OutputError(f"{output}: --{next(iter(options))} is for scenes, which need a .tif as -o")
        written = colorize_files(loaded, list(inputs), output, progress_bar("colorizing", "image"), **how)
    else:
        pixels = count_pixels(jobs, options.get("window"))
        with progress_bar("colorizing", "pix", pixels, unit_scale=True)() as bar:
            written = colorize_scenes(
                loaded, jobs, lambda line: bar.write(line, file=sys.stderr), progress=bar.update, **options
            )
    kind = "images" if jobs is None else "scenes"
    click.echo(written[0] if len(written) == 1 else f"{len(written)} {kind} in {output}")


@main.command()
@click.argument("model", type=_PATH)
@click.option("-o", "--output", type=_PATH, metavar="DIR", help="[saved_models/<run>]")
@click.option("--version", type=click.IntRange(0), metavar="N", help="[one more than the highest in DIR]")
def export(model: Path, output: Path | None, version: int | None) -> None:
    """Export a SavedModel for TensorFlow Serving to DIR/N."""
    loaded = sar_keras.load_model(model)
    from sar_keras.inference.export import export_saved_model
    from sar_keras.terminal import doing

    path = model.absolute()
    output = output or Path("saved_models") / (path.name if path.is_dir() else path.stem)
    with doing("exporting"):
        exported = export_saved_model(loaded, output, version)
    click.echo(exported)


@main.command()
@click.argument("model", type=_PATH)
@click.option("--data", type=_PATH, metavar="DIR", help="Other pairs than the run's own.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="[test; train for --protocol paper]")
@click.option("--protocol", type=click.Choice(["standard", "paper"]), default="standard", show_default=True)
@click.option("--by", type=click.Choice(["terrain", "scene"]), help="Also a line for each.")
@click.option("--perceptual", is_flag=True, help="Also LPIPS and FID: needs the extra `metrics` and a download.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything as JSON.")
def evaluate(
    model: Path,
    data: Path | None,
    split: str | None,
    protocol: str,
    by: str | None,
    perceptual: bool,
    json_file: Path | None,
) -> None:
    """Score MODEL on held-out pairs, beside the mean training colour and SAR copied to RGB."""
    import json

    from sar_keras.io.files import atomic

    report = sar_keras.evaluate(model, data, split, protocol, perceptual)
    from sar_keras.evaluation.evaluate import table

    scenes = report["scenes"] or "unknown"
    click.echo(f"{model}: {report['n']} {report['split']} images of {scenes} scenes, protocol {protocol}\n")
    click.echo(table(report, by))
    if json_file:
        with atomic(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


@main.command()
@click.option("--presets", metavar="A,B,...", help="Presets or YAML files [all but default and quick].")
@click.option("--data", type=_PATH, metavar="DIR", help="Folder or CSV manifest of pairs [procedural scenes].")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Training time of each.")
@click.option("--steps", type=click.IntRange(1), help="Training steps of each, instead of minutes.")
@click.option("-o", "--output", required=True, type=_PATH, metavar="DIR", help="Runs and comparison; kept and resumed.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of every preset.")
def benchmark(
    presets: str | None,
    data: Path | None,
    minutes: float | None,
    steps: int | None,
    output: Path,
    overrides: tuple[str, ...],
) -> None:
    """Train presets under equal minutes or steps, and compare them on the same held-out scenes."""
    run = sar_keras.benchmark
    from sar_keras.evaluation.benchmark import PRESETS

    names = tuple(presets.split(",")) if presets else PRESETS
    click.echo(run(output, names, data, minutes, steps, overrides))


# Only scenes are cut; patches come in the size that they have.
_SIZE = click.option(
    "--size", type=click.IntRange(32), default=256, show_default=True, help="Side of the windows of GeoTIFF scenes."
)


@main.group()
def data() -> None:
    """Look at training data, or make some."""


_ALLOW_OUTSIDE = click.option(
    "--allow-outside", is_flag=True, help="Let a manifest name images that do not lie below its own folder."
)


@data.command()
@click.argument("folder", type=_PATH, metavar="DIR")
@_SIZE
@_ALLOW_OUTSIDE
def check(folder: Path, size: int, allow_outside: bool) -> None:
    """Read every pair in DIR and report what is wrong: exit code 0 if nothing is, else 1.

    Broken, blank, duplicate, mis-sized and misaligned images, values that are no numbers, and images without a partner.
    The shift between the images of a pair is searched for in a sample; it is seen where it is that of a whole scene, or
    very clear.
    """
    from sar_keras.data.check import check as check_pairs
    from sar_keras.terminal import progress_bar

    def progress(pairs, total):
        return progress_bar("checking", "pair", total)(pairs)

    pairs, findings = check_pairs(folder, size, allow_outside=allow_outside, progress=progress)
    for finding in findings:
        click.echo(f"{finding.kind}: {finding.text}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(finding.kind for finding in findings).items())
    click.echo(f"{pairs} pairs: {kinds or 'nothing found'}")
    if findings:
        sys.exit(1)


@data.command()
@click.argument("folder", type=_PATH, metavar="DIR")
@_SIZE
@_ALLOW_OUTSIDE
def scan(folder: Path, size: int, allow_outside: bool) -> None:
    """Count the pairs in DIR by terrain, season and scene, and list images without a partner."""
    from sar_keras.data.pairs import find_pairs
    from sar_keras.terminal import progress_bar

    progress = progress_bar("looking at", "scene")
    found = find_pairs(folder, size=size, progress=progress, allow_outside=allow_outside)
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
@click.argument("folder", type=_PATH, metavar="DIR")
@click.option("-o", "--output", required=True, type=_PATH, metavar="FILE.csv")
@click.option("--by", type=click.Choice(["scene", "blocks", "random", "sen12-v2"]), default="scene", show_default=True)
@_SIZE
@_ALLOW_OUTSIDE
@click.option("--ratios", nargs=3, type=click.FloatRange(0), default=(0.8, 0.1, 0.1), show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
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
    from sar_keras.data.pairs import find_pairs
    from sar_keras.data.splits import split_pairs, write_split
    from sar_keras.terminal import progress_bar

    if ratios[0] <= 0:
        raise DataError("--ratios: the share of train must be above 0")
    if output.exists():
        raise OutputError(f"{output}: exists already; give another -o")
    progress = progress_bar("looking at", "scene")
    found = find_pairs(folder, must_exist=False, size=size, progress=progress, allow_outside=allow_outside).pairs
    pairs = split_pairs(found, by, ratios, seed)
    write_split(pairs, output, folder.parent if folder.is_file() else folder)
    shares = Counter(pair.split for pair in pairs)
    click.echo(f"{output}: " + ", ".join(f"{shares[name]} {name}" for name in ("train", "validation", "test")))
    if any(pair.window for pair in pairs):
        click.echo(f"{len(found) - len(pairs)} of {len(found)} windows lie between the splits and are left out")


@data.command()
@click.argument("split_file", type=_PATH, metavar="SPLIT.csv")
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
@click.argument("folder", type=_PATH, metavar="DIR")
@click.option("-n", "--number", "count", type=click.IntRange(1), default=240, show_default=True, help="Pairs to draw.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, help="Pixels a side.")
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
