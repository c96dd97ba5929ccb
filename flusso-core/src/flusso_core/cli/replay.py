"""`flusso quarantine replay`: have refused documents built again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, Unpack

import click

from flusso_core.cli.console import print_json
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import session_of
from flusso_core.cli.quarantined import (
    ENTRY,
    SomeArguments,
    as_json,
    id_of,
    some_options,
    tell,
    wanted_of,
)
from flusso_core.cli.running import RunningArguments, operate, running_options
from flusso_core.cli.sinks import planned_sinks

if TYPE_CHECKING:
    from flusso_core.model import QuarantinedDocument
    from flusso_core.pipeline import Plan
    from flusso_core.server import Operations

_Entries: TypeAlias = "dict[tuple[str, str], QuarantinedDocument]"
"""Sink and id to the entry, without its body."""


class ReplayArguments(SomeArguments, RunningArguments):
    """What the flags say."""


@dataclass(frozen=True, slots=True)
class _Replay:
    """What became of the documents, by sink and id.

    Attributes:
        landed: the sink has taken them, or deleted them.
        refused: their newest entries.
        left: the sink was not up.
    """

    landed: Sequence[tuple[str, str]]
    refused: _Entries
    left: Sequence[tuple[str, str]]


@click.command(
    epilog=f"\b\nJSON: {{version: 1, landed: [{{sink, id}}], refused: [{ENTRY}}}], left, absent}}"
)
@some_options
@running_options
@click.pass_context
def replay(context: click.Context, **given: Unpack[ReplayArguments]) -> ExitCode:
    """Build refused documents again from the current rows, when their cause is mended.

    What is kept of a document is for reading only. The run of the deployment does it that answers
    at its private address; where nobody listens there, this command runs the deployment for as
    long as it takes.
    """
    wanted = wanted_of(given)
    planned, sinks = planned_sinks(context, given, given["sink"])
    index = given["index"]

    async def work(run: Operations) -> _Replay:
        return await _replay(run, planned, sinks, index, before)

    before = asyncio.run(_kept(planned, sinks, wanted))
    absent = sorted({*given["identities"]} - {identity for _, identity in before})
    done: _Replay | None = _Replay((), {}, ())
    if before:
        done = asyncio.run(operate(planned, given, index, work))
    if done is None:
        tell("interrupted: what has not landed is still kept")
        return ExitCode.FAILURE
    if given["output"] == "json":
        _print_json(done, absent)
    elif session_of(context).verbosity >= 0:
        _tell_all(index, done)
    if absent:
        tell(f"of {index} these were not kept: {', '.join(absent)}")
    return ExitCode.FAILURE if absent or done.refused or done.left else ExitCode.OK


async def _replay(
    run: Operations, planned: Plan, sinks: Sequence[str], index: str, before: _Entries
) -> _Replay:
    await run.rebuild(index, list(dict.fromkeys(entry.key for entry in before.values())))
    up = {sink for sink, at in (await run.indexes())[index].items() if at.generation is not None}
    after = await _kept(planned, sinks, lambda entry: entry.index == index)
    # A refusal counts one attempt more.
    refused = {
        which: after[which]
        for which, entry in before.items()
        if which in after and after[which] != entry
    }
    left = [which for which in before if which in after and which[0] not in up]
    landed = [which for which in before if which not in refused and which not in left]
    # A sink clears what it takes, but for entries of a generation that was rolled back since.
    stale = {which: after[which] for which in landed if which in after}
    for name in {sink for sink, _ in stale}:
        async with planned.make_sink(name) as sink:
            await sink.drop_quarantined(
                [entry for which, entry in stale.items() if which[0] == name]
            )
    return _Replay(landed, refused, left)


async def _kept(
    planned: Plan, sinks: Sequence[str], wanted: Callable[[QuarantinedDocument], bool]
) -> _Entries:
    """What the sinks keep of those that are wanted."""
    found: _Entries = {}
    for name in sinks:
        async with planned.make_sink(name) as sink:
            async for entry in sink.quarantined():
                if wanted(entry):
                    found[name, id_of(entry)] = replace(entry, body=None)
    return found


def _print_json(done: _Replay, absent: Sequence[str]) -> None:
    def named(which: Sequence[tuple[str, str]]) -> Sequence[Mapping[str, str]]:
        return [{"sink": sink, "id": identity} for sink, identity in which]

    print_json(
        {
            "landed": named(done.landed),
            "refused": [as_json(sink, entry) for (sink, _), entry in done.refused.items()],
            "left": named(done.left),
            "absent": list(absent),
        }
    )


def _tell_all(index: str, done: _Replay) -> None:
    tell(f"landed {len(done.landed)}, refused again {len(done.refused)}")
    for (sink, identity), entry in done.refused.items():
        tell(f"{sink}: {index}/{identity} is refused again: {entry.reason}")
    for sink, identity in done.left:
        tell(f"{sink}: {index}/{identity} is left as it is: the sink is not up")
