"""Postgres through psycopg: JSON text comes from `to_json`, as where Postgres builds documents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, cast, event, func, literal, type_coerce
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.engine import URL

from flusso_core.model import FieldType, TableName
from flusso_core.schema.model import Scalar
from flusso_source_polling.dialects.base import (
    TEXTUAL,
    Column,
    Dialect,
    Expression,
    Json,
    Spelling,
    Value,
)
from flusso_source_polling.dialects.quoting import Quoting

_RAW = sql.NullType()
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_KEYS = (sql.Integer, sql.String, sql.LargeBinary, sql.Uuid, sql.Date, sql.DateTime, sql.Numeric)
_NUMBERS = (sql.Boolean, sql.Integer, sql.Numeric)
_STRINGS = (sql.Uuid, sql.Date, sql.DateTime, sql.Time, sql.Enum)
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
)


class PostgresDialect(Dialect):
    """Postgres without logical replication."""

    name = "postgresql"
    quoting = Quoting(pg.dialect)
    install = 'pip install "psycopg[binary]"'
    arguments: Mapping[str, Any] = {
        "isolation_level": "REPEATABLE READ",
        "use_native_hstore": False,
    }

    def require(self, url: URL) -> None:
        """The server says what is wrong with a URL."""

    def prepare(self, engine: Engine) -> None:
        """Pin what the text of a value depends on, and write nothing."""

        def connected(connection: Any, _record: object) -> None:
            # A prepared statement fails where the types of its columns have changed.
            connection.prepare_threshold = None
            connection.autocommit = True
            for statement in (*_SETTINGS, "SET default_transaction_read_only = on"):
                connection.execute(statement)
            connection.autocommit = False

        event.listen(engine, "connect", connected)

    def obstacle(
        self, connection: Connection, tables: Sequence[TableName]
    ) -> tuple[str, str] | None:
        """Readers block nobody."""
        return None

    def version(self, connection: Connection) -> str:
        """The database's number; the system identifier needs a privilege in old versions."""
        found = connection.exec_driver_sql(
            "SELECT oid::text FROM pg_database WHERE datname = current_database()"
        )
        return f"postgresql:{found.scalar()}"

    def schema(self, name: str) -> str | None:
        """The schema itself."""
        return name

    def read(self, expression: Expression, column: Column) -> Expression:
        """What Python has a type for as it is, money as a number, the rest as JSON text."""
        kind = column.type
        if isinstance(kind, sql.Boolean | sql.Integer | sql.LargeBinary) or _is_text(kind):
            return type_coerce(expression, _RAW)
        if isinstance(kind, pg.MONEY):
            return cast(cast(expression, sql.Numeric), sql.Text)
        if isinstance(kind, sql.JSON):
            return cast(expression, sql.Text)
        return _to_json(expression)

    def spelling(self, column: Column, field_type: FieldType) -> Spelling | None:
        """By `to_json`; what it gives a number for is none in a field of texts."""
        kind = column.type
        numeric = isinstance(kind, _NUMBERS) and field_type not in TEXTUAL
        if numeric or _is_text(kind) or isinstance(kind, _STRINGS):
            return _to_json
        return None

    def lowers(self, column: Column) -> bool:
        """Of a text."""
        return _is_text(column.type)

    def value(self, raw: Any, column: Column, field_type: FieldType | None) -> Value:
        """What came: JSON text where `read` asked for it."""
        if raw is None or isinstance(raw, bool | int):
            return raw
        if isinstance(column.type, sql.LargeBinary):
            return bytes(raw)
        return str(raw) if _is_text(column.type) else Json(raw)

    def key_problem(self, column: Column) -> str | None:
        """Types of which a cast to text spells each value in one way."""
        kind = column.type
        if isinstance(kind, _KEYS) and not isinstance(kind, sql.CHAR | sql.Float | pg.CITEXT):
            return None
        return f"keys of type {kind} are not supported; store a whole number or a text"

    def key(self, expression: Expression, column: Column) -> Expression:
        """The text, by a cast."""
        return cast(expression, sql.Text)

    def key_text(self, raw: Any) -> str:
        """The text that came."""
        return str(raw)

    def spells(self, text: str, column: Column) -> bool:
        """A text without NUL, or a whole number that fits into the type."""
        kind = column.type
        if isinstance(kind, sql.Integer):
            bits = 16 if isinstance(kind, sql.SmallInteger) else 32
            bits = 64 if isinstance(kind, sql.BigInteger) else bits
            limit = 1 << (bits - 1)
            return bool(_INTEGER.fullmatch(text)) and -limit <= int(text) < limit
        return _is_text(kind) and "\0" not in text

    def typed(self, text: str, column: Column) -> Expression:
        """The text, cast to the column's type."""
        return cast(literal(text, sql.Text), column.type)

    def among(self, expression: Expression, texts: Sequence[str], column: Column) -> Expression:
        """One array, cast as a whole."""
        given = bindparam(None, list(texts), type_=pg.ARRAY(sql.Text), unique=True)
        compared: Expression = expression == func.any(cast(given, pg.ARRAY(column.type)))
        return compared

    def operand(self, value: Scalar, column: Column) -> Expression:
        """A parameter without a type: Postgres gives it the column's."""
        if isinstance(value, float) and isinstance(column.type, sql.Integer):
            return literal(Decimal(repr(value)), sql.Numeric)
        if value is None:
            return literal(None, _RAW)
        return literal(str(value).lower() if isinstance(value, bool) else str(value), _RAW)

    def like(self, expression: Expression, pattern: Expression, *, fold: bool) -> Expression:
        """LIKE or ILIKE over the text."""
        text = cast(expression, sql.Text)
        return text.ilike(pattern) if fold else text.like(pattern)

    def is_boolean(self, column: Column) -> bool:
        """Of type boolean."""
        return isinstance(column.type, sql.Boolean)

    def is_json(self, column: Column) -> bool:
        """Of a JSON type."""
        return isinstance(column.type, sql.JSON)

    def is_point_text(self, column: Column) -> bool:
        """JSON or a text."""
        return _is_text(column.type) or isinstance(column.type, sql.JSON | sql.CHAR)

    def total(self, expression: Expression, column: Column) -> Expression:
        """The sum as JSON text."""
        if isinstance(column.type, pg.MONEY):
            expression = cast(expression, sql.Numeric)
        return cast(func.to_json(func.sum(expression)), sql.Text)

    def mean(self, expression: Expression, column: Column) -> Expression:
        """The average as JSON text."""
        if isinstance(column.type, pg.MONEY):
            expression = cast(expression, sql.Numeric)
        return cast(func.to_json(cast(func.avg(expression), pg.DOUBLE_PRECISION)), sql.Text)

    def computed(self, raw: Any) -> Value:
        """JSON text."""
        return None if raw is None else Json(raw)


def _to_json(expression: Expression) -> Expression:
    return cast(func.to_json(expression), sql.Text)


def _is_text(kind: object) -> bool:
    return isinstance(kind, sql.String) and not isinstance(kind, sql.CHAR | sql.Enum | pg.CITEXT)
