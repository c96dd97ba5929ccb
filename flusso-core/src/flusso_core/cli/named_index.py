"""The commands that are about one index: finds it, and leaves the others out."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flusso_core.cli.deployment import CONFIG

if TYPE_CHECKING:
    from flusso_core.config import Deployment


def _complete_index(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of indexes in the configuration; none where it cannot be read."""
    try:
        with Path(context.params.get("config") or CONFIG).open("rb") as file:
            tables = tomllib.load(file)["index"]
        names = [str(table["name"]) for table in tables]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if name.startswith(incomplete)]


index_argument = click.argument("index", metavar="INDEX", shell_complete=_complete_index)
optional_index_argument = click.argument(
    "index", metavar="[INDEX]", required=False, shell_complete=_complete_index
)


def only(deployment: Deployment, name: str) -> Deployment:
    """The deployment with that one index, which need not be enabled.

    Raises:
        click.UsageError: it has no index of that name.
    """
    for index in deployment.indexes:
        if index.name == name:
            return replace(deployment, indexes=(replace(index, enabled=True),))
    raise unknown_index(deployment, name)


def unknown_index(deployment: Deployment, name: str) -> click.UsageError:
    """Says that it has no index of that name, and what was probably meant."""
    known = [index.name for index in deployment.indexes]
    message = f"the deployment has no index {name!r}."
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        message += f" Did you mean {nearest[0]!r}?"
    return click.UsageError(f"{message} It has: {', '.join(known) or 'none'}")
