"""Which reader follows which table, from what the configuration says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from flusso_core.model import Finding, TableName
from flusso_source_polling.cursors import cursor_of
from flusso_source_polling.database import Database
from flusso_source_polling.horizon import Horizon
from flusso_source_polling.options import Deletes, PollingOptions, TableOptions
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.outbox.model import Logged
from flusso_source_polling.outbox.reader import OutboxReader
from flusso_source_polling.picture import Lens, Watch
from flusso_source_polling.promises import Followed
from flusso_source_polling.readers import Comparison, Following, Reader, Window, forget_place
from flusso_source_polling.state import StateFile
from flusso_source_polling.witness import witness_of

_DEFAULT = TableOptions()


class Assembly:
    """The readers of a stream, and what they share.

    Args:
        watches: what is looked at.
        options: how.
        database: where.
        names: every table that a schema reads, also those that are not looked at because the
            schema does not fit.

    Raises:
        ConfigError: an option names what is not there.

    Attributes:
        horizon: what is final, as polls go on.
        holds_snapshot: documents are to be built from what the last poll has read, because a row
            may change and change back without a trace.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        options: PollingOptions,
        database: Database,
        names: Sequence[TableName],
    ) -> None:
        self._options = options
        self._dialect = database.dialect
        self._witness = witness_of(database.dialect)
        self._tables = options.by_table(names)
        looked_at = {watch.table.name for watch in watches}
        self._left_out = [name for name in names if name not in looked_at]
        self._watches = [watch for watch in watches if not self._is_logged(watch)]
        self._logged = [
            Logged(watch.table, watch.key, watch.images)
            for watch in watches
            if self._is_logged(watch)
        ]
        self._outbox = Outbox(database, options.outbox_name()) if self._logged else None
        self.horizon = Horizon()
        lenses = [self._lens(watch) for watch in self._watches]
        self.holds_snapshot = not all(lens.sees_every_change for lens in lenses)
        # Passes over the keys come whether anything was committed or not.
        self._skips = self._witness.tells_commits and all(lens.cursor is None for lens in lenses)
        # An exact cursor says itself what is final.
        self._follows = any(lens.cursor is not None and not lens.cursor.exact for lens in lenses)
        self.readers()  # so that what cannot be is found at once

    def readers(self) -> list[Reader]:
        """New readers, which know nothing but what they remember."""
        found: list[Reader] = [self._reader(watch) for watch in self._watches]
        logged = self._outbox_reader()
        return found if logged is None else [*found, logged]

    def prepare(self, state: StateFile) -> None:
        """See to it that changes of logged tables are logged, before anything is read. Where some
        may be missing from the log, the stream is another one from now on. Blocks.

        Raises:
            SourceUnavailable: somebody has been writing to a table for long.
            SourceFatal: something is missing, and is not to be made or cannot be.
        """
        reader = self._outbox_reader()
        if reader is not None:
            with state.transaction():
                if not reader.is_complete(state.memory(reader.name)):
                    state.renew()
            # Only then: what is made now must not be taken for what was there, wherever this ends.
            reader.prepare(manage=self._options.manage_outbox)
            with state.transaction():
                memory = state.memory(reader.name)
                if not memory.is_new:
                    reader.remember(memory)
        self.leave_out(state)

    def leave_out(self, state: StateFile) -> None:
        """Note down what becomes of tables that are not looked at, for a run that does again.

        Changes of a logged one are removed from the log unseen: the stream is another one then. Of
        one that is followed by a cursor, every row is read then: the column may be another one.
        """
        reader = self._outbox_reader()
        with state.transaction():
            if reader is not None:
                reader.lose(state.memory(reader.name), self._left_out)
            for name in self._left_out:
                forget_place(state.memory(str(name)))

    def lose(self, state: StateFile, tables: Sequence[TableName]) -> None:
        """Note down that changes of logged tables are missing: the next stream is another one."""
        reader = self._outbox_reader()
        if reader is not None:
            with state.transaction():
                reader.lose(state.memory(reader.name), tables)

    def check(self) -> Iterator[Finding]:
        """What is missing for the outbox, what it sees and what it does not. Blocks."""
        if self._outbox is not None:
            manage = self._options.manage_outbox
            yield from self._outbox.check(self._logged, manage=manage, within=self._within)

    @property
    def looks_aside(self) -> bool:
        """Whether `look` asks anything."""
        return self._follows or self._skips

    def look(self, connection: Connection) -> int | None:
        """Learn what is final, before tables are read in snapshots that begin later.

        Returns:
            What differs when anything was committed since the connection was asked last; `None`:
            the database does not say, or there is more to do than to find that out.
        """
        if self._follows:
            self.horizon.look(self._witness.moment(connection))
        found = self._witness.data_version(connection) if self._skips else None
        connection.rollback()
        return found

    def breathe(self, connection: Connection) -> None:
        """End the transaction, unless documents are built from it."""
        if not self.holds_snapshot:
            connection.rollback()

    def _lens(self, watch: Watch) -> Lens:
        name = self._of(watch).cursor
        cursor = (
            None if name is None else cursor_of(watch.table, name, self._dialect, self._witness)
        )
        return Lens(watch, self._dialect, self._witness, cursor)

    def followed(self) -> list[Followed]:
        """How each table is followed."""
        return [self._followed(watch) for watch in self._watches]

    def _followed(self, watch: Watch) -> Followed:
        options = self._of(watch)
        lag = self._witness.lag if options.lag is None else options.lag
        deletes = options.deletes or Deletes.DIFF
        every = options.diff_interval or self._options.diff_interval
        return Followed(
            watch=watch,
            lens=self._lens(watch),
            following=Following(lag, every if deletes is Deletes.DIFF else None),
            deletes=deletes,
            within=self._within,
            knows_transactions=self._witness.knows_transactions,
        )

    def _reader(self, watch: Watch) -> Reader:
        followed, size = self._followed(watch), self._options.page_size
        lens = followed.lens
        comparison = Comparison(watch, lens, size, snapshot=self.holds_snapshot)
        if lens.cursor is None:
            return comparison
        return Window(watch, lens, lens.cursor, comparison, self.horizon, followed.following, size)

    @property
    def _within(self) -> float:
        return max(self._options.interval, self._options.max_interval)

    def _outbox_reader(self) -> OutboxReader | None:
        if self._outbox is None:
            return None
        return OutboxReader(self._outbox, self._logged, self._options.page_size)

    def _is_logged(self, watch: Watch) -> bool:
        return self._of(watch).deletes is Deletes.OUTBOX

    def _of(self, watch: Watch) -> TableOptions:
        return self._tables.get(watch.table.name, _DEFAULT)
