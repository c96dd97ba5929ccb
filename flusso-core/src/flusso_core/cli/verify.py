"""`flusso verify`: compares an index with the database, and repairs it where it is told to."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import print_json, print_line, print_table, stderr
from flusso_core.cli.deployment import deployment_options
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.named_index import index_argument, only
from flusso_core.cli.options import format_option, option, session_of, verbosity
from flusso_core.cli.running import RunningArguments, operate, running_options
from flusso_core.cli.sinks import planned_sinks, sink_option
from flusso_core.errors import EngineError
from flusso_core.observe.observer import NoopObserver
from flusso_core.verify import (
    Difference,
    Kind,
    NotComparable,
    Repair,
    Report,
    Sample,
    Verdict,
    Verifier,
    require_capable,
)

if TYPE_CHECKING:
    from flusso_core.interfaces import ChangeCapture, DocumentBuilder
    from flusso_core.model import JsonValue
    from flusso_core.pipeline import Plan
    from flusso_core.server import Operations

logger = logging.getLogger(__name__)


class VerifyArguments(RunningArguments):
    """What the flags of `flusso verify` say."""

    index: str
    sink: str | None
    repair: bool
    sample: Sample | None
    seed: int
    patience: float
    output: str


@dataclass(frozen=True, slots=True)
class Timed:
    """A report, and how long it took to find out."""

    report: Report
    seconds: float


def _parse_sample(_: click.Context, __: click.Parameter, value: str | None) -> Sample | None:
    try:
        return None if value is None else Sample.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, index, ok,\n"
        "       sinks: [{sink, generation, seconds, sampled, seed or null,\n"
        "                expected, stored, documents,\n"
        "                missing, stale, extra, repaired, quarantined,\n"
        "                undecided: {behind, changing}, behind or null,\n"
        "                differences: [{id, kind: missing | stale | extra,\n"
        "                               verdict: drift | behind | changing,\n"
        "                               paths, quarantined}]}]}"
    )
)
@index_argument
@sink_option
@option("--repair", is_flag=True, help="Build anew what differs, and compare that again.")
@option(
    "--sample",
    callback=_parse_sample,
    metavar="COUNT|PERCENT%",
    help="Compare the content of about so many documents, or such a share; the ids of all.",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    default=lambda: random.SystemRandom().randrange(1 << 32),
    show_default="another one each time",
    metavar="NUMBER",
    help="Which documents --sample draws: those that it drew with this seed before.",
)
@option(
    "--patience",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the index may get no further before no change of it is waited for.",
)
@deployment_options
@running_options
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[VerifyArguments]) -> ExitCode:
    """Compare an index with the database.

    It compares every document, or the ids of all and the content of a sample, and stops nothing:
    one that differs is looked at again once its changes have landed. With one that differs then
    it ends with 5; with 1 where that cannot be told because nothing applies changes.
    """
    whole, names = planned_sinks(context, given, given["sink"])
    planned = replace(whole, deployment=only(whole.deployment, given["index"]))
    sinks = _able(planned, names)
    if given["repair"]:
        found = asyncio.run(_repair(planned, whole, sinks, given))
    else:
        found = asyncio.run(_verify(planned, sinks, given))
    if found is None:
        stderr().print(f"index {given['index']} was not compared to the end")
        return ExitCode.FAILURE
    if given["output"] == "json":
        _print_json(given["index"], found)
    else:
        _print_tables(found)
        if session_of(context).verbosity >= 0:
            for timed in found:
                stderr().print(_summary(timed))
    return _exit_code(found)


def _able(planned: Plan, names: Sequence[str]) -> Sequence[str]:
    """Those of the sinks that can be verified; the others are named in the log.

    Raises:
        NotComparable: none can.
    """
    able: list[str] = []
    unable: list[NotComparable] = []
    for name in names:
        try:
            require_capable(name, planned.make_sink(name).capabilities)
        except NotComparable as error:
            unable.append(error)
        else:
            able.append(name)
    if not able:
        raise unable[0]
    for reason in unable:
        logger.warning("%s", reason)
    return able


async def _repair(
    planned: Plan, whole: Plan, sinks: Sequence[str], given: VerifyArguments
) -> list[Timed] | None:
    """Compare, and have a run of the whole deployment build anew what differs.

    Returns:
        `None`: a signal came before it was done.
    """

    async def work(run: Operations) -> list[Timed]:
        return await _verify(planned, sinks, given, partial(run.rebuild, given["index"]))

    return await operate(whole, given, given["index"], work)


async def _verify(
    planned: Plan,
    sinks: Sequence[str],
    given: VerifyArguments,
    repair: Repair | None = None,
) -> list[Timed]:
    """Compare the index at one sink after the other."""
    async with planned.make_capture() as capture, planned.make_builder() as builder:
        for unfit in builder.unfit():
            raise EngineError(f"index {unfit.index}: {unfit.reason}")
        return [
            await _verify_sink(planned, capture, builder, name, repair, given) for name in sinks
        ]


async def _verify_sink(
    planned: Plan,
    capture: ChangeCapture,
    builder: DocumentBuilder,
    name: str,
    repair: Repair | None,
    given: VerifyArguments,
) -> Timed:
    from flusso_core.engine.retry import Retrier
    from flusso_core.observe import LoggingObserver, Phase, progress_observer

    index, started = given["index"], time.monotonic()
    sample = given["sample"]
    quiet = not logger.isEnabledFor(logging.INFO)
    progress = NoopObserver() if quiet else progress_observer(stderr(), doing="comparing")
    async with planned.make_sink(name) as sink:
        verifier = Verifier(
            capture,
            builder,
            sink,
            index,
            name=name,
            retrier=Retrier(LoggingObserver()),
            transforms=planned.transforms(),
            readers=planned.backfill_workers,
            patience=given["patience"],
            sample=None if sample is None else replace(sample, seed=given["seed"]),
        )
        try:
            report = await verifier.run(
                repair=repair, progressed=partial(progress.seeding, name, index)
            )
        finally:
            progress.phase(Phase.STOPPED)
    return Timed(report, time.monotonic() - started)


def _exit_code(found: Sequence[Timed]) -> ExitCode:
    if any(timed.report.drift for timed in found):
        return ExitCode.FINDINGS
    return ExitCode.FAILURE if any(timed.report.undecided for timed in found) else ExitCode.OK


def _print_json(index: str, found: Sequence[Timed]) -> None:
    ok = _exit_code(found) is ExitCode.OK
    print_json({"index": index, "ok": ok, "sinks": [_as_json(timed) for timed in found]})


def _as_json(timed: Timed) -> Mapping[str, JsonValue]:
    report = timed.report
    return {
        "sink": report.sink,
        "generation": report.generation,
        "seconds": round(timed.seconds, 3),
        "sampled": report.sampled,
        "seed": report.seed,
        "expected": report.expected,
        "stored": report.stored,
        "documents": report.documents,
        **{kind.value: report.count(Verdict.DRIFT, kind) for kind in Kind},
        "repaired": report.repaired,
        "quarantined": report.quarantined,
        "undecided": {
            verdict.value: report.count(verdict) for verdict in (Verdict.BEHIND, Verdict.CHANGING)
        },
        "behind": report.behind,
        "differences": [
            {
                "id": one.id,
                "kind": one.kind.value,
                "verdict": one.verdict.value,
                "paths": one.paths,
                "quarantined": one.quarantined,
            }
            for one in report.differences
        ],
    }


def _print_tables(found: Sequence[Timed]) -> None:
    print_table(
        (
            "SINK",
            "GENERATION",
            "EXPECTED",
            "STORED",
            "COMPARED",
            *(kind.name for kind in Kind),
            "UNDECIDED",
            "REPAIRED",
        ),
        [
            (
                timed.report.sink,
                str(timed.report.generation),
                f"{timed.report.expected:,}",
                f"{timed.report.stored:,}",
                f"{timed.report.documents:,}",
                *(f"{timed.report.count(Verdict.DRIFT, kind):,}" for kind in Kind),
                f"{timed.report.count(Verdict.BEHIND) + timed.report.count(Verdict.CHANGING):,}",
                f"{timed.report.repaired:,}",
            )
            for timed in found
        ],
    )
    rows = [
        (timed.report.sink, one.id, _state(one), ", ".join(one.paths))
        for timed in found
        for one in timed.report.differences
    ]
    if rows:
        print_line()
        print_table(("SINK", "ID", "STATE", "WHERE"), rows)


def _state(difference: Difference) -> str:
    """What is the matter with a document, in a few words."""
    text: str = difference.kind.value
    if difference.verdict is Verdict.BEHIND:
        text += ", or a change that is not applied yet"
    elif difference.verdict is Verdict.CHANGING:
        text += ", and is written all the time"
    return text + ", in the quarantine" * difference.quarantined


def _summary(timed: Timed) -> str:
    """What follows from a report, and what to do."""
    report = timed.report
    speed = report.expected / timed.seconds if timed.seconds > 0 else 0.0
    what = f"{report.documents:,} documents of {report.index} compared"
    if report.sampled:
        what = f"a sample of {what} (--seed {report.seed}), and the ids of all,"
    compared = f"{report.sink}: {what} in {timed.seconds:.1f} s ({speed:,.0f}/s)"
    if report.drift:
        said = f"{report.drift:,} {'differs' if report.drift == 1 else 'differ'}"
        if report.quarantined:
            said += f", {report.quarantined:,} refused by the sink (flusso quarantine list)"
        elif not report.repaired:
            said += "; --repair builds anew what differs"
    elif report.undecided:
        said = f"{report.undecided:,} may differ: "
        if report.behind is None:
            said += "all rows are being read again, which puts right what does; verify it then"
        else:
            said += (
                f"the index gets no further, {report.behind:,} behind the source; verify it beside "
                "a flusso that runs"
            )
    elif changing := report.count(Verdict.CHANGING):
        said = f"all are right but {changing:,}, which were written anew before each look"
    else:
        said = "all are right"
    return f"{compared}: {said}"
