"""Makes a database's outbox, finds what is amiss with it, and removes it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, inspect

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import Finding, Removal, Severity, TableName
from flusso_source_polling.database import Database
from flusso_source_polling.outbox.mariadb import MariaDBOutbox
from flusso_source_polling.outbox.model import (
    LONGEST_NAME,
    Installed,
    Logged,
    OutboxDialect,
    Wanted,
)
from flusso_source_polling.outbox.postgres import PostgresOutbox
from flusso_source_polling.outbox.sqlite import SqliteOutbox


@dataclass(frozen=True, slots=True)
class Amiss:
    """A table whose triggers are not what they should be.

    Attributes:
        missing: triggers that are not there.
        outdated: triggers that do something else, or are disabled.
    """

    wanted: Wanted
    missing: tuple[str, ...]
    outdated: tuple[str, ...]

    def __str__(self) -> str:
        """What is amiss, in a few words."""
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (("missing:", self.missing), ("outdated:", self.outdated))
            if names
        ]
        return "; ".join(parts)


class Outbox:
    """The change log of a database. Every method blocks.

    Args:
        database: where it is.
        name: its table.

    Raises:
        ConfigError: the name is too long, or the database has no such schema.
    """

    def __init__(self, database: Database, name: TableName) -> None:
        if len(name.name.encode()) > LONGEST_NAME:
            raise ConfigError(
                f"[source] outbox: the name {name.name!r} is longer than {LONGEST_NAME} bytes; "
                "choose a shorter one: the names of its triggers begin with it"
            )
        self.database = database
        self.dialect = outbox_dialect(database, name)
        try:
            database.dialect.schema(name.schema)
        except SourceFatal as error:
            raise ConfigError(f"[source] outbox: {error}") from error

    @property
    def subject(self) -> str:
        """What the log is called in findings."""
        return f"table {self.dialect.name}"

    def is_there(self, connection: Connection) -> bool:
        """Whether there is a log."""
        inspector = inspect(connection)
        tables = (self.dialect.log, self.dialect.reader)
        return all(inspector.has_table(one.name, schema=one.schema) for one in tables)

    def amiss(
        self, connection: Connection, tables: Iterable[Logged], installed: Installed | None = None
    ) -> list[Amiss]:
        """The tables whose triggers are not what they should be.

        Args:
            connection: to the database.
            tables: that should be logged.
            installed: what the dialect has told of the triggers; `None`: it is asked.
        """
        if installed is None:
            installed = self.dialect.installed(connection)
        found: list[Amiss] = []
        for logged in tables:
            wanted, there = self.dialect.wanted(connection, logged), installed.get(logged.name, {})
            missing = [name for name in wanted.triggers if name not in there]
            outdated = [
                name
                for name, definition in wanted.triggers.items()
                if name in there and there[name].definition != definition
            ]
            if missing or outdated:
                found.append(Amiss(wanted, tuple(missing), tuple(outdated)))
        return found

    def install(self, tables: Sequence[Logged]) -> list[TableName]:
        """Make the log and the tables' triggers as they should be; remove those of other tables.

        A transaction a table, and none where nothing is amiss.

        Returns:
            The tables whose triggers were made: what has been written to them is not in the log.

        Raises:
            SourceUnavailable: somebody has been writing to a table for long. Again, it goes on.
            SourceFatal: a privilege is missing.
        """
        with self.reading() as connection:
            there, excess = self.is_there(connection), self._excess(connection, tables)
        # First: a table that was renamed took along what belongs to the one that has its name.
        for table, triggers in excess.items():
            doing = f"remove triggers of table {table}"
            self._write(doing, self.dialect.remove(table, triggers))
        if not there:
            self._write(f"make the outbox {self.dialect.name}", self.dialect.create())
        with self.reading() as connection:
            amiss = self.amiss(connection, tables)
        for one in amiss:
            doing = f"make the triggers of table {one.wanted.logged.name}"
            self._write(doing, one.wanted.statements)
        return [one.wanted.logged.name for one in amiss]

    def require(self, tables: Sequence[Logged]) -> None:
        """Make sure that the log and the tables' triggers are as they should be.

        Raises:
            SourceFatal: they are not.
        """
        cure = "run the SQL that `flusso check` prints, or set manage_outbox = true"
        with self.reading() as connection:
            if not self.is_there(connection):
                raise SourceFatal(f"there is no outbox {self.dialect.name}; {cure}")
            for one in self.amiss(connection, tables):
                name = one.wanted.logged.name
                raise SourceFatal(f"the outbox lacks triggers of table {name} ({one}); {cure}")

    def teardown(self, *, dry_run: bool) -> list[Removal]:
        """Remove every trigger, and then the log.

        What the role may not remove is left, and so is the log where a trigger still writes to
        it: without it, nobody could write to that table.

        Args:
            dry_run: change nothing; say what would be removed.
        """
        dialect = self.dialect
        with self.reading() as connection:
            installed, there = dialect.installed(connection), self.is_there(connection)
        found: list[Removal] = []
        for table, triggers in sorted(installed.items()):
            statements = dialect.remove(table, list(triggers))
            subject = f"triggers of table {table} ({', '.join(sorted(triggers))})"
            found.append(self._removed(subject, statements, dry_run=dry_run))
        if there and all(one.left is None for one in found):
            found.append(self._removed(self.subject, dialect.drop(), dry_run=dry_run))
        elif there:
            found.append(Removal(self.subject, "triggers that write to it are left"))
        return found

    def check(self, tables: Sequence[Logged], *, manage: bool, within: float) -> Iterator[Finding]:
        """What the triggers see and what they do not, and what is missing, with its SQL.

        Args:
            tables: that should be logged.
            manage: a run makes by itself what is missing.
            within: seconds from the end of one poll to the next at most.
        """
        severity = Severity.INFO if manage else Severity.ERROR
        by_run = "; flusso run makes it" if manage else ""
        sees_truncate = self.dialect.sees_truncate
        kinds = (
            "insert, update, delete and TRUNCATE" if sees_truncate else "insert, update and delete"
        )
        with self.reading() as connection:
            if not self.is_there(connection):
                cure = _script(self.dialect.create())
                yield Finding(severity, self.subject, f"there is no outbox{by_run}", cure)
            for one in self.amiss(connection, tables):
                yield Finding(
                    severity,
                    f"table {one.wanted.logged.name}",
                    f"the outbox lacks triggers{by_run} ({one})",
                    _script(one.wanted.statements),
                )
            for logged in tables:
                yield Finding(
                    Severity.INFO,
                    f"table {logged.name}",
                    f"every {kinds} is seen within {within:g} s of its commit, in the outbox",
                )
                for caveat in self.dialect.caveats(connection, logged):
                    subject = f"table {logged.name}"
                    yield Finding(Severity.WARNING, subject, caveat.message, caveat.cure)

    def _excess(
        self, connection: Connection, tables: Sequence[Logged]
    ) -> dict[TableName, list[str]]:
        """Triggers of tables that are not logged (any more), or not under this name."""
        wanted = {
            logged.name: self.dialect.wanted(connection, logged).triggers for logged in tables
        }
        found: dict[TableName, list[str]] = {}
        for table, triggers in self.dialect.installed(connection).items():
            excess = [name for name in triggers if name not in wanted.get(table, {})]
            if excess:
                found[table] = excess
        return found

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """A transaction that only reads."""
        with self.database.connect() as connection, self.database.errors("read the catalogue"):
            yield connection

    @contextmanager
    def writing(self, doing: str) -> Generator[Connection, None, None]:
        """A transaction that may write, and is committed at the end."""
        database = self.database
        with database.connect() as connection, database.errors(doing), connection.begin():
            _send(connection, self.dialect.writing)
            yield connection

    def _removed(self, subject: str, statements: Sequence[str], *, dry_run: bool) -> Removal:
        if not dry_run:
            try:
                self._write(f"remove {subject}", statements)
            except SourceFatal as error:
                return Removal(subject, f"{error}; who may: {'; '.join(statements)}")
        return Removal(subject)

    def _write(self, doing: str, statements: Sequence[str]) -> None:
        with self.writing(doing) as connection:
            _send(connection, statements)


def _send(connection: Connection, statements: Iterable[str]) -> None:
    """As they are: a percent sign in an identifier is no parameter."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def outbox_dialect(database: Database, name: TableName) -> OutboxDialect:
    """The outbox of a database's kind."""
    kinds: dict[str, type[OutboxDialect]] = {
        "sqlite": SqliteOutbox,
        "postgresql": PostgresOutbox,
        "mariadb": MariaDBOutbox,
    }
    return kinds[database.dialect.name](name)


def _script(statements: Iterable[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)
