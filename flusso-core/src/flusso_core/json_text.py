"""JSON as text: laid out for people without reading it into numbers, which would change them."""

from __future__ import annotations

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
