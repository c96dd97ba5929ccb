"""What may change under a stream while it runs, looked at now and then.

The stream says that a table was described anew, not what that means for an index; and there is
much that it never says: that a partition came or went, that a table left the publication, that
the slot is about to be lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flusso_core.model import Change, Operation, TableName, UnfitIndex
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.catalogue import RelationKind, Storage
from flusso_source_postgres.fitness import Tables, unfit_for_changes
from flusso_source_postgres.mark import remember
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.provision import refuse, set_identity
from flusso_source_postgres.server import lost, read_slot
from flusso_source_postgres.session import Session
from flusso_source_postgres.sql.compiled import table_names
from flusso_source_postgres.survey import Survey, survey

logger = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds between two looks, unless the stream gives reason for one."""


@dataclass(frozen=True, slots=True)
class News:
    """What a look has found.

    Attributes:
        unfit: indexes that can no longer be kept right.
        changes: a TRUNCATE of each table whose rows changed without a word in the stream, so that
            whatever embeds them is built anew.
    """

    unfit: tuple[UnfitIndex, ...]
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.unfit or self.changes)


class Watch:
    """Compares the catalogue with what it was when the run began.

    Args:
        session: where to ask.
        options: names, and what flusso may do by itself.
        schemas: of all indexes.
        older: schemas that are covered besides, by their stored form.
        slot: the slot that is read, which may be a temporary one.
        begun: the survey after provisioning.
    """

    def __init__(
        self,
        session: Session,
        options: PostgresOptions,
        schemas: Sequence[IndexSchema],
        *,
        older: Mapping[str, IndexSchema],
        slot: str,
        begun: Survey,
    ) -> None:
        self._session = session
        self._options = options
        self._schemas = schemas
        self._older = dict(older)
        self._slot = slot
        self._begun: Tables = begun.tables
        self._leaves = _partitions(begun.tables)
        self._unfit = {one.index: one for one in begun.unfit}
        self._untold = list(begun.unfit)
        self._moved: set[TableName] = set()
        self._slot_status: str | None = "reserved"
        self._next = time.monotonic()

    async def restart(self) -> None:
        """A new stream begins, as the last one was lost: nothing of it is relied upon."""
        await self._session.close()
        self._untold = list(self._unfit.values())
        self._next = time.monotonic()

    @property
    def rest(self) -> float:
        """Seconds until the next look is due; none, if it is."""
        return max(0.0, self._next - time.monotonic())

    async def look(self) -> News:
        """See what has changed, and mend what flusso may mend.

        Raises:
            SourceUnavailable: the connection was lost.
            SourceFatal: the slot is lost, or nothing fits any more.
        """
        self._next = time.monotonic() + _EVERY
        await self._look_at_slot()
        seen = await survey(
            self._session, self._options, self._schemas, temporary=True, older=self._older
        )
        self._find_unfit(seen)
        self._find_uncovered(seen)
        self._moved.update(self._notice_partitions(seen.tables))
        await self._mend(seen)
        untold, self._untold = tuple(self._untold), []
        moved, self._moved = self._moved, set()
        return News(untold, tuple(self._truncates(moved)))

    async def _look_at_slot(self) -> None:
        slot = await read_slot(self._session, self._slot)
        status = None if slot is None else slot.wal_status
        if status == self._slot_status:
            return
        self._slot_status = status
        if status == "lost":
            raise lost(self._slot)
        if status == "unreserved":
            logger.warning(
                "replication slot %s is about to be lost: the destination is too far behind; "
                "raise max_slot_wal_keep_size",
                self._slot,
            )

    def _find_unfit(self, seen: Survey) -> None:
        found = {one.index: one for one in seen.unfit}
        for schema in self._schemas:
            changed = unfit_for_changes(schema, self._begun, seen.tables)
            if changed is not None:
                found.setdefault(schema.index, changed)
            unpublished = table_names(schema) & seen.plan.unpublished
            if unpublished:
                names = ", ".join(str(name) for name in sorted(unpublished))
                reason = (
                    f"{names} left the publication {self._options.publication}, so that changes "
                    "are missing: start flusso again"
                )
                found.setdefault(schema.index, UnfitIndex(schema.index, reason))
        for index, one in found.items():
            if index not in self._unfit:
                self._unfit[index] = one
                self._untold.append(one)
        if not seen.needs:
            refuse(seen.errors)

    def _find_uncovered(self, seen: Survey) -> None:
        """Say, once, which older schemas no longer fit: their indexes go on without them."""
        for stored, reason in seen.uncovered.items():
            logger.warning(
                "documents that index %s serves by an older schema may be stale until its new "
                "generation is filled: %s",
                self._older.pop(stored).index,
                reason,
            )

    def _notice_partitions(self, now: Tables) -> Iterator[TableName]:
        """Tables whose rows came or went with a partition, that is without a row event."""
        leaves = _partitions(now)
        for name, after in leaves.items():
            before = self._leaves.get(name, {})
            told = [
                *(
                    f"{after[oid].name} was attached"
                    for oid in after.keys() - before.keys()
                    if after[oid].attached
                ),
                *(f"{before[oid].name} is gone" for oid in before.keys() - after.keys()),
                *(
                    f"{after[oid].name} was truncated or written anew"
                    for oid in before.keys() & after.keys()
                    if before[oid].file != after[oid].file
                ),
            ]
            if told:
                logger.warning(
                    "table %s: %s, which Postgres does not publish", name, ", ".join(told)
                )
                yield name
        self._leaves = leaves

    async def _mend(self, seen: Survey) -> None:
        """Give partitions that came since the identity that the others have.

        What they told before was incomplete, and says so itself. A busy one is tried again at the
        next look.
        """
        connection = await self._session.connection()
        mended = [one for one in seen.plan.identities if await set_identity(connection, one)]
        if mended:
            await remember(self._session, self._options.publication, mended, made=False)

    def _truncates(self, moved: Iterable[TableName]) -> Iterator[Change]:
        """What makes whatever embeds rows of these tables be built anew.

        A root table is left out: its index would begin again, and serve less than it can.
        """
        for name in sorted(moved):
            roots = [schema.index for schema in self._schemas if schema.table == name]
            if roots:
                logger.warning(
                    "documents of the index %s may be stale: sweep it", ", ".join(sorted(roots))
                )
            else:
                logger.info("building anew whatever embeds rows of %s", name)
                yield Change(name, Operation.TRUNCATE, None, None)


def _partitions(tables: Tables) -> Mapping[TableName, Mapping[int, Storage]]:
    return {
        name: {leaf.oid: leaf for leaf in table.storage}
        for name, table in tables.items()
        if table.kind is RelationKind.PARTITIONED
    }
