"""One look at everything that the change stream depends on, compared with what it should be."""

from __future__ import annotations

from collections.abc import Sequence
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
        plan: what is to be done for these.
        general: what was found of the server and the slot.
        findings: everything that was found, of all schemas.
        unfit: the indexes that cannot be kept right.
    """

    server: Server
    slot: Slot | None
    publication: Publication | None
    tables: Tables
    needs: Sequence[Need]
    plan: Plan
    general: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    unfit: tuple[UnfitIndex, ...]

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
) -> Survey:
    """Look at the server, the slot, the tables and the publication.

    Args:
        session: where to ask.
        options: names, and what flusso may do by itself.
        schemas: of all indexes.
        temporary: the slot is a temporary one, and no other one matters.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    connection = await session.connection()
    server = await read_server(session)
    slot = None if temporary else await read_slot(session, options.slot)
    publication = await read_publication(connection, options.publication)
    tables = await read_tables(
        connection, {name for schema in schemas for name in table_names(schema)}
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
    return Survey(
        server=server,
        slot=slot,
        publication=publication,
        tables=tables,
        needs=needs,
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
    )


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
