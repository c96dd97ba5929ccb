"""Two documents side by side: whether they are the same, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from typing import cast

from flusso_core.json_text import exact_json

_ABSENT = object()


def same(expected: bytes | None, stored: bytes | None) -> bool:
    """Whether both are the same document, or neither is there.

    The order of an object's keys and white space say nothing; a number is what is written:
    `1.10` is not `1.1`.
    """
    if expected == stored:
        return True
    if expected is None or stored is None:
        return False
    return exact_json(expected) == exact_json(stored)


def differing_paths(expected: bytes, stored: bytes, most: int) -> Sequence[str]:
    """The paths of the first values that differ, such as `orders[2].total`.

    A key or an element that only one of them has is a path as well. The document as a whole is
    `$`.
    """
    return list(islice(_paths(exact_json(expected), exact_json(stored), ""), most))


def _paths(one: object, other: object, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        first, second = cast("dict[str, object]", one), cast("dict[str, object]", other)
        for key in first | second:
            inner = f"{path}.{key}" if path else key
            yield from _paths(first.get(key, _ABSENT), second.get(key, _ABSENT), inner)
    elif isinstance(one, list) and isinstance(other, list):
        pairs = zip_longest(
            cast("list[object]", one), cast("list[object]", other), fillvalue=_ABSENT
        )
        for at, (first_item, second_item) in enumerate(pairs):
            yield from _paths(first_item, second_item, f"{path}[{at}]")
    elif one != other:
        yield path or "$"
