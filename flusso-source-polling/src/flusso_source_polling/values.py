"""How a value becomes JSON text: the same text that the Postgres builder gives, wherever it can."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from flusso_core.model import FieldType, JsonValue
from flusso_core.schema.model import Transform
from flusso_source_polling.dialects import Json, Value
from flusso_source_polling.dialects.base import TEXTUAL
from flusso_source_polling.dialects.spelling import number

_NUMBER = r"\s*([-+]?\d+(?:\.\d*)?)\s*"
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_COORDINATES = re.compile(f"{_NUMBER},{_NUMBER}")


def json_text(value: JsonValue) -> str:
    """Compact JSON on one line. What JSON has no number for becomes a string."""
    if isinstance(value, float):
        return number(value)
    return _compact(value)


def value_text(
    value: Value, field_type: FieldType, transforms: Sequence[Transform] = (), *, json: bool = False
) -> str | None:
    """The JSON text of a field's value; `None` for NULL.

    Args:
        value: what the column holds.
        field_type: the field's type.
        transforms: applied to the text, in order.
        json: the column holds JSON, which stays as it is.
    """
    if value is None:
        return None
    if isinstance(value, Json):
        if json:
            return one_line(value)
        if value.startswith(("[", "{")):
            return _array(value) if field_type in TEXTUAL else one_line(value)
    if transforms or field_type in TEXTUAL:
        return json_text(transformed(as_text(value), transforms))
    return natural(value)


def natural(value: Value) -> str | None:
    """The JSON text that the value's own type suggests."""
    match value:
        case None:
            return None
        case Json():
            return one_line(value)
        case bytes():
            return f'"{base64.b64encode(value).decode()}"'
        case _:
            return json_text(value)


def as_text(value: Value) -> str:
    """The value as a text: what its JSON string would hold."""
    match value:
        case Json():
            return cast(str, json.loads(value)) if value.startswith('"') else str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def transformed(text: str, transforms: Sequence[Transform]) -> str:
    """The text after its transforms. `trim` takes away spaces and nothing else."""
    for transform in transforms:
        match transform:
            case Transform.LOWERCASE:
                text = text.lower()
            case Transform.TRIM:
                text = text.strip(" ")
    return text


def point(lat: Value, lon: Value) -> str | None:
    """A geo point; `None` where a half is missing."""
    halves = natural(lat), natural(lon)
    if None in halves:
        return None
    return f'{{"lat":{halves[0]},"lon":{halves[1]}}}'


def point_of(value: Value) -> str | None:
    """A geo point from one column: JSON, or a text "lat,lon". A missing half makes it null; a
    text of another form stays as it is, for the destination to judge.
    """
    if value is None:
        return None
    if isinstance(value, Json):
        parsed: Any = json.loads(value)
        if isinstance(parsed, str):
            return _coordinates(parsed)
        if isinstance(parsed, dict):
            found = cast("dict[str, Any]", parsed)
            halves = found.get("lat"), found.get("lon")
            if ("lat" in found or "lon" in found) and None in halves:
                return None
        return one_line(value)
    return _coordinates(as_text(value))


def one_line(value: Json) -> str:
    """JSON without line breaks: within strings they are escaped, elsewhere only white space."""
    return value.replace("\r", " ").replace("\n", " ")


def _coordinates(text: str) -> str | None:
    found = _COORDINATES.fullmatch(text)
    if found is not None:
        # Through decimals, as JSON has neither a plus sign, nor leading zeros, nor "1.".
        return f'{{"lat":{Decimal(found[1]):f},"lon":{Decimal(found[2]):f}}}'
    halves = text.split(",")
    if len(halves) < 2 or not halves[0].strip(" ") or not halves[1].strip(" "):
        return None
    return json_text(text)


def _array(value: Json) -> str:
    """Elements of a textual field are texts; objects stay as they are."""
    if value.startswith("{"):
        return one_line(value)
    return json_text(json.loads(value, parse_int=str, parse_float=str))
