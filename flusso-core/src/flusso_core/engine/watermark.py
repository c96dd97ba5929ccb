"""The watermark: up to where everything is right."""

from __future__ import annotations

from collections import deque

from flusso_core.model import Position


class Watermark:
    """Batches begin in order and end in any order; the watermark is the unbroken run of ended ones.

    Args:
        start: where the stream begins: everything up to it is right already.
    """

    def __init__(self, start: Position) -> None:
        self._position = start
        self._open: deque[tuple[int, Position | None]] = deque()
        self._done: set[int] = set()

    @property
    def position(self) -> Position:
        """Everything up to here is right; only ends of commits are ever returned."""
        return self._position

    @property
    def pending(self) -> int:
        """Batches that have begun and are not yet below the watermark."""
        return len(self._open)

    def passed(self, batch: int) -> bool:
        """Whether that batch, and every one before it, is right. It has begun."""
        return not self._open or batch < self._open[0][0]

    def begin(self, batch: int, position: Position | None) -> None:
        """A batch with that number begins, after all that began before."""
        self._open.append((batch, position))

    def end(self, batch: int) -> bool:
        """A batch is right; returns whether the watermark moved."""
        self._done.add(batch)
        before = self._position
        while self._open and self._open[0][0] in self._done:
            number, position = self._open.popleft()
            self._done.discard(number)
            if position is not None and position > self._position:
                self._position = position
        return self._position > before
