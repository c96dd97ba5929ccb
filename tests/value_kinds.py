"""Columns of every scalar type, with strategies for the values that Postgres can hold in them.

Each kind says how a value is written in SQL, when the document's value is the same one, and by
which query its type finds it. All of it is written out by hand: nothing of flusso's is asked.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import Any, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

Query: TypeAlias = "dict[str, Any] | None"

MOST_KEYWORD = 8191
MOST_SUBFIELD = 256
SPECIAL = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True, slots=True)
class Kind:
    """A column, the field that it fills, and what must become of its values.

    Attributes:
        name: of the column and of the field.
        column: its type in Postgres.
        field: its type in the schema.
        values: what it may hold; written to Postgres as the text that `literal` makes of it.
        literal: a value as Postgres reads it.
        same: whether what the document has is this value.
        query: finds documents by this value; `None`: the type does not search for it.
    """

    name: str
    column: str
    field: str
    values: st.SearchStrategy[Any]
    literal: Callable[[Any], str]
    same: Callable[[Any, Any], bool]
    query: Callable[[str, Any], Query]


def _equal(value: Any, stored: Any) -> bool:
    return bool(value == stored and type(value) is type(stored))


def _numerically(value: float, stored: Any) -> bool:
    return not isinstance(stored, str) and float(stored) == value


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _number(name: str, value: float) -> Query:
    # Zero has two signs, and a range knows them apart.
    low, high = (-0.0, 0.0) if value == 0 else (value, value)
    return {"range": {name: {"gte": low, "lte": high}}}


def _term(field: str, value: Any) -> Query:
    return {"term": {field: value}}


def _words(field: str, value: str) -> Query:
    # What has a letter or digit has a token. A query takes no more than some hundred of them.
    found = len(value) <= MOST_SUBFIELD and re.search("[A-Za-z0-9]", value)
    return {"match": {field: value}} if found else None


def _keyword(field: str, value: str) -> Query:
    return _term(field, value) if _java_length(value) <= MOST_KEYWORD else None


def _subfield(field: str, value: str) -> Query:
    return _term(f"{field}.keyword", value) if _java_length(value) <= MOST_SUBFIELD else None


def _java_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _both(*queries: Query) -> Query:
    given = [query for query in queries if query is not None]
    return {"bool": {"filter": given}} if given else None


def _special(literal: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: value if isinstance(value, str) else literal(value)


def _special_same(same: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, stored: (
        _equal(value, stored) if isinstance(value, str) else same(value, stored)
    )


def _special_query(query: Callable[[str, Any], Query]) -> Callable[[str, Any], Query]:
    """What JSON or OpenSearch has no number or date for is kept and not searched."""
    return lambda name, value: None if isinstance(value, str) else query(name, value)


def _integer(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _texts() -> st.SearchStrategy[str]:
    """Any text that Postgres can hold: anything but U+0000."""
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    plain = st.text(characters, max_size=40)
    return plain | st.builds(str.__mul__, st.text(characters, min_size=1, max_size=3), _LENGTHS)


_LENGTHS = st.sampled_from([100, 256, 257, 8191, 8192, 20_000])
_SPECIAL = st.sampled_from(SPECIAL)
_INFINITE = st.sampled_from(["infinity", "-infinity"])


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _decimals() -> st.SearchStrategy[Decimal]:
    """Numbers of up to 60 digits, before the point, behind it, or far from it."""
    return st.builds(
        _decimal,
        st.integers(-(10**60), 10**60),
        st.integers(-100, 0) | st.sampled_from([250, 400]),
    )


def _decimal(number: int, exponent: int) -> Decimal:
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), exponent))


def _exactly(value: Decimal, stored: Any) -> bool:
    with localcontext(prec=2000):
        return not isinstance(stored, str) and Decimal(stored) == value


def _decimal_query(name: str, value: Decimal) -> Query:
    near = float(value)
    return None if math.isinf(near) else _number(name, near)


def _instant(value: datetime) -> str:
    # OpenSearch keeps milliseconds of a `date`.
    return f"{value.isoformat(timespec='milliseconds')}Z"


def _timestamp_query(name: str, value: datetime) -> Query:
    instant = _instant(value.replace(tzinfo=None))
    return {"range": {name: {"gte": instant, "lte": instant}}}


def _time_query(name: str, value: time) -> Query:
    at = value.isoformat(timespec="milliseconds")
    return {"range": {name: {"gte": at, "lte": at}}}


_DATES = st.dates(date(1, 1, 1), date(9999, 12, 31))
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def _without_nul(value: Any) -> bool:
    return "\\u0000" not in json.dumps(value)


KINDS = (
    Kind("text", "text", "text", _texts(), str, _equal,
         lambda name, value: _both(_subfield(name, value), _words(name, value))),
    Kind("code", "varchar", "identifier", _texts(), str, _equal,
         lambda name, value: _both(_subfield(name, value), _words(name, value))),
    Kind("word", "text", "keyword", _texts(), str, _equal, _keyword),
    Kind("mood", "mood", "enum", st.sampled_from(["sad", "so so", 'ok, "fine"']), str, _equal,
         _term),
    Kind("uid", "uuid", "uuid", st.uuids(), str, lambda value, stored: UUID(stored) == value,
         lambda name, value: _term(name, str(value))),
    Kind("flag", "boolean", "boolean", st.booleans(), str, _equal, _term),
    Kind("tiny", "smallint", "short", _integer(16), str, _equal, _term),
    Kind("small", "integer", "integer", _integer(32), str, _equal, _term),
    Kind("big", "bigint", "long", _integer(64), str, _equal, _term),
    Kind("near", "real", "float",
         st.floats(width=32, allow_nan=False, allow_infinity=False) | _SPECIAL,
         _special(repr),
         _special_same(lambda value, stored: _numerically(value, _as_float32(float(stored)))),
         _special_query(_number)),
    Kind("far", "double precision", "double",
         st.floats(allow_nan=False, allow_infinity=False) | _SPECIAL,
         _special(repr), _special_same(_numerically), _special_query(_number)),
    Kind("exact", "numeric", "decimal", _decimals() | _SPECIAL, _special(_plain),
         _special_same(_exactly), _special_query(_decimal_query)),
    Kind("price", "money", "decimal",
         st.integers(-(2**63), 2**63 - 1).map(lambda cents: Decimal(cents).scaleb(-2)),
         _plain, _exactly, _decimal_query),
    Kind("day", "date", "date", _DATES | _INFINITE, _special(date.isoformat),
         _special_same(lambda value, stored: value.isoformat() == stored),
         _special_query(lambda name, value: _term(name, value.isoformat()))),
    Kind("seen", "timestamp", "timestamp", st.datetimes() | _INFINITE, _special(str),
         _special_same(lambda value, stored: datetime.fromisoformat(stored) == value),
         _special_query(_timestamp_query)),
    Kind("moment", "timestamptz", "timestamp",
         st.datetimes(timezones=st.just(UTC)) | _INFINITE, _special(str),
         _special_same(lambda value, stored: datetime.fromisoformat(stored) == value),
         _special_query(_timestamp_query)),
    Kind("hour", "time", "timestamp", st.times(), str,
         lambda value, stored: time.fromisoformat(stored) == value, _time_query),
    Kind("blob", "bytea", "binary", st.binary(max_size=300), lambda value: "\\x" + value.hex(),
         lambda value, stored: base64.b64decode(stored) == value, lambda name, value: None),
    Kind("loose", "json", "json", _JSON, json.dumps, _equal, lambda name, value: None),
    Kind("packed", "jsonb", "json", _JSON.filter(_without_nul), json.dumps, _equal,
         lambda name, value: None),
)  # fmt: skip
"""One of each scalar type, and of each type of column that it is for."""
