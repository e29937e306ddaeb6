"""Directives that show what the code knows: the command line, the keys of a configuration, the presets."""

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from sar_keras.cli.main import main
from sar_keras.config import keys, load_config, presets
from sar_keras.models.systems import SYSTEMS
from sar_keras.models.terms import TERMS

WIDTH = 100  # of the help, in characters


def commands(group: click.Group = main, name: str = "sar-keras") -> dict[str, click.Command]:
    """Every command by what one types, groups left out."""
    found: dict[str, click.Command] = {}
    for word, command in group.commands.items():
        found |= (
            commands(command, f"{name} {word}") if isinstance(command, click.Group) else {f"{name} {word}": command}
        )
    return found


def help_of(name: str, command: click.Command) -> str:
    """What `--help` prints."""
    context = click.Context(command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
    return command.get_help(context)


class CommandLine(Directive):
    """A section for each command with its help."""

    def run(self) -> list[nodes.Node]:
        sections = []
        for name, command in commands().items():
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            text = help_of(name, command)
            section += [nodes.title(text=name), nodes.literal_block(text, text, language="text")]
            sections.append(section)
        return sections


class KeysOfSystem(Directive):
    """The keys `model.*` and `loss.*` of a system with their defaults: all, or those that pix2pix does not have."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        settings, others = (SYSTEMS[name].settings for name in (self.arguments[0], "pix2pix"))
        rows = []
        for section in ("model", "loss"):
            own, common = (getattr(of, section).model_fields for of in (settings, others))
            rows += [
                (f"{section}.{name}", str(field.default))
                for name, field in own.items()
                if name not in common or field.default != common[name].default
            ]
        rows = [(name, default) for name, default in rows if name != "model.system"]
        return [table(("key", "where a configuration does not set it"), rows)]


class WeightsOfPresets(Directive):
    """The weight of each term in each preset."""

    def run(self) -> list[nodes.Node]:
        names = list(dict.fromkeys(term.name for term in TERMS))
        rows = []
        for preset in presets():
            weights = load_config(preset).loss.weights()
            rows.append((preset, *(f"{weights[name]:g}" if weights.get(name) else "" for name in names)))
        return [table(("preset", *names), rows)]


class PresetDifferences(Directive):
    """What each preset sets other than `default`."""

    def run(self) -> list[nodes.Node]:
        default, items = keys(load_config("default")), nodes.definition_list()
        for name, line in presets().items():
            own = keys(load_config(name))
            differs = [f"{key}={value}" for key, value in own.items() if default.get(key, ...) != value]
            text = "\n".join(differs) or "nothing"
            items += nodes.definition_list_item(
                "",
                nodes.term("", "", nodes.literal(text=name)),
                nodes.definition("", nodes.paragraph(text=line), nodes.literal_block(text, text, language="text")),
            )
        return [items]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> nodes.table:
    """A table whose first column is code."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    cells = [[nodes.paragraph(text=text) for text in head]]
    for first, *rest in rows:
        cells.append(
            [nodes.paragraph("", "", nodes.literal(text=first)), *(nodes.paragraph(text=text) for text in rest)]
        )
    lines = [nodes.row("", *(nodes.entry("", cell) for cell in line)) for line in cells]
    group += [nodes.thead("", lines[0]), nodes.tbody("", *lines[1:])]
    return nodes.table("", group)


def setup(app: Sphinx) -> dict:
    app.add_directive("command-line", CommandLine)
    app.add_directive("keys-of-system", KeysOfSystem)
    app.add_directive("weights-of-presets", WeightsOfPresets)
    app.add_directive("preset-differences", PresetDifferences)
    return {"parallel_read_safe": True}
