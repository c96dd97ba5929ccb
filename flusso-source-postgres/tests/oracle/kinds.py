"""Types of columns: what may stand in them, how Postgres orders it, how JSON spells it.

A kind has a closed pool of values, written as the type's output function writes them and given in
the order of the type; values in one group are equal. So order and equality are known without
reimplementing any type.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TYPES = """
CREATE EXTENSION citext;
CREATE TYPE "Mood's ü" AS ENUM ('sad, "very"', 'OK', 'b''ä');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN label AS varchar(20);
"""
"""What the kinds need in the database."""

LETTERS = ("", " x ", '"q"\\', "A", "B", "a", "b", "it's %s $1", "~tilde", "é", "😀")
"""Texts in the order of their bytes."""

LONG = ("", "short", "".join(hashlib.md5(b"%d" % n).hexdigest() for n in range(1, 201)))
"""One of these is kept out of line (TOAST): it compresses badly."""

LONG_SQL = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) n)"
"""The long one, in SQL."""


class Number(NamedTuple):
    """A JSON number as it is spelled, so that 1.0 is neither 1.00 nor "1.0"."""

    text: str


class About(NamedTuple):
    """A JSON number of which only the value counts."""

    value: float


Json = Callable[[str], Any]


def parse(body: bytes | str) -> Any:
    """JSON with numbers as they are spelled."""
    return json.loads(body, parse_int=Number, parse_float=Number)


def _number(text: str) -> Any:
    return text if text in ("NaN", "Infinity", "-Infinity") else Number(text)


def _string(text: str) -> str:
    return text


def _boolean(text: str) -> bool:
    return text == "t"


def _timestamp(text: str) -> str:
    return text.replace(" ", "T", 1)


def _zoned(text: str) -> str:
    return _timestamp(text).replace("+00", "+00:00")


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()


def _money(text: str) -> Number:
    return Number(text.replace("$", "").replace(",", ""))


@dataclass(frozen=True)
class Kind:
    """A column type.

    Attributes:
        sql: the type, in DDL.
        groups: its pool: equal values together, in the type's order.
        json: what JSON has for a value.
        fields: field types that such a column may have, the natural one first.
        key: it may be a key, and be pointed at.
        textual: field types that give a string also where `json` does not, and what they give.
    """

    sql: str
    groups: tuple[tuple[str, ...], ...]
    json: Json = _string
    fields: tuple[str, ...] = ("keyword",)
    key: bool = True
    textual: Json = _string
    ranks: dict[str, int] = field(default_factory=dict[str, int], compare=False)

    def __post_init__(self) -> None:
        for rank, group in enumerate(self.groups):
            self.ranks.update(dict.fromkeys(group, rank))

    @property
    def values(self) -> list[str]:
        """The pool."""
        return [value for group in self.groups for value in group]

    @property
    def exact(self) -> bool:
        """Equal values are spelled alike."""
        return all(len(group) == 1 for group in self.groups)

    def rank(self, text: str) -> int:
        """The place of a value in the type's order; the same for equal values."""
        return self.ranks[text]


def _single(values: Sequence[object]) -> tuple[tuple[str, ...], ...]:
    return tuple((str(value),) for value in values)


_INTEGERS = ("long", "integer", "keyword", "decimal")
_TEXTS = ("text", "keyword", "identifier")

