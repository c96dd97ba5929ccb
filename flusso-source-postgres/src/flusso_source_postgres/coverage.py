"""What the change stream has to cover, what it covers, and what must be done about the rest.

`plan` compares the two without touching the server; `flusso_source_postgres.provision` carries
the plan out, and `check` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from flusso_core.model import Finding, Severity, TableName
from flusso_source_postgres.catalogue import (
    OLDEST_SERVER,
    Publication,
    RelationKind,
    Storage,
    Table,
)
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.text import identifier, literal, table_name

_OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})

_PUBLISHES_GENERATED = 180000
"""Postgres 18 can publish stored generated columns (`publish_generated_columns`)."""


@dataclass(frozen=True, slots=True)
class Need:
    """What the schemas need of a table's changes.

    Attributes:
        columns: the routing columns.
        origins: the schema files, or indexes, that name the table.
    """

    table: TableName
    columns: frozenset[str]
    origins: tuple[str, ...] = ()


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
    """A replication slot, as `pg_replication_slots` shows it."""

    plugin: str | None
    database: str | None
    active_pid: int | None
    wal_status: str | None
    confirmed: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What stands in the way, and what flusso itself does about the rest.

    Attributes:
        findings: what someone else has to mend (errors), or should know (warnings).
        identities: what gets REPLICA IDENTITY FULL.
        publication: SQL that makes the publication complete.
        slot: the slot must be created.
    """

    findings: tuple[Finding, ...]
    identities: tuple[Storage, ...]
    publication: tuple[str, ...]
    slot: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a run."""
        return tuple(one for one in self.findings if one.severity is Severity.ERROR)


_SERVER: LiteralString = """
SELECT current_setting('server_version_num')::int, current_setting('wal_level'),
       current_database()::text, current_user::text,
       pg_catalog.has_database_privilege(current_database(), 'CREATE'),
       (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user),
       pg_catalog.pg_is_in_recovery()
