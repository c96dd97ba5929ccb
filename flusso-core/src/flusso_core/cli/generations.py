"""From one generation of an index to another: what `flusso reindex` and `rollback` share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from flusso_core.cli.console import log_to_stderr, print_json, print_line
from flusso_core.cli.deployment import deployment_options, overrides_of
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.named_index import index_argument
from flusso_core.cli.options import format_option, option, verbosity
from flusso_core.cli.running import RunningArguments, operate, running_options
from flusso_core.errors import EngineError

if TYPE_CHECKING:
    from flusso_core.model import JsonValue
    from flusso_core.observe import Observer
    from flusso_core.server import IndexAtSink, Operations

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_JSON = "\b\nJSON: {version: 1, index, done, sinks: {NAME: {generation, serving, kept, clean}}}"


class GenerationArguments(RunningArguments):
    """What the flags of both commands say."""

    index: str
    wait: bool
    output: str


def generation_command(decorated: Callable[..., ExitCode]) -> click.Command:
    """Make a command with the flags of `GenerationArguments`."""
    wait = option(
        "--wait/--no-wait",
        default=True,
        show_default=True,
        help="Return when the index has every document, or when the run has noted it down.",
    )
    shared = deployment_options(running_options(wait(format_option(verbosity(decorated)))))
    return click.command(epilog=_JSON)(index_argument(shared))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Where the index stands at the sinks that are up, and whether it has every document."""

    done: bool
    sinks: Mapping[str, IndexAtSink]


def change_generation(
    context: click.Context,
    given: GenerationArguments,
    begin: Callable[[Operations], Awaitable[None]],
) -> ExitCode:
    """Have a run begin with it, wait where that is wished for, and print where it stands."""
    from flusso_core.cli.compiling import read
    from flusso_core.observe import progress_observer
    from flusso_core.pipeline import plan

    console = log_to_stderr(context)
    planned, index = plan(read(given), overrides_of(given)), given["index"]
    begun = False

    async def work(run: Operations) -> _Outcome:
        nonlocal begun
        await begin(run)
        begun = True
        if not given["wait"]:
            sinks = await _at_sinks(run, index)
            return _Outcome(done=all(at.clean for at in sinks.values()), sinks=sinks)
        return await _until_clean(run, index, progress_observer(console))

    outcome = asyncio.run(operate(planned, given, index, work))
    if outcome is not None:
        _print(index, outcome, as_json=given["output"] == "json")
    elif begun:
        logger.warning("index %s: the next run of the deployment goes on with it", index)
    else:
        raise EngineError(f"index {index}: interrupted before it was noted down; ask again")
    return ExitCode.OK


async def _at_sinks(run: Operations, index: str) -> Mapping[str, IndexAtSink]:
    """Where the index stands at the sinks that are up."""
    sinks = (await run.indexes())[index]
    stopped = next((at.reason for at in sinks.values() if at.reason is not None), None)
    if stopped is not None:
        raise EngineError(f"index {index} has stopped: {stopped}")
    return {sink: at for sink, at in sinks.items() if at.generation is not None}


async def _until_clean(run: Operations, index: str, progress: Observer) -> _Outcome:
    """Wait until the index has every document at each sink that is up now."""
    from flusso_core.observe import Phase

    sinks = await _at_sinks(run, index)
    asked = set(sinks)
    try:
        while not all(sink in sinks and sinks[sink].clean for sink in asked):
            for sink, at in sinks.items():
                if at.rows is not None:
                    progress.seeding(sink, index, at.rows, at.estimated_rows)
            await asyncio.sleep(_LOOK_SECONDS)
            sinks = await _at_sinks(run, index)
    finally:
        progress.phase(Phase.STOPPED)
    return _Outcome(done=True, sinks=sinks)


def _print(index: str, outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        sinks: Mapping[str, JsonValue] = {
            sink: at.model_dump(mode="json", include={"generation", "serving", "kept", "clean"})
            for sink, at in outcome.sinks.items()
        }
        print_json({"index": index, "done": outcome.done, "sinks": sinks})
        return
    for sink, at in outcome.sinks.items():
        kept = f"; kept: {', '.join(map(str, at.kept))}" if at.kept else ""
        told = f": generation {at.generation} {_state(at)}{kept}"
        print_line((f"{sink}: index {index}", "bold"), told)


def _state(at: IndexAtSink) -> str:
    if at.clean:
        return "serves"
    if at.filling:
        return f"is being filled; {at.serving or 'none'} serves"
    return "serves; its rows are being read again"
