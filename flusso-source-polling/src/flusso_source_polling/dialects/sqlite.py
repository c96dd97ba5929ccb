"""SQLite: values are typed one by one, so they are read as they are and judged by what the
column was declared as.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, case, collate, event, func, literal, null, type_coerce
from sqlalchemy import types as sql
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import FieldType, TableName
from flusso_core.schema.model import Scalar
from flusso_source_polling.dialects.base import (
    STRUCTURED,
    TEXTUAL,
    Column,
    Dialect,
    Expression,
    KeyRefused,
    Spelling,
    Value,
)
from flusso_source_polling.dialects.quoting import Quoting
from flusso_source_polling.dialects.spelling import finite, json_value, number, timestamp

_RAW = sql.NullType()
_EXACT = Context(prec=1000)
_OTHER_THAN_NUMBERS = TEXTUAL | STRUCTURED | {FieldType.BOOLEAN}
# Before, they need not be there (https://sqlite.org/json1.html, 2).
_HAS_JSON = sqlite3.sqlite_version_info >= (3, 38)


class SqliteDialect(Dialect):
    """SQLite through Python's own `sqlite3`."""

    name = "sqlite"
    quoting = Quoting(sqlite.dialect)
    arguments: Mapping[str, Any] = {"connect_args": {"check_same_thread": False, "timeout": 5.0}}

    def require(self, url: URL) -> None:
        """A file that is there: opening another one would make it."""
        file = url.database
        if not file or file == ":memory:" or file.startswith("file:"):
            raise ConfigError("[source] connection_url: name a database file: sqlite:///notes.db")
        if not Path(file).is_file():
            raise SourceFatal(
                f"there is no database file {Path(file).resolve()}; correct connection_url, or the "
                "folder that flusso is started in"
            )

    def prepare(self, engine: Engine) -> None:
        """Begin real transactions (the driver begins none for a SELECT), and write nothing."""

        def connected(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA query_only = 1")
            connection.create_function("flusso_like", 3, _like, deterministic=True)
            connection.create_function("flusso_json", 1, _json, deterministic=True)
            connection.create_aggregate("flusso_sum", 1, _Sum)
            connection.create_aggregate("flusso_avg", 1, _Mean)

        def begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        event.listen(engine, "connect", connected)
        event.listen(engine, "begin", begun)

    def obstacle(
        self, connection: Connection, tables: Sequence[TableName]
    ) -> tuple[str, str] | None:
        """A snapshot that is held blocks every writer, unless the file is in WAL mode."""
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        if mode == "wal":
            return None
        return (
            f"its journal mode is {mode}, in which reading it would block its writers",
            "PRAGMA journal_mode = WAL (once; the file keeps it)",
        )

    def version(self, connection: Connection) -> str:
        """The file's own number: another file in its place, as from a backup, has another one."""
        file = connection.exec_driver_sql(
            "SELECT file FROM pragma_database_list WHERE name = 'main'"
        ).scalar_one()
        return f"sqlite:{Path(file).stat().st_ino}"

    def schema(self, name: str) -> str | None:
        """`public`, the format's default, is the file itself."""
        if name in ("public", "main"):
            return None
        raise SourceFatal(f"SQLite has no schema {name!r}: leave `schema` out")

    def read(self, expression: Expression, column: Column) -> Expression:
        """The stored value itself."""
        return type_coerce(expression, _RAW)

    def spelling(self, column: Column, field_type: FieldType) -> Spelling | None:
        """Value by value, as each has a type of its own; Python spells doubles and bytes."""
        kind = column.type
        textual = isinstance(kind, sql.String) and field_type not in STRUCTURED
        numeric = (
            isinstance(kind, sql.Integer | sql.Numeric) and field_type not in _OTHER_THAN_NUMBERS
        )
        return _spelled if _HAS_JSON and (textual or numeric) else None

    def lowers(self, column: Column) -> bool:
        """SQLite knows the case of ASCII only."""
        return False

    def value(self, raw: Any, column: Column, field_type: FieldType | None) -> Value:
        """The value, as its declared type says; JSON is text here, whatever it was declared as."""
        if raw is None or isinstance(raw, bytes):
            return raw
        kind = column.type
        if isinstance(kind, sql.JSON) or field_type in STRUCTURED:
            return json_value(raw)
        if isinstance(raw, float):
            return number(raw)
        if isinstance(raw, int):
            boolean = isinstance(kind, sql.Boolean) or field_type is FieldType.BOOLEAN
            return bool(raw) if boolean and raw in (0, 1) else raw
        text = str(raw)
        return timestamp(text) if isinstance(kind, sql.DateTime) else text

    def key_problem(self, column: Column) -> str | None:
        """Only a declared type makes SQLite compare a key with its text."""
        if isinstance(column.type, sql.NullType | sql.LargeBinary):
            return "declare it as INTEGER or TEXT: keys of other types are not supported"
        return None

    def key(self, expression: Expression, column: Column) -> Expression:
        """The stored value itself."""
        return type_coerce(expression, _RAW)

    def key_text(self, raw: Any) -> str:
        """A number as it is written in SQL, whole ones without a point."""
        if isinstance(raw, bytes):
            raise KeyRefused("a key or foreign key is a BLOB, which is not supported; store a text")
        if isinstance(raw, float):
            return str(int(raw)) if raw.is_integer() and abs(raw) < 2**63 else repr(raw)
        return str(raw)

    def spells(self, text: str, column: Column) -> bool:
        """Every text can be compared."""
        return True

    def typed(self, text: str, column: Column) -> Expression:
        """The text: the column's affinity applies to it (https://sqlite.org/datatype3.html, 4)."""
        return literal(text, _RAW)

    def among(self, expression: Expression, texts: Sequence[str], column: Column) -> Expression:
        """As `typed`, for each."""
        return type_coerce(self.exact(expression, column), _RAW).in_(list(texts))

    def exact(self, expression: Expression, column: Column) -> Expression:
        """Texts by their bytes, which every index serves but one that ignores case."""
        return collate(expression, "BINARY") if isinstance(column.type, sql.String) else expression

    def same(self, expression: Expression, column: Column, other: Expression) -> Expression:
        """By their bytes as well."""
        return self.exact(expression, column) == other

    def operand(self, value: Scalar, column: Column) -> Expression:
        """The value itself: SQLite compares as the column's affinity says."""
        return literal(int(value) if isinstance(value, bool) else value, _RAW)

    def like(self, expression: Expression, pattern: Expression, *, fold: bool) -> Expression:
        """SQLite's own LIKE never minds case and has no escape character."""
        return func.flusso_like(expression, pattern, literal(int(fold), _RAW)) == 1

    def is_boolean(self, column: Column) -> bool:
        """Declared BOOLEAN."""
        return isinstance(column.type, sql.Boolean)

    def is_json(self, column: Column) -> bool:
        """Of a JSON type."""
        return isinstance(column.type, sql.JSON)

    def is_point_text(self, column: Column) -> bool:
        """JSON or a text."""
        return not isinstance(column.type, sql.LargeBinary)

    def total(self, expression: Expression, column: Column) -> Expression:
        """Added as decimals: 0.1 and 0.2 are 0.3."""
        return func.flusso_sum(type_coerce(expression, _RAW), type_=_RAW)

    def mean(self, expression: Expression, column: Column) -> Expression:
        """The exact sum by the number of values."""
        return func.flusso_avg(type_coerce(expression, _RAW), type_=_RAW)

    def computed(self, raw: Any) -> Value:
        """Digits come as a text, so that none is lost."""
        if raw is None:
            return None
        return number(raw) if isinstance(raw, float) else finite(Decimal(raw))


def _spelled(expression: Expression) -> Expression:
    raw = type_coerce(expression, _RAW)
    text: Expression = case(
        {"text": func.json_quote(raw), "integer": raw, "null": null()},
        value=func.typeof(raw),
        else_=func.flusso_json(raw),
    )
    return type_coerce(text, sql.Text)


def _json(value: float | bytes) -> str:
    """What SQLite has no exact JSON for, as `natural` spells it."""
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    return number(value)


def _like(value: object, pattern: object, fold: int) -> int | None:
    if value is None or pattern is None:
        return None
    return int(_compiled(str(pattern), fold).fullmatch(str(value)) is not None)


def _compiled(pattern: str, fold: int) -> re.Pattern[str]:
    """`%` and `_`, and a backslash before what stands for itself (`re` caches the rest)."""
    parts: list[str] = []
    characters = iter(pattern)
    for one in characters:
        if one == "%":
            parts.append(".*")
        elif one == "_":
            parts.append(".")
        else:
            parts.append(re.escape(next(characters, "\\") if one == "\\" else one))
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if fold else 0))


class _Sum:
    """An exact sum; NULL where there is nothing to add."""

    def __init__(self) -> None:
        self._sum = Decimal(0)
        self._count = 0

    def step(self, value: float | str | None) -> None:
        """Add a value. A text that is no number ends the statement with an error."""
        if value is not None:
            number = Decimal(repr(value) if isinstance(value, float) else value)
            self._sum = _EXACT.add(self._sum, number)
            self._count += 1

    def finalize(self) -> str | None:
        """The digits."""
        return f"{self._sum:f}" if self._count else None


class _Mean(_Sum):
    """An average as a double."""

    def finalize(self) -> float | None:  # type: ignore[override]
        """The nearest double."""
        return float(_EXACT.divide(self._sum, Decimal(self._count))) if self._count else None