"""

_SLOT: LiteralString = """
SELECT plugin::text, database::text, active_pid, wal_status, confirmed_flush_lsn::text
FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
"""


async def read_server(session: Session) -> Server:
    """Ask the server about itself, the database and the role."""
    return Server(*await session.row(_SERVER, doing="read the server's settings"))


async def read_slot(session: Session, name: str) -> Slot | None:
    """The replication slot of that name, if there is one."""
    rows = await session.rows(_SLOT, [name], doing="read the replication slots")
    return Slot(*rows[0]) if rows else None


def plan(
    options: PostgresOptions,
    needs: Sequence[Need],
    *,
    server: Server,
    tables: Mapping[TableName, Table],
    publication: Publication | None,
    slot: Slot | None,
) -> Plan:
    """Compare what is needed with what there is."""
    findings = [*_server(server), *_slot(options.slot, slot, server)]
    identities: list[Storage] = []
    usable: list[Table] = []
    for need in needs:
        table = tables.get(need.table)
        faults = list(_table(need, table, server))
        findings += faults
        if table is None or faults:
            continue
        usable.append(table)
        for storage in table.storage:
            if need.columns <= storage.identity.columns:
                continue
            if options.manage_replica_identity and table.owned:
                identities.append(storage)
            else:
                findings.append(_identity(need, storage))
    changes: tuple[str, ...] = ()
    if publication is None and slot is not None:
        findings.append(_newer(options))
    else:
        changes, faults = _publication(options, usable, server=server, publication=publication)
        findings += faults
    if publication is not None:
        findings += _members(publication, needs)
    return Plan(tuple(findings), tuple(identities), changes, slot is None)


def full_identity(storage: TableName) -> str:
    """The SQL that makes the stream carry whole old rows of a table."""
    return f"ALTER TABLE {table_name(storage)} REPLICA IDENTITY FULL"


def _server(server: Server) -> Iterator[Finding]:
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


def _slot(name: str, slot: Slot | None, server: Server) -> Iterator[Finding]:
    if slot is None:
        return
    subject = f"replication slot {name}"
    drop = f"SELECT pg_drop_replication_slot({literal(name)}); then every index is filled afresh"
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
    elif slot.wal_status == "lost":
        yield _error(
            subject,
            "is lost: the server has removed WAL that it needs (max_slot_wal_keep_size)",
            drop,
        )
    elif slot.active_pid is not None:
        yield Finding(Severity.WARNING, subject, f"is in use by process {slot.active_pid}")


def _table(need: Need, table: Table | None, server: Server) -> Iterator[Finding]:
    subject = f"table {need.table}"
    named = f" (named by {', '.join(need.origins)})" if need.origins else ""
    quoted = table_name(need.table)
    if table is None:
        yield _error(
            subject,
            f"does not exist{named}",
            "create it, or correct the schema file",
        )
        return
    if table.kind not in (RelationKind.TABLE, RelationKind.PARTITIONED):
        kind = table.kind.name.lower().replace("_", " ")
        yield _error(
            subject, f"is a {kind}{named}: it has no changes to follow", "name the table behind it"
        )
        return
    if not table.logged:
        yield _error(
            subject,
            f"is unlogged{named}: its changes are not in the WAL",
            f"ALTER TABLE {quoted} SET LOGGED",
        )
    if not table.readable:
        schema, role = identifier(need.table.schema), identifier(server.role)
        yield _error(
            subject,
            f"may not be read by role {server.role}{named}",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {quoted} TO {role}",
        )
    if table.hidden_rows:
        yield _error(
            subject,
            f"hides rows from role {server.role} by a row security policy{named}",
            f"ALTER ROLE {identifier(server.role)} BYPASSRLS",
        )
    for name in sorted(need.columns):
        column = table.column(name)
        if column is None:
            yield _error(
                subject,
                f"has no column {identifier(name)}{named}",
                "add it, or correct the schema file",
            )
        elif column.generated and server.version < _PUBLISHES_GENERATED:
            yield _error(
                subject,
                f"relates by the generated column {identifier(name)}{named}, which is not "
                "published before Postgres 18",
                "relate by an ordinary column",
            )


def _identity(need: Need, storage: Storage) -> Finding:
    subject = f"table {storage.name}"
    cure = full_identity(storage.name)
    if not storage.identity.columns:
        return _error(
            subject,
            "has no usable replica identity: once published, its UPDATE and DELETE would fail",
            cure,
        )
    lacking = ", ".join(identifier(one) for one in sorted(need.columns - storage.identity.columns))
    return Finding(
        Severity.WARNING,
        subject,
        f"its replica identity does not carry {lacking}: a document that a row leaves, by DELETE "
        "or by an UPDATE of these columns, may stay as it was",
        cure,
    )


def _newer(options: PostgresOptions) -> Finding:
    # pgoutput looks the publication up as of each commit: those before it was made fail for ever.
    return _error(
        f"publication {options.publication}",
        f"does not exist, but the replication slot {options.slot} does, and can never be read "
        "past what was committed without the publication",
        f"SELECT pg_drop_replication_slot({literal(options.slot)}); "
        "then every index is filled afresh",
    )


def _publication(
    options: PostgresOptions,
    tables: Sequence[Table],
    *,
    server: Server,
    publication: Publication | None,
) -> tuple[tuple[str, ...], list[Finding]]:
    """The statements that complete the publication, or what keeps flusso from running them."""
    name = identifier(options.publication)
    missing = [table for table in tables if not _published(table, publication)]
    listed = ", ".join(table_name(table.name) for table in missing)
    statements: list[str] = []
    if publication is None:
        publish = ", ".join(sorted(_OPERATIONS))
        statements.append(
            f"CREATE PUBLICATION {name} FOR TABLE {listed} "
            f"WITH (publish = '{publish}', publish_via_partition_root = true)"
        )
        permitted = server.may_create
    else:
        if not publication.operations >= _OPERATIONS:
            publish = ", ".join(sorted(_OPERATIONS))
            statements.append(f"ALTER PUBLICATION {name} SET (publish = '{publish}')")
        if not publication.via_root and any(
            table.kind is RelationKind.PARTITIONED for table in tables
        ):
            statements.append(f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true)")
        if missing:
            statements.append(f"ALTER PUBLICATION {name} ADD TABLE {listed}")
        permitted = publication.owned
    if not statements or (publication is None and not tables):
        return (), []
    subject = f"publication {options.publication}"
    lacks = f"lacks {listed}" if missing and publication is not None else "is not complete"
    what = "does not exist" if publication is None else lacks
    if not options.manage_publication:
        what += ", and manage_publication is off"
    elif not permitted or not all(table.owned for table in missing):
        what += f", and role {server.role} may not change that"
    else:
        return tuple(statements), []
    return (), [_error(subject, what, "; ".join(statements))]


def _published(table: Table, publication: Publication | None) -> bool:
    if publication is None:
        return False
    if publication.all_tables or table.name in publication.members:
        return True
    # Without publish_via_partition_root a partitioned table is listed by its leaves.
    return (
        not publication.via_root
        and bool(table.storage)
        and all(storage.name in publication.members for storage in table.storage)
    )


def _members(publication: Publication, needs: Sequence[Need]) -> Iterator[Finding]:
    for need in needs:
        member = publication.members.get(need.table)
        if member is None:
            continue
        subject = f"publication {publication.name}"
        again = (
            f"ALTER PUBLICATION {identifier(publication.name)} DROP TABLE "
            f"{table_name(need.table)}; then start flusso again, or add the table without it"
        )
        if member.row_filter is not None:
            yield _error(
                subject,
                f"publishes only some rows of {need.table} ({member.row_filter}): "
                "changes of the others would be lost",
                again,
            )
        lacking = need.columns - member.columns
        if lacking:
            names = ", ".join(identifier(one) for one in sorted(lacking))
            yield _error(subject, f"leaves out {names} of {need.table}", again)


def _error(subject: str, message: str, cure: str) -> Finding:
    return Finding(Severity.ERROR, subject, message, cure)
