"""What a command prints: data on stdout as a table or JSON, messages on stderr.

rich follows `NO_COLOR`, `FORCE_COLOR` and `TERM` by itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from flusso_core.cli.options import session_of

if TYPE_CHECKING:
    from rich.console import Console

    from flusso_core.model import JsonValue

WIDE = 100_000
"""Columns of a table that goes to a file or a pipe, where a row is a line however long."""

FORMAT_VERSION = 1
"""Version of the JSON that commands print. A new key does not raise it; any other change does."""


def stdout() -> Console:
    """Where data goes."""
    from rich.console import Console

    fits = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(file=sys.stdout, width=None if fits else WIDE, markup=False, highlight=False)


def stderr() -> Console:
    """Where everything else goes."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def log_to_stderr(context: click.Context) -> Console:
    """Have the log go where everything else does, as much of it as `-v` and `-q` ask for."""
    from flusso_core.observe.logging import configure_logging

    console = stderr()
    configure_logging(console, session_of(context).verbosity)
    return console


def print_json(content: Mapping[str, JsonValue]) -> None:
    """Print one JSON object whose first key is the format's version."""
    document = {"version": FORMAT_VERSION, **content}
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_line(*parts: str | tuple[str, str]) -> None:
    """Print one line of data.

    Args:
        parts: pieces of it, plain or each with a style of rich's, such as `bold`.
    """
    from rich.text import Text

    stdout().print(Text.assemble(*parts), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table, one line of headings first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = stdout()
    with console.capture() as captured:
        console.print(table)
    # rich pads the last column.
    console.file.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())
