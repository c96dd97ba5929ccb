"""Removes what runs have made: the outbox with its triggers, and the state file."""

from __future__ import annotations

from pathlib import Path

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.model import Removal
from flusso_source_polling.database import Database
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.state import StateFile


def teardown(options: PollingOptions, *, dry_run: bool) -> list[Removal]:
    """Remove it, and say what is left. Blocks.

    Args:
        options: the names.
        dry_run: change nothing.

    Raises:
        SourceUnavailable: the database is not there.
        SourceFatal: a run uses the state file; nothing was removed.
    """
    state = StateFile(Path(options.state))
    try:
        there = state.remove(dry_run=True)
    except SourceUnavailable as error:
        raise SourceFatal(f"{error}: stop flusso first; nothing was removed") from error
    outbox = Outbox(Database(options.url()), options.outbox_name())
    removed = outbox.teardown(dry_run=dry_run)
    if there:
        state.remove(dry_run=dry_run)
        removed.append(Removal(f"state file {options.state}"))
    return removed
