"""An outbox over some tables, and what its reader has found."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import func, select

from flusso_core.model import Change, Finding, Operation, RowImage, Severity, TableName
from flusso_source_polling.catalogue import reflect
from flusso_source_polling.database import Database
from flusso_source_polling.options import DEFAULT_OUTBOX
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.outbox.model import Logged
from flusso_source_polling.outbox.reader import OutboxReader
from flusso_source_polling.readers import Poll
from flusso_source_polling.state import StateFile

Told: TypeAlias = tuple[str, Operation, RowImage | None, RowImage | None]


class Bench:
    """An outbox and a stream that reads it.

    Args:
        url: of the database, in SQLAlchemy's terms.
        tables: the columns that lead to documents, by table; each has a primary key.
        schema: what the schema files call the schema of the tables.
        state: the state file; `None`: a new one.
    """

    def __init__(
        self,
        url: str,
        tables: Mapping[str, Iterable[str]],
        *,
        page_size: int = 100,
        state: Path | None = None,
        name: str = DEFAULT_OUTBOX,
        schema: str = "public",
    ) -> None:
        self.database = Database(url)
        self.outbox = Outbox(self.database, TableName("public", name))
        names = {TableName(schema, table): frozenset(of) for table, of in tables.items()}
        with self.database.connect() as connection:
            found = reflect(connection, self.database.dialect, names)
        self.tables = [
            Logged(found[table], found[table].primary_key, routing)
            for table, routing in names.items()
        ]
        self.state = StateFile(state or Path(tempfile.mkdtemp()) / "state")
        self.state.open(self.database.name)
        self.reader = OutboxReader(self.outbox, self.tables, page_size)

    def begin(self) -> None:
        """Make the outbox, and become its reader."""
        self.outbox.install(self.tables)
        with self.database.connect() as connection, self.state.transaction():
            self.reader.begin(connection, self.state.memory(self.reader.name))

    def poll(self) -> list[Told]:
        """What a poll finds: table, operation, old and new columns."""
        return [(one.table.name, *one[1:]) for one in self.changes()]

    def changes(self) -> list[Change]:
        """What a poll finds."""
        return list(self.stream())

    def stream(self) -> Iterator[Change]:
        """What a poll finds, as it comes."""
        with self.database.connect() as connection, self.state.transaction():
            poll = Poll(self.state.next_position())
            memory = self.state.memory(self.reader.name)
            yield from self.reader.poll(connection, memory, poll)

    def confirm(self) -> None:
        """Have everything that was found confirmed."""
        with self.database.connect() as connection, self.state.transaction():
            memory = self.state.memory(self.reader.name)
            self.reader.confirmed(connection, memory, self.state.next_position())

    def is_complete(self) -> bool:
        """Whether a start would go on with the log."""
        with self.state.transaction():
            return self.reader.is_complete(self.state.memory(self.reader.name))

    def entries(self) -> int:
        """How many entries the log has."""
        with self.database.connect() as connection:
            count = select(func.count()).select_from(self.outbox.dialect.log)
            return connection.execute(count).scalar_one()

    def check(self, severity: Severity, *, manage: bool = False) -> list[Finding]:
        """What a check finds of that severity."""
        found = self.outbox.check(self.tables, manage=manage, within=1.0)
        return [one for one in found if one.severity is severity]

    def amiss(self) -> list[str]:
        """What is amiss with the triggers."""
        with self.database.connect() as connection:
            found = self.outbox.amiss(connection, self.tables)
        return [f"{one.wanted.logged.name.name}: {one}" for one in found]
