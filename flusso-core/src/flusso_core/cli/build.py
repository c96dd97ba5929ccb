"""`flusso build`: compile config and schemas into one file without secrets."""

from __future__ import annotations

from pathlib import Path

import click

from flusso_core.cli.console import log_to_stderr
from flusso_core.cli.deployment import config_option, lock_option
from flusso_core.cli.options import session_of, verbosity
from flusso_core.errors import FlussoError


@click.command()
@config_option
@lock_option
@verbosity
@click.pass_context
def command(context: click.Context, config: Path, lock: Path) -> None:
    """Compile config and schemas into one lock file.

    The file is portable: it holds everything that `flusso run --locked` needs, and no secret.
    The plugins have to be installed, as only they know which of their options are secrets.
    """
    from flusso_core.config import load_deployment
    from flusso_core.config.lock import write_lock
    from flusso_core.pipeline import plan

    console = log_to_stderr(context)
    planned = plan(load_deployment(config))
    try:
        changed = write_lock(planned.deployment, lock, planned.models)
    except OSError as error:
        raise FlussoError(f"{lock} cannot be written: {error.strerror}") from error
    if session_of(context).verbosity >= 0:
        console.print(f"{lock} is {'written' if changed else 'up to date'}")
