"""How many pages of a backfill are read at once: more while that helps, fewer when it does not.

`Readers` decides, without I/O or a clock; `Turns` lets so many tasks through.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

_FIRST = 2
"""Readers before anything is known."""

_PAGES_A_READER = 8
"""A decision follows from so many pages for each reader."""

_BUSY = 0.9
"""Readers that read for so much of the time are what the destination waits for."""

_SPARE = 0.8
"""One reader goes if the others would then be busy for less than this part of the time: well below
`_BUSY`, so that the one that went is not missed at once."""

_WORTH_IT = 1.05
"""One more reader is kept for so much more speed; one fewer, unless it costs as much."""

_REST = 4
_LONGEST_REST = 64
"""Decisions without a trial after one that failed; each failure doubles them, up to this."""


class Readers:
    """Finds how few readers keep the destination as busy as it can be kept.

    Readers that stand idle, because pages wait for memory or for the destination, are too many:
    one goes. Where all of them read all the time, the destination waits for them. Then one more
    is tried, and kept while documents come faster for it; now and then one fewer is, and kept
    unless they come more slowly, because readers that wait for the same disk bring nothing.
    Between trials that change nothing it rests, longer and longer.

    Args:
        most: the limit never exceeds it.

    Attributes:
        limit: pages that may be read at once.
    """

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._reading = 0
        self._trial = 0
        self._next_trial = 1
        self._usual_speed = 0.0
        self._rest = 0
        self._patience = _REST
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """A backfill begins, or a read has failed: what was measured until now says nothing."""
        self._since = self._at = now
        self._busy = 0.0
        self._pages = self._documents = 0

    def began(self, now: float) -> None:
        """A page is being read, since `now` in seconds of any clock."""
        self._advance(now)
        self._reading += 1

    def ended(self, now: float, documents: int | None) -> None:
        """It has been read, with so many documents; `None`: that failed."""
        self._advance(now)
        self._reading -= 1
        if documents is None:
            self.restart(now)
            return
        self._pages += 1
        self._documents += documents
        if self._pages >= self.limit * _PAGES_A_READER:
            elapsed = max(now - self._since, 1e-9)
            self._decide(self._busy / elapsed, self._documents / elapsed)
            self.restart(now)

    def _advance(self, now: float) -> None:
        self._busy += self._reading * (now - self._at)
        self._at = now

    def _decide(self, busy: float, speed: float) -> None:
        """Follow from how many readers were busy on average, and from documents a second."""
        trial, self._trial = self._trial, 0
        if trial:
            if speed <= self._usual_speed * (_WORTH_IT if trial > 0 else 1 / _WORTH_IT):
                self.limit -= trial
                self._rest, self._patience = self._patience, min(self._patience * 2, _LONGEST_REST)
                return
            self._rest, self._patience, self._next_trial = 0, _REST, trial
        if busy < (self.limit - 1) * _SPARE:
            self.limit -= 1
            self._rest, self._patience, self._next_trial = 0, _REST, 1
        elif self._rest:
            self._rest -= 1
        elif busy > self.limit * _BUSY:
            self._try(speed)

    def _try(self, speed: float) -> None:
        step, self._next_trial = self._next_trial, -self._next_trial
        if not 1 <= self.limit + step <= self._most:
            step = -step
        if 1 <= self.limit + step <= self._most:
            self.limit += step
            self._trial = step
            self._usual_speed = speed


class Turns:
    """Lets as many tasks read at once as the limit says now, in turn: `async with turns:`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._count = readers.limit
        self._free = asyncio.Semaphore(self._count)

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._count > self._readers.limit:
            self._count -= 1
            return
        self._free.release()
        while self._count < self._readers.limit:
            self._count += 1
            self._free.release()
