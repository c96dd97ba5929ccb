"""What the change stream has to cover, what it covers, and what must be done about the rest.

`plan` compares the two without touching the server; `flusso_source_postgres.provision` carries
the plan out, and `check` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flusso_core.model import Finding, Severity, TableName
from flusso_source_postgres.catalogue import (
    RelationKind,
    Storage,
    Table,
)
from flusso_source_postgres.needs import Need
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.publication import Publication
from flusso_source_postgres.server import Server, drop_slot
from flusso_source_postgres.sql.text import identifier, table_name

_OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})

_PUBLISHES_GENERATED = 180000
"""Postgres 18 can publish stored generated columns (`publish_generated_columns`)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What stands in the way, and what flusso itself does about the rest.

    Attributes:
        findings: what someone else has to mend for all tables (errors), or should know (warnings).
        faults: by table, what keeps its changes from being followed. It concerns the indexes
            that name the table.
        identities: what gets REPLICA IDENTITY FULL.
        publication: SQL that makes the publication complete.
        unpublished: tables of which it lacks changes.
    """

    findings: tuple[Finding, ...]
    faults: Mapping[TableName, tuple[Finding, ...]]
    identities: tuple[Storage, ...]
    publication: tuple[str, ...]
    unpublished: frozenset[TableName]


def plan(
    options: PostgresOptions,
    needs: Sequence[Need],
    *,
    server: Server,
    tables: Mapping[TableName, Table],
    publication: Publication | None,
    has_slot: bool,
) -> Plan:
    """Compare what is needed of the tables with what there is.

    Args:
        options: what flusso may do by itself.
        needs: what the schemas need.
        server: for its version and the role.
        tables: what the catalogue says.
        publication: what is published, if anything.
        has_slot: a slot that is to be read exists already.
    """
    findings: list[Finding] = []
    faults: dict[TableName, tuple[Finding, ...]] = {}
    identities: list[Storage] = []
    usable: list[Table] = []
    for need in needs:
        table = tables.get(need.table)
        wrong = [*_table(need, table, server), *_member(publication, need)]
        if table is not None and not wrong:
            for storage in table.storage:
                if need.columns <= storage.identity.columns:
                    continue
                if options.manage_replica_identity and table.owned and not storage.column_lists:
                    identities.append(storage)
                    continue
                said = _identity(need, storage)
                (wrong if said.severity is Severity.ERROR else findings).append(said)
        if wrong:
            faults[need.table] = tuple(wrong)
        elif table is not None:
            usable.append(table)
    changes: tuple[str, ...] = ()
    if publication is None and has_slot:
        findings.append(_newer(options))
    else:
        changes, incomplete = _publication(options, usable, server=server, publication=publication)
        findings += incomplete
    whole = publication is not None and publication.operations >= _OPERATIONS
    unpublished = frozenset(
        table.name for table in usable if not whole or not _published(table, publication)
    )
    return Plan(tuple(findings), faults, tuple(identities), changes, unpublished)


def full_identity(storage: TableName) -> str:
    """The SQL that makes the stream carry whole old rows of a table."""
    return f"ALTER TABLE {table_name(storage)} REPLICA IDENTITY FULL"


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
    if storage.column_lists:
        # With a whole row as its identity, its UPDATE and DELETE would fail.
        lists = ", ".join(identifier(one) for one in storage.column_lists)
        cure = f"publish it without a list of columns ({lists}), then {cure}"
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
        f"its replica identity does not carry {lacking}: nothing says which document a row leaves, "
        "and each UPDATE or DELETE has every document of the index built anew",
        cure,
    )


def _newer(options: PostgresOptions) -> Finding:
    # pgoutput looks the publication up as of each commit: those before it was made fail for ever.
    return _error(
        f"publication {options.publication}",
        f"does not exist, but the replication slot {options.slot} does, and can never be read "
        "past what was committed without the publication",
        f"{drop_slot(options.slot)}; then every index is filled afresh",
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


def _member(publication: Publication | None, need: Need) -> Iterator[Finding]:
    """What a publication that someone else made leaves out of a table."""
    member = None if publication is None else publication.members.get(need.table)
    if publication is None or member is None:
        return
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
