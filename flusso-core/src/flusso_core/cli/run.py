"""`flusso run`: fill the indexes, then keep them in step until told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import log_to_stderr
from flusso_core.cli.deployment import (
    DeploymentArguments,
    deployment_options,
    overrides_of,
    valid_address,
)
from flusso_core.cli.options import option, verbosity

if TYPE_CHECKING:
    from rich.console import Console

    from flusso_core.observe import RunSummary
    from flusso_core.pipeline import Plan
    from flusso_core.server import Surfaces

logger = logging.getLogger(__name__)

WITHOUT_ADMIN = "--private-address has no effect without --admin-user and --admin-password"


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
    lag_poll_secs: float


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
@option(
    "--public-address",
    metavar="HOST:PORT",
    help="Where health, status and metrics are served, instead of what is configured.",
)
@option(
    "--private-address",
    metavar="HOST:PORT",
    help="Where control is served, instead of what is configured.",
)
@option("--admin-user", metavar="NAME", help="User of the control surface.")
@option("--admin-password", metavar="TEXT", help="Its password; rather by the variable.")
@option(
    "--lag-poll-secs",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the source is asked for its lag.",
)
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[RunArguments]) -> None:
    """Fill the indexes, then keep them in step.

    Compiles the configuration into the lock file first. SIGINT or SIGTERM lets what is under way
    land and exits with 0; a second one exits at once.
    """
    from flusso_core.cli.compiling import is_locked, read, rewrite
    from flusso_core.pipeline import plan

    if given["once"] and given["backfill_only"]:
        raise click.UsageError("--once and --backfill-only exclude each other")
    console = log_to_stderr(context)
    overrides = overrides_of(
        given,
        sinks=None if given["pretty"] is None else {"pretty": given["pretty"]},
        queue=None if given["queue_capacity"] is None else {"capacity": given["queue_capacity"]},
        skip_backfill=given["skip_backfill"],
    )
    planned = plan(read(given), overrides)
    if not is_locked(given):
        rewrite(planned, given["lock"])
    asyncio.run(_run(planned, console, given))


async def _run(planned: Plan, console: Console, given: RunArguments) -> None:
    from flusso_core.cli.signals import draining
    from flusso_core.observe import FanOut, LoggingObserver, StatsObserver, progress_observer
    from flusso_core.server import RunObserver, served

    stats = StatsObserver()
    # Documents on the same terminal would tear the bars apart.
    prints = any(sink.plugin.name == "stdout" for sink in planned.sinks.values())
    bars = not (prints and sys.stdout.isatty())
    quiet = not logger.isEnabledFor(logging.INFO)
    progress = () if quiet else (progress_observer(console, bars=bars),)
    indexes = [index.name for index in planned.deployment.indexes if index.enabled]
    told = RunObserver(list(planned.sinks), indexes)
    observers = (*progress, LoggingObserver(), stats, told.run, told.measured)
    engine = planned.make_engine(FanOut(observers))
    with draining(engine.stop, lambda: console.show_cursor(show=True)):
        async with served(_surfaces(planned, given), told, engine):
            await engine.run(once=given["once"], backfill_only=given["backfill_only"])
    _log_summary(stats.summary())


def _surfaces(planned: Plan, given: RunArguments) -> Surfaces:
    """Which surfaces are served: a job has those that somebody has asked for."""
    from flusso_core.server import Surface, Surfaces

    job = given["once"] or given["backfill_only"]
    configured = planned.deployment.file.data.get("server")
    named = dict(configured) if isinstance(configured, dict) else {}

    def surface(key: str, flag: str | None, default: str) -> Surface | None:
        if flag is not None:
            return Surface(valid_address(key, flag), wanted=True)
        if key in named:
            return Surface(default, wanted=True)
        return None if job else Surface(default, wanted=False)

    server = planned.deployment.server
    public = surface("public_address", given["public_address"], server.public_address)
    private = surface("private_address", given["private_address"], server.private_address)
    user, password = given["admin_user"] or "", given["admin_password"] or ""
    if bool(user) != bool(password):
        raise click.UsageError("--admin-user and --admin-password belong together")
    if not user:
        if private is not None and private.wanted:
            logger.warning(WITHOUT_ADMIN)
        private = None
    return Surfaces(public, private, user, password, given["lag_poll_secs"], planned.prefix)


def _log_summary(summary: RunSummary) -> None:
    logger.info(
        "%s changes, %s documents written, %s deleted, %s refused",
        f"{summary.changes:,}",
        f"{summary.upserts:,}",
        f"{summary.tombstones:,}",
        f"{summary.rejected:,}",
    )
