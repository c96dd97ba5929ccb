"""The application whose tables are logged."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import CursorResult, create_engine
from sqlalchemy.pool import NullPool

from flusso_source_polling.outbox.model import Quoting


class Application:
    """A connection of its own, on which every statement commits unless it is in a transaction.

    Args:
        url: of the database, in SQLAlchemy's terms.
    """

    def __init__(self, url: str) -> None:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection = engine.connect()
        self.quoting = Quoting(type(engine.dialect))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
