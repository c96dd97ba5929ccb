"""When a commit can be seen: the gate, and the settling wait before a first page.

A commit is decoded as soon as it is in the WAL, and becomes visible to new snapshots a moment
later: after the standby's answer under synchronous replication. On one primary, what one snapshot
saw all later ones see.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg.rows import TupleRow

from flusso_source_postgres.session import Session

logger = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 0.0005, 0.05
"""Seconds between two looks at the server, doubling from one to the other."""

_EXPLAIN_AFTER = 10.0
_EXPLAIN_SETTLING_AFTER = 3.0
_EXPLAIN_EVERY = 30.0
"""Seconds of waiting after which the log says what for, and how often."""

# The blockers' own ids are 32 bits; age() orders them rightly across a wrap.
_BLOCKERS: LiteralString = """
SELECT 'process ' || pid || coalesce(' of ' || usename, '')
       || coalesce(' (' || nullif(application_name, '') || ')', '')
       || ', ' || coalesce(state, 'running')
       || ', in a transaction since ' || coalesce(date_trunc('second', xact_start)::text, '?')
FROM pg_catalog.pg_stat_activity
WHERE backend_xid IS NOT NULL AND age(backend_xid) > age(%s::text::xid)
UNION ALL
SELECT 'prepared transaction ' || quote_literal(gid) || ' of ' || owner || ' in database '
       || quote_ident(database) || ', since ' || date_trunc('second', prepared)::text
FROM pg_catalog.pg_prepared_xacts
WHERE age(transaction) > age(%s::text::xid)
"""

# Whoever has written to a table holds one of these locks until its transaction has ended and its
# rows can be seen (the manual, "Table-Level Locks"). A prepared one has no process.
_WRITERS: LiteralString = """
SELECT DISTINCT held.virtualtransaction,
       coalesce('process ' || activity.pid || coalesce(' of ' || activity.usename, '')
           || coalesce(' (' || nullif(activity.application_name, '') || ')', '')
           || ', ' || coalesce(activity.state, 'running') || ', in a transaction since '
           || coalesce(date_trunc('second', activity.xact_start)::text, '?'),
         'prepared transaction ' || quote_literal(prepared.gid) || ' of ' || prepared.owner
           || ', since ' || date_trunc('second', prepared.prepared)::text,
         'transaction ' || held.virtualtransaction)
       || ', which wrote to ' || held.relation::regclass
FROM pg_catalog.pg_locks held
LEFT JOIN pg_catalog.pg_stat_activity activity ON activity.pid = held.pid
LEFT JOIN pg_catalog.pg_locks own
    ON held.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
    AND own.virtualtransaction = held.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts prepared ON prepared.transaction = own.transactionid
WHERE held.locktype = 'relation' AND held.granted AND held.relation = ANY(%s::oid[])
  AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND held.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                    'AccessExclusiveLock')
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot sees: every transaction below `xmin`, none from `xmax` on, and between them
    those that are not `running`.
    """

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read the text of a `pg_snapshot`: `xmin:xmax:running,running`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def unseen(self, transactions: Iterable[int]) -> list[int]:
        """Those of the 64-bit transaction ids that it does not see."""
        return [
            xid
            for xid in transactions
            if xid >= self.xmin and (xid >= self.xmax or xid in self.running)
        ]


class Visibility:
    """Waits for commits, over a connection of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen = Snapshot(0, 0, frozenset())

    async def next_xid(self) -> int:
        """The server's next transaction id, 64 bits, about now."""
        return (await self._snapshot()).xmax

    async def wait_visible(self, transactions: Iterable[int]) -> None:
        """Return when every new snapshot sees all of these transactions.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        # What an earlier snapshot saw needs no look at the server.
        unseen = self._seen.unseen(transactions)
        pause = _SHORTEST
        patience = _Patience(_EXPLAIN_AFTER)
        while unseen:
            self._seen = await self._snapshot()
            unseen = self._seen.unseen(unseen)
            if unseen:
                if patience.is_over():
                    logger.warning(
                        "waiting for %d commits to become visible, the first of them transaction "
                        "%d: the server may be waiting for a synchronous standby",
                        len(unseen),
                        unseen[0],
                    )
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)

    async def wait_settled(self, relations: Sequence[int]) -> None:
        """Return when every transaction has ended that has written to these tables until now.

        Args:
            relations: oids of the tables and of their partitions.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        waited_for = {row[0] for row in await self._writers(relations)}
        pause = _SHORTEST
        patience = _Patience(_EXPLAIN_SETTLING_AFTER)
        while waited_for:
            writers = await self._writers(relations)
            waited_for &= {row[0] for row in writers}
            if waited_for and patience.is_over():
                logger.warning(
                    "the start waits for transactions that began before it: %s",
                    "; ".join(sorted({row[1] for row in writers if row[0] in waited_for})),
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    async def _writers(self, relations: Sequence[int]) -> list[TupleRow]:
        return await self._session.rows(
            _WRITERS, [relations], doing="read who writes to the tables"
        )

    async def _snapshot(self) -> Snapshot:
        row = await self._session.row(
            "SELECT pg_catalog.pg_current_snapshot()::text", doing="read a snapshot"
        )
        return Snapshot.parse(row[0])


async def transactions_before(session: Session, limit: int) -> list[str]:
    """A description of each transaction in progress with an id below `limit`, prepared ones too.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    low = str(limit % (1 << 32))
    rows = await session.rows(_BLOCKERS, [low, low], doing="read the transactions in progress")
    return [row[0] for row in rows]


class _Patience:
    """Says now and then that a wait has become long."""

    def __init__(self, first: float) -> None:
        self._next = time.monotonic() + first

    def is_over(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _EXPLAIN_EVERY
        return True
