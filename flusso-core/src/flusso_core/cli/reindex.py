"""`flusso reindex`: fill an index anew beside the one that serves."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)


class ReindexArguments(GenerationArguments):
    """What the flags say."""

    keep_old: bool


@generation_command
@option("--keep-old", is_flag=True, help="Keep what serves until then, for flusso rollback.")
@click.pass_context
def command(context: click.Context, **given: Unpack[ReindexArguments]) -> ExitCode:
    """Fill an index anew beside the one that serves.

    That one gets every change until searches see the new one, complete. The run of the deployment
    does it that answers at its private address; where nobody listens there, this command runs the
    deployment for as long as it takes. After a signal the next run goes on; flusso rollback gives
    it up.
    """
    index, keep_old = given["index"], given["keep_old"]

    async def begin(run: Operations) -> None:
        sinks = [at for at in (await run.indexes())[index].values() if at.generation is not None]
        if sinks and all(at.filling and at.keep_old == keep_old for at in sinks):
            logger.info("a new generation of index %s is being filled already", index)
        else:
            await run.reindex(index, keep_old=keep_old)

    return change_generation(context, given, begin)
