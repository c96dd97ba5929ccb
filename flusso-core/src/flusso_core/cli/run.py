"""`flusso run`: fill the indexes, then keep them in step until told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Unpack

import click
from click.core import ParameterSource

from flusso_core.cli.deployment import (
    DeploymentArguments,
    deployment_options,
    overrides_of,
)
from flusso_core.cli.options import option, session_of, verbosity

if TYPE_CHECKING:
    from rich.console import Console

    from flusso_core.observe import RunSummary
    from flusso_core.pipeline import Plan

logger = logging.getLogger(__name__)

# Flags of surfaces that are not there yet; command lines that have them keep running.
HTTP_FLAGS = (
    "public_address",
    "private_address",
    "admin_user",
    "admin_password",
    "lag_poll_secs",
)


class RunArguments(DeploymentArguments):
    """What the flags of `flusso run` say."""

    skip_backfill: bool
    pretty: bool | None
    queue_capacity: int | None
    once: bool
    backfill_only: bool
    public_address: str | None
    private_address: str | None
    admin_user: str | None
    admin_password: str | None
    lag_poll_secs: float | None


@click.command()
@deployment_options
@option(
    "--skip-backfill",
    is_flag=True,
    help="Take every index for filled, without reading its rows.",
)
@option("--once", is_flag=True, help="Catch up, write everything, and exit.")
@option("--backfill-only", is_flag=True, help="Fill the indexes, and exit.")
@option("--pretty", is_flag=True, default=None, help="Indent documents on stdout.")
@option(
    "--queue-capacity",
    type=click.IntRange(min=1),
    metavar="CHANGES",
    help="How many changes may wait for each sink, instead of what is configured.",
)
@option("--public-address", metavar="HOST:PORT", help="Not there yet: health and metrics.")
@option("--private-address", metavar="HOST:PORT", help="Not there yet: control.")
@option("--admin-user", metavar="NAME", help="Not there yet: user of the control surface.")
@option("--admin-password", metavar="TEXT", help="Not there yet: its password.")
@option("--lag-poll-secs", type=float, metavar="SECONDS", help="Not there yet: lag metric.")
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[RunArguments]) -> None:
    """Fill the indexes, then keep them in step.

    Compiles the configuration into the lock file first. SIGINT or SIGTERM lets what is under way
    land and exits with 0; a second one exits at once.
    """
    from flusso_core.cli.compiling import is_locked, read, rewrite
    from flusso_core.cli.console import stderr
    from flusso_core.observe.logging import configure_logging
    from flusso_core.pipeline import plan

    if given["once"] and given["backfill_only"]:
        raise click.UsageError("--once and --backfill-only exclude each other")
    console = stderr()
    configure_logging(console, session_of(context).verbosity)
    _warn_of_missing_surfaces(context)
    overrides = overrides_of(
        given,
        sinks=None if given["pretty"] is None else {"pretty": given["pretty"]},
        queue=None if given["queue_capacity"] is None else {"capacity": given["queue_capacity"]},
        skip_backfill=given["skip_backfill"],
    )
    planned = plan(read(given), overrides)
    if not is_locked(given):
        rewrite(planned, given["lock"])
    if "server" in planned.deployment.file.data:
        logger.warning("[server] has no effect: the HTTP surfaces are not there yet")
    asyncio.run(_run(planned, console, given))


def _warn_of_missing_surfaces(context: click.Context) -> None:
    for name in HTTP_FLAGS:
        if context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT):
            flag = "--" + name.replace("_", "-")
            logger.warning("%s has no effect: the HTTP surfaces are not there yet", flag)


async def _run(planned: Plan, console: Console, given: RunArguments) -> None:
    from flusso_core.cli.signals import draining
    from flusso_core.observe import FanOut, LoggingObserver, StatsObserver, progress_observer

    stats = StatsObserver()
    # Documents on the same terminal would tear the bars apart.
    prints = any(sink.plugin.name == "stdout" for sink in planned.sinks.values())
    bars = not (prints and sys.stdout.isatty())
    quiet = not logger.isEnabledFor(logging.INFO)
    progress = () if quiet else (progress_observer(console, bars=bars),)
    engine = planned.make_engine(FanOut((*progress, LoggingObserver(), stats)))
    with draining(engine.stop, lambda: console.show_cursor(show=True)):
        await engine.run(once=given["once"], backfill_only=given["backfill_only"])
    _log_summary(stats.summary())


def _log_summary(summary: RunSummary) -> None:
    logger.info(
        "%s changes, %s documents written, %s deleted, %s refused",
        f"{summary.changes:,}",
        f"{summary.upserts:,}",
        f"{summary.tombstones:,}",
        f"{summary.rejected:,}",
    )
