"""Durations as people write them."""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer is a mistake."""


def duration(value: object) -> float:
    """Seconds: a number of them, or text such as `90s`, `1h30m`, `7d`.

    Raises:
        PydanticCustomError: it is neither, or not above zero.
    """
    seconds = _parse(value)
    if seconds is None or not 0 < seconds <= MAX_SECONDS:
        raise PydanticCustomError("duration", 'expected a duration, such as "90s", "1h30m" or "7d"')
    return seconds


def _parse(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) <= MAX_SECONDS else None
    if not isinstance(value, str) or len(value) > 50:
        return None
    text = value.replace(" ", "").lower()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
