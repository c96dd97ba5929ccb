"""Random changes, as the SQL that makes them, so that a history can be printed and played again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from .expected import Row, Rows, read_rows
from .worlds import Table, World, quoted

ROWS = 9
"""About as many rows of each table there are in the beginning."""

_REFUSED = (
    psycopg.errors.IntegrityError,
    # A TRUNCATE of a table that a reader is in, which waits for one that is emptied already.
    psycopg.errors.DeadlockDetected,
)


def literal(value: str | None) -> str:
    """A value as SQL has it, without a type."""
    return "NULL" if value is None else sql.Literal(value).as_string().strip()


class Writer:
    """Commits random changes and remembers them as SQL.

    Attributes:
        history: every statement that was run, in order.
    """

    def __init__(
        self, connection: psycopg.Connection[TupleRow], world: World, random: Random
    ) -> None:
        self._connection = connection
        self._world = world
        self._random = random
        self._rows: Rows = {}
        self._prepared = 0
        self.history: list[str] = []

    def fill(self) -> None:
        """Insert the first rows."""
        self._rows = read_rows(self._connection, self._world)
        for _ in range(2):
            # Twice, so that rows also point at what comes later.
            for table in self._world.tables:
                for _ in range(ROWS // 2):
                    self._attempt(self._insert(table))
                self._rows = read_rows(self._connection, self._world)

    def transaction(self) -> None:
        """Commit, or roll back, a transaction of some statements."""
        random = self._random
        self._rows = read_rows(self._connection, self._world)
        self._run("BEGIN")
        for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
            table = random.choice(self._world.tables)
            statements = list(self._change(table))
            self._run("SAVEPOINT s")
            passed = all(map(self._attempt, statements))
            if passed and random.random() < 0.1:
                self._run("ROLLBACK TO SAVEPOINT s")
        end = random.random()
        if end < 0.05:
            self._run("ROLLBACK")
        elif end < 0.12:
            self._prepared += 1
            name = f"{self._connection.info.dbname}_{self._prepared}"
            self._run(f"PREPARE TRANSACTION '{name}'")
            self._run(f"{random.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} PREPARED '{name}'")
        else:
            self._run("COMMIT")

    def _run(self, statement: str) -> None:
        self.history.append(statement)
        self._connection.execute(statement.encode())

    def _attempt(self, statement: str) -> bool:
        """Run a statement that the constraints of the tables may refuse."""
        open_ = self._connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        try:
            self._run(statement)
        except _REFUSED:
            self.history.pop()
            if open_:
                self.history.append(f"-- refused: {statement}")
                self._run("ROLLBACK TO SAVEPOINT s")
            return False
        return True

    def _change(self, table: Table) -> Iterator[str]:
        random = self._random
        ways: list[tuple[int, Callable[[Table], Iterator[str]]]] = [
            (8, self._inserted),
            (10, self._updated),
            (6, self._relinked),
            (4, self._rekeyed),
            (6, self._deleted),
            (2, self._replaced),
            (2, self._swept),
            (3, self._truncated),
        ]
        ((_, way),) = random.choices(ways, [weight for weight, _ in ways])
        yield from way(table)

    def _inserted(self, table: Table) -> Iterator[str]:
        yield self._insert(table)

    def _insert(self, table: Table) -> str:
        names = ", ".join(map(quoted, table.columns))
        values = ", ".join(literal(self._value(table, name)) for name in table.columns)
        return f"INSERT INTO {table.sql} ({names}) VALUES ({values})"

    def _updated(self, table: Table) -> Iterator[str]:
        others = [name for name in table.columns if name not in table.key]
        yield from self._update(table, self._random.choice(others))

    def _relinked(self, table: Table) -> Iterator[str]:
        yield from self._update(table, self._random.choice(table.links).column)

    def _rekeyed(self, table: Table) -> Iterator[str]:
        yield from self._update(table, self._random.choice(table.key))

    def _update(self, table: Table, column: str) -> Iterator[str]:
        row = self._row(table)
        if row is not None:
            value = literal(self._value(table, column))
            yield f"UPDATE {table.sql} SET {quoted(column)} = {value} WHERE {self._at(row, table)}"

    def _deleted(self, table: Table) -> Iterator[str]:
        row = self._row(table)
        if row is not None:
            yield f"DELETE FROM {table.sql} WHERE {self._at(row, table)}"

    def _replaced(self, table: Table) -> Iterator[str]:
        """A row goes and another comes under its key."""
        row = self._row(table)
        if row is not None:
            yield f"DELETE FROM {table.sql} WHERE {self._at(row, table)}"
            values = {name: self._value(table, name) for name in table.columns}
            values |= {name: row[name] for name in table.key}
            names = ", ".join(map(quoted, values))
            listed = ", ".join(map(literal, values.values()))
            yield f"INSERT INTO {table.sql} ({names}) VALUES ({listed})"

    def _swept(self, table: Table) -> Iterator[str]:
        """Many rows at once."""
        link = quoted(self._random.choice(table.links).column)
        value = literal(self._value(table, self._random.choice(table.links).column))
        if self._random.random() < 0.7:
            yield f"UPDATE {table.sql} SET {link} = NULL WHERE {link} IS NOT NULL"
        else:
            yield f"DELETE FROM {table.sql} WHERE {link}::text = {value}"

    def _truncated(self, table: Table) -> Iterator[str]:
        yield f"TRUNCATE {table.sql} CASCADE"

    def _row(self, table: Table) -> Row | None:
        rows = self._rows[table.sql]
        return self._random.choice(rows) if rows else None

    def _at(self, row: Row, table: Table) -> str:
        names = table.key if table.keyed else tuple(table.columns)
        return " AND ".join(
            f"{quoted(name)} {'IS NULL' if row[name] is None else '= ' + literal(row[name])}"
            for name in names
        )

    def _value(self, table: Table, column: str) -> str | None:
        """A value for a column; a link mostly points at a row that is there."""
        random = self._random
        kind = table.columns[column]
        if column in table.key:
            return random.choice(kind.values)
        for link in table.links:
            if link.column == column and (link.declared or random.random() < 0.8):
                target = next(one for one in self._world.tables if one.sql == link.target)
                keys = [row[target.key[0]] for row in self._rows[link.target]]
                fitting = [key for key in keys if key in kind.ranks]
                if fitting:
                    return random.choice(fitting)
                if link.declared:
                    return None
        return None if random.random() < 0.15 else random.choice(kind.values)
