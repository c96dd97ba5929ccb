"""What the databases' outboxes have in common: names, columns, and what each has to say."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import BigInteger, Column, Connection, MetaData, Text
from sqlalchemy import Table as SqlTable
from sqlalchemy.types import TypeEngine

from flusso_core.model import TableName
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect

LONGEST_NAME = 40
"""Characters of an outbox's name at most: names of triggers are made of it, 63 bytes at most."""


COLUMNS = ("table_schema", "table_name", "operation", "old_row", "new_row")
"""What an entry has beside its id. The rows are JSON objects: texts by columns' names."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A table whose changes are logged.

    Attributes:
        table: the table.
        key: the columns that identify a row.
        routing: columns that lead to documents, in the key or not.
    """

    table: Table
    key: tuple[str, ...]
    routing: frozenset[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those whose values an entry has."""
        return (*self.key, *sorted(self.routing.difference(self.key)))

    @property
    def name(self) -> TableName:
        """The table's name as schemas have it; entries carry it."""
        return self.table.name


class Trigger(NamedTuple):
    """A trigger that is there.

    Attributes:
        definition: what it does, as the catalogue spells it.
        made: what differs once it was removed and made again; empty: the database does not tell.
    """

    definition: str
    made: str = ""


Installed: TypeAlias = Mapping[TableName, Mapping[str, Trigger]]
"""Triggers by their names, by the table that they are on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The triggers that a table should have.

    Attributes:
        triggers: by name, what the catalogue says that they do when they are as they should be.
        statements: make them so, whatever is there; one transaction.
    """

    logged: Logged
    triggers: Mapping[str, str]
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caveat:
    """What to know of a logged table: changes that fire no trigger, what its triggers forbid."""

    message: str
    cure: str


class OutboxDialect(ABC):
    """One database's way to log changes. Nothing here holds a connection.

    Args:
        name: the log's table.

    Attributes:
        dialect: the database's other ways.
        writing: statements that begin a transaction which may write and waits for no lock for
            long.
        id_type: of the entries' ids, which grow: a number that the database gives.
        sees_truncate: whether a TRUNCATE is in the log.
    """

    dialect: Dialect
    writing: tuple[str, ...]
    id_type: TypeEngine[Any] = BigInteger()
    sees_truncate: bool = False

    def __init__(self, name: TableName) -> None:
        self.name = name

    @property
    def reader_name(self) -> TableName:
        """The table that says who reads the log."""
        return TableName(self.name.schema, f"{self.name.name}_reader")

    @property
    def log(self) -> SqlTable:
        """The log's table, for statements."""
        return SqlTable(
            self.name.name,
            MetaData(),
            Column("id", self.id_type, primary_key=True),
            *(Column(name, Text) for name in COLUMNS),
            schema=self.dialect.schema(self.name.schema),
        )

    @property
    def reader(self) -> SqlTable:
        """The table that says who reads the log, for statements."""
        schema = self.dialect.schema(self.name.schema)
        return SqlTable(self.reader_name.name, MetaData(), Column("stream", Text), schema=schema)

    def read_id(self, text: str) -> Any:
        """An id that was written down."""
        return int(text)

    @abstractmethod
    def create(self) -> tuple[str, ...]:
        """Make the log, if it is not there."""

    def drop(self) -> tuple[str, ...]:
        """Remove the log. Triggers that are still there would then break whoever writes."""
        names = (self.name, self.reader_name)
        return tuple(f"DROP TABLE IF EXISTS {self.dialect.quoted(name)}" for name in names)

    @abstractmethod
    def wanted(self, connection: Connection, logged: Logged) -> Wanted:
        """The triggers that a table should have."""

    @abstractmethod
    def installed(self, connection: Connection) -> Installed:
        """Every trigger of this outbox."""

    def remove(self, table: TableName, triggers: Sequence[str]) -> tuple[str, ...]:
        """Remove these triggers of a table; one transaction."""
        names = (self.dialect.quoted(TableName(table.schema, name)) for name in triggers)
        return tuple(f"DROP TRIGGER IF EXISTS {name}" for name in names)

    @abstractmethod
    def caveats(self, connection: Connection, logged: Logged) -> Sequence[Caveat]:
        """What to know of the table."""

    def trigger(self, table: TableName, what: str) -> str:
        """The name of a trigger; in some databases no two tables have one of the same name."""
        spelled = f"{table.schema}\0{table.name}".encode()
        digest = blake2b(spelled, digest_size=4).hexdigest()
        return f"{self.name.name}_{digest}_{what}"

    def made(self, trigger: str) -> bool:
        """Whether a name is one that `trigger` gives, for whichever table."""
        return (
            re.fullmatch(rf"{re.escape(self.name.name)}_[0-9a-f]{{8}}_[a-z]+", trigger) is not None
        )
