"""How values that come as numbers and texts are spelled in JSON: as Postgres spells them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal

from flusso_source_polling.dialects.base import Json, Value


def number(value: float) -> Json:
    """A double as JSON; what JSON has no number for is a string, as Postgres spells it."""
    if math.isnan(value):
        return Json('"NaN"')
    if math.isinf(value):
        return Json('"Infinity"' if value > 0 else '"-Infinity"')
    return Json(repr(value))


def finite(value: Decimal) -> Json:
    """A decimal as JSON, every digit kept."""
    return Json(f"{value:f}") if value.is_finite() else number(float(value))


def json_value(raw: object) -> Value:
    """JSON as it stands; a text that is none stays a text, for the destination to judge."""
    if isinstance(raw, float):
        return number(raw)
    text = str(raw)
    try:
        json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text
    return Json(text)


def timestamp(text: str) -> str:
    """ISO 8601 with a T, in UTC where there is a zone, as Postgres writes it in JSON.

    What is no timestamp stays as it is.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    if found.tzinfo is not None:
        found = found.astimezone(UTC)
    whole = found.replace(microsecond=0, tzinfo=None).isoformat()
    fraction = f".{found.microsecond:06}".rstrip("0").rstrip(".")
    return whole + fraction + ("" if found.tzinfo is None else "+00:00")


def _no_constant(name: str) -> None:
    raise ValueError(name)
