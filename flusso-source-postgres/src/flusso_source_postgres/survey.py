"""One look at everything that the change stream depends on, compared with what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flusso_core.model import Finding, Severity, UnfitIndex
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.catalogue import RelationKind, read_tables
from flusso_source_postgres.coverage import Plan, plan
from flusso_source_postgres.fitness import Tables, unfit_for_faults
from flusso_source_postgres.needs import Need, read_needs
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.publication import Publication, read_publication
from flusso_source_postgres.server import (
    Server,
    Slot,
    failover_findings,
    read_server,
    read_slot,
    server_findings,
    slot_findings,
)
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.compiled import table_names


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is, and what follows from it.

    Attributes:
        server: the server, the database and the role.
        slot: the replication slot, where there is one.
        publication: the publication, where there is one.
        tables: those of all schemas.
        needs: what the schemas that fit need of them.
        followed: the same, with what the older schemas need that are covered.
        plan: what is to be done for the schemas that fit.
        general: what was found of the server and the slot.
        findings: everything that was found, of all schemas.
        unfit: the indexes that cannot be kept right.
        uncovered: the older schemas whose generations cannot, with the reason.
    """

    server: Server
    slot: Slot | None
    publication: Publication | None
    tables: Tables
    needs: Sequence[Need]
    followed: Sequence[Need]
    plan: Plan
    general: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    unfit: tuple[UnfitIndex, ...]
    uncovered: Mapping[str, str]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps every index from being kept right."""
        every = (*self.general, *self.plan.findings) if self.needs else self.findings
        return tuple(one for one in every if one.severity is Severity.ERROR)


async def survey(
    session: Session,
    options: PostgresOptions,
    schemas: Sequence[IndexSchema],
    *,
    temporary: bool,
    older: Mapping[str, IndexSchema],
) -> Survey:
    """Look at the server, the slot, the tables and the publication.

    Args:
        session: where to ask.
        options: names, and what flusso may do by itself.
        schemas: of all indexes.
        temporary: the slot is a temporary one, and no other one matters.
        older: schemas by which generations were built that still serve, by their stored form.
            Nothing is changed for them, and nothing found in their way is an error.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    connection = await session.connection()
    server = await read_server(session)
    slot = None if temporary else await read_slot(session, options.slot)
    publication = await read_publication(connection, options.publication)
    tables = await read_tables(
        connection,
        {name for schema in (*schemas, *older.values()) for name in table_names(schema)},
    )

    def planned(needs: Sequence[Need]) -> Plan:
        return plan(
            options,
            needs,
            server=server,
            tables=tables,
            publication=publication,
            has_slot=slot is not None and not slot.lost,
        )

    needs, keyless = read_needs(schemas, tables)
    everything = planned(needs)
    unfit = {one.index: one for one in keyless}
    for schema in schemas:
        faulty = unfit_for_faults(schema, everything.faults)
        if faulty is not None:
            unfit[schema.index] = faulty
    general = (
        *server_findings(server),
        *slot_findings(options.slot, slot, server),
        *failover_findings(options.slot, slot, server, failover=options.failover),
    )
    fitting = [schema for schema in schemas if schema.index not in unfit]
    needs, _ = read_needs(fitting, tables)
    reasons = {stored: _uncovered(schema, tables, planned) for stored, schema in older.items()}
    covered = [schema for stored, schema in older.items() if reasons[stored] is None]
    followed, _ = read_needs((*fitting, *covered), tables)
    return Survey(
        server=server,
        slot=slot,
        publication=publication,
        tables=tables,
        needs=needs,
        followed=followed,
        plan=planned(needs) if unfit else everything,
        general=general,
        findings=(
            *general,
            *(Finding(Severity.ERROR, f"index {one.index}", one.reason) for one in keyless),
            *(finding for faults in everything.faults.values() for finding in faults),
            *everything.findings,
            *_partitioned(tables),
        ),
        unfit=tuple(unfit.values()),
        uncovered={stored: reason for stored, reason in reasons.items() if reason is not None},
    )


def _uncovered(
    schema: IndexSchema, tables: Tables, planned: Callable[[Sequence[Need]], Plan]
) -> str | None:
    """Why the stream does not have every change of an older schema's tables; `None`: it has.

    A table that is not published is not added: what was not published until now is missing in
    the documents. A replica identity that tells less costs work, but no change.
    """
    needs, keyless = read_needs((schema,), tables)
    alone = planned(needs)
    unfit = keyless[0] if keyless else unfit_for_faults(schema, alone.faults)
    if unfit is not None:
        return unfit.reason
    if alone.unpublished:
        names = ", ".join(str(name) for name in sorted(alone.unpublished))
        return f"changes of {names} are not published"
    return None


def _partitioned(tables: Tables) -> Sequence[Finding]:
    return [
        Finding(
            Severity.WARNING,
            f"table {name}",
            "is partitioned, and Postgres publishes no TRUNCATE, ATTACH, DETACH or DROP of a "
            "single partition: one that happens while flusso does not run goes unnoticed",
            "after such a change, sweep the indexes that read it (sweep_interval)",
        )
        for name, table in sorted(tables.items())
        if table.kind is RelationKind.PARTITIONED
    ]
