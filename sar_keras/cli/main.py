"""The `sar-keras` command: one thin function a verb. TensorFlow is imported by the verbs that need it."""

import datetime
import functools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

import sar_keras
from sar_keras.cli.data import data
from sar_keras.cli.exits import ErrorsToLines
from sar_keras.cli.places import Box, catalog_option, day_of
from sar_keras.cli.verbs import MODEL, PATH, PATH_OR_NAME, CatalogOption, HintOption, SceneOption, Verb
from sar_keras.errors import ConfigError, DataError, OutputError, parameter
from sar_keras.inference.formats import FORMATS, check_format
from sar_keras.inference.openvino import ENGINES, PRECISIONS, check_engine, is_installed
from sar_keras.io.files import readable
from sar_keras.io.sar import UNITS
from sar_keras.terminal import load_tensorflow

_scene_option = functools.partial(click.option, cls=SceneOption)
_hint_option = functools.partial(click.option, cls=HintOption)
_catalog_option = functools.partial(click.option, cls=CatalogOption)


@click.group("sar-keras", cls=ErrorsToLines, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sar_keras.__version__, prog_name="sar-keras")
def main() -> None:
    """Colorize Sentinel-1 SAR images: train, use and export."""


class _Fit(Verb):
    """Its help lists the presets."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from sar_keras.config import presets

        with formatter.section("Presets"):
            formatter.write_dl(list(presets().items()))


@main.command(cls=_Fit)
@click.argument("config", required=False)
@click.option("--data", type=PATH, metavar="DIR", help="Folder, zip or CSV manifest of pairs.")
@click.option("--sar", type=PATH, metavar="DIR", help="SAR images, with --optical, in place of --data.")
@click.option("--optical", type=PATH, metavar="DIR", help="Optical images with names alike.")
@click.option("--out", "run", type=PATH, metavar="RUN", help="Run directory [runs/<preset>-<date>-<time>].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, such as train.epochs=2.")
@click.option("--init", metavar="MODEL", help="Begin with a model's weights; MODEL is as for `colorize`.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its last checkpoint.")
def fit(
    config: str | None,
    data: Path | None,
    sar: Path | None,
    optical: Path | None,
    run: Path | None,
    overrides: tuple[str, ...],
    init: str | None,
    resume: bool,
) -> None:
    """Train a colorizer.

    CONFIG is a preset [quick] or a YAML file. `quick` draws procedural scenes to train on; give the others your pairs
    with --data.
    """
    from sar_keras.config import load_config, load_run, override

    if resume:
        if run is None:
            raise OutputError("--resume needs --out RUN, the run to go on with")
        if not (run / "config.yaml").is_file():
            raise OutputError(f"{run}: holds no run to resume")
    settings = load_run(run) if resume and run and config is None else load_config(config or "quick")
    if data and (sar or optical):
        raise DataError("give --data DIR, or --sar DIR and --optical DIR, not both")
    if data or sar or optical:
        layout = [] if settings.data.layout != "synthetic" else ["data.layout=auto", "data.limit=null"]
        folders = {"root": data and str(data.absolute()), "sar": sar and str(sar), "optical": optical and str(optical)}
        folders = [f"data.{name}={json.dumps(path, ensure_ascii=False)}" for name, path in folders.items()]
        settings = override(settings, [*folders, *layout])
    if init:
        settings = override(settings, [f"train.init={json.dumps(init, ensure_ascii=False)}"])
    settings = override(settings, overrides)
    fit = sar_keras.fit  # loads TensorFlow without its start-up lines, which the import below would not
    if run is None:
        from sar_keras.training.fit import new_run

        run = new_run(config or "quick")
    fit(settings, run, resume)


@main.command()
@click.argument("model", type=MODEL)
@click.argument("inputs", nargs=-1, metavar="INPUT...", type=PATH_OR_NAME)
@click.option("-o", "--output", required=True, type=PATH, help="File, or folder for several inputs.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="bfloat16 is faster where the CPU has it [float32].")
@click.option("--engine", type=click.Choice(ENGINES), help="auto: openvino, an extra, where it is installed [auto].")
@click.option("--detail", type=float, metavar="0..1", help="The SAR's own fine structure in the lightness [0].")
@_hint_option(
    "--palette",
    metavar="COLOUR",
    help="The colour of the place: 5c6b3a, forestgreen, or an image, whose mean counts. One of --palette, --basemap "
    "and --reference.",
)
@_hint_option("--basemap", metavar="FILE", help="Colours of the same date, or that do not change, at a low resolution.")
@_hint_option("--reference", metavar="FILE|auto", help="An optical image of another date.")
@_hint_option("--reference-sar", metavar="FILE", help="The SAR image of that date.")
@_hint_option("--clouds", metavar="FILE", help="A mask, not 0 where the reference or the basemap shows clouds.")
@_scene_option("--band", metavar="N|VV|VH", help="The band to use, or several: VV,VH [as in training].")
@_scene_option(
    "--units",
    type=click.Choice(["auto", *UNITS], case_sensitive=False),
    help="What the values are: uint8 (0 to 255), amplitude (digital numbers of more bits), db, linear (power), unit "
    "(-1 to 1) [auto: told by the values].",
)
@_scene_option(
    "--range",
    "limits",
    nargs=2,
    type=float,
    metavar="LO HI",
    help="Values that become -1 and 1, of linear power in decibel [as in training].",
)
@_scene_option("--tile", type=int, metavar="N", help="Largest side of the windows in pixels [1024].")
@_scene_option("--overlap", type=int, metavar="N", help="Pixels that neighbouring windows share [128].")
@_scene_option("--batch", type=int, metavar="N", help="Windows at a time [1].")
@_scene_option("--confidence", is_flag=True, help="Also write OUTPUT_confidence.tif.")
@_scene_option("--preview", type=PATH, metavar="FILE.png", help="Also write a quick-look of one scene.")
@_scene_option("--resume", is_flag=True, help="Keep finished windows, and go on from them.")
@_scene_option("--mosaic", is_flag=True, help="Make one scene of INPUTs that lie side by side on one grid.")
@_scene_option("--window", nargs=4, type=int, metavar="COL ROW W H", help="Only this part.")
@_catalog_option("--bbox", "box", nargs=4, type=float, metavar="W S E N", help="The place, in degrees; with --date.")
@_catalog_option("--date", metavar="YYYY-MM-DD", help="The SAR image that is the nearest to it.")
@catalog_option(cls=CatalogOption)
def colorize(
    model: Path | str,
    inputs: tuple[Path | str, ...],
    output: Path,
    box: Box | None,
    date: str | None,
    catalog: str,
    **options,
) -> None:
    """Colorize SAR images and georeferenced scenes of any size.

    MODEL is a run directory, a .keras file, hf://OWNER/NAME[@REVISION] of the Hugging Face hub, or `demo`, which comes
    with the package; of `colorize` alone it may also be an export for OpenVINO.

    One INPUT: OUTPUT is a file. Several, or a folder: OUTPUT is a folder.

    Images (PNG, JPEG, TIFF, BMP, WebP) become PNG or JPEG. Where OUTPUT is a .tif or an INPUT is georeferenced,
    they are scenes: whatever GDAL opens becomes a cloud-optimised GeoTIFF in the same place. An item of a STAC catalog
    (item.json, or its address) is the scene that it describes.

    In place of INPUT, --bbox and --date find a scene in a catalog; --reference auto finds the clearest Sentinel-2 image
    there.
    """
    from sar_keras.catalogs.items import is_item

    if not (inputs or box or date):
        raise click.UsageError("missing argument 'INPUT...'")
    if bool(box) != bool(date) or (box and inputs):
        raise click.UsageError("give INPUT, or --bbox and --date")
    if options["reference"] == "auto" and not box:
        raise DataError("--reference auto: finds an image for --bbox and --date; give a file")
    if len(inputs) == 1 and isinstance(inputs[0], Path) and not inputs[0].exists():
        raise DataError(f"{inputs[0]}: no such file or folder")
    # Once, and before TensorFlow loads.
    check_engine(options["engine"] or "auto", options["precision"] or "float32")
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    if box and date:
        with tempfile.TemporaryDirectory(prefix="sar-keras-") as folder:
            scene, found = _from_catalog(model, box, day_of(date), catalog, output, options, Path(folder))
            _colorize(model, [scene], output, options | found)
        return
    if any(map(is_item, inputs)):
        from sar_keras.catalogs.scene import scene_of_item

        _colorize(model, [scene_of_item(name) if is_item(name) else name for name in inputs], output, options)
    else:
        _colorize(model, [*inputs], output, options)


def _from_catalog(
    model: Path | str, box: Box, date: datetime.date, catalog: str, output: Path, options: dict, folder: Path
) -> tuple[object, dict]:
    """The SAR image of a place, and the options that follow from what was found beside it."""
    from sar_keras.catalogs.ground import Ground
    from sar_keras.catalogs.scene import bands_for, fetch_reference, fetch_scene
    from sar_keras.catalogs.search import Catalog
    from sar_keras.inference.engines import network_of
    from sar_keras.inference.hints import hint_of
    from sar_keras.scenes.inputs import is_tiff
    from sar_keras.terminal import progress_bar

    ground, log = Ground.of(box), functools.partial(click.echo, err=True)
    if not is_tiff(output):
        raise OutputError(f"{output}: a scene's colours are a GeoTIFF; use .tif")
    network = network_of(model, **_engine(options))
    hint_of(network, **{name: options[name] for name in ("palette", "basemap", "reference") if name in options})
    bands = bands_for(network.channels, network.metadata.sar_bands, options.get("band"))
    api, found = Catalog(catalog), {}
    with progress_bar("fetching", "pix", ground.width * ground.height, unit_scale=True)() as bar:
        scene = fetch_scene(api, ground, date, bands, folder, log, bar.update)
    if options.get("reference") == "auto":
        progress = progress_bar("looking at clouds of", "image")
        found["reference"] = fetch_reference(api, ground, date, folder, log, progress)
    return scene, found


def _engine(options: dict) -> dict[str, Any]:
    return {name: options[name] for name in ("engine", "precision") if name in options}


def _colorize(model: Path | str, inputs: list, output: Path, options: dict) -> None:
    from sar_keras.inference.detail import check_detail
    from sar_keras.inference.engines import network_of
    from sar_keras.inference.hints import HINTS
    from sar_keras.inference.jobs import colorize_files
    from sar_keras.scenes.colorize import colorize_scenes, confidence_of, count_pixels
    from sar_keras.scenes.inputs import find_scenes, jobs_for
    from sar_keras.terminal import progress_bar

    check_detail(options.get("detail", 0.0))
    scenes = find_scenes(inputs, output)
    for_scenes = [name for name in options if name not in ("precision", "engine", "detail", *HINTS)]
    if scenes is None and for_scenes:
        raise OutputError(f"{output}: {parameter(for_scenes[0])} is for scenes, which need a .tif as -o")
    network, log = network_of(model, **_engine(options)), functools.partial(click.echo, err=True)
    if scenes is None:
        files = [Path(name) for name in inputs]
        written = colorize_files(network, files, output, log, progress_bar("colorizing", "image"), **options)
    else:
        for folder in (name for name in inputs if isinstance(name, Path) and name.is_dir()):
            images = [path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
            if images:
                log(f"{folder}: holds scenes, so its {len(images)} PNG or JPEG images are left out; name them apart")
        jobs = jobs_for(scenes, output, network.channels, options.get("band"), options.pop("mosaic", False), log)
        pixels = count_pixels(jobs, options.get("window"))
        with progress_bar("colorizing", "pix", pixels, unit_scale=True)() as bar:
            written = colorize_scenes(
                network, jobs, lambda line: bar.write(line, file=sys.stderr), progress=bar.update, **options
            )
    log(f"engine: {network.said}")
    kind = "images" if scenes is None else "scenes"
    click.echo(readable(str(written[0])) if len(written) == 1 else f"{len(written)} {kind} in {output}")
    if len(written) == 1 and options.get("confidence"):
        click.echo(readable(str(confidence_of(written[0]))))
    if options.get("preview"):
        click.echo(readable(str(options["preview"])))


@main.command()
@click.argument("model", type=MODEL)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default="saved_model",
    show_default=True,
    help="saved_model is for TensorFlow Serving; onnx and openvino are extras.",
)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Where the versions stand [saved_models/<run>, <run>_<format>]."
)
@click.option("--version", type=click.IntRange(0), metavar="N", help="Its number [one more than the highest in DIR].")
def export(model: Path | str, format: str, output: Path | None, version: int | None) -> None:
    """Export MODEL to DIR/N, for programs without this package.

    MODEL is as for `colorize`. Give each format a DIR of its own.
    """
    check_format(format)  # before TensorFlow loads
    loaded = sar_keras.load_model(model)
    from sar_keras.inference.converted import export_onnx, export_openvino
    from sar_keras.inference.export import export_saved_model
    from sar_keras.terminal import doing

    if output is None:
        name = _name_of(model)
        output = Path("saved_models", name if format == "saved_model" else f"{name}_{format}")
    export = {"saved_model": export_saved_model, "onnx": export_onnx, "openvino": export_openvino}[format]
    with doing("exporting"):
        exported = export(loaded, output, version)
    click.echo(exported)


def _name_of(model: Path | str) -> str:
    if isinstance(model, str):  # hf://owner/name@revision
        return model.partition("@")[0].rpartition("/")[2]
    return model.absolute().name if model.is_dir() else model.stem


@main.command()
@click.argument("model", type=MODEL)
@click.option("--data", type=PATH, metavar="DIR", help="Other pairs than the run's own.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="[test; train for --protocol paper]",
)
@click.option("--protocol", type=click.Choice(["standard", "paper"]), default="standard", show_default=True)
@click.option("--by", type=click.Choice(["terrain", "scene"]), help="Also a line for each.")
@click.option("--perceptual", is_flag=True, help="Also LPIPS and FID: needs the extra `metrics` and a download.")
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write everything as JSON.")
@click.option("--html", type=PATH, metavar="FILE", help="Write a page with tables, curves and the patches.")
def evaluate(
    model: Path | str,
    data: Path | None,
    split: str | None,
    protocol: str,
    by: str | None,
    perceptual: bool,
    json_file: Path | None,
    html: Path | None,
) -> None:
    """Score MODEL on held-out pairs, beside the mean training colour and SAR copied to RGB.

    MODEL is as for `colorize`; without --data it is a run, which keeps the figures of its own test pairs in its
    MODEL_CARD.md.
    """
    from sar_keras.io.files import atomic

    report = sar_keras.evaluate(model, data, split, protocol, perceptual, html)
    from sar_keras.evaluation.evaluate import table

    scenes = report["scenes"] or "unknown"
    click.echo(f"{model}: {report['n']} {report['split']} images of {scenes} scenes, protocol {protocol}\n")
    click.echo(table(report, by))
    if json_file:
        with atomic(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=PATH)
@click.option(
    "-o", "--output", type=PATH, default="compare.html", show_default=True, metavar="FILE", help="The page to write."
)
def compare(runs: tuple[Path, ...], output: Path) -> None:
    """Put runs of the same test split side by side on a page: configurations, figures, curves and patches."""
    click.echo(sar_keras.compare(runs, output))


@main.command()
@click.option("--presets", metavar="A,B,...", help="Presets or YAML files [all but quick, guided and strong].")
@click.option("--data", type=PATH, metavar="DIR", help="Folder or CSV manifest of pairs [procedural scenes].")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), metavar="M", help="Training time of each.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Training steps of each, instead of minutes.")
@click.option("-o", "--output", required=True, type=PATH, metavar="DIR", help="Runs and comparison; kept and resumed.")
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


@main.command()
@click.argument("model", type=MODEL, default="demo")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="[the first free one from 7860 on]")
@click.option("--root-path", metavar="PATH", help="The path below which a proxy serves the page, such as /sar.")
def app(model: Path | str, host: str, port: int | None, root_path: str | None) -> None:
    """Open a web page that colours what is dropped on it.

    MODEL is as for `colorize` [demo].
    """
    if not is_installed("gradio"):
        raise ConfigError('the page needs the extra app: pip install ".[app]"')
    load_tensorflow()  # without its start-up lines, which the import below would not
    from sar_keras.app.page import serve
    from sar_keras.inference.engines import network_of

    serve(network_of(model), str(model), host, port, root_path)


main.add_command(data)
