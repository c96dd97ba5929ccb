"""What the subcommands of `flusso quarantine` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flusso_core.cli.deployment import DeploymentArguments, deployment_options
from flusso_core.cli.options import format_option, option, verbosity
from flusso_core.cli.sinks import sink_option

if TYPE_CHECKING:
    from flusso_core.model import JsonValue, QuarantinedDocument

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

ENTRY = "{sink, index, id, reason, bytes, time, attempts"


class QuarantineArguments(DeploymentArguments):
    """What the flags of all its subcommands say."""

    sink: str | None
    output: str


class SomeArguments(QuarantineArguments):
    """Which documents are meant: those named, or all."""

    index: str
    identities: tuple[str, ...]
    every: bool


def quarantine_options(decorated: CommandT) -> CommandT:
    """Give a subcommand the flags of `QuarantineArguments`."""
    return sink_option(deployment_options(format_option(verbosity(decorated))))


def some_options(decorated: CommandT) -> CommandT:
    """Give a subcommand the arguments and flags of `SomeArguments`."""
    every = option("--all", "every", is_flag=True, help="Every document of the index.")
    identities = click.argument("identities", metavar="[ID]...", nargs=-1)
    index = click.argument("index", metavar="INDEX")
    return index(identities(every(quarantine_options(decorated))))


def wanted_of(given: SomeArguments) -> Callable[[QuarantinedDocument], bool]:
    """Whether an entry is meant.

    Raises:
        UsageError: neither some are named nor all, or both.
    """
    index, identities = given["index"], set(given["identities"])
    if given["every"] == bool(identities):
        raise click.UsageError("name the documents, or give --all")

    def wanted(entry: QuarantinedDocument) -> bool:
        return entry.index == index and (given["every"] or id_of(entry) in identities)

    return wanted


def id_of(entry: QuarantinedDocument) -> str:
    """The document's id."""
    from flusso_core.model import document_id_text

    return document_id_text(entry.key)


def as_json(sink: str, entry: QuarantinedDocument) -> Mapping[str, JsonValue]:
    """The entry without its body."""
    return {
        "sink": sink,
        "index": entry.index,
        "id": id_of(entry),
        "reason": entry.reason,
        "bytes": entry.size,
        "time": entry.time,
        "attempts": entry.attempts,
    }


def tell(message: str) -> None:
    """Print a line for people."""
    from flusso_core.cli.console import stderr

    stderr().print(message)
