"""The application whose tables are logged."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import CursorResult, create_engine
from sqlalchemy.pool import NullPool

from flusso_source_polling.database import Database


class Application:
    """A connection of its own, on which every statement commits unless it is in a transaction.

    Args:
        url: of the database, in SQLAlchemy's terms.
    """

    def __init__(self, url: str) -> None:
        database = Database(url)
        engine = create_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection = engine.connect()
        self.quoting = database.dialect.quoting

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def execute(self, statement: str) -> CursorResult[Any]:
        """Run it as it stands."""
        options = {"no_parameters": True}
        return self._connection.exec_driver_sql(statement, execution_options=options)

    def one(self, statement: str) -> int:
        """The number that a query gives."""
        return int(self.execute(statement).scalar_one())

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """A transaction, committed at the end."""
        self.execute("BEGIN")
        yield
        self.execute("COMMIT")
