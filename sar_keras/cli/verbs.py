"""How verbs and their help look."""

import os
import sys
from pathlib import Path

import click

from sar_keras.errors import parameters_called
from sar_keras.inference.hub import is_on_hub
from sar_keras.io.files import local_path, path_or_name

# Keys of the configuration that have an option or an argument of their own.
_KEYS = {"data": "data.root", "folder": "data.root"} | {
    name: f"data.{name}" for name in ("sar", "optical", "allow_outside")
}


class _LocalPath(click.ParamType):
    name = "path"

    def convert(self, value, param, context) -> Path:
        return local_path(value)


PATH = _LocalPath()


class _Model(click.ParamType):
    name = "model"

    def convert(self, value, param, context) -> Path | str:
        return value if is_on_hub(value) else local_path(value)


MODEL = _Model()  # a path, or an address on the hub


class _PathOrName(click.ParamType):
    name = "path"

    def convert(self, value, param, context) -> Path | str:
        return path_or_name(os.fspath(value))


PATH_OR_NAME = _PathOrName()  # an input: whatever GDAL has a name for


class GroupedOption(click.Option):
    """An option that stands below a heading of its own in the help."""

    heading = "Options"


class SceneOption(GroupedOption):
    """An option that means something for scenes only."""

    heading = "Options for scenes"


class CatalogOption(GroupedOption):
    """An option that means something for scenes of a catalog only."""

    heading = "A scene of a STAC catalog, in place of INPUT"


class HintOption(GroupedOption):
    """An option that means something for guided models only."""

    heading = "Hints for guided models"


class Verb(click.Command):
    """A command whose help groups its options."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except click.UsageError as error:
            error.ctx = error.ctx or context  # click leaves it out where an option lacks its value
            raise

    def invoke(self, context: click.Context):
        """Run it; errors speak of its options."""
        names = {}
        for option in self.params:
            flag = option.opts[0] if isinstance(option, click.Option) else option.human_readable_name
            names |= {option.name: flag, _KEYS.get(option.name, option.name): flag}
        with parameters_called(names):
            return super().invoke(context)

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence of the help: click would cut it off with "..." where it exceeds a line."""
        return super().get_short_help_str(sys.maxsize)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in sorted(self.get_params(context), key=lambda option: isinstance(option, GroupedOption)):
            if isinstance(option, click.Option) and (line := option.get_help_record(context)):
                groups.setdefault(getattr(option, "heading", "Options"), []).append(line)
        for heading, lines in groups.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


class Verbs(click.Group):
    """A group of verbs."""

    command_class = Verb
