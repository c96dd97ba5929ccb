"""The server that is followed, and the replication slot: what they are, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

from flusso_core.errors import SourceFatal
from flusso_core.model import Finding, Severity
from flusso_source_postgres.catalogue import OLDEST_SERVER
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.text import identifier, literal
from flusso_source_postgres.wire import parse_lsn

FAILOVER_SLOTS = 170000
"""Postgres 17 and later can keep a slot on standbys (the manual, "Replication Slots")."""


@dataclass(frozen=True, slots=True)
class Server:
    """What matters of the server, the database and the role."""

    version: int
    wal_level: str
    database: str
    role: str
    may_create: bool
    may_replicate: bool
    standby: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, as `pg_replication_slots` shows it.

    Attributes:
        wal_status: whether the server still has the WAL that it needs: reserved, extended,
            unreserved, lost.
        failover: standbys keep it too; `None` before Postgres 17.
    """

    plugin: str | None
    database: str | None
    active_pid: int | None
    wal_status: str | None
    confirmed: str | None
    failover: bool | None

    @property
    def lost(self) -> bool:
        """Whether it can never be read again."""
        return self.wal_status == "lost"


_SERVER: LiteralString = """
SELECT current_setting('server_version_num')::int, current_setting('wal_level'),
       current_database()::text, current_user::text,
       pg_catalog.has_database_privilege(current_database(), 'CREATE'),
       (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user),
       pg_catalog.pg_is_in_recovery()
"""

# A column that is not there yet is read as NULL.
_SLOT: LiteralString = """
SELECT plugin::text, database::text, active_pid, wal_status, confirmed_flush_lsn::text,
       (pg_catalog.to_jsonb(slot) ->> 'failover')::bool
FROM pg_catalog.pg_replication_slots AS slot WHERE slot_name = %s
"""

_WAL: LiteralString = """
SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_current_wal_flush_lsn()::text,
       current_setting('wal_block_size')::int
"""


async def read_server(session: Session) -> Server:
    """Ask the server about itself, the database and the role."""
    return Server(*await session.row(_SERVER, doing="read the server's settings"))


async def read_slot(session: Session, name: str) -> Slot | None:
    """The replication slot of that name, if there is one."""
    rows = await session.rows(_SLOT, [name], doing="read the replication slots")
    return Slot(*rows[0]) if rows else None


async def read_wal(session: Session) -> tuple[int, int]:
    """How far the WAL is written, and how far it is flushed."""
    row = await session.row(_WAL, doing="read the end of the WAL")
    written = parse_lsn(row[0])
    # At the start of a page the position lies behind the page's header (24 or 40 bytes).
    beyond = written % int(row[2])
    return written - beyond if beyond in (24, 40) else written, parse_lsn(row[1])


def server_findings(server: Server) -> Iterator[Finding]:
    """What keeps the server from being followed at all."""
    if server.version < OLDEST_SERVER:
        yield _error(
            "server",
            f"Postgres {server.version // 10000} is older than {OLDEST_SERVER // 10000}",
            f"upgrade it to {OLDEST_SERVER // 10000} or later",
        )
    if server.wal_level != "logical":
        yield _error(
            "server",
            f"wal_level is {server.wal_level}; logical replication needs logical",
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server",
        )
    if server.standby:
        yield _error("server", "it is a standby", "connect to the primary")
    if not server.may_replicate:
        # Managed services grant replication by roles of their own.
        yield Finding(
            Severity.WARNING,
            f"role {server.role}",
            "lacks REPLICATION, unless this service grants it in its own way",
            f"ALTER ROLE {identifier(server.role)} REPLICATION",
        )


def slot_findings(name: str, slot: Slot | None, server: Server) -> Iterator[Finding]:
    """What keeps the slot from being read, and what a run does about it."""
    if slot is None:
        return
    subject = f"replication slot {name}"
    if slot.plugin != "pgoutput":
        kind = "a physical slot" if slot.plugin is None else f"of the plugin {slot.plugin}"
        yield _error(
            subject, f"is {kind}, flusso needs pgoutput", "choose another name in [source] slot"
        )
    elif slot.database != server.database:
        yield _error(
            subject,
            f"belongs to database {slot.database}, not to {server.database}",
            "choose another name in [source] slot",
        )
    elif slot.lost:
        yield Finding(
            Severity.WARNING,
            subject,
            "is lost: the server has removed WAL that it needs (max_slot_wal_keep_size) or has "
            "invalidated it; a run drops it and makes a new one, and each index then has a gap",
            drop_slot(name),
        )
    elif slot.active_pid is not None:
        yield Finding(Severity.WARNING, subject, f"is in use by process {slot.active_pid}")
    elif slot.wal_status == "unreserved":
        yield Finding(
            Severity.WARNING,
            subject,
            "is about to be lost: the server may remove WAL that it needs at the next checkpoint",
            "start flusso, or raise max_slot_wal_keep_size",
        )


def failover_findings(
    name: str, slot: Slot | None, server: Server, *, failover: bool
) -> Iterator[Finding]:
    """What keeps the slot from surviving a failover, where that is wished for."""
    if failover and server.version < FAILOVER_SLOTS:
        yield Finding(
            Severity.WARNING,
            f"replication slot {name}",
            f"cannot be kept on standbys by Postgres {server.version // 10000}: after a failover "
            "each index has a gap",
            "leave out `failover` in [source], or upgrade to Postgres 17",
        )
    elif failover and slot is not None and slot.failover is False:
        yield Finding(
            Severity.WARNING,
            f"replication slot {name}",
            "is not kept on standbys yet; a run changes that",
        )


def lost(name: str) -> SourceFatal:
    """The error of a run whose slot was lost under it."""
    return SourceFatal(
        f"replication slot {name} is lost: the server has removed WAL that it needs "
        "(max_slot_wal_keep_size) or has invalidated it; start flusso again: it makes a new one, "
        "and each index then has a gap"
    )


def drop_slot(name: str) -> str:
    """The SQL that drops a replication slot."""
    return f"SELECT pg_drop_replication_slot({literal(name)})"


def _error(subject: str, message: str, cure: str) -> Finding:
    return Finding(Severity.ERROR, subject, message, cure)
