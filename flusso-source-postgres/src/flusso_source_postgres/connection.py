"""Connections to Postgres: where to, with which session settings, and what their errors mean.

```python
target = ConnectionTarget.from_url("postgresql://shop@db.example.com/shop")
async with await connect(target, application_name="flusso") as connection:
    ...
```
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, field
from typing import TypeAlias

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from flusso_core.errors import ConfigError, SourceError, SourceFatal, SourceUnavailable
from flusso_source_postgres.refusal import sqlstate_of_refusal

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

SESSION_SETTINGS = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "lc_monetary": "C",
    "search_path": "",
    # A policy that hides rows raises an error instead of hiding them.
    "row_security": "off",
}
"""Pinned on every connection, because the spelling of keys and values depends on them."""

CONNECT_TIMEOUT = 10
"""Seconds to wait for a server that does not answer, unless the connection URL says otherwise."""


@dataclass(frozen=True, slots=True)
class ConnectionTarget:
    """A database to connect to. Its `repr` and `str` show host, port and database, no secret.

    Attributes:
        conninfo: libpq's connection string; secret.
        where: the server and database for messages.
    """

    conninfo: str = field(repr=False)
    where: str

    def __str__(self) -> str:
        return self.where

    @classmethod
    def from_url(cls, url: str) -> ConnectionTarget:
        """A target from a `postgresql://` URL or a libpq `key=value` string.

        Raises:
            ConfigError: it is malformed; the message does not quote it.
        """
        try:
            parts = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # libpq's message quotes pieces of the string, and the password may be one.
            message = (
                "the Postgres connection URL is malformed: expected "
                "postgresql://user:password@host:port/database, special characters in user and "
                "password percent-encoded"
            )
            raise ConfigError(message) from None
        for part in ("host", "dbname"):
            if "@" in str(parts.get(part) or ""):
                # An `@` in a password that is not encoded ends up here, with half the password.
                raise ConfigError(
                    "the Postgres connection URL has an @ in its host or database: "
                    "percent-encode special characters in user and password (@ is %40)"
                )
        return cls._from_dict({key: str(value) for key, value in parts.items()})

    @classmethod
    def from_parts(
        cls, *, host: str, port: str, user: str, database: str, password: str | None = None
    ) -> ConnectionTarget:
        """A target from its parts.

        Raises:
            ConfigError: the port is no number.
        """
        if not port.isdecimal():
            raise ConfigError("the port of the Postgres connection is not a number")
        parts = {"host": host, "port": port, "user": user, "dbname": database}
        if password is not None:
            parts["password"] = password
        return cls._from_dict(parts)

    @classmethod
    def _from_dict(cls, parts: dict[str, str]) -> ConnectionTarget:
        port = parts.get("port", "5432")
        if not all(one.isdecimal() for one in port.split(",") if one):
            raise ConfigError("the port in the Postgres connection URL is not a number")
        pinned = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())
        # A later -c wins over an earlier one, so what the user gave stays, except for these.
        parts = {
            "connect_timeout": str(CONNECT_TIMEOUT),
            "keepalives_idle": "30",
            "tcp_user_timeout": "60000",
            **parts,
            "options": f"{parts.get('options', '')} {pinned}".strip(),
        }
        host = parts.get("host") or parts.get("hostaddr") or "localhost"
        where = f"database {parts.get('dbname', parts.get('user', ''))!r} at {host}:{port}"
        return cls(conninfo=make_conninfo("", **parts), where=where)

    def with_parameters(self, **parameters: str) -> str:
        """The connection string with further libpq parameters; secret."""
        return make_conninfo(self.conninfo, **parameters)


async def connect(target: ConnectionTarget, *, application_name: str) -> Connection:
    """Open an autocommit connection with the session settings pinned.

    Args:
        target: where to.
        application_name: what `pg_stat_activity` shows, unless the URL names something else.

    Raises:
        SourceUnavailable: the server is not there, not ready, or has no room.
        SourceFatal: it refuses: password, role, database, `pg_hba.conf`.
    """
    conninfo = target.with_parameters(fallback_application_name=application_name)
    return await dial(target, conninfo)


async def dial(target: ConnectionTarget, conninfo: str) -> Connection:
    """Open an autocommit connection; errors as for `connect`.

    Args:
        target: for the messages of errors.
        conninfo: its connection string, with what else this connection takes.
    """
    try:
        return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    except psycopg.Error as error:
        raise await refusal(str(error), target, conninfo) from error
    except asyncio.CancelledError as error:
        # What is half open is closed with psycopg's frames, and whoever holds the error holds
        # them; the server would wait for it as long as `authentication_timeout`, a minute, and a
        # DROP DATABASE would wait along.
        traceback.clear_frames(error.__traceback__)
        raise


async def refusal(message: str, target: ConnectionTarget, conninfo: str) -> SourceError:
    """What a failed attempt to connect means, whatever language the server speaks.

    Args:
        message: libpq's, with the server's words.
        target: for the message of the error.
        conninfo: what the attempt was made with.
    """
    error = connect_error(message, target)
    if isinstance(error, SourceFatal) or any(words in message for words in _PASSING):
        return error
    state = await asyncio.to_thread(sqlstate_of_refusal, conninfo)
    return connect_error(message, target, state)


# libpq gives no SQLSTATE for a connection that failed, only the server's words; where these are
# known, there is no need to ask for the code.
_PASSING = (
    "Connection refused",
    "timeout expired",
    "could not translate host name",
    "is starting up",
    "is shutting down",
    "in recovery mode",
    "too many clients",
    "connection slots",
)
_REFUSED = (
    ("password authentication failed", "check user and password"),
    ("no password supplied", "give a password in [source] connection_url or PGPASSWORD"),
    ("authentication failed", "check the role and pg_hba.conf"),
    ("no pg_hba.conf entry", "allow this host and role in pg_hba.conf"),
    ("is not permitted to log in", "ALTER ROLE … LOGIN, or use another role"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE … TO the role"),
    ("permission denied to start WAL sender", "ALTER ROLE … REPLICATION, as a superuser"),
    ("must be superuser or replication role", "ALTER ROLE … REPLICATION, as a superuser"),
    ("server does not support SSL", "change sslmode, or enable SSL on the server"),
    ("certificate verify failed", "check sslrootcert and the server's certificate"),
    ("does not match host name", "check sslmode and the host in the connection URL"),
)
_MISSING = (
    ('database "', "create the database, or correct its name in [source] connection_url"),
    ('role "', "create the role, or correct the user in [source] connection_url"),
)


def connect_error(message: str, target: ConnectionTarget, state: str | None = None) -> SourceError:
    """What a failed attempt to connect means, from the server's or libpq's words.

    Args:
        message: these words.
        target: for the message of the error.
        state: the SQLSTATE, where it is known.
    """
    text = " ".join(message.split())
    for words, cure in _REFUSED:
        if words in text:
            return SourceFatal(f"Postgres refuses {target}: {text}; {cure}")
    if "does not exist" in text:
        for words, cure in _MISSING:
            if words in text:
                return SourceFatal(f"Postgres refuses {target}: {text}; {cure}")
    if state is not None and state.startswith(_REFUSING):
        return SourceFatal(
            f"Postgres refuses {target}: {text} ({state}); check user, password and database, and "
            "pg_hba.conf"
        )
    return SourceUnavailable(f"cannot connect to {target}: {text}")


_REFUSING = ("28", "3D", "42501")
"""Authorization, no such database, no privilege: appendix "PostgreSQL Error Codes"."""


_RETRYABLE = (
    # Class 08 (connection), 53 (no room), 57P (operator), 40 (serialization, deadlock), and
    # 55006, 55P03 (busy, locked) of the manual's appendix "PostgreSQL Error Codes".
    "08",
    "53",
    "57P",
    "57014",
    "40",
    "55006",
    "55P03",
)


class StatementRefused(SourceFatal):
    """The server cannot run a statement: what it names is not there or of another type, or a
    value makes it fail.
    """


_UNFIT = ("22", "42")
"""Classes 22 (data exception) and 42 (syntax error or access rule violation) of the manual's
appendix "PostgreSQL Error Codes"."""


def source_error(error: psycopg.Error, doing: str) -> SourceError:
    """What a database error means for the run: retry, or stop.

    Args:
        error: psycopg's error.
        doing: what was being done, as in "cannot …".
    """
    text = " ".join(str(error).split()) or type(error).__name__
    message = f"cannot {doing}: {text}"
    state = error.sqlstate
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceFatal(f"{message}; grant the role what it lacks, `flusso check` lists it")
    if state is None:
        # No SQLSTATE: the connection is gone (or was closed under us).
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return SourceUnavailable(message) if lost else SourceFatal(message)
    if state.startswith(_RETRYABLE):
        return SourceUnavailable(message)
    return StatementRefused(message) if state.startswith(_UNFIT) else SourceFatal(message)
