"""Commands whose help has sections, examples and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

OPTIONS = "Options"
"""The section of options that name no section. It comes last."""


class Option(click.Option):
    """An option in a section of the help.

    Args:
        section: the title of the section.
    """

    def __init__(self, *args: Any, section: str = OPTIONS, **kwargs: Any) -> None:  # noqa: ANN401  # as Click has them
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command with examples and exit codes in its help.

    Args:
        examples: command lines.
        exit_codes: each with its meaning.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401
        examples: Sequence[str] = (),
        exit_codes: Sequence[tuple[int, str]] = (),
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.exit_codes = exit_codes

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # the description tells of arguments
                sections.setdefault(getattr(parameter, "section", OPTIONS), []).append(record)
        sections[OPTIONS] = sections.pop(OPTIONS)  # --help is always there
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}$ {example}\n")
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(int(code)), meaning) for code, meaning in self.exit_codes])
        super().format_epilog(ctx, formatter)


class Group(Command, click.Group):
    """A group of such commands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, and then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as Click calls it
        """Return the names of the commands in the order in which they were added."""
        return list(self.commands)
