"""The database behind a SQLAlchemy URL: connections, sessions' settings, errors by reaction."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import NullPool

from flusso_core.errors import ConfigError, SourceError, SourceFatal, SourceUnavailable
from flusso_source_polling.dialects import Dialect, dialect_of

# Result codes of SQLite (https://sqlite.org/rescode.html): busy, locked, I/O error, cannot open.
_SQLITE_PASSES = frozenset({5, 6, 10, 14})

# SQLSTATE classes of Postgres (manual, appendix A) that someone has to mend: authorisation,
# unknown database, syntax or access rule.
_FATAL_CLASSES = ("28", "3D", "42")


class Database:
    """A database that can be read in consistent transactions.

    Args:
        url: the SQLAlchemy URL.

    Raises:
        ConfigError: the URL is malformed, or the database or its driver is not supported.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.dialect: Dialect = dialect_of(self.url)
        self._engine: Engine | None = None

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
        """
        with self.errors("connect"):
            self.dialect.require(self.url)
            if self._engine is None:
                self._engine = create_engine(
                    self.url, poolclass=NullPool, hide_parameters=True, **self.dialect.arguments
                )
                self.dialect.prepare(self._engine)
            return self._engine.connect()

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
        return SourceUnavailable(message) if _passes(error) else SourceFatal(message)


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (SQLAlchemyError, ValueError):
        # What was raised may quote a part of the URL, and a password with it.
        message = (
            "[source] connection_url is not a SQLAlchemy URL; write one such as "
            "sqlite:///notes.db or postgresql+psycopg://user:password@host/database"
        )
        raise ConfigError(message) from None


def _passes(error: SQLAlchemyError) -> bool:
    """Whether trying again may help."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (int(code) & 0xFF) in _SQLITE_PASSES
    state = getattr(error.orig, "sqlstate", None)
    if state is not None and str(state).startswith(_FATAL_CLASSES):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
