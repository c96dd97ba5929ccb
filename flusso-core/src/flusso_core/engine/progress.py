"""How far the key ranges of one generation have been read. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flusso_core.model import Key, KeyRange, RangeProgress


class Progress:
    """How far a seed or a sweep has come in each key range.

    Args:
        ranges: they cover the whole key space; with what earlier runs have done.
    """

    def __init__(self, ranges: Sequence[RangeProgress]) -> None:
        self._ranges = list(ranges)

    @classmethod
    def begin(cls, spans: Sequence[KeyRange]) -> Progress:
        """Nothing of these ranges has been read."""
        return cls([RangeProgress(span) for span in spans])

    @property
    def ranges(self) -> tuple[RangeProgress, ...]:
        """The progress, to be stored."""
        return tuple(self._ranges)

    @property
    def done(self) -> bool:
        """Whether every page of every range has landed."""
        return all(span.done for span in self._ranges)

    @property
    def left(self) -> float:
        """The part of the ranges that has pages left, 0 to 1; they are about equally large."""
        if not self._ranges:
            return 0.0
        return sum(1 for _ in self.unfinished()) / len(self._ranges)

    def unfinished(self) -> Iterator[int]:
        """The numbers of the ranges that have pages left."""
        return (number for number, span in enumerate(self._ranges) if not span.done)

    def of(self, number: int) -> RangeProgress:
        """The progress of that range."""
        return self._ranges[number]

    def landed(self, number: int, cursor: Key | None) -> None:
        """The range's next page has landed; `cursor` is its last key, `None`: it was the last."""
        before = self._ranges[number]
        self._ranges[number] = (
            replace(before, done=True) if cursor is None else replace(before, cursor=cursor)
        )
