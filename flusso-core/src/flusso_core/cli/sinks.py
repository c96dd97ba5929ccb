"""The commands that are about what is in sinks: finds the deployment, and the sinks they ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flusso_core.cli.console import log_to_stderr
from flusso_core.cli.deployment import DeploymentArguments, overrides_of
from flusso_core.cli.options import option

if TYPE_CHECKING:
    from flusso_core.pipeline import Plan

sink_option = option("--sink", metavar="NAME", help="Only what is in this sink.")


def planned_sinks(
    context: click.Context, given: DeploymentArguments, only: str | None
) -> tuple[Plan, Sequence[str]]:
    """The deployment that the flags name, and its sinks or the one that is asked for.

    Raises:
        click.UsageError: it has no sink of that name.
    """
    from flusso_core.cli.compiling import read
    from flusso_core.pipeline import plan

    log_to_stderr(context)
    planned = plan(read(given), overrides_of(given))
    if only is None:
        return planned, list(planned.sinks)
    if only not in planned.sinks:
        known = ", ".join(planned.sinks)
        raise click.UsageError(f"the deployment has no sink {only!r}. It has: {known}")
    return planned, [only]
