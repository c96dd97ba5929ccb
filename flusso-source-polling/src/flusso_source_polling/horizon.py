"""Until when everything is final: no transaction that began before is still open.

A row can be committed long after its cursor was given out. So a cursor may only move past a value
when nobody can commit a lower one any more. Here is what is known of that, over polls; no I/O
and no clock of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flusso_source_polling.witness import Moment

_MOST = 64


@dataclass(slots=True)
class _Glimpse:
    """Transactions that were open at some time.

    Attributes:
        clock: not after they were looked up.
        running: those that have not yet ended.
        prepared: once those have ended, the ones that may have become of them; and those that
            were prepared at that time.
    """

    clock: float
    running: frozenset[str]
    prepared: frozenset[str]
    over: bool = False

    def has_ended(self, now: Moment) -> bool:
        if not self.over:
            if self.running & now.running:
                return False
            # A transaction that is prepared gives its virtual id up: it is one of these now.
            self.over = True
            self.prepared |= now.prepared
        self.prepared &= now.prepared
        return not self.prepared


class Horizon:
    """What is final, as polls go on.

    Attributes:
        settled: every transaction that began before this time, by the database's clock, has ended
            and is seen by whoever reads from now on.
        back: the clock has gone back since the last poll that came through.
    """

    def __init__(self) -> None:
        self.settled = -math.inf
        self.back = False
        self._clock = -math.inf
        self._glimpses: list[_Glimpse] = []

    def look(self, now: Moment) -> None:
        """Learn what the database says, before tables are read in snapshots that begin later."""
        if now.clock < self._clock:
            self.back = True
            self._glimpses.clear()
            self.settled = -math.inf
        self._clock = now.clock
        for place in reversed(range(len(self._glimpses))):
            if self._glimpses[place].has_ended(now):
                self.settled = self._glimpses[place].clock
                del self._glimpses[: place + 1]
                break
        if len(self._glimpses) >= _MOST:
            del self._glimpses[1::2]
        self._glimpses.append(_Glimpse(now.clock, now.running, now.prepared))

    def polled(self) -> None:
        """The tables have been read, and what was found is kept."""
        self.back = False
