"""Which reader follows which table, from what the configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from flusso_core.errors import ConfigError
from flusso_core.model import TableName
from flusso_source_polling.cursors import cursor_of
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.horizon import Horizon
from flusso_source_polling.options import Deletes, PollingOptions, TableOptions
from flusso_source_polling.picture import Lens, Watch
from flusso_source_polling.readers import Comparison, Following, Reader, Window
from flusso_source_polling.witness import witness_of

_DEFAULT = TableOptions()


class Assembly:
    """The readers of a stream, and what they share.

    Args:
        watches: what is looked at.
        options: how.
        dialect: the database's ways.

    Raises:
        ConfigError: an option names what is not there.

    Attributes:
        horizon: what is final, as polls go on.
        holds_snapshot: documents are to be built from what the last poll has read, because a row
            may change and change back without a trace.
    """

    def __init__(self, watches: Sequence[Watch], options: PollingOptions, dialect: Dialect) -> None:
        self._watches = watches
        self._options = options
        self._dialect = dialect
        self._witness = witness_of(dialect)
        self._tables = table_options(options.tables, [watch.table.name for watch in watches])
        self.horizon = Horizon()
        lenses = [self._lens(watch) for watch in watches]
        self.holds_snapshot = not all(lens.sees_every_change for lens in lenses)
        self._cursors = any(lens.cursor is not None for lens in lenses)
        # An exact cursor says itself what is final.
        self._follows = any(lens.cursor is not None and not lens.cursor.exact for lens in lenses)
        self.readers()  # so that what cannot be is found at once

    def readers(self) -> list[Reader]:
        """New readers, which know nothing but what they remember."""
        return [self._reader(watch) for watch in self._watches]

    def look(self, connection: Connection) -> None:
        """Learn what is final, before tables are read in snapshots that begin later."""
        if self._follows:
            self.horizon.look(self._witness.moment(connection))
            connection.rollback()

    def data_version(self, connection: Connection) -> int | None:
        """What differs when anything was committed since the connection was asked last.

        Returns:
            `None`: the database does not say, or there is more to do than to find that out.
        """
        return None if self._cursors else self._witness.data_version(connection)

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

    def _reader(self, watch: Watch) -> Reader:
        options, size = self._of(watch), self._options.page_size
        lens = self._lens(watch)
        comparison = Comparison(watch, lens, size, snapshot=self.holds_snapshot)
        if lens.cursor is None:
            return comparison
        lag = self._witness.lag if options.lag is None else options.lag
        every: float | None = options.diff_interval or self._options.diff_interval
        if options.deletes in (Deletes.TOMBSTONE, Deletes.NONE):
            every = None
        following = Following(lag, every)
        return Window(watch, lens, lens.cursor, comparison, self.horizon, following, size)

    def _of(self, watch: Watch) -> TableOptions:
        return self._tables.get(watch.table.name, _DEFAULT)


def table_options(
    given: Mapping[str, TableOptions], names: Sequence[TableName]
) -> dict[TableName, TableOptions]:
    """The options by table.

    Raises:
        ConfigError: a name is of no table that a schema reads.
    """
    known = {str(name): name for name in names}
    known |= {name.name: name for name in names if name.schema == "public"}
    found: dict[TableName, TableOptions] = {}
    for text, options in given.items():
        if text not in known:
            raise ConfigError(
                f"[source.tables.{text}]: no schema reads a table of that name; they read "
                + ", ".join(str(name) for name in names)
            )
        found[known[text]] = options
    return found
