"""Types of columns that several databases have, each by its own name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

POSTGRES, SQLITE, MARIADB = "postgres", "sqlite", "mariadb"

TEXTS = ("", " x ", '"q"\\', "A", "B", "a", "b", "ab", "it's %s :x", "~tilde", "é", "田中", "😀")
"""In the order of their code points."""

_EXACT = "VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
_ALIKE = "VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci"


@dataclass(frozen=True)
class Kind:
    """A column type.

    Attributes:
        types: its name by database; the database that has none is left out.
        values: what may stand in it, as Python has it for every driver.
        fields: field types that such a column may have.
        key: it may be a key.
        ordered: documents may be ordered by it, and its least and greatest value be asked for.
        added: it may be summed up.
        compared: it may stand in a filter's comparison.
    """

    name: str
    types: dict[str, str]
    values: tuple[Any, ...]
    fields: tuple[str, ...]
    key: bool = False
    ordered: bool = True
    added: bool = False
    compared: bool = True

    def on(self, databases: Sequence[str]) -> bool:
        """Whether all of these databases have it."""
        return all(one in self.types for one in databases)


def _everywhere(postgres: str, sqlite: str, mariadb: str) -> dict[str, str]:
    return {POSTGRES: postgres, SQLITE: sqlite, MARIADB: mariadb}


_WHOLE = ("long", "integer", "keyword", "decimal")
_TEXTUAL = ("text", "keyword", "identifier")

KINDS = (
    Kind(
        "small",
        _everywhere("smallint", "SMALLINT", "SMALLINT"),
        (-32768, *range(-1, 8), 32767),
        ("short", *_WHOLE),
        key=True,
        added=True,
    ),
    Kind(
        "integer",
        _everywhere("integer", "INTEGER", "INT"),
        tuple(range(12)),
        _WHOLE,
        key=True,
        added=True,
    ),
    Kind(
        "big",
        _everywhere("bigint", "BIGINT", "BIGINT"),
        (-(2**63), *range(6), 2**53 + 1, 2**63 - 1),
        _WHOLE,
        key=True,
    ),
    Kind(
        "unsigned",
        {POSTGRES: "numeric(20, 0)", MARIADB: "BIGINT UNSIGNED"},
        (0, 1, 2, 3, 2**53 + 1, 2**63, 2**64 - 1),
        ("long", "keyword", "decimal"),
        key=True,
        added=True,
    ),
    Kind(
        "decimal",
        _everywhere("numeric(12, 2)", "DECIMAL(12, 2)", "DECIMAL(12, 2)"),
        tuple(Decimal(one) for one in ("-12.50", "0.10", "0.20", "1.00", "19.99", "1234567.89")),
        ("decimal", "double"),
        added=True,
    ),
    Kind(
        "wide",
        {POSTGRES: "numeric(40, 12)", MARIADB: "DECIMAL(40, 12)"},
        tuple(
            Decimal(one)
            for one in ("-0.000000000001", "1", "1234567890123456789012345678.123456789012")
        ),
        ("decimal", "keyword"),
        added=True,
    ),
    Kind(
        "text",
        _everywhere('text COLLATE "C"', "TEXT", _EXACT),
        TEXTS,
        _TEXTUAL,
        key=True,
    ),
    Kind(
        "label",
        _everywhere('text COLLATE "C"', "TEXT COLLATE NOCASE", _ALIKE),
        (*TEXTS, "AB", "É", "a "),
        _TEXTUAL,
        ordered=False,
    ),
    Kind("boolean", _everywhere("boolean", "BOOLEAN", "BOOLEAN"), (True, False), ("boolean",)),
    Kind(
        "double",
        _everywhere("double precision", "DOUBLE", "DOUBLE"),
        (-2.5, 0.0, 0.1, 1.0, 1e20, 1.7976931348623157e308),
        ("double",),
    ),
    Kind(
        "single",
        _everywhere("real", "REAL", "FLOAT"),
        (-2.5, 0.1, 3.1415927, 16777216.0),
        ("float",),
        compared=False,
    ),
    Kind(
        "date",
        _everywhere("date", "DATE", "DATE"),
        ("1000-01-01", "1999-12-31", "2024-02-29", "9999-12-31"),
        ("date", "keyword"),
        key=True,
    ),
    Kind(
        "moment",
        _everywhere("timestamp", "DATETIME", "DATETIME(6)"),
        ("1999-12-31 23:59:59.999999", "2024-02-29 00:00:00", "2024-02-29 00:00:00.5"),
        ("timestamp", "date"),
        key=True,
    ),
    Kind(
        "instant",
        _everywhere("timestamptz", "TIMESTAMP", "TIMESTAMP(6) NULL"),
        ("1999-12-31 23:59:59.999999+00:00", "2024-02-29 00:00:00+00:00"),
        ("timestamp",),
        compared=False,
    ),
    Kind(
        "bytes",
        _everywhere("bytea", "BLOB", "VARBINARY(80)"),
        (b"", b"\x00", b"\x00\xff", b"\xab" * 60),
        ("binary",),
        ordered=False,
        compared=False,
    ),
    Kind(
        "blob key",
        {POSTGRES: "bytea", MARIADB: "VARBINARY(16)"},
        (b"", b"\x00", b"\x00\xff", b"\xab" * 16),
        ("binary",),
        key=True,
        ordered=False,
        compared=False,
    ),
    Kind(
        "uuid",
        _everywhere("uuid", "TEXT", "UUID"),
        tuple(f"{one}0000000-0000-4000-8000-00000000000{one}" for one in "0129abf"),
        ("uuid", "keyword"),
        key=True,
        ordered=False,
        compared=False,
    ),
    Kind(
        "json",
        _everywhere("jsonb", "TEXT", "JSON"),
        ("null", "[1000, 1.10]", '{"b": "é", "c": {"d": [true, null]}}', '"x"'),
        ("json",),
        ordered=False,
        compared=False,
    ),
    Kind(
        "open",
        _everywhere("jsonb", "TEXT", "JSON"),
        ("{}", '{"a": "é", "b": "x"}'),
        ("map",),
        ordered=False,
        compared=False,
    ),
    Kind(
        "place",
        _everywhere("text", "TEXT", "VARCHAR(60)"),
        ("52.5,13.4", " -1.25 , 0 "),
        ("geo",),
        ordered=False,
        compared=False,
    ),
)  # fmt: skip
"""Every kind. UUIDs are in no order of theirs: MariaDB has another."""


def text_of(value: Any) -> str | None:
    """A key's text, as documents and changes spell it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return None if value is None else str(value)
