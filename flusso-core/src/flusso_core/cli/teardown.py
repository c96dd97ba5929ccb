"""`flusso teardown`: removes from the source what runs have made there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import log_to_stderr, print_json, print_table
from flusso_core.cli.deployment import DeploymentArguments, deployment_options, overrides_of
from flusso_core.cli.exits import ExitCode
from flusso_core.cli.options import format_option, option, verbosity

if TYPE_CHECKING:
    from flusso_core.model import Removal
    from flusso_core.pipeline import Plan


class TeardownArguments(DeploymentArguments):
    """What the flags of `flusso teardown` say."""

    dry_run: bool
    yes: bool
    output: str


@click.command(
    epilog="\b\nJSON: {version: 1, dry_run, removed: [subject], left: [{subject, reason}]}"
)
@deployment_options
@option("--dry-run", is_flag=True, help="Change nothing; show what would be removed.")
@option("--yes", is_flag=True, help="Do not ask.")
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[TeardownArguments]) -> ExitCode:
    """Remove from the source what runs made.

    Afterwards the indexes are as they were, and get no more changes; a later run fills them
    afresh. What runs did not make, or what cannot be told from what others made, is left, and
    said so.
    """
    from flusso_core.cli.compiling import read
    from flusso_core.pipeline import plan

    dry_run = given["dry_run"]
    log_to_stderr(context)
    planned = plan(read(given), overrides_of(given))
    if not dry_run and not given["yes"]:
        message = "Remove what runs have made at the source? Each index then has to be filled again"
        click.confirm(message, abort=True, err=True)
    removals = asyncio.run(_tear_down(planned, dry_run=dry_run))
    if given["output"] == "json":
        print_json(
            {
                "dry_run": dry_run,
                "removed": [one.subject for one in removals if one.left is None],
                "left": [
                    {"subject": one.subject, "reason": one.left}
                    for one in removals
                    if one.left is not None
                ],
            }
        )
    else:
        done = "would be removed" if dry_run else "removed"
        print_table(
            ("WHAT", "STATE", "WHY, AND WHAT REMOVES IT"),
            [
                (one.subject, done if one.left is None else "left", one.left or "")
                for one in removals
            ],
        )
    return ExitCode.OK


async def _tear_down(planned: Plan, *, dry_run: bool) -> Sequence[Removal]:
    from flusso_core.model import Removal

    async with planned.make_capture() as capture:
        removed = await capture.teardown(dry_run=dry_run)
    kept = "indexes and records are the destination's: delete them there"
    return [*removed, *(Removal(f"sink {name}", kept) for name in planned.sinks)]
