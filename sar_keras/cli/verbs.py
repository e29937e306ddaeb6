"""How verbs and their help look."""

import sys
from pathlib import Path

import click

PATH = click.Path(path_type=Path, readable=False)


class SceneOption(click.Option):
    """An option that means something for scenes only."""


class Verb(click.Command):
    """A command whose options for scenes stand in a group of their own."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except click.UsageError as error:
            error.ctx = error.ctx or context  # click leaves it out where an option lacks its value
            raise

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence of the help: click would cut it off with "..." where it exceeds a line."""
        return super().get_short_help_str(sys.maxsize)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Options": [], "Options for scenes": []}
        for option in self.get_params(context):
            if isinstance(option, click.Option) and (line := option.get_help_record(context)):
                groups["Options for scenes" if isinstance(option, SceneOption) else "Options"].append(line)
        for heading, lines in groups.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)


class Verbs(click.Group):
    """A group of verbs."""

    command_class = Verb
