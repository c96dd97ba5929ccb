"""`flusso prune`: removes generations that no run needs and no search sees."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import print_json, print_table
from flusso_core.cli.deployment import DeploymentArguments, deployment_options
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.named_index import optional_index_argument, unknown_index
from flusso_core.cli.options import format_option, option, session_of, verbosity
from flusso_core.cli.sinks import planned_sinks, sink_option

if TYPE_CHECKING:
    from flusso_core.cli.destinations import Entry, SinkState
    from flusso_core.model import JsonValue
    from flusso_core.pipeline import Plan

_GENERATION = "{sink, index, generation, schema_hash, role, documents, bytes"


class PruneArguments(DeploymentArguments):
    """What the arguments and flags of `flusso prune` say."""

    index: str | None
    sink: str | None
    kept: bool
    dry_run: bool
    yes: bool
    output: str


@dataclass(frozen=True, slots=True)
class _Target:
    """A generation that is to be removed, and why it was left; `None`: it was not."""

    sink: str
    index: str
    entry: Entry
    left: str | None = None


@click.command(
    epilog=(
        f"\b\nJSON: {{version: 1, dry_run, removed: [{_GENERATION}}}],"
        f"\n  left: [{_GENERATION}, reason}}]}}"
    )
)
@optional_index_argument
@sink_option
@option("--kept", is_flag=True, help="Also what was kept when it was superseded.")
@option("--dry-run", is_flag=True, help="Change nothing; show what would be removed.")
@option("--yes", is_flag=True, help="Do not ask.")
@deployment_options
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[PruneArguments]) -> ExitCode:
    """Remove generations that no run needs.

    They are what another program made, such as the Rust program of the same name; what a run that
    was killed has left; and with --kept what was kept for going back to. Never one that searches
    see, or that is being filled. A run may go on meanwhile.
    """
    from flusso_core.cli.console import stderr
    from flusso_core.cli.destinations import look

    planned, sinks = planned_sinks(context, given, given["sink"])
    states = asyncio.run(look(planned, sinks, given["index"]))
    for state in states:
        if state.error is not None:
            stderr().print(f"{state.sink}: {state.error}")
    index = given["index"]
    known = {one.name for one in planned.deployment.indexes}
    if index is not None and index not in known and not any(state.indexes for state in states):
        raise unknown_index(planned.deployment, index)
    targets = list(_targets(states, kept=given["kept"]))
    if targets and not given["dry_run"]:
        if not given["yes"]:
            click.confirm(_question(targets), abort=True, err=True)
        targets = asyncio.run(_remove(planned, targets, kept=given["kept"]))
    _report(context, given, targets)
    failed = any(state.error for state in states) or any(target.left for target in targets)
    return ExitCode.FAILURE if failed else ExitCode.OK


def _targets(states: Iterable[SinkState], *, kept: bool) -> Iterable[_Target]:
    from flusso_core.cli.destinations import prunable

    for state in states:
        for index in state.indexes:
            for entry in prunable(index.entries, kept=kept):
                yield _Target(state.sink, index.index, entry)


async def _remove(planned: Plan, targets: Sequence[_Target], *, kept: bool) -> list[_Target]:
    from flusso_core.cli.destinations import remove
    from flusso_core.errors import SinkError

    done: list[_Target] = []
    for target in targets:
        try:
            async with planned.make_sink(target.sink) as sink:
                gone = await remove(sink, target.index, target.entry, kept=kept)
            left = None if gone else "it is needed by now"
        except SinkError as error:
            left = str(error)
        done.append(replace(target, left=left))
    return done


def _report(context: click.Context, given: PruneArguments, targets: Sequence[_Target]) -> None:
    from flusso_core.cli.console import stderr

    if given["output"] == "json":
        print_json(
            {
                "dry_run": given["dry_run"],
                "removed": [_as_json(target) for target in targets if target.left is None],
                "left": [
                    {**_as_json(target), "reason": target.left}
                    for target in targets
                    if target.left is not None
                ],
            }
        )
    elif targets:
        _print(targets, "would be removed" if given["dry_run"] else "removed")
    elif session_of(context).verbosity >= 0:
        stderr().print("nothing is there to remove")


def _print(targets: Sequence[_Target], done: str) -> None:
    from flusso_core.cli.destinations import size_cells

    print_table(
        ("SINK", "INDEX", "GENERATION", "SCHEMA", "WHAT", "DOCUMENTS", "SIZE", "STATE"),
        [
            (
                target.sink,
                target.index,
                str(target.entry.number),
                target.entry.schema_hash,
                target.entry.role.value,
                *size_cells(target.entry.size),
                done if target.left is None else f"left: {target.left}",
            )
            for target in targets
        ],
    )


def _as_json(target: _Target) -> dict[str, JsonValue]:
    return {
        "sink": target.sink,
        "index": target.index,
        "generation": target.entry.number,
        "schema_hash": target.entry.schema_hash,
        "role": target.entry.role.value,
        "documents": target.entry.size.documents,
        "bytes": target.entry.size.bytes,
    }


def _question(targets: Sequence[_Target]) -> str:
    from flusso_core.cli.destinations import size_cells

    lines = ["Remove these generations?"]
    for target in targets:
        documents, size = size_cells(target.entry.size)
        known = f" ({documents} documents, {size})" if documents else ""
        what = f"{target.sink}: {target.index} {target.entry.number}, {target.entry.role.value}"
        lines.append(f"  {what}{known}")
    return "\n".join(lines) + "\n"
