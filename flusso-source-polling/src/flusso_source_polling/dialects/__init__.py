"""What is different from database to database; everything else is portable SQLAlchemy."""

from __future__ import annotations

from sqlalchemy.engine import URL

from flusso_core.errors import ConfigError
from flusso_source_polling.dialects.base import Column, Dialect, Expression, Json, KeyRefused, Value
from flusso_source_polling.dialects.mariadb import MariaDBDialect
from flusso_source_polling.dialects.postgres import PostgresDialect
from flusso_source_polling.dialects.sqlite import SqliteDialect

__all__ = ["Column", "Dialect", "Expression", "Json", "KeyRefused", "Value", "dialect_of"]


def dialect_of(url: URL) -> Dialect:
    """The dialect of a URL.

    Raises:
        ConfigError: the database or the driver is not supported.
    """
    match url.get_backend_name(), url.get_driver_name():
        case "sqlite", "pysqlite":
            return SqliteDialect()
        case "postgresql", "psycopg":
            return PostgresDialect()
        case "mariadb", "pymysql":
            return MariaDBDialect()
        case backend, driver:
            raise ConfigError(
                f"[source] connection_url: {backend}+{driver} is not supported; "
                "use sqlite:///…, mariadb+pymysql://… or postgresql+psycopg://…"
            )
