"""Makes the stream exist and cover the schemas' tables: identities, publication, slot.

The order matters. The replica identities come before the publication, because a published table
without one refuses UPDATE and DELETE. The publication is committed before the slot is made,
because a slot cannot be read past a commit that was made without the publication.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Sequence

import psycopg
from psycopg import errors
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_result,
    stop_after_delay,
    wait_random_exponential,
)

from flusso_core.errors import SourceFatal
from flusso_core.model import Finding
from flusso_source_postgres.catalogue import Storage
from flusso_source_postgres.connection import Connection, ConnectionTarget, source_error
from flusso_source_postgres.coverage import full_identity
from flusso_source_postgres.replication import ReplicationConnection
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.text import table_name
from flusso_source_postgres.visibility import transactions_before

logger = logging.getLogger(__name__)

LOCK_PATIENCE = 30.0
"""Seconds of trying to lock a table that others keep busy."""

_EXPLAIN_AFTER, _EXPLAIN_EVERY = 3.0, 30.0


def refuse(findings: Sequence[Finding]) -> None:
    """Stop where something is in the way.

    Raises:
        SourceFatal: naming each finding and its cure.
    """
    if findings:
        lines = [
            f"{one.subject}: {one.message}" + (f"\n    {one.cure}" if one.cure else "")
            for one in findings
        ]
        raise SourceFatal("Postgres is not ready for flusso:\n  " + "\n  ".join(lines))


async def set_identities(connection: Connection, storages: Sequence[Storage]) -> None:
    """Give each table REPLICA IDENTITY FULL, trying for a while where it is busy.

    Raises:
        SourceFatal: a table stays busy, or the role may not.
        SourceUnavailable: the connection was lost.
    """
    for storage in storages:
        attempts = AsyncRetrying(
            retry=retry_if_result(operator.not_),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_delay(LOCK_PATIENCE),
        )
        try:
            await attempts(set_identity, connection, storage)
        except RetryError as error:
            raise SourceFatal(
                f"table {storage.name} is in use all the time: its replica identity cannot be "
                f"set; do it in a quiet moment: {full_identity(storage.name)}"
            ) from error


async def set_identity(connection: Connection, storage: Storage) -> bool:
    """Give a table REPLICA IDENTITY FULL, unless it is busy at this moment.

    Nobody is made to queue behind the lock: an ALTER that waits for its lock makes every later
    query on the table wait behind it.

    Returns:
        Whether it was done.

    Raises:
        SourceFatal: the role may not.
        SourceUnavailable: the connection was lost.
    """
    lock = f"LOCK TABLE {table_name(storage.name)} IN ACCESS EXCLUSIVE MODE NOWAIT"
    try:
        async with connection.transaction():
            await connection.execute(lock.encode())
            await connection.execute(full_identity(storage.name).encode())
    except errors.LockNotAvailable:
        return False
    except psycopg.Error as error:
        raise source_error(error, f"set the replica identity of {storage.name}") from error
    logger.info("set REPLICA IDENTITY FULL on %s, to see rows leave a document", storage.name)
    return True


async def change_publication(connection: Connection, statements: Sequence[str]) -> None:
    """Run the statements in one transaction, and return when it is committed.

    Raises:
        SourceFatal: the role may not.
        SourceUnavailable: the connection was lost.
    """
    if not statements:
        return
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement.encode())
    except psycopg.Error as error:
        cure = "; ".join(statements)
        raise source_error(error, f"change the publication ({cure})") from error
    for statement in statements:
        logger.info("%s", statement)


async def create_slot(
    target: ConnectionTarget,
    session: Session,
    slot: str,
    *,
    temporary: bool = False,
    failover: bool = False,
) -> ReplicationConnection:
    """Create a replication slot, and log what it waits for.

    Args:
        target: where to.
        session: where to ask what it waits for.
        slot: its name.
        temporary: it ends with the connection.
        failover: standbys keep it too; Postgres 17 and later.

    Returns:
        The connection that made it; a temporary slot lives as long as that is open.

    Raises:
        SourceUnavailable: the server is not there, or has no slot to spare.
        SourceFatal: it refuses.
    """
    connection = await ReplicationConnection.open(target)
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_explain(session, slot))
            await connection.create_slot(slot, temporary=temporary, failover=failover)
            watcher.cancel()
    except BaseExceptionGroup as failures:
        await connection.close()
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    except BaseException:
        await connection.close()
        raise
    logger.info("created the %sreplication slot %s", "temporary " if temporary else "", slot)
    return connection


async def _explain(session: Session, slot: str) -> None:
    """Say now and then which transactions a new slot waits for."""
    row = await session.row(
        "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text",
        doing="read a snapshot",
    )
    await asyncio.sleep(_EXPLAIN_AFTER)
    while True:
        waited_for = await transactions_before(session, int(row[0]))
        if waited_for:
            logger.warning(
                "the new replication slot %s waits for transactions that write: %s",
                slot,
                "; ".join(waited_for),
            )
        await asyncio.sleep(_EXPLAIN_EVERY)
