"""MariaDB through PyMySQL: every digit kept, and equality without what collations ignore."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    cast,
    collate,
    event,
    func,
    literal,
    literal_column,
    text,
    type_coerce,
)
from sqlalchemy import types as sql
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL

from flusso_core.errors import ConfigError
from flusso_core.model import FieldType, TableName
from flusso_core.schema.model import Scalar
from flusso_source_polling.dialects.base import (
    STRUCTURED,
    TEXTUAL,
    Column,
    Dialect,
    Expression,
    Spelling,
    Value,
)
from flusso_source_polling.dialects.quoting import Quoting
from flusso_source_polling.dialects.spelling import finite, json_value, number, timestamp

_RAW = sql.NullType()
_EXACT = "utf8mb4_nopad_bin"
"""Compares code points, trailing spaces included (manual, "Supported Character Sets")."""

_LETTERS = "utf8mb4_bin"
_SETTINGS = (
    "SET SESSION time_zone = '+00:00'",
    # It would pad what a CHAR column holds.
    "SET SESSION sql_mode = REPLACE(@@sql_mode, 'PAD_CHAR_TO_FULL_LENGTH', '')",
    "SET SESSION TRANSACTION READ ONLY",
)
_TEMPORAL = (sql.Date, sql.DateTime, sql.Time)
_SHORT_TEXTS = (mysql.VARCHAR, mysql.CHAR, mysql.TEXT, mysql.TINYTEXT)
_OTHER_THAN_NUMBERS = TEXTUAL | STRUCTURED | {FieldType.BOOLEAN}
_BINARY = (sql.LargeBinary, sql.BINARY, sql.VARBINARY)
_KEYS = (sql.Integer, sql.String, *_BINARY, sql.Uuid, sql.Date, sql.DateTime, sql.Numeric)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_BYTES = re.compile(r"\\x((?:[0-9a-f]{2})*)")
_NO_DATE = "0000-00-00"
_SINGLE_DIGITS = range(6, 10)
"""Digits that tell a float of four bytes: six are always there, nine always tell it."""


class MariaDBDialect(Dialect):
    """MariaDB 11.4, whose tables are of InnoDB."""

    name = "mariadb"
    quoting = Quoting(mysql.dialect)
    install = "pip install pymysql"
    arguments: Mapping[str, Any] = {
        "isolation_level": "REPEATABLE READ",
        "connect_args": {"charset": "utf8mb4", "connect_timeout": 10},
    }

    def require(self, url: URL) -> None:
        """Tables are looked for in the database that the URL names."""
        if not url.database:
            raise ConfigError(
                "[source] connection_url: name a database: mariadb+pymysql://user@host/database"
            )

    def prepare(self, engine: Engine) -> None:
        """Pin what the text of a value depends on, and write nothing."""

        def connected(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                for statement in _SETTINGS:
                    cursor.execute(statement)

        event.listen(engine, "connect", connected)

    def obstacle(
        self, connection: Connection, tables: Sequence[TableName]
    ) -> tuple[str, str] | None:
        """InnoDB's readers block nobody; other engines have no snapshots."""
        for table in tables:
            engine = connection.execute(
                text(
                    "SELECT engine FROM information_schema.tables "
                    "WHERE table_schema = COALESCE(:schema, database()) AND table_name = :table"
                ),
                {"schema": self.schema(table.schema), "table": table.name},
            ).scalar()
            if engine not in (None, "InnoDB"):
                return (
                    f"table {table} is of the engine {engine}, so no snapshot of it can be read",
                    f"ALTER TABLE {self.quoted(table)} ENGINE = InnoDB",
                )
        return None

    def version(self, connection: Connection) -> str:
        """The id that the server made for itself when it was installed."""
        return f"mariadb:{connection.exec_driver_sql('SELECT @@server_uid').scalar()}"

    def schema(self, name: str) -> str | None:
        """`public`, the format's default, is the database of the URL."""
        return None if name == "public" else name

    def collations(self, connection: Connection, table: str, schema: str | None) -> dict[str, str]:
        """Of the columns that have one."""
        found = connection.execute(
            text(
                "SELECT column_name, collation_name FROM information_schema.columns "
                "WHERE table_schema = COALESCE(:schema, database()) AND table_name = :table "
                "AND collation_name IS NOT NULL"
            ),
            {"schema": schema, "table": table},
        )
        return {str(name): str(collation) for name, collation in found}

    def read(self, expression: Expression, column: Column) -> Expression:
        """What Python has no type for as a text; floats of four bytes as doubles."""
        kind = column.type
        if isinstance(kind, (*_TEMPORAL, sql.Uuid, sql.NullType)):
            return cast(expression, sql.CHAR)
        if isinstance(kind, mysql.BIT):
            return type_coerce(expression, sql.Integer) + 0
        if isinstance(kind, mysql.FLOAT):
            # As a text it would lose digits.
            return cast(expression, sql.Double)
        return type_coerce(expression, _RAW)

    def spelling(self, column: Column, field_type: FieldType) -> Spelling | None:
        """Texts that are not long, whole numbers and decimals: the rest is spelled otherwise.

        A text of more than `max_allowed_packet` would be NULL in an expression.
        """
        kind = column.type
        if isinstance(kind, _SHORT_TEXTS) and field_type not in STRUCTURED:
            return _quoted
        if field_type in _OTHER_THAN_NUMBERS or self.is_boolean(column):
            return None
        if isinstance(kind, sql.Integer | sql.Numeric) and not isinstance(kind, sql.Float):
            return None if getattr(kind, "zerofill", False) else _digits_of
        return None

    def joined(self, texts: Sequence[Expression]) -> Expression:
        """By a function: `||` is OR."""
        return func.concat(*texts, type_=sql.String())

    def lowers(self, column: Column) -> bool:
        """Python does, so that it does not depend on the column."""
        return False

    def value(self, raw: Any, column: Column, field_type: FieldType | None) -> Value:
        """The value, as its declared type says; JSON is text here, whatever it was declared as."""
        if raw is None:
            return None
        kind = column.type
        if isinstance(raw, bytes):
            return raw
        if isinstance(raw, Decimal):
            return finite(raw)
        if isinstance(raw, float):
            return number(_shortest(raw) if isinstance(kind, mysql.FLOAT) else raw)
        if isinstance(raw, int):
            boolean = self.is_boolean(column) or field_type is FieldType.BOOLEAN
            if isinstance(kind, mysql.BIT) and not self.is_boolean(column):
                return f"{raw:0{kind.length or 1}b}"
            return bool(raw) if boolean and raw in (0, 1) else raw
        spelled = str(raw)
        if isinstance(kind, _TEMPORAL):
            return _temporal(spelled, kind)
        return json_value(spelled) if field_type in STRUCTURED else spelled

    def key_problem(self, column: Column) -> str | None:
        """Types whose order is that of their texts or numbers, and spelled in one way."""
        kind = column.type
        if isinstance(kind, _KEYS) and not isinstance(
            kind, sql.Float | sql.Enum | mysql.SET | mysql.BIT
        ):
            return None
        return f"keys of type {kind} are not supported; store a whole number or a text"

    def key(self, expression: Expression, column: Column) -> Expression:
        """Bytes in hexadecimal, as Postgres has them; times without zeros at the end."""
        kind = column.type
        if isinstance(kind, _BINARY):
            return func.concat("\\x", func.lower(func.hex(expression)))
        if isinstance(kind, _TEMPORAL):
            spelled: Expression = cast(expression, sql.CHAR)
            if getattr(kind, "fsp", None):
                return func.regexp_replace(spelled, r"\.?0+$", "")
            return spelled
        if isinstance(kind, sql.Numeric | sql.Uuid) and not isinstance(kind, sql.Integer):
            return cast(expression, sql.CHAR)
        return type_coerce(expression, _RAW)

    def key_text(self, raw: Any) -> str:
        """The text or the number that came."""
        return str(raw)

    def spells(self, text: str, column: Column) -> bool:
        """A text, or what is a number or bytes."""
        if isinstance(column.type, (*_TEMPORAL, sql.Uuid)):
            return False
        return _typed(text, column) is not None

    def typed(self, text: str, column: Column) -> Expression:
        """A value of the column's type: MariaDB compares numbers with texts as doubles."""
        value = _typed(text, column)
        return _digits(value) if isinstance(value, Decimal) else literal(value, _RAW)

    def among(self, expression: Expression, texts: Sequence[str], column: Column) -> Expression:
        """The index finds what is alike, of which what is the same is taken."""
        given = [
            _digits(value) if isinstance(value, Decimal) else value
            for one in texts
            if (value := _typed(one, column)) is not None
        ]
        alike = type_coerce(expression, _RAW).in_(given)
        if not _is_text(column):
            return alike
        return and_(alike, type_coerce(self.exact(expression, column), _RAW).in_(given))

    def exact(self, expression: Expression, column: Column) -> Expression:
        """Texts by their code points."""
        return _collated(expression, _EXACT) if _is_text(column) else expression

    def same(self, expression: Expression, column: Column, other: Expression) -> Expression:
        """As `among`: alike by the column's own collation, and the same."""
        if not _is_text(column) or column.collation is None:
            return expression == other
        alike = expression == _collated(other, column.collation)
        return and_(alike, self.exact(expression, column) == other)

    def ordered(self, expression: Expression, *, descending: bool) -> list[Expression]:
        """MariaDB holds NULL for the least and has no words to say otherwise."""
        null: Expression = expression.is_(None)
        return [null.desc(), expression.desc()] if descending else [null, expression]

    def operand(self, value: Scalar, column: Column) -> Expression:
        """The value in the column's own type, as Postgres would read it."""
        if value is None:
            return literal(None, _RAW)
        kind = column.type
        if isinstance(value, bool):
            spelled = "true" if value else "false"
            return literal(spelled if _is_text(column) else int(value), _RAW)
        exact = isinstance(kind, sql.Integer | sql.Numeric) and not isinstance(kind, sql.Float)
        if exact and (exactly := _decimal(str(value))) is not None:
            return _digits(exactly)
        return literal(str(value) if _is_text(column) else value, _RAW)

    def like(self, expression: Expression, pattern: Expression, *, fold: bool) -> Expression:
        """By code points, or by those of the lower case."""
        found, wanted = _collated(expression, _LETTERS), _collated(pattern, _LETTERS)
        if fold:
            return func.lower(found).like(func.lower(wanted))
        return found.like(wanted)

    def is_boolean(self, column: Column) -> bool:
        """BOOLEAN is another word for TINYINT(1)."""
        kind = column.type
        if isinstance(kind, mysql.BIT):
            return kind.length in (None, 1)
        return isinstance(kind, mysql.TINYINT) and kind.display_width == 1

    def is_json(self, column: Column) -> bool:
        """JSON is another word for LONGTEXT."""
        return False

    def is_point_text(self, column: Column) -> bool:
        """A text, JSON among them."""
        return _is_text(column)

    def total(self, expression: Expression, column: Column) -> Expression:
        """Decimals are added exactly."""
        return func.sum(type_coerce(expression, _RAW), type_=_RAW)

    def mean(self, expression: Expression, column: Column) -> Expression:
        """The sum and the number of values: `avg` of decimals keeps four digits more, no others."""
        if isinstance(column.type, sql.Float):
            return func.avg(type_coerce(expression, _RAW), type_=_RAW)
        plain = type_coerce(expression, _RAW)
        return cast(func.concat(func.sum(plain), "/", func.count(plain)), sql.CHAR)

    def computed(self, raw: Any) -> Value:
        """A decimal, a double, or a sum and a number."""
        if raw is None:
            return None
        if isinstance(raw, str):
            total, count = raw.split("/")
            return number(float(Decimal(total) / int(count)))
        return number(raw) if isinstance(raw, float) else finite(Decimal(raw))


