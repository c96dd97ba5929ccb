"""The database behind a SQLAlchemy URL: connections, sessions' settings, errors by reaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import NullPool, QueuePool

from flusso_core.errors import ConfigError, SourceError, SourceFatal, SourceUnavailable
from flusso_source_polling.dialects import Dialect, dialect_of

T = TypeVar("T")

# Result codes of SQLite (https://sqlite.org/rescode.html): busy, locked, I/O error, cannot open.
_SQLITE_PASSES = frozenset({5, 6, 10, 14})
_SQLITE_ERROR = 1

# Error numbers of MariaDB (manual, "Operational Error Codes") that someone has to mend although the
# driver calls them operational: access denied, unknown database or column, no privilege.
_MARIADB_CLOSED = frozenset({1044, 1045, 1049, 1227, 1698, 4151})
_MARIADB_FATAL = _MARIADB_CLOSED | {1054, 1142, 1143, 1267, 1271}

# SQLSTATE classes of Postgres (manual, appendix A) that someone has to mend: authorisation,
# unknown database, syntax or access rule.
_CLOSED_CLASSES = ("28", "3D")
_FATAL_CLASSES = (*_CLOSED_CLASSES, "42")


class StatementRefused(SourceFatal):
    """The database is there and does not take the statement: a table or column is not what it was,
    or may not be read.
    """


class Database:
    """A database that can be read in consistent transactions.

    Args:
        url: the SQLAlchemy URL.
        pool_size: connections that are kept for the next read, until `close`; none of them is in
            a transaction.

    Raises:
        ConfigError: the URL is malformed, or the database or its driver is not supported.
    """

    def __init__(self, url: str, *, pool_size: int = 0) -> None:
        self.url = _parse(url)
        self.dialect: Dialect = dialect_of(self.url)
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._reads = 0
        self._closed = False

    @property
    def name(self) -> str:
        """What the database is called in messages and identities: no user and no password."""
        if self.dialect.name == "sqlite":
            return str(Path(self.url.database or "").resolve())
        host = self.url.host or "localhost"
        port = f":{self.url.port}" if self.url.port is not None else ""
        return f"{host}{port}/{self.url.database or ''}"

    def connect(self) -> Connection:
        """A new connection, in no transaction yet. Blocks.

        Raises:
            SourceUnavailable: the database is not there.
            SourceFatal: it refuses.
            ConfigError: its driver is not installed.
        """
        with self.errors("connect"):
            self.dialect.require(self.url)
            with self._lock:
                engine = self._engine = self._engine or self._create()
            return engine.connect()

    def read(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction of its own. Blocks.

        Raises:
            SourceUnavailable: the database is not there.
            SourceFatal: it refuses.
        """
        with self._lock:
            self._reads += 1
        try:
            with self.connect() as connection, self.errors(doing):
                return work(connection)
        finally:
            with self._lock:
                self._reads -= 1
            self._dispose()

    def close(self) -> None:
        """End the connections that are kept, and those of reads that still run when they end.

        Idempotent.
        """
        self._closed = True
        self._dispose()

    def _dispose(self) -> None:
        with self._lock:
            if self._closed and not self._reads and self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _create(self) -> Engine:
        # A kept connection may be one to a server that has been restarted since.
        pool: dict[str, Any] = (
            {"poolclass": QueuePool, "pool_size": self._pool_size, "pool_pre_ping": True}
            if self._pool_size
            else {"poolclass": NullPool}
        )
        try:
            engine = create_engine(self.url, hide_parameters=True, **pool, **self.dialect.arguments)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"[source] connection_url: the driver {error.name} is not installed; "
                f"{self.dialect.install}"
            ) from error
        self.dialect.prepare(engine)
        return engine

    @contextmanager
    def errors(self, doing: str) -> Generator[None, None, None]:
        """Turn what the driver raises into errors by reaction, without secrets."""
        try:
            yield
        except SQLAlchemyError as error:
            raise self._error(error, doing) from error

    def _error(self, error: SQLAlchemyError, doing: str) -> SourceError:
        # `str` of a StatementError repeats the statement; the cause's own words are enough.
        words = str(error.orig if isinstance(error, StatementError) else error)
        text = " ".join(words.split())
        if self.url.password:
            text = text.replace(str(self.url.password), "********")
        message = f"cannot {doing} at {self.dialect.name} {self.name}: {text}"
        if _passes(error):
            return SourceUnavailable(message)
        return StatementRefused(message) if _is_refused(error) else SourceFatal(message)


def _parse(url: str) -> URL:
    try:
        found = make_url(url)
    except (SQLAlchemyError, ValueError):
        # What was raised may quote a part of the URL, and a password with it.
        message = (
            "[source] connection_url is not a SQLAlchemy URL; write one such as "
            "sqlite:///notes.db or mariadb+pymysql://user:password@host/database"
        )
        raise ConfigError(message) from None
    # As the Postgres builder and libpq have it, which take the same URL.
    plain = found.drivername in ("postgresql", "postgres")
    return found.set(drivername="postgresql+psycopg") if plain else found


def _passes(error: SQLAlchemyError) -> bool:
    """Whether trying again may help."""
    if not isinstance(error, DBAPIError):
        return False
    code = _sqlite_code(error)
    if code is not None:
        return code in _SQLITE_PASSES
    if _number(error) in _MARIADB_FATAL or _state(error).startswith(_FATAL_CLASSES):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _is_refused(error: SQLAlchemyError) -> bool:
    """Whether the database is well, and only this statement is not."""
    if not isinstance(error, DBAPIError) or error.statement is None:
        return False
    code = _sqlite_code(error)
    if code is not None:
        return code == _SQLITE_ERROR
    closed = _number(error) in _MARIADB_CLOSED or _state(error).startswith(_CLOSED_CLASSES)
    return not closed


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _number(error: DBAPIError) -> object:
    return next(iter(getattr(error.orig, "args", ())), None)


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
