"""The capture: committed changes of Postgres by logical replication."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Mapping, Sequence

from flusso_core.errors import ConfigError, SourceError, SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, PutBatch
from flusso_core.model import (
    ChangeBatch,
    Finding,
    Position,
    Removal,
    Severity,
    StreamIdentity,
    TableName,
)
from flusso_core.schema import restore_schema
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.assembler import Assembler
from flusso_source_postgres.catalogue import RelationKind, Table
from flusso_source_postgres.connection import ConnectionTarget
from flusso_source_postgres.mark import remember
from flusso_source_postgres.needs import Need
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.pgoutput import Decoder
from flusso_source_postgres.provision import (
    change_publication,
    create_slot,
    refuse,
    set_identities,
)
from flusso_source_postgres.relation import Route
from flusso_source_postgres.replication import ReplicationConnection
from flusso_source_postgres.server import FAILOVER_SLOTS, lost, read_slot, read_wal
from flusso_source_postgres.session import Session
from flusso_source_postgres.streaming import Confirmations, stream
from flusso_source_postgres.survey import Survey, survey
from flusso_source_postgres.teardown import tear_down
from flusso_source_postgres.timelines import FIRST, parse_history
from flusso_source_postgres.visibility import Visibility
from flusso_source_postgres.watch import Watch
from flusso_source_postgres.wire import format_lsn, parse_lsn

logger = logging.getLogger(__name__)

_CLOSE_PATIENCE = 3.0
"""Seconds for telling the server the last confirmed position when the capture closes."""

_FLUSH_PATIENCE = 2.0
"""Seconds to wait for an asynchronous commit to be flushed; the WAL writer takes 0.6 at most."""


class PostgresCapture(ChangeCapture):
    """Follows a publication through a replication slot.

    Besides the replication connection it has one for the gate, one for the watch, whose
    transactions no other question may come into, and one for everything else.
    """

    def __init__(self, context: SourceContext[PostgresOptions]) -> None:
        self._options = context.options
        self._schemas = context.schemas
        self._older: Mapping[str, IndexSchema] = {}
        self._warned: set[Finding] = set()
        self._slot = context.options.slot
        self._confirmations = Confirmations()
        self._target: ConnectionTarget | None = None
        self._control: Session | None = None
        self._gate: Session | None = None
        self._watching: Session | None = None
        self._visibility: Visibility | None = None
        self._temporary: ReplicationConnection | None = None
        self._routes: Mapping[TableName, Route] | None = None
        self._relations: Sequence[int] = ()
        self._watch: Watch | None = None
        self._identity: StreamIdentity | None = None

    async def open(self) -> None:
        """Connect, and leave nothing open where that fails.

        Raises:
            ConfigError: a variable is not set, or the connection URL is malformed.
            SourceUnavailable: the server is not there or not ready.
            SourceFatal: it refuses: password, role, database.
        """
        self._target = self._options.target(os.environ)
        control = Session(self._target, application_name="flusso capture")
        await control.connection()
        self._control = control
        self._gate = Session(self._target, application_name="flusso gate")
        self._visibility = Visibility(self._gate)
        self._watching = Session(self._target, application_name="flusso watch")

    async def close(self) -> None:
        """Tell the server the last confirmed position, and close every connection."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            await temporary.close()
        for session in (self._gate, self._watching):
            if session is not None:
                await session.close()
        self._gate = self._watching = None
        control, self._control = self._control, None
        if control is not None:
            try:
                if not self._is_temporary:
                    await self._advance(control)
            finally:
                await control.close()

    async def cover(self, older: Sequence[str]) -> Collection[str]:
        """Follow the tables of older schemas too, where the stream has all of their changes.

        Nothing is changed for them: the runs that built by them have done so. Those that no
        longer fit their tables, or whose tables are not published any more, are left out and
        logged.
        """
        restored: dict[str, IndexSchema] = {}
        for stored in older:
            try:
                restored[stored] = restore_schema(stored)
            except ConfigError as error:
                logger.warning("an older schema is not followed: %s", error)
        self._older = restored
        seen = await self._survey(temporary=False)
        for stored, reason in seen.uncovered.items():
            index = restored.pop(stored).index
            logger.warning("an older schema of index %s is not followed: %s", index, reason)
        return tuple(restored)

    async def provision(self, *, temporary: bool) -> None:
        """Set replica identities, complete the publication and make the slot, in this order.

        Raises:
            SourceUnavailable: the server is not there or not ready.
            SourceFatal: something is missing that flusso may not or cannot mend; the message
                says what, and the SQL for an administrator.
        """
        control = self._session()
        seen = await self._survey(temporary=temporary)
        refuse(seen.errors)
        connection = await control.connection()
        await set_identities(connection, seen.plan.identities)
        await change_publication(connection, seen.plan.publication)
        await remember(
            control,
            self._options.publication,
            seen.plan.identities,
            made=seen.publication is None and bool(seen.plan.publication),
        )
        if seen.plan.identities or seen.plan.publication:
            # Someone may have changed the tables meanwhile.
            seen = await self._survey(temporary=temporary)
            refuse(seen.errors)
        for finding in seen.findings:
            if finding.severity is Severity.WARNING and finding not in self._warned:
                self._warned.add(finding)
                cure = f"; {finding.cure}" if finding.cure else ""
                logger.warning("%s: %s%s", finding.subject, finding.message, cure)
        self._routes = {need.table: _route(seen.tables[need.table], need) for need in seen.followed}
        self._relations = [
            oid
            for table in seen.tables.values()
            for oid in (table.oid, *(storage.oid for storage in table.storage))
        ]
        if temporary:
            await self._provision_temporary(control)
        else:
            await self._provision_slot(control, seen)
        self._watch = Watch(
            self._aside(),
            self._options,
            self._schemas,
            older=self._older,
            slot=self._slot,
            begun=seen,
        )

    async def identity(self) -> StreamIdentity:
        """The server's system identifier and timeline, the database and the slot."""
        row = await self._session().row(
            "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text, "
            "current_database()::text, "
            "substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)",
            doing="identify the server",
        )
        self._identity = StreamIdentity(
            system=row[0], database=row[1], stream=self._slot, timeline=str(int(row[2], 16))
        )
        return self._identity

    async def branch_point(self, timeline: str) -> Position | None:
        """Where this server's history left that timeline: at a promotion, or a recovery."""
        async with await ReplicationConnection.open(self._where()) as connection:
            _, current = await connection.identify()
            content = None if current == FIRST else await connection.history(current)
        left = None if content is None else parse_history(content).get(timeline)
        return None if left is None else _position(left)

    async def confirmed(self) -> Position:
        """What the slot has as confirmed.

        Raises:
            SourceFatal: there is no such slot.
        """
        return _position(parse_lsn(await self._confirmed()))

    async def head(self) -> Position:
        """The end of the WAL that has been flushed.

        A commit that did not wait for its flush (`synchronous_commit = off`) is waited for, so
        that all that can be seen now lies before the head.
        """
        written, flushed = await read_wal(self._session())
        try:
            async with asyncio.timeout(_FLUSH_PATIENCE):
                while flushed < written:
                    await asyncio.sleep(0.01)
                    _, flushed = await read_wal(self._session())
        except TimeoutError:
            logger.debug("the WAL writer is behind: taking what is flushed")
        return _position(flushed)

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver every commit after `start` until cancelled; closes its connection in the end.

        Raises:
            SourceUnavailable: the connection was lost, or another process uses the slot.
            SourceFatal: slot or publication are gone, or this is another server.
        """
        if self._routes is None or self._watch is None:
            raise SourceFatal("the capture is not provisioned")
        begin = parse_lsn(start.token)
        visibility = self._visible()
        connection = await self._replication()
        async with connection:
            await self._same_server(connection)
            timeout = await connection.sender_timeout()
            # A slot must never hear of less than it has confirmed already.
            self._confirmations.confirm(parse_lsn(await self._confirmed()))
            assembler = Assembler(
                Decoder(self._routes), start=begin, next_xid=await visibility.next_xid()
            )
            await connection.start(self._slot, self._options.publication, begin)
            logger.info("following changes from %s on", format_lsn(begin))
            await self._watch.restart()
            await stream(
                connection,
                self._slot,
                assembler,
                self._confirmations,
                self._watch,
                put,
                server_timeout=timeout,
            )

    async def confirm(self, position: Position) -> None:
        """Have the server told that everything up to `position` is durable."""
        self._confirmations.confirm(position.order)

    async def wait_visible(self, batch: ChangeBatch) -> None:
        """Return when every new snapshot sees every commit in `batch`."""
        if batch.transactions:
            await self._visible().wait_visible(batch.transactions)

    async def wait_settled(self) -> None:
        """Return when every transaction has ended that has written to the tables until now."""
        await self._visible().wait_settled(self._relations)

    async def lag(self) -> int:
        """Bytes of WAL between what the slot has confirmed and the server's head."""
        row = await self._session().row(
            "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), "
            "confirmed_flush_lsn)::bigint "
            "FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
            [self._slot],
            doing="read how far the replication slot is behind",
        )
        return max(0, int(row[0] or 0))

    async def check(self) -> Sequence[Finding]:
        """What a run could not mend itself, found without changing anything."""
        return (await self._survey(temporary=False)).findings

    async def teardown(self, *, dry_run: bool) -> Sequence[Removal]:
        """Drop the slot, and the publication and replica identities that flusso has made."""
        return await tear_down(self._session(), self._options, dry_run=dry_run)

    async def _survey(self, *, temporary: bool) -> Survey:
        return await survey(
            self._session(),
            self._options,
            self._schemas,
            temporary=temporary,
            older=self._older,
        )

    async def _provision_slot(self, control: Session, seen: Survey) -> None:
        slot = seen.slot
        failover = self._options.failover and seen.server.version >= FAILOVER_SLOTS
        if slot is not None and not slot.lost:
            if failover and not slot.failover:
                async with await ReplicationConnection.open(self._where()) as connection:
                    await connection.keep_on_standbys(self._slot)
            return
        if slot is not None:
            logger.warning(
                "replication slot %s is lost and made anew: each index has a gap", self._slot
            )
            await control.rows(
                "SELECT pg_catalog.pg_drop_replication_slot(%s)",
                [self._slot],
                doing="drop the lost replication slot",
            )
        async with await create_slot(self._where(), control, self._slot, failover=failover):
            pass

    async def _provision_temporary(self, control: Session) -> None:
        if self._temporary is not None:
            if self._temporary.is_open:
                return
            await self._temporary.close()
        # A persistent slot of the configured name may be there, for other runs.
        pid = (await control.connection()).info.backend_pid
        self._slot = f"{self._options.slot[:48]}_temporary_{pid}"[:63]
        self._temporary = await create_slot(self._where(), control, self._slot, temporary=True)

    async def _replication(self) -> ReplicationConnection:
        """The connection to stream over: a new one, or the one that has the temporary slot."""
        if not self._is_temporary:
            return await ReplicationConnection.open(self._where())
        temporary, self._temporary = self._temporary, None
        if temporary is None or not temporary.is_open:
            raise SourceFatal(
                "the change stream was temporary and ended with its connection: start again"
            )
        return temporary

    async def _same_server(self, connection: ReplicationConnection) -> None:
        """Refuse to go on where another server has taken this one's place."""
        if self._identity is None:
            return
        system, timeline = await connection.identify()
        if system != self._identity.system:
            raise SourceFatal(
                f"this is another server (system identifier {system}, not "
                f"{self._identity.system}): start flusso again"
            )
        if timeline != self._identity.timeline:
            raise SourceFatal(
                f"the server failed over (timeline {timeline}, not {self._identity.timeline}): "
                "start flusso again, so that each index is compared with the new timeline"
            )

    async def _confirmed(self) -> str:
        slot = await read_slot(self._session(), self._slot)
        if slot is None or slot.confirmed is None:
            raise SourceFatal(
                f"there is no replication slot {self._slot}: it was dropped while flusso needs it"
            )
        if slot.lost:
            raise lost(self._slot)
        return slot.confirmed

    async def _advance(self, control: Session) -> None:
        """Tell the server what was confirmed after the stream had ended, if it will listen.

        Otherwise the same changes come once more at the next start.
        """
        position = self._confirmations.confirmed
        if position <= self._confirmations.reported:
            return
        try:
            async with asyncio.timeout(_CLOSE_PATIENCE):
                while await self._in_use(control):  # noqa: ASYNC110  # only the server knows
                    await asyncio.sleep(0.02)
                await control.rows(
                    "SELECT pg_catalog.pg_replication_slot_advance(%s, %s::text::pg_lsn)",
                    [self._slot, format_lsn(position)],
                    doing="advance the replication slot",
                )
            self._confirmations.reported = position
        except (TimeoutError, SourceError) as error:
            logger.info("the last confirmed position was not stored: %s", error)

    async def _in_use(self, control: Session) -> bool:
        slot = await read_slot(control, self._slot)
        return slot is not None and slot.active_pid is not None

    @property
    def _is_temporary(self) -> bool:
        return self._slot != self._options.slot

    def _where(self) -> ConnectionTarget:
        if self._target is None:
            raise SourceFatal("the capture is not open")
        return self._target

    def _session(self) -> Session:
        if self._control is None:
            raise SourceFatal("the capture is not open")
        return self._control

    def _aside(self) -> Session:
        if self._watching is None:
            raise SourceFatal("the capture is not open")
        return self._watching

    def _visible(self) -> Visibility:
        if self._visibility is None or self._gate is None:
            raise SourceFatal("the capture is not open")
        return self._visibility


def _position(lsn: int) -> Position:
    return Position(lsn, format_lsn(lsn))


def _route(table: Table, need: Need) -> Route:
    if table.kind is RelationKind.PARTITIONED:
        return Route(need.columns, unchanged=frozenset(table.primary_key))
    return Route(need.columns)