def _quoted(expression: Expression) -> Expression:
    return func.json_quote(type_coerce(expression, _RAW), type_=sql.String())


def _digits_of(expression: Expression) -> Expression:
    return type_coerce(expression, _RAW)


def _is_text(column: Column) -> bool:
    return isinstance(column.type, sql.String) and not isinstance(column.type, _BINARY)


def _collated(expression: Expression, collation: str) -> Expression:
    """The text in the collation's character set, which is the beginning of its name."""
    characters: Expression = literal_column(collation.partition("_")[0])
    converted = func.convert(expression.op("USING")(characters), type_=sql.String())
    return collate(converted, collation)


def _typed(text: str, column: Column) -> int | Decimal | bytes | str | None:
    """A key's text as a value of the column's type; `None`: no row has it."""
    kind = column.type
    if isinstance(kind, sql.Integer | mysql.YEAR):
        return int(text) if _INTEGER.fullmatch(text) else None
    if isinstance(kind, sql.Numeric):
        return _decimal(text)
    if isinstance(kind, _BINARY):
        found = _BYTES.fullmatch(text)
        return bytes.fromhex(found[1]) if found else None
    return text


def _decimal(text: str) -> Decimal | None:
    """The number that the text is; `None`: it is none."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _digits(number: Decimal) -> Expression:
    """The number in digits alone: with an exponent MariaDB takes it for a double."""
    return literal_column(f"{number:f}")


def _temporal(spelled: str, kind: object) -> str | None:
    """As Postgres writes it in JSON; the date that MariaDB has for none is none."""
    if spelled.startswith(_NO_DATE):
        return None
    if isinstance(kind, sql.DateTime):
        # A TIMESTAMP is an instant, a DATETIME is what some clock shows.
        return timestamp(f"{spelled}+00:00" if isinstance(kind, sql.TIMESTAMP) else spelled)
    return spelled.rstrip("0").rstrip(".") if "." in spelled else spelled


def _shortest(value: float) -> float:
    """The double with the fewest digits that is the same float of four bytes."""
    single = struct.pack("f", value)
    for digits in _SINGLE_DIGITS:
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == single:
            return short
    return value
