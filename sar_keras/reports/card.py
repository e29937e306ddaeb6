"""MODEL_CARD.md of a run: what somebody needs to know who is given its model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import yaml

from sar_keras.config import Config, keys
from sar_keras.data.pairs import SPLITS, Pair
from sar_keras.data.splits import read_split
from sar_keras.inference.metadata import ModelMetadata, metadata_of
from sar_keras.io.files import atomic, readable
from sar_keras.networks.sizes import patch_size, sar_channels, takes_hint
from sar_keras.reports.figures import BASELINES, error_holds, notes_on, scenes_of, text_of, title_of
from sar_keras.reports.machine import software
from sar_keras.reports.sections import audit_lines, hints

NAME = "MODEL_CARD.md"
# Keys of the front matter that are the reader's to fill in, and the heading below which all text is.
_READERS = ("license", "license_name", "license_link")
_NO_LICENCE = {"license": "other", "license_name": "not-chosen-yet"}
_NOTES = "## Notes"
_UNITS = {
    "uint8": "8-bit values",
    "amplitude": "amplitude, digital numbers of more than 8 bits",
    "db": "backscatter in decibel, or its linear power, which becomes decibel",
    "unit": "values that are scaled to -1 to 1 already",
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run as its card and its page see it.

    Attributes:
        folder: The run directory.
        config: Its configuration.
        generator: Its generator as it is now.
        metadata: What that knows of itself.
        pairs: The pairs of its split.csv.
        history: Rows of its history.csv.
        finished: Whether its training is over.
    """

    folder: Path
    config: Config
    generator: keras.Model
    metadata: ModelMetadata
    pairs: Sequence[Pair]
    history: Sequence[dict]
    finished: bool = True

    @classmethod
    def load(cls, folder: Path, config: Config, generator: keras.Model, history: Sequence[dict]) -> "Trained":
        """A run that lies in a folder, with the generator that was loaded from it."""
        return cls(folder, config, generator, metadata_of(generator), read_split(folder / "split.csv"), history)

    @property
    def data_name(self) -> str:
        """The data without the folders of this machine, which say nothing elsewhere."""
        data = self.config.data
        if data.layout == "synthetic":
            return "procedural scenes"
        return readable((data.root or data.sar or Path("pairs")).name)


def write_card(run: Trained, report: dict | None) -> None:
    """Write a run's MODEL_CARD.md; what people wrote of the licence and below "Notes" stays.

    Args:
        run: The run.
        report: Its figures on its own test images, see `sar_keras.evaluate`, or None.
    """
    path = run.folder / NAME
    licence, notes = _written_by_people(path)
    head = _front_matter(run, report) | (licence or _NO_LICENCE)
    yaml_lines = yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()
    lines = ["---", yaml_lines, "---", "", *_body(run, report, has_licence=bool(licence))]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([*lines, _NOTES, notes]), encoding="utf-8")


def _written_by_people(path: Path) -> tuple[dict, str]:
    """The licence that somebody has chosen in a card that is there, and what stands below its notes."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    _, heading, notes = text.partition(f"\n{_NOTES}\n")
    if not heading:
        notes = "\nWhat you write below this heading stays when the card is written again.\n"
    try:
        head = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    except (yaml.YAMLError, ValueError):  # somebody broke it; the notes stay
        head = None
    licence = {key: head[key] for key in _READERS if key in head} if isinstance(head, dict) else {}
    return {} if licence == _NO_LICENCE else licence, notes


def _front_matter(run: Trained, report: dict | None) -> dict[str, Any]:
    """What Hugging Face reads, https://huggingface.co/docs/hub/model-cards."""
    name, metrics = run.folder.absolute().name, report["metrics"] if report else {}
    head: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": "image-to-image",
        "tags": ["sar_keras", "sar", "sentinel-1", "remote-sensing", "colorization", run.config.model.system],
    }
    if report:
        head["metrics"] = list(metrics)
        results = [{"type": key, "name": title_of(key)[:-2], "value": value["mean"]} for key, value in metrics.items()]
        head["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-to-image"},
                        "dataset": {"type": "other", "name": run.data_name, "split": report["split"]},
                        "metrics": results,
                    }
                ],
            }
        ]
    return head


