"""`flusso check`: what stands in the way of a run, found without changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, Unpack

import click

from flusso_core.cli.console import print_json, print_table
from flusso_core.cli.deployment import DeploymentArguments, deployment_options, overrides_of
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import format_option, option, session_of, verbosity

if TYPE_CHECKING:
    from types import TracebackType

    from flusso_core.model import Finding
    from flusso_core.pipeline import Plan

PATIENCE = 60.0
"""Seconds after which a server that has not answered is a finding."""


class CheckArguments(DeploymentArguments):
    """What the flags of `flusso check` say."""

    offline: bool
    output: str


class _Checkable(Protocol):
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def check(self) -> Sequence[Finding]: ...


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, ok,\n"
        "       findings: [{severity: error | warning, subject, message, cure or null}]}"
    )
)
@deployment_options
@option("--offline", is_flag=True, help="Check files, plugins and options; connect to nothing.")
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[CheckArguments]) -> ExitCode:
    """Check files, plugins, source and sinks.

    A wrong file or option ends it with 3, and a plugin that cannot be used with 4. What the source
    and the sinks lack, a connection that fails included, is a finding; with a finding that is an
    error it ends with 5.
    """
    from flusso_core.cli.compiling import read
    from flusso_core.cli.console import stderr
    from flusso_core.model import Severity
    from flusso_core.observe.logging import configure_logging
    from flusso_core.pipeline import plan

    console = stderr()
    configure_logging(console, session_of(context).verbosity)
    planned = plan(read(given), overrides_of(given))
    findings = () if given["offline"] else asyncio.run(_online(planned))
    ok = all(finding.severity is not Severity.ERROR for finding in findings)
    if given["output"] == "json":
        print_json(
            {
                "ok": ok,
                "findings": [
                    {
                        "severity": finding.severity.value,
                        "subject": finding.subject,
                        "message": finding.message,
                        "cure": finding.cure,
                    }
                    for finding in findings
                ],
            }
        )
    elif findings:
        print_table(
            ("SEVERITY", "SUBJECT", "MESSAGE", "CURE"),
            [
                (finding.severity.value, finding.subject, finding.message, finding.cure or "")
                for finding in findings
            ],
        )
    elif session_of(context).verbosity >= 0:
        console.print("everything is in order")
    return ExitCode.OK if ok else ExitCode.FINDINGS


async def _online(planned: Plan) -> Sequence[Finding]:
    """What the source, the builder and every sink find, all asked at once."""
    edges: list[tuple[str, Callable[[], Awaitable[Sequence[Finding]]]]] = [
        (f"source {planned.capture.name}", partial(_opened, planned.make_capture)),
        (f"builder {planned.builder.name}", planned.make_builder().check),
        *(
            (f"sink {name}", partial(_opened, partial(planned.make_sink, name)))
            for name in planned.sinks
        ),
    ]
    found = await asyncio.gather(*(_findings(subject, check) for subject, check in edges))
    unique = {
        (finding.severity, finding.message, finding.cure): finding
        for findings in reversed(found)
        for finding in reversed(findings)
    }
    return _without_repetition(list(reversed(unique.values())))


def _without_repetition(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Two edges of one server say the same about it: keep what says more."""
    return [
        finding
        for finding in findings
        if not any(
            other is not finding
            and other.severity is finding.severity
            and other.subject == finding.subject
            and other.message.startswith(finding.message)
            for other in findings
        )
    ]


async def _opened(make: Callable[[], _Checkable]) -> Sequence[Finding]:
    async with make() as edge:
        return await edge.check()


async def _findings(
    subject: str, check: Callable[[], Awaitable[Sequence[Finding]]]
) -> Sequence[Finding]:
    from flusso_core.errors import SinkError, SourceError
    from flusso_core.model import Finding, Severity

    try:
        async with asyncio.timeout(PATIENCE):
            return await check()
    except (SourceError, SinkError) as error:
        return [Finding(Severity.ERROR, subject, str(error))]
    except TimeoutError:
        message = f"no answer within {PATIENCE:.0f} s"
        return [Finding(Severity.ERROR, subject, message)]
