"""Promises: what a backend owes the engine, and how a check says that one was broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import pytest

T = TypeVar("T")

SECONDS = 60.0
"""No request of a check may take longer: what hangs has broken its promise."""

_SHOWN = 200
"""Characters of a value that a message shows."""


class BrokenPromise(AssertionError):
    """A backend does not keep what the engine relies on."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that the engine relies on.

    ```python
    DURABLE = Promise("what `flush` did not report otherwise is durable", "write-a-sink.md")
    DURABLE.same(await bench.stored(mapping, 1), expected, "after a flush")
    ```

    Attributes:
        text: what is promised, in the words that a failure shows.
        guide: the page of `docs/how-to/` that explains it.
    """

    text: str
    guide: str

    def broken(self, seen: str) -> BrokenPromise:
        """The error to raise, given what was seen instead."""
        return BrokenPromise(
            f"broken promise: {self.text}\n  seen: {seen}\n  read: docs/how-to/{self.guide}"
        )

    def same(self, found: object, expected: object, when: str) -> None:
        """Fail unless both are equal."""
        if found != expected:
            raise self.broken(f"{when}: {_difference(found, expected)}")

    async def within(self, operation: Awaitable[T], doing: str, *, seconds: float = SECONDS) -> T:
        """Await what has to succeed in time."""
        try:
            return await self._in_time(operation, doing, seconds)
        except BrokenPromise:
            raise
        except Exception as error:  # whatever a backend under test raises is what was seen
            raise self.broken(f"{doing} raised {type(error).__name__}: {error}") from error

    async def failure(
        self, kind: type[Exception], operation: Awaitable[object], doing: str
    ) -> Exception:
        """Await what has to fail; return its error, or fail if it was not of this kind."""
        try:
            await self._in_time(operation, doing, SECONDS)
        except kind as error:
            return error
        except BrokenPromise:
            raise
        except Exception as error:  # whatever else a backend under test raises is what was seen
            seen = f"{doing} raised {type(error).__name__} ({error}) instead of {kind.__name__}"
            raise self.broken(seen) from error
        raise self.broken(f"{doing} did not raise {kind.__name__}")

    async def _in_time(self, operation: Awaitable[T], doing: str, seconds: float) -> T:
        bound = asyncio.timeout(seconds)
        try:
            async with bound:
                return await operation
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self.broken(f"{doing} had not ended after {seconds:g} s") from error


@dataclass(frozen=True, slots=True)
class Impossible:
    """What a backend gives where a check cannot apply to it, with the reason why.

    The check is then skipped, and pytest shows the reason. Nothing is left out without one.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("say why it is impossible")

    def skip(self) -> None:
        """Skip the check, showing the reason."""
        pytest.skip(self.reason)


def shown(value: object) -> str:
    """The value for a message, not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _difference(found: object, expected: object) -> str:
    """What differs, key by key where both are mappings."""
    whole = f"{shown(found)} instead of {shown(expected)}"
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        return _difference_by_key(
            cast("Mapping[object, object]", found), cast("Mapping[object, object]", expected)
        )
    return whole


def _difference_by_key(found: Mapping[object, object], expected: Mapping[object, object]) -> str:
    parts: list[str] = []
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    if missing:
        parts.append(f"{len(missing)} missing: {shown(missing)}")
    if extra:
        parts.append(f"{len(extra)} too many: {shown(extra)}")
    for key in expected:
        if key in found and found[key] != expected[key]:
            parts.append(f"{shown(key)} is {shown(found[key])} instead of {shown(expected[key])}")
            break
    return "; ".join(parts)
