"""One poll after the other, in a thread: readers find what has changed, the state file keeps it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from flusso_core.errors import SourceError, SourceFatal
from flusso_core.model import UnfitIndex
from flusso_core.schema.model import IndexSchema
from flusso_source_polling import snapshots
from flusso_source_polling.assembly import Assembly
from flusso_source_polling.catalogue import table_names
from flusso_source_polling.database import Database
from flusso_source_polling.findings import find_obstacle
from flusso_source_polling.fitness import Fitness, look
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.outbox.reader import TriggersLost
from flusso_source_polling.pace import Throttle
from flusso_source_polling.readers import Poll
from flusso_source_polling.snapshots import Shared
from flusso_source_polling.state import StateFile

_DOING = "read the tables"


@dataclass(frozen=True, slots=True)
class Polled:
    """What came of a poll.

    Attributes:
        position: of it.
        found: it has found changes, or has more to look at.
    """

    position: int
    found: bool


class Poller:
    """Polls a database on behalf of one stream. Every call blocks; one thread at a time.

    Args:
        database: what is polled.
        schemas: of the indexes.
        options: how.
        state: where the stream is kept; `begin` opens it.
        shared: where the builder finds the snapshot that documents are to be built from.
    """

    def __init__(
        self,
        database: Database,
        schemas: Sequence[IndexSchema],
        options: PollingOptions,
        state: StateFile,
        shared: Shared,
    ) -> None:
        self._database = database
        self._schemas = schemas
        self._options = options
        self._state = state
        self._shared = shared
        self._names = table_names(schemas)
        self._fitting = tuple(schemas)
        self._unfit: tuple[UnfitIndex, ...] = ()
        self._connection: Connection | None = None
        self._data_version: int | None = None
        self.throttle = Throttle(options.max_queries)

    @property
    def name(self) -> str:
        """What the database is called in messages and identities."""
        return self._database.name

    @property
    def unfit(self) -> Sequence[UnfitIndex]:
        """The indexes that no longer get changes, in the order in which they were found.

        Whoever has read a poll's changes from the state file finds here whom they leave out.
        """
        return self._unfit

    def begin(self) -> Polled:
        """Read the catalogue, take the state file, and poll: tables that are new to the stream
        are looked at for the first time.

        Raises:
            SourceUnavailable: the database is not there, or another process has the state file.
            SourceFatal: it cannot be polled, or no schema fits its tables.
            ConfigError: an option does not fit them.
        """
        self.throttle.begin()
        database = self._database
        with database.connect() as connection, database.errors("read the catalogue"):
            self.version = database.dialect.version(connection)
            fitness = self._try(connection, self._schemas)
        self._assembly = self._assemble(fitness)
        if self._assembly.holds_snapshot:
            for finding in find_obstacle(database, table_names(self._fitting)):
                raise SourceFatal(f"{finding.subject}: {finding.message}; {finding.cure}")
            snapshots.register(snapshots.scope(database, self._schemas), self._shared)
        self._state.open(f"{self.version} {database.name}")
        try:
            self._assembly.prepare(self._state)
            self._readers = self._assembly.readers()
            if not self._unfit:  # once they fit again, what has changed since must be found
                self._state.retain([reader.name for reader in self._readers])
            return self._look(thorough=False)
        except BaseException:
            self._state.close()
            raise

    def poll(self, confirmed: int, *, thorough: bool) -> Polled | None:
        """Tell the readers what is confirmed, and look again.

        Args:
            confirmed: everything up to this position is durable at the destinations.
            thorough: everything that is committed now is to be found.

        Returns:
            `None`: too many changes wait in the journal, so that this poll has to wait too.

        Raises:
            SourceUnavailable: the database or the disk is not there; nothing has happened.
            SourceFatal: someone has to mend it; nothing has happened. Where it is that some schemas
                no longer fit, the poll goes on without them, and `unfit` has them.
        """
        self.throttle.begin()
        if confirmed > self._state.confirmed:
            self._tidy(confirmed)
        if self._state.pending >= self._options.max_pending and not self._shared.lost.is_set():
            return None
        while True:
            try:
                return self._look(thorough=thorough)
            except BaseException as error:
                # What readers had in mind is not what the state file has.
                self._readers = self._assembly.readers()
                if not isinstance(error, SourceFatal) or not self._leave_out():
                    raise

    def close(self, confirmed: int) -> None:
        """End the snapshot, and let go of the state file."""
        snapshots.unregister(snapshots.scope(self._database, self._schemas), self._shared)
        self._shared.close()
        self._disconnect()
        if self._state.is_open:
            with suppress(SourceError):  # what is not confirmed comes again
                if confirmed > self._state.confirmed:
                    self._state.confirm(confirmed)
            self._state.close()

    def _try(self, connection: Connection, schemas: Sequence[IndexSchema]) -> Fitness:
        options = self._options.by_table(self._names)
        return look(connection, self._database.dialect, schemas, options)

    def _assemble(self, fitness: Fitness) -> Assembly:
        unfit = (*self._unfit, *fitness.unfit)
        if not fitness.fitting:
            raise SourceFatal("; ".join(one.reason for one in unfit))
        assembly = Assembly(fitness.watches, self._options, self._database, self._names)
        self._fitting, self._unfit = fitness.fitting, unfit
        return assembly

    def _leave_out(self) -> bool:
        """Go on without the schemas that have ceased to fit; false: all of them still do.

        What is remembered for them alone stays as it is, for a run in which they fit again.
        """
        database = self._database
        with database.connect() as connection, database.errors("read the catalogue"):
            fitness = self._try(connection, self._fitting)
        if not fitness.unfit:
            return False
        held = self._assembly.holds_snapshot
        self._assembly = self._assemble(fitness)
        self._assembly.leave_out(self._state)
        self._readers = self._assembly.readers()
        if held and not self._assembly.holds_snapshot:
            snapshots.unregister(snapshots.scope(database, self._schemas), self._shared)
            self._shared.close()
        return True

    def _tidy(self, confirmed: int) -> None:
        with self._state.transaction():
            tidying = [reader for reader in self._readers if reader.tidies]
            if tidying:
                database = self._database
                with database.connect() as connection, database.errors("tidy up"):
                    for reader in tidying:
                        memory = self._state.memory(reader.name)
                        with connection.begin():
                            reader.confirmed(connection, memory, confirmed)
            self._state.confirm(confirmed)

    def _look(self, *, thorough: bool) -> Polled:
        """Poll, unless the database says that nothing was committed since the last one."""
        try:
            with self._database.errors(_DOING):
                version = None
                if self._assembly.looks_aside:
                    version = self._assembly.look(self._connected())
                same = version is not None and version == self._data_version
                if same and not self._shared.lost.is_set():
                    return Polled(self._state.next_position(), found=False)
                polled = self._read(thorough=thorough)
                self._data_version = version
                self._assembly.horizon.polled()
                return polled
        except TriggersLost as error:
            self._disconnect()
            self._assembly.lose(self._state, error.tables)
            raise
        except BaseException:
            self._disconnect()
            raise

    def _read(self, *, thorough: bool) -> Polled:
        """Ask every reader, in one transaction of the state file.

        Where a snapshot is held, it stays open for documents to be built from, and is shown to
        the builder only when what it holds is remembered.
        """
        if not self._assembly.holds_snapshot:
            return self._ask(self._connected(), thorough=thorough)

        def work(snapshot: Connection) -> Polled:
            self.throttle.watch(snapshot)
            try:
                return self._ask(snapshot, thorough=thorough)
            finally:
                self.throttle.unwatch(snapshot)  # the builder reads from it as fast as it can

        return self._shared.replace(self._database, _DOING, work)

    def _ask(self, connection: Connection, *, thorough: bool) -> Polled:
        began = time.time()
        found = 0
        with self._state.transaction():
            poll = Poll(self._state.next_position(), thorough)
            for reader in self._readers:
                memory = self._state.memory(reader.name)
                if memory.is_new:
                    reader.begin(connection, memory)
                else:
                    changes = reader.poll(connection, memory, poll)
                    found += self._state.append(poll.position, began, changes)
                self._assembly.breathe(connection)
        more = any(reader.unfinished for reader in self._readers)
        return Polled(poll.position, found=found > 0 or more)

    def _connected(self) -> Connection:
        """A connection that is kept from poll to poll."""
        if self._connection is None:
            self._connection = self._database.connect()
            self.throttle.watch(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._data_version = None
        if connection is not None:
            # A connection that is lost needs no end.
            with suppress(SourceError), self._database.errors("disconnect"):
                connection.close()
