"""`flusso quarantine`: refused documents that the sinks keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import print_json, print_line, print_table
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import option, session_of
from flusso_core.cli.quarantined import (
    ENTRY,
    QuarantineArguments,
    SomeArguments,
    as_json,
    id_of,
    quarantine_options,
    some_options,
    tell,
    wanted_of,
)
from flusso_core.cli.replay import replay
from flusso_core.cli.sinks import planned_sinks

if TYPE_CHECKING:
    from flusso_core.model import QuarantinedDocument
    from flusso_core.pipeline import Plan

_REASON_WIDTH = 100


class OneArguments(QuarantineArguments):
    """Which document is meant."""

    index: str
    identity: str


@click.group()
def command() -> None:
    """List, show, replay and drop refused documents that sinks keep.

    With on_error = "skip" a document that a sink refuses is kept there. It leaves by itself when a
    later build of it is taken, or its row is gone.
    """


command.add_command(replay)


@command.command(name="list", epilog=f"\b\nJSON: {{version: 1, documents: [{ENTRY}}}]}}")
@option("--index", metavar="NAME", help="Only documents of this index.")
@quarantine_options
@click.pass_context
def list_documents(
    context: click.Context, index: str | None, **given: Unpack[QuarantineArguments]
) -> ExitCode:
    """List refused documents, the last refused first."""
    found = [
        (sink, entry)
        for sink, entry in asyncio.run(_read(*planned_sinks(context, given, given["sink"])))
        if index is None or entry.index == index
    ]
    if given["output"] == "json":
        print_json({"documents": [as_json(sink, entry) for sink, entry in found]})
    elif found:
        print_table(
            ("SINK", "INDEX", "ID", "TIME", "ATTEMPTS", "REASON"),
            [
                (
                    sink,
                    entry.index,
                    id_of(entry),
                    entry.time,
                    str(entry.attempts),
                    _shortened(entry.reason),
                )
                for sink, entry in found
            ],
        )
    elif session_of(context).verbosity >= 0:
        tell("no refused document is kept")
    return ExitCode.OK


@command.command(epilog=f"\b\nJSON: {{version: 1, documents: [{ENTRY}, body or null}}]}}")
@click.argument("index", metavar="INDEX")
@click.argument("identity", metavar="ID")
@quarantine_options
@click.pass_context
def show(context: click.Context, **given: Unpack[OneArguments]) -> ExitCode:
    """Show a refused document: why it was refused, and its body as it was."""
    found = [
        (sink, entry)
        for sink, entry in asyncio.run(_read(*planned_sinks(context, given, given["sink"])))
        if (entry.index, id_of(entry)) == (given["index"], given["identity"])
    ]
    if given["output"] == "json":
        print_json(
            {"documents": [{**as_json(sink, entry), "body": entry.body} for sink, entry in found]}
        )
    else:
        for sink, entry in found:
            print_line((f"{entry.index}/{id_of(entry)}", "bold"), f" in the quarantine of {sink}")
            print_line(f"refused {entry.attempts} times, last on {entry.time}")
            print_line(entry.reason)
            print_line(_body_text(entry))
    if not found:
        tell(f"no refused document {given['identity']} of {given['index']} is kept")
        return ExitCode.FAILURE
    return ExitCode.OK


@command.command(epilog="\b\nJSON: {version: 1, dropped}")
@some_options
@click.pass_context
def drop(context: click.Context, **given: Unpack[SomeArguments]) -> ExitCode:
    """Forget refused documents. Their rows and the index stay as they are."""
    wanted = wanted_of(given)
    planned, sinks = planned_sinks(context, given, given["sink"])
    dropped = asyncio.run(_drop(planned, sinks, wanted))
    index = given["index"]
    absent = sorted({*given["identities"]} - {id_of(entry) for entry in dropped})
    if given["output"] == "json":
        print_json({"dropped": len(dropped)})
    elif session_of(context).verbosity >= 0:
        tell(f"dropped {len(dropped)}")
    if absent:
        tell(f"of {index} these were not kept: {', '.join(absent)}")
        return ExitCode.FAILURE
    return ExitCode.OK


async def _read(planned: Plan, sinks: Sequence[str]) -> list[tuple[str, QuarantinedDocument]]:
    found: list[tuple[str, QuarantinedDocument]] = []
    for name in sinks:
        async with planned.make_sink(name) as sink:
            found += [(name, entry) async for entry in sink.quarantined()]
    return found


async def _drop(
    planned: Plan, sinks: Sequence[str], wanted: Callable[[QuarantinedDocument], bool]
) -> list[QuarantinedDocument]:
    dropped: list[QuarantinedDocument] = []
    for name in sinks:
        async with planned.make_sink(name) as sink:
            entries = [entry async for entry in sink.quarantined() if wanted(entry)]
            await sink.drop_quarantined(entries)
            dropped += entries
    return dropped


def _body_text(entry: QuarantinedDocument) -> str:
    if entry.body is not None:
        return entry.body
    return "a deletion" if entry.size is None else f"its {entry.size} bytes were too large to keep"


def _shortened(reason: str) -> str:
    one_line = " ".join(reason.split())
    if len(one_line) <= _REASON_WIDTH:
        return one_line
    return one_line[: _REASON_WIDTH - 1] + "…"