def _body(run: Trained, report: dict | None, has_licence: bool) -> list[str]:
    name = run.folder.absolute().name
    guided = takes_hint(run.generator)
    what = "Sentinel-1 SAR images" + (", with a hint of the colours or without," if guided else "")
    lines = [
        f"# {_escaped(name)}",
        "",
        f"This model colours {what} so that they look like optical images. It was trained with {software()}.",
        "The colours are guessed: radar measures roughness, shape and moisture, and no colour.",
        "",
        *_use(run),
        *_input(run),
        *_training(run),
        *_figures(run, report),
        *_pictures(run),
        *_limits(run, report),
        *_licences(run, has_licence),
    ]
    return lines


def _use(run: Trained) -> list[str]:
    commands = ["sar-keras colorize RUN image.png -o colour.png", "sar-keras colorize RUN scene.tif -o colour.tif"]
    if takes_hint(run.generator):
        commands.append("sar-keras colorize RUN image.png -o colour.png --palette '#5c6b3a'")
    lines = ["## Use", "", "```", *commands, "```", ""]
    return [*lines, "`RUN` is the folder that this card lies in.", ""]


def _input(run: Trained) -> list[str]:
    scale, channels, size = run.metadata.sar_scale, sar_channels(run.generator), patch_size(run.generator)
    bands = " and ".join(run.metadata.sar_bands) or "the data do not tell which polarisation"
    lines = [
        "## What it expects",
        "",
        f"- SAR bands: {channels} ({_escaped(bands)}).",
        f"- Units: {_UNITS.get(scale.units, scale.units)}; {scale.low:g} becomes -1 and {scale.high:g} becomes 1.",
        f"- Patches of {size} x {size} pixels in training; `colorize` takes images and scenes of any size.",
    ]
    if takes_hint(run.generator):
        lines.append("- A hint, if there is one: one colour, a coarse image, or an image of another date.")
    return [*lines, "- Output: RGB of 8 bits; the network itself gives float32 from -1 to 1.", ""]


def _training(run: Trained) -> list[str]:
    config, pairs = run.config, run.pairs
    counts = {split: [pair for pair in pairs if pair.split == split] for split in SPLITS}
    lines = ["## Training", "", f"Data: {_code(run.data_name)}.", ""]
    lines += ["| split | pairs | scenes |", "|---|---|---|"]
    for split, of_split in counts.items():
        scenes = len({pair.place for pair in of_split if pair.scene is not None})
        lines.append(f"| {split} | {len(of_split)} | {scenes or 'unknown'} |")
    lines += ["", *(f"- {_escaped(line)}" for line in audit_lines(pairs)), ""]
    terms = " + ".join(f"{weight:g} {name}" for name, weight in config.loss.weights().items() if weight)
    millions = run.generator.count_params() / 1e6
    network = f"System `{config.model.system}`, {millions:.2f} million weights"
    lines.append(f"{network}, loss {terms}, seed {config.train.seed}.")
    if run.history:
        last = run.history[-1]
        steps = f", {last['step']:.0f} steps of {config.train.batch_size} images" if "step" in last else ""
        minutes = f", {last['minutes']:.1f} minutes of training" if "minutes" in last else ""
        lines.append(f"It was trained for {last['epoch']} epochs{steps}{minutes}.")
    if not run.finished:
        lines.append("The training is not finished.")
    if run.metadata.parent:
        lines.append(f"It began with the weights of {_code(run.metadata.parent)}.")
    return [*lines, "[config.yaml](config.yaml) repeats the run; [split.csv](split.csv) lists each pair.", ""]


def _figures(run: Trained, report: dict | None) -> list[str]:
    lines = ["## Figures", ""]
    if not report:
        tested = sum(pair.split == "test" for pair in run.pairs)
        why = "the training is not finished" if not run.finished else f"the split has {tested} test images"
        return [*lines, f"No figures: {why}.", ""]
    baselines = [name for name in BASELINES if name in report["baselines"]]
    scenes = scenes_of(report)
    hint = ", without a hint" if takes_hint(run.generator) else ""
    lines += [f"On {report['n']} test images of {scenes}{hint}:", ""]
    lines += _markdown(
        ["", "model", *(BASELINES[name] for name in baselines)],
        [
            [title_of(name), figure, *(report["baselines"][baseline][name]["mean"] for baseline in baselines)]
            for name, figure in report["metrics"].items()
        ],
    )
    lines += ["", *(f"- {note}" for note in notes_on(report))]
    psnr, flat = report["metrics"]["psnr"]["mean"], report["baselines"]["mean_colour"]["psnr"]["mean"]
    if psnr < flat:
        lines.append("- **By PSNR the mean colour of the training images is nearer to the truth than this model.**")
    if any("leaks" in line and "no leak" not in line for line in audit_lines(run.pairs)):
        lines.append("- **The split leaks (see Training), so these figures are too good.**")
    for table in hints(report, "Under a hint"):
        lines += ["", *_markdown(table.heads, table.rows)]
    return [*lines, ""]


