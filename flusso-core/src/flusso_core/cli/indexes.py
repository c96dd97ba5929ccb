"""`flusso indexes`: the generations of each index, as the destinations have them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import print_json, print_table
from flusso_core.cli.deployment import DeploymentArguments, deployment_options
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import format_option, verbosity
from flusso_core.cli.sinks import planned_sinks, sink_option

if TYPE_CHECKING:
    from flusso_core.cli.destinations import Entry, IndexState, SinkState
    from flusso_core.model import JsonValue, StateRecord

_GENERATION = (
    "{generation, schema_hash, role, exists, serves, foreign, seeded, clean, "
    "ranges: {done, all} or null, documents, bytes}"
)


_COLUMNS = (
    "SINK",
    "INDEX",
    "GENERATION",
    "SCHEMA",
    "STATE",
    "DOCUMENTS",
    "SIZE",
    "POSITION",
)


class IndexesArguments(DeploymentArguments):
    """What the flags of `flusso indexes` say."""

    sink: str | None
    output: str


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, sinks: [{sink, records, error, indexes: [{index, position,"
        f"\n  stream, generations: [{_GENERATION}]}}]}}]}}"
    )
)
@sink_option
@deployment_options
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[IndexesArguments]) -> ExitCode:
    """List the generations of each index.

    Which one searches see, how far it is filled, what is kept, how large each is. It reads what the
    sinks remember and what is there; nothing is stopped for it. A sink that cannot be reached ends
    it with 1.
    """
    from flusso_core.cli.console import stderr
    from flusso_core.cli.destinations import look

    planned, sinks = planned_sinks(context, given, given["sink"])
    states = asyncio.run(look(planned, sinks, None))
    if given["output"] == "json":
        print_json({"sinks": [_sink_json(state) for state in states]})
    else:
        print_table(_COLUMNS, [row for state in states for row in _rows(state)])
    failed = [state for state in states if state.error is not None]
    for state in failed:
        stderr().print(f"{state.sink}: {state.error}")
    return ExitCode.FAILURE if failed else ExitCode.OK


def _rows(state: SinkState) -> Iterator[tuple[str, ...]]:
    if state.error is not None:
        yield (state.sink, "", "", "", "cannot be read", "", "", "")
    elif not state.records:
        yield (state.sink, "", "", "", "remembers nothing: every run fills it", "", "", "")
    for index in state.indexes:
        if not index.entries:
            yield (state.sink, index.index, "", "", "nothing yet", "", "", "")
        for entry in index.entries:
            yield _row(state.sink, index, entry)


def _row(sink: str, index: IndexState, entry: Entry) -> tuple[str, ...]:
    from flusso_core.cli.destinations import size_cells

    return (
        sink,
        index.index,
        str(entry.number),
        entry.schema_hash,
        _state(index, entry),
        *size_cells(entry.size),
        "" if index.record is None else index.record.position.token,
    )


def _state(index: IndexState, entry: Entry) -> str:
    """What a generation is there for and how far it is, for people."""
    from flusso_core.cli.destinations import Role

    parts: list[str] = []
    if entry.serves:
        parts.append("serves")
    record = entry.record
    match entry.role:
        case Role.CURRENT:
            if entry.found is None:
                parts.append("missing" if record is not None and record.seeded else "not begun")
            elif record is not None and not record.clean:
                parts.append(("swept" if record.seeded else "filled") + _progress(entry))
        case Role.SERVING:
            newest = "" if index.record is None else f" {index.record.current.number}"
            parts.append(f"until{newest} is filled")
        case Role.UNKNOWN:
            parts.append("no record of it")
        case Role.KEPT | Role.UNUSED:
            parts.append(entry.role.value)
        case Role.FOREIGN:
            pass  # as such it is told below, whatever its role
    if entry.foreign:
        parts.append("of another program")
    return ", ".join(parts)


def _progress(entry: Entry) -> str:
    ranges = () if entry.record is None else entry.record.ranges
    if not ranges:
        return ": to begin"
    return f": {sum(one.done for one in ranges)} of {len(ranges)} ranges"


def _sink_json(state: SinkState) -> dict[str, JsonValue]:
    return {
        "sink": state.sink,
        "records": state.records,
        "error": state.error,
        "indexes": [
            {
                "index": index.index,
                "position": None if index.record is None else index.record.position.token,
                "stream": None if index.record is None else _stream_json(index.record),
                "generations": [_entry_json(entry) for entry in index.entries],
            }
            for index in state.indexes
        ],
    }


def _stream_json(record: StateRecord) -> dict[str, JsonValue]:
    identity = record.identity
    return {
        "system": identity.system,
        "database": identity.database,
        "stream": identity.stream,
        "timeline": identity.timeline,
    }


def _entry_json(entry: Entry) -> dict[str, JsonValue]:
    record = entry.record
    ranges = () if record is None else record.ranges
    return {
        "generation": entry.number,
        "schema_hash": entry.schema_hash,
        "role": entry.role.value,
        "exists": entry.found is not None,
        "serves": entry.serves,
        "foreign": entry.foreign,
        "seeded": None if record is None else record.seeded,
        "clean": None if record is None else record.clean,
        "ranges": {"done": sum(one.done for one in ranges), "all": len(ranges)} if ranges else None,
        "documents": entry.size.documents,
        "bytes": entry.size.bytes,
    }
