"""How many bulk requests are in flight: more while that brings more, fewer when it is too much.

`Concurrency` decides, without I/O or a clock; `Gate` lets so many tasks through.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType

_REQUESTS_A_SLOT = 4
"""A rate is measured over so many requests for each that may be in flight."""

_WORTH_IT = 1.05
"""One more in flight is kept for so much more throughput; one fewer, unless it costs as much."""

_SLOW = 2.0
"""A server that takes so many times its usual seconds a request has a queue."""

_REST = 4
"""Measurements for which a limit that was found good is left alone before the next trial."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Bytes a second of all requests together, and seconds of one."""

    rate: float
    seconds: float


@dataclass(slots=True)
class _Window:
    """Requests that were answered one after the other while the limit was reached."""

    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    began: float = 0.0

    def add(self, size: int, began: float, ended: float) -> None:
        """Count a request."""
        if not self.requests:
            self.began = began
        self.requests += 1
        self.bytes += size
        self.seconds += ended - began

    def measure(self, ended: float) -> _Measured:
        """What they come to; the last of them ended then."""
        elapsed = max(ended - self.began, 1e-9)
        return _Measured(self.bytes / elapsed, self.seconds / self.requests)


class Concurrency:
    """Finds how many requests at once give the most throughput, and no more than that.

    One more in flight is tried, and kept while throughput grows; one fewer likewise, and kept
    while it does not fall, because requests that wait in the server's queue bring nothing. Between
    trials it rests, unless answers take much longer than usual: then one fewer is tried at once.
    A refusal (429) or an answer that does not come halves the limit.

    Only requests of times when the limit was reached say anything about it.

    Args:
        most: the limit never exceeds it.
        start: the limit before anything is known.
    """

    def __init__(self, most: int, start: int) -> None:
        self.limit = min(start, most)
        self._most = most
        self._usual: _Measured | None = None
        self._step = 0
        self._next_step = 1
        self._rest = 0
        self._lowered = float("-inf")
        self._window = _Window()

    def landed(self, size: int, began: float, ended: float, *, full: bool) -> None:
        """A request has been answered.

        Args:
            size: bytes that it carried.
            began: when it was sent, in seconds of any clock.
            ended: when it was answered.
            full: whether as many as the limit allows were in flight.
        """
        if not full:
            self._window = _Window()
            return
        self._window.add(size, began, ended)
        if self._window.requests >= self.limit * _REQUESTS_A_SLOT:
            measured, self._window = self._window.measure(ended), _Window()
            self._decide(measured)

    def overloaded(self, began: float, ended: float) -> None:
        """A request was refused for now, or not answered.

        Requests that were under way together are refused together; they lower the limit once.
        """
        if began >= self._lowered:
            self._lowered = ended
            self._settle(max(1, self.limit // 2), None)

    def _decide(self, now: _Measured) -> None:
        usual = self._usual or now
        if self._step:
            worth = _WORTH_IT if self._step > 0 else 1 / _WORTH_IT
            if now.rate > usual.rate * worth:
                self._try(self._step, now)
            else:
                self._settle(self.limit - self._step, usual)
        elif now.seconds > usual.seconds * _SLOW:
            self._try(-1, now)
        elif self._rest == 0:
            self._try(self._next_step, now)
            self._next_step = -self._next_step
        else:
            self._usual = usual
            self._rest -= 1

    def _try(self, step: int, now: _Measured) -> None:
        if 1 <= self.limit + step <= self._most:
            self.limit += step
            self._usual = now
            self._step = step
        else:
            self._settle(self.limit, now)

    def _settle(self, limit: int, usual: _Measured | None) -> None:
        self.limit = limit
        self._usual = usual
        self._step = 0
        self._rest = _REST
        self._window = _Window()


class Gate:
    """Lets as many tasks through at once as the limit says now: `async with gate:`."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency
        self._inside = 0
        self._left = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether as many as may be are inside."""
        return self._inside >= self._concurrency.limit

    async def __aenter__(self) -> None:
        while self.full:
            self._left.clear()
            await self._left.wait()
        self._inside += 1

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside -= 1
        self._left.set()
