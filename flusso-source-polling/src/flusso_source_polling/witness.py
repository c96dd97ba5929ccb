"""What a database can tell of time, of transactions that are still open, and of its rows.

Everything that capture needs of a database beside what is portable (`dialects`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, cast, func, literal_column, select, text
from sqlalchemy import types as sql

from flusso_core.errors import SourceFatal
from flusso_source_polling.dialects import Dialect, Expression

_RAW = sql.NullType()


@dataclass(frozen=True, slots=True)
class Moment:
    """What a database said at one time.

    Attributes:
        clock: its own, in seconds since the epoch.
        running: transactions that are open, each by a name that ends with it.
        prepared: transactions that are prepared and not committed (two-phase commit).
    """

    clock: float
    running: frozenset[str] = frozenset()
    prepared: frozenset[str] = frozenset()


class Witness(ABC):
    """One database's testimony.

    Attributes:
        lag: seconds that a row may be committed later than its cursor says, unless told
            otherwise: where open transactions are known, that is what clocks differ by.
        knows_transactions: whether it tells which transactions are open.
        tells_commits: whether it tells that nothing was committed (`data_version`).
    """

    lag: float = 60.0
    knows_transactions = False
    tells_commits = False

    @property
    @abstractmethod
    def clock(self) -> Expression:
        """Its clock now, in seconds since the epoch."""

    def moment(self, connection: Connection) -> Moment:
        """What it says now; not within a snapshot."""
        return Moment(float(connection.execute(select(self.clock)).scalar_one()))

    def past(self, expression: Expression) -> Expression:
        """Whether a time is not in the future, by its clock, in UTC; when in doubt, it is."""
        return expression <= func.current_timestamp()

    def row_version(self) -> Expression | None:
        """The text of what differs after every update of a row; `None`: there is no such thing."""
        return None

    def transaction(self) -> Expression | None:
        """The number of the transaction that wrote a row, growing for ever; `None`: not known."""
        return None

    def oldest_transaction(self) -> Expression | None:
        """The text of the number below which every transaction had ended at the snapshot."""
        return None

    def data_version(self, connection: Connection) -> int | None:
        """What differs when another connection has committed anything since this one was asked
        last; `None`: it does not say.
        """
        return None

    def digest(self, values: Sequence[Expression]) -> Expression | None:
        """What differs when any of these texts of any row of a group differs; `None`: not here."""
        return None


class SqliteWitness(Witness):
    """SQLite: one writer at a time, no hash, no version of a row."""

    tells_commits = True

    @property
    def clock(self) -> Expression:
        """By Julian day, which every version of SQLite has with milliseconds."""
        return literal_column("(julianday('now') - 2440587.5) * 86400.0", sql.Float)

    def past(self, expression: Expression) -> Expression:
        """By the text, with a T or a space between date and time."""
        now = func.strftime("%Y-%m-%d %H:%M:%f", "now")
        return func.replace(expression, "T", " ") <= now

    def data_version(self, connection: Connection) -> int | None:
        """Kept by SQLite for this (manual, "PRAGMA data_version")."""
        return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())


class MysqlWitness(Witness):
    """MariaDB and MySQL: which transactions are open is told to the privileged only."""

    @property
    def clock(self) -> Expression:
        """With microseconds."""
        return literal_column("UNIX_TIMESTAMP(NOW(6))", sql.Float)

    def digest(self, values: Sequence[Expression]) -> Expression | None:
        """The sum of 60 bits of each row's MD5, and how many rows there are."""
        row = func.md5(func.json_array(*values))
        total = func.sum(cast(func.conv(func.left(row, 15), 16, 10), sql.Numeric(20, 0)))
        return func.concat(func.count(), ":", total)


class PostgresWitness(Witness):
    """Postgres 13 and later."""

    lag = 10.0
    knows_transactions = True

    @property
    def clock(self) -> Expression:
        """Not the transaction's."""
        return literal_column("extract(epoch FROM clock_timestamp())::float8", sql.Float)

    def moment(self, connection: Connection) -> Moment:
        """Every transaction of this database that is open, whether it has written or not.

        A transaction holds a lock on its virtual id from its first statement on, which everybody
        may see (manual, "pg_locks"), where its start and its snapshot are shown to its owner only.
        Prepared ones are read after the others: one that is prepared meanwhile is in either.

        Raises:
            SourceFatal: the server is a standby, which knows of no transaction before it writes.
        """
        clock, running, standby = connection.execute(RUNNING).one()
        if standby:
            raise SourceFatal(
                "the server is a standby, which does not tell what transactions are open on its "
                "primary: name the primary, or follow tables by xmin, or compare them"
            )
        prepared = connection.execute(_PREPARED).scalar_one()
        return Moment(float(clock), frozenset(running or ()), frozenset(prepared or ()))

    def row_version(self) -> Expression | None:
        """The transaction that wrote it, as the row has it: 32 bits."""
        return literal_column("xmin::text", sql.Text)

    def transaction(self) -> Expression | None:
        """`xmin` with its epoch: as far behind the next id as its 32 bits are.

        A row that was written longer than 2^32 transactions ago may look newer, never older.
        """
        return literal_column(
            "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint - "
            "((pg_snapshot_xmax(pg_current_snapshot())::text::bigint "
            "- xmin::text::bigint) & 4294967295))",
            sql.BigInteger,
        )

    def oldest_transaction(self) -> Expression | None:
        """Of the snapshot that the statement sees."""
        return literal_column("pg_snapshot_xmin(pg_current_snapshot())::text", sql.Text)

    def digest(self, values: Sequence[Expression]) -> Expression | None:
        """The sum of each row's 64-bit hash, and how many rows there are."""
        row = cast(func.row(*values), sql.Text)
        total = func.sum(cast(func.hashtextextended(row, 0), sql.Numeric))
        return func.concat(func.count(), ":", total)


RUNNING = text("""
SELECT extract(epoch FROM clock_timestamp())::float8, (
    SELECT array_agg(l.virtualtransaction)
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.pid <> pg_backend_pid()
      AND (a.datid IS NULL OR a.datname = current_database())
      AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
), pg_is_in_recovery()
""")

_PREPARED = text("""
SELECT array_agg(transaction::text) FROM pg_prepared_xacts WHERE database = current_database()
""")


def witness_of(dialect: Dialect) -> Witness:
    """The witness of a database."""
    match dialect.name:
        case "postgresql":
            return PostgresWitness()
        case "mysql" | "mariadb":
            return MysqlWitness()
        case _:
            return SqliteWitness()
