"""JSON as text: laid out and compared without reading it into numbers, which would change them."""

from __future__ import annotations

import json
import re

_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')
_OPENING = frozenset("{[")
_CLOSING = frozenset("}]")


def indented(text: str) -> str:
    """The same JSON over several lines, every value spelled as it was.

    >>> print(indented('{"id":12345678901234567890,"price":1.10,"tags":[]}'))
    {
      "id": 12345678901234567890,
      "price": 1.10,
      "tags": []
    }
    """
    depth = 0
    parts: list[str] = []
    lexemes = _LEXEME.findall(text)
    for at, lexeme in enumerate(lexemes):
        if lexeme in _OPENING:
            depth += 1
            empty = lexemes[at + 1] in _CLOSING
            parts.append(lexeme if empty else lexeme + _new_line(depth))
        elif lexeme in _CLOSING:
            depth -= 1
            empty = lexemes[at - 1] in _OPENING
            parts.append(lexeme if empty else _new_line(depth) + lexeme)
        elif lexeme == ",":
            parts.append(lexeme + _new_line(depth))
        else:
            parts.append(": " if lexeme == ":" else lexeme)
    return "".join(parts)


def _new_line(depth: int) -> str:
    return "\n" + "  " * depth


class _Literal(str):
    """A number as it is written; equal to no string."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Literal) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __repr__(self) -> str:
        return str(self)


def exact_json(text: str | bytes) -> object:
    """Parse JSON without losing a digit: `0.10` is not `0.1`, and 2⁶³-1 is itself.

    Numbers are equal where they are written alike, and have no other use.
    """
    parsed: object = json.loads(text, parse_float=_Literal, parse_int=_Literal)
    return parsed