KINDS: dict[str, Kind] = {
    "smallint": Kind(
        "smallint", _single([-32768, *range(-1, 12), 32767]), _number, ("short", *_INTEGERS)
    ),
    "integer": Kind("integer", _single([-(2**31), *range(20), 2**31 - 1]), _number, _INTEGERS),
    "bigint": Kind("bigint", _single([-(2**63), *range(15), 2**63 - 1]), _number, _INTEGERS),
    "numeric": Kind(
        "numeric",
        (
            ("-12.50",), ("0",), ("1", "1.0", "1.00"), ("2", "2.0"), ("3",), ("4.000",), ("5",),
            ("123456789012345678901234567890.123456789012345678901234567890",),
            ("Infinity",), ("NaN",),
        ),
        _number,
        ("decimal", "keyword", "double"),
    ),
    "text": Kind('text COLLATE "C"', _single(LETTERS), fields=_TEXTS),
    "varchar": Kind('varchar(20) COLLATE "C"', _single(LETTERS), fields=_TEXTS),
    "label": Kind('label COLLATE "C"', _single(LETTERS[1:]), fields=_TEXTS),
    "char": Kind(
        'char(5) COLLATE "C"',
        _single([f"{value:<5}" for value in ("", "A", "B", "a", "b", "c", "é")]),
        fields=_TEXTS,
    ),
    "citext": Kind(
        'public.citext COLLATE "C"',
        (("a", "A"), ("b", "B"), ("c",), ("d", "D"), ("e",), ("f",)),
        fields=_TEXTS,
    ),
    "uuid": Kind(
        "uuid",
        _single([f"{value}0000000-0000-4000-8000-00000000000{value}" for value in "0123489abf"]),
        fields=("uuid", "keyword"),
    ),
    "mood": Kind(
        "public.\"Mood's ü\"", _single(['sad, "very"', "OK", "b'ä"]), fields=("enum", "keyword")
    ),
    "positive": Kind("public.positive", _single(range(1, 15)), _number, _INTEGERS),
    "boolean": Kind("boolean", _single("ft"), _boolean, ("boolean",), key=False),
    "double": Kind(
        "double precision",
        (
            ("-Infinity",), ("-2.5",), ("0", "-0"), ("0.1",), ("1",), ("1.7976931348623157e+308",),
            ("Infinity",), ("NaN",),
        ),
        _number,
        ("double", "float"),
    ),
    "date": Kind(
        "date",
        _single(["-infinity", "4714-11-24 BC", "0044-03-15 BC", "1999-12-31", "2024-02-29",
                 "5874897-12-31", "infinity"]),
        fields=("date", "timestamp", "keyword"),
    ),
    "timestamp": Kind(
        "timestamp",
        _single(["-infinity", "0044-03-15 01:02:03 BC", "1999-12-31 23:59:59.999999",
                 "2024-02-29 00:00:00", "2024-02-29 00:00:00.5", "infinity"]),
        _timestamp,
        ("timestamp", "date"),
    ),
    "timestamptz": Kind(
        "timestamptz",
        _single(["-infinity", "0044-03-15 01:02:03+00 BC", "1999-12-31 23:59:59.999999+00",
                 "2024-02-29 00:00:00+00", "294276-12-31 00:00:00+00", "infinity"]),
        _zoned,
        ("timestamp",),
    ),
    "time": Kind("time", _single(["00:00:00", "12:00:00.25", "24:00:00"]), fields=("timestamp",)),
    "interval": Kind(
        "interval",
        (("-1 days",), ("00:00:00",), ("24:00:00", "1 day"), ("30 days", "1 mon"), ("1 year",)),
    ),
    "inet": Kind("inet", _single(["10.0.0.0/8", "10.0.0.1", "10.0.0.2", "192.168.0.1", "::1"])),
    "bytea": Kind(
        "bytea",
        _single(["\\x", "\\x00", "\\x00ff", "\\x" + "ab" * 60, "\\xff"]),
        _base64,
        ("binary", "keyword"),
        textual=_base64,
    ),
    "money": Kind(
        "money", _single(["-$1.50", "$0.00", "$2.25", "$1,234.00"]), _money, ("decimal",), key=False
    ),
    "long": Kind("text", _single(LONG), fields=("text",), key=False),
    "json": Kind(
        "json",
        _single(['{"a" :\n [1.10, "x"], "a": 2}', "null", "[]", '"\\u00e9"']),
        parse,
        ("json",),
        key=False,
    ),
    "jsonb": Kind(
        "jsonb", _single(["null", "[1000, 1.10]", '{"b": "é"}']), parse, ("json",), key=False
    ),
}  # fmt: skip
"""Every kind by name."""

ORDERED = tuple(name for name in KINDS if name not in ("json", "jsonb", "long"))
"""Kinds whose values are in the order of their type."""

ADDED = ("smallint", "integer", "bigint", "numeric", "positive")
"""Kinds that are summed up."""

STRINGS = frozenset({"text", "identifier", "keyword", "enum", "uuid"})
"""Field types that give a string whatever the column is."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "smallint": ("integer", "bigint"),
    "integer": ("bigint", "positive"),
    "bigint": ("integer",),
    "positive": ("integer", "bigint"),
    "text": ("varchar",),
    "varchar": ("text",),
    "label": ("text",),
}
"""Kinds that may point at a key of another kind, because their values are spelled alike."""
