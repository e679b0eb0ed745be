"""Help pages for narrow terminals, in which typer's columns would cut option names."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text
from typer.core import TyperArgument, TyperCommand, TyperGroup

MIN_WIDTH = 80
"""Smallest width in characters at which typer's help shows all option names."""


class Command(TyperCommand):
    """Command whose help fits narrow terminals."""

    def format_help(self, ctx: typer.Context, formatter: object) -> None:
        """Print the help page."""
        if not _print_narrow_help(self, ctx):
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """Group of commands whose help fits narrow terminals."""

    def format_help(self, ctx: typer.Context, formatter: object) -> None:
        """Print the help page."""
        if not _print_narrow_help(self, ctx):
            super().format_help(ctx, formatter)


def _print_narrow_help(command: TyperCommand | TyperGroup, context: typer.Context) -> bool:
    """Print names and descriptions below each other; return False if the terminal is wide."""
    console = Console(highlight=False)
    if console.width >= MIN_WIDTH:
        return False
    _print_paragraphs(console, [command.get_usage(context), *(command.help or "").split("\n\n")])
    params = [param for param in command.get_params(context) if not param.hidden]
    arguments = [param.get_help_record(context) for param in params if isinstance(param, TyperArgument)]
    options = [param.get_help_record(context) for param in params if not isinstance(param, TyperArgument)]
    commands = [
        (name, (subcommand.help or "").split("\n\n")[0])
        for name, subcommand in getattr(command, "commands", {}).items()
        if not subcommand.hidden
    ]
    for title, entries in (("Arguments:", arguments), ("Options:", options), ("Commands:", commands)):
        if entries:
            console.print(title, style="bold")
            for name, text in entries:
                console.print(Padding(Text(name), (0, 0, 0, 2), expand=False))
                console.print(Padding(_unwrapped(text), (0, 0, 0, 6), expand=False))
            console.print()
    return True


def _print_paragraphs(console: Console, paragraphs: Iterable[str]) -> None:
    for paragraph in paragraphs:
        console.print(_unwrapped(paragraph))
        console.print()


def _unwrapped(text: str) -> Text:
    return Text(" ".join(text.split()))