def _pictures(run: Trained) -> list[str]:
    """Links into the run, so that they hold wherever it lies."""
    lines = []
    for split in ("validation", "train"):
        if newest := max(run.folder.glob(f"samples/{split}-*.png"), default=None):
            what = "pairs that it was not trained on" if split == "validation" else "training pairs"
            hint = ", without a hint" if takes_hint(run.generator) else ""
            epoch = int(newest.stem.rpartition("-")[2])
            lines += [f"SAR, generated{hint}, truth, of {what}, after epoch {epoch}:", ""]
            lines += [f"![SAR, generated, truth](samples/{newest.name})", ""]
    if lines and (run.folder / "history.png").is_file():
        lines += ["![curves of the training](history.png)", ""]
    return ["## Pictures", "", *lines] if lines else []


def _limits(run: Trained, report: dict | None) -> list[str]:
    lines = [
        "## Intended use and limits",
        "",
        "- It is for looking at SAR images: to find one's way, to illustrate, to compare methods.",
        "- It is not for measuring: a colour is no reflectance, no vegetation index and no proof of what is there.",
        "- It knows the landscapes, seasons, polarisations and units of its training data. On others it may be wrong.",
        f"- {_confidence(run.metadata, report)}",
    ]
    if run.config.data.layout == "synthetic":
        lines.append("- It has seen procedural scenes only. They are a toy: do not use it on real images.")
    if takes_hint(run.generator):
        lines.append("- It follows its hint: where the hint is wrong, so are the colours.")
    return [*lines, ""]


def _confidence(metadata: ModelMetadata, report: dict | None) -> str:
    if metadata.expected_error is None:
        return "It does not know how large its errors are."
    if report and report.get("confidence"):
        rank = report["confidence"]["rank_correlation"]
        found = (
            f"rank correlation {text_of(rank['pixels'])} of the pixels of an image, {rank['patches']:.2f} of patches"
        )
        if not error_holds(report["confidence"]):
            return f"Its expected error does not tell where it is wrong ({found}): do not use it."
        return f"It tells an expected error of each pixel, which ranks the real one on the test images ({found})."
    return "It tells an expected error of each pixel; how well that ranks the real one has not been measured."


def _licences(run: Trained, chosen: bool) -> list[str]:
    parent = run.metadata.parent or ""
    lines = ["## Licences and attribution", ""]
    none_yet = "nobody has chosen a licence yet. Choose one that the data allow, as `license` above."
    lines.append(f"- The weights: {'see `license` above.' if chosen else none_yet}")
    if run.config.data.layout == "synthetic":
        lines.append("- The data were drawn by sar_keras; no licence binds them.")
    else:
        lines += [
            "- The data: this card does not know their licence; name it under Notes. SEN1-2 (Schmitt et al., 2018) is "
            "CC BY 4.0.",
            "- Of Sentinel data say: contains modified Copernicus Sentinel data, with the year.",
        ]
    if keys(run.config).get("loss.perceptual"):
        lines.append("- VGG16 in the loss: Simonyan and Zisserman, CC BY 4.0. It is not part of this model.")
    if parent.startswith("demo_model"):
        lines.append(
            "- The model that it began with comes with sar_keras, whose DEMO_MODEL.md lists all of its data. It was "
            "trained on SEN1-2 (Schmitt et al., 2018, CC BY 4.0), BioMassters and SSL4EO-S12 (CC BY 4.0), TerraMesh "
            "(CC BY-SA 4.0) and Sen1Floods11, and contains modified Copernicus Sentinel data."
        )
    elif parent:
        lines.append("- The model that it began with has a licence and data of its own, which bind this one, too.")
    return [*lines, "- sar_keras: MIT.", ""]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *([_escaped(text_of(cell)) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _escaped(text: str) -> str:
    """Text that Markdown leaves alone, in one line."""
    return "".join(f"\\{letter}" if letter in "\\`*_<>|#[]" else letter for letter in " ".join(readable(text).split()))


def _code(text: str) -> str:
    return "`" + " ".join(readable(text).split()).replace("`", "'") + "`"
