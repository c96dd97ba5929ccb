"""Exception groups, as task groups raise them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar, cast

ErrorT = TypeVar("ErrorT", bound=Exception)


def first_leaf(group: ExceptionGroup[ErrorT]) -> ErrorT:
    """What went wrong first; what failed beside it did so because the group was ending."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return first_leaf(cast("ExceptionGroup[ErrorT]", first))
    return first


@contextmanager
def ungrouped() -> Generator[None]:
    """Raise what went wrong first by itself, and not in the group that a task group makes."""
    try:
        yield
    except ExceptionGroup as group:
        error = first_leaf(group)
        raise error from error.__cause__
