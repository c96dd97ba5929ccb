"""`flusso rollback`: go back to an older generation of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.exits import ExitCode
from flusso_core.cli.generations import (
    GenerationArguments,
    change_generation,
    generation_command,
)
from flusso_core.cli.options import option

if TYPE_CHECKING:
    from flusso_core.server import Operations


class RollbackArguments(GenerationArguments):
    """What the flags say."""

    drop_current: bool


@generation_command
@option("--drop-current", is_flag=True, help="Drop what served until then, instead of keeping it.")
@click.pass_context
def command(context: click.Context, **given: Unpack[RollbackArguments]) -> ExitCode:
    """Go back to an older generation of an index.

    One that is being filled is given up, and what serves goes on. Otherwise searches see a kept
    generation at once, as it was when it was superseded; then its rows are read again. What
    served until then is kept, so that a second rollback returns to it. The run of the deployment
    does it, or this command, as with flusso reindex.
    """

    async def begin(run: Operations) -> None:
        await run.rollback(given["index"], keep_current=not given["drop_current"])

    return change_generation(context, given, begin)
