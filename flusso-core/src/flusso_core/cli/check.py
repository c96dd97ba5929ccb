"""`flusso check`: what stands in the way of a run, found without changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import log_to_stderr
from flusso_core.cli.deployment import DeploymentArguments, deployment_options, overrides_of
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.findings import (
    grouped,
    passes,
    print_findings,
    print_findings_json,
    summary,
)
from flusso_core.cli.options import format_option, option, session_of, verbosity
from flusso_core.errors import ConfigError, PluginError, SinkError, SourceError
from flusso_core.model import Finding, Severity

if TYPE_CHECKING:
    from flusso_core.interfaces import ChangeCapture, Sink
    from flusso_core.model import IndexMapping
    from flusso_core.pipeline import Plan

PATIENCE = 60.0
"""Seconds after which a server that has not answered is a finding."""


class CheckArguments(DeploymentArguments):
    """What the flags of `flusso check` say."""

    offline: bool
    output: str


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, ok,\n"
        "       findings: [{severity: error | warning | info, subject, indexes, message,\n"
        "                   cure or null}]}"
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
    from flusso_core.pipeline import plan

    console = log_to_stderr(context)
    try:
        planned = plan(read(given), overrides_of(given))
        found = () if given["offline"] else asyncio.run(_online(planned))
    except (ConfigError, PluginError) as error:
        if given["output"] == "json":
            print_findings_json(grouped(_as_findings(error), ()))
        raise
    groups = grouped(found, planned.deployment.schemas)
    if given["output"] == "json":
        print_findings_json(groups)
    else:
        print_findings(groups)
        if session_of(context).verbosity >= 0:
            console.print(summary(groups))
    return ExitCode.OK if passes(groups) else ExitCode.FINDINGS


def _as_findings(error: ConfigError | PluginError) -> Sequence[Finding]:
    """What keeps the deployment from being looked at any further, for who reads the JSON."""
    subject = "files" if isinstance(error, ConfigError) else "plugins"
    return [Finding(Severity.ERROR, subject, line) for line in str(error).splitlines()]


async def _online(planned: Plan) -> Sequence[Finding]:
    """What the source, the builder and every sink find, all asked at once."""
    builder = planned.make_builder()
    mappings = tuple(builder.mappings().values())
    edges: list[tuple[str, Callable[[], Awaitable[Sequence[Finding]]]]] = [
        (f"source {planned.capture.name}", partial(_capture, planned.make_capture)),
        (f"builder {planned.builder.name}", builder.check),
        *(
            (f"sink {name}", partial(_sink, partial(planned.make_sink, name), mappings))
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


async def _capture(make: Callable[[], ChangeCapture]) -> Sequence[Finding]:
    async with make() as capture:
        return await capture.check()


async def _sink(make: Callable[[], Sink], mappings: Sequence[IndexMapping]) -> Sequence[Finding]:
    async with make() as sink:
        found = list(await sink.check())
        if all(finding.severity is not Severity.ERROR for finding in found):
            for mapping in mappings:
                found += await sink.check_index(mapping)
        return found


async def _findings(
    subject: str, check: Callable[[], Awaitable[Sequence[Finding]]]
) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await check()
    except (SourceError, SinkError) as error:
        return [Finding(Severity.ERROR, subject, str(error))]
    except TimeoutError:
        message = f"no answer within {PATIENCE:.0f} s"
        return [Finding(Severity.ERROR, subject, message)]
