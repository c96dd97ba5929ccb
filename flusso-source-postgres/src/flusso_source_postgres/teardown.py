"""Takes back what provisioning has made: slot, publication, replica identities, in this order.

An identity goes back only once the publication is gone: a published table without a usable one
refuses UPDATE and DELETE.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import errors

from flusso_core.errors import SourceFatal
from flusso_core.model import Removal
from flusso_source_postgres.connection import source_error
from flusso_source_postgres.mark import Identity, read_mark
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.server import drop_slot, read_slot
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.text import identifier, table_name

# Whoever publishes the table now may rely on whole old rows.
_IDENTITY: LiteralString = """
SELECT c.relreplident::text,
       ARRAY(SELECT DISTINCT t.pubname::text FROM pg_catalog.pg_publication_tables t
             WHERE t.pubname <> %s AND ((t.schemaname, t.tablename) = (n.nspname, c.relname)
                 OR pg_catalog.to_regclass(pg_catalog.quote_ident(t.schemaname) || '.'
                     || pg_catalog.quote_ident(t.tablename))::oid IN (
                     SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid)))
             ORDER BY 1)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""


async def tear_down(session: Session, options: PostgresOptions, *, dry_run: bool) -> list[Removal]:
    """Remove what flusso has made, and say what is left.

    Args:
        session: where to ask and to act.
        options: the names.
        dry_run: change nothing.

    Raises:
        SourceUnavailable: the connection was lost.
        SourceFatal: a run uses the slot.
    """
    slot = await _slot(session, options.slot, dry_run=dry_run)
    mark = await read_mark(session, options.publication)
    publication = await _publication(
        session, options.publication, marked=mark is not None, dry_run=dry_run
    )
    if mark is None:
        unknown = Removal(
            "replica identities",
            "which tables a run has set to FULL is not known: where nothing else needs it, "
            "ALTER TABLE … REPLICA IDENTITY DEFAULT",
        )
        return [*slot, *publication, unknown]
    identities = [
        await _identity(session, options.publication, one, dry_run=dry_run)
        for one in mark.identities
    ]
    return [*slot, *publication, *(one for one in identities if one is not None)]


async def _slot(session: Session, name: str, *, dry_run: bool) -> list[Removal]:
    subject = f"replication slot {name}"
    slot = await read_slot(session, name)
    if slot is None:
        return []
    row = await session.row("SELECT current_database()::text", doing="ask for the database")
    if slot.plugin != "pgoutput" or slot.database != row[0]:
        return [Removal(subject, "it is not flusso's: of another plugin or another database")]
    if slot.active_pid is not None:
        raise SourceFatal(
            f"{subject} is in use by process {slot.active_pid}: stop flusso first; nothing was "
            "removed"
        )
    return [await _do(session, subject, drop_slot(name), dry_run=dry_run)]


async def _publication(
    session: Session, name: str, *, marked: bool, dry_run: bool
) -> list[Removal]:
    subject, drop = f"publication {name}", f"DROP PUBLICATION {identifier(name)}"
    if marked:
        return [await _do(session, subject, drop, dry_run=dry_run)]
    there = await session.rows(
        "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = %s",
        [name],
        doing="read the publications",
    )
    return [Removal(subject, f"flusso did not make it: {drop}")] if there else []


async def _identity(
    session: Session, publication: str, identity: Identity, *, dry_run: bool
) -> Removal | None:
    name = identity.name
    subject = f"replica identity of {name}"
    back = f"ALTER TABLE {table_name(name)} REPLICA IDENTITY {identity.before}"
    rows = await session.rows(
        _IDENTITY, [publication, name.schema, name.name], doing="read the replica identities"
    )
    if not rows or rows[0][0] != "f":
        return None
    others: list[str] = rows[0][1]
    if others:
        listed = ", ".join(identifier(one) for one in others)
        return Removal(subject, f"the table is also published by {listed}: {back}")
    return await _do(session, subject, back, dry_run=dry_run)


async def _do(session: Session, subject: str, statement: str, *, dry_run: bool) -> Removal:
    """Run a statement, unless this is a dry run; where the role may not, it is left."""
    if dry_run:
        return Removal(subject)
    connection = await session.connection()
    try:
        async with connection.transaction():
            # Others queue behind the lock of a busy table for this long at most.
            await connection.execute("SET LOCAL lock_timeout = '200ms'")
            await connection.execute(statement.encode())
    except errors.InsufficientPrivilege:
        return Removal(subject, f"the role may not remove it: {statement}")
    except errors.LockNotAvailable:
        return Removal(subject, f"it is in use all the time: {statement}")
    except psycopg.Error as error:
        raise source_error(error, f"remove the {subject}") from error
    return Removal(subject)
