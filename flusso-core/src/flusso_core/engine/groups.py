"""Exception groups, as task groups raise them."""

from __future__ import annotations

from typing import TypeVar, cast

ErrorT = TypeVar("ErrorT", bound=Exception)


def first_leaf(group: ExceptionGroup[ErrorT]) -> ErrorT:
    """What went wrong first; what failed beside it did so because the group was ending."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return first_leaf(cast("ExceptionGroup[ErrorT]", first))
    return first
