"""Following a cursor: each poll reads again all that is not final, and compares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from flusso_core.model import Change
from flusso_source_polling.cursors import Cursor, Reach
from flusso_source_polling.horizon import Horizon
from flusso_source_polling.memory import Known, Memory
from flusso_source_polling.picture import Lens, Low, Seen, Watch
from flusso_source_polling.readers.base import Poll
from flusso_source_polling.readers.comparison import Comparison

GRAIN = 120.0
"""Seconds after which no cursor is given out again that was the greatest before (`Cursor.fine`)."""

PATIENCE = 1.0
"""Seconds that one poll spends on a pass over the keys."""

_LOW, _BEYOND, _CLOCK, _RECHECK = "low", "beyond", "clock", "recheck"


@dataclass(frozen=True, slots=True)
class Following:
    """How a table is followed.

    Attributes:
        lag: seconds that a row may be committed later than its cursor says, beyond what is known
            of open transactions.
        every: seconds from the end of one pass over all keys to the next; `None`: there is none
            unless something calls for it.
    """

    lag: float
    every: float | None


def forget_place(memory: Memory) -> None:
    """Where a table is followed by a cursor, have every row that has one read again."""
    memory.write(_LOW, None)
    memory.write(_BEYOND, None)


class Window:
    """Follows a table by a cursor, and looks for what that cannot show in passes over its keys.

    What a poll reads begins at the *low* place of the cursor: the greatest value that there was
    when a transaction that is now the oldest one open had not begun, and `lag` seconds earlier
    still. Whatever is committed from now on has a higher one. So a row is read again, and compared
    with what is known of it, until nobody can commit another one before it.

    A pass over all keys finds what is deleted, and what a cursor has missed: a clock that went
    back, an update that left the cursor as it was. One is also made after the stream began, when
    every transaction that was open then has ended.

    Args:
        watch: what to look at.
        lens: reads it.
        cursor: what it is followed by.
        comparison: makes the passes.
        horizon: what is final.
        following: how long to look back, and how often at everything.
        page_size: rows that one statement reads.
        now: seconds on a clock that never goes back.
    """

    tidies = False

    def __init__(
        self,
        watch: Watch,
        lens: Lens,
        cursor: Cursor,
        comparison: Comparison,
        horizon: Horizon,
        following: Following,
        page_size: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._lens = lens
        self._cursor = cursor
        self._comparison = comparison
        self._horizon = horizon
        self._following = following
        self._page_size = page_size
        self._now = now
        self._marks: list[Reach] = []
        self._next_pass = now() if following.every is not None else float("inf")
        self._resumed = True
        self._rechecking = False
        self.name = comparison.name

    @property
    def unfinished(self) -> bool:
        """Whether a pass over the keys goes on."""
        return self._comparison.passing

    def begin(self, connection: Connection, memory: Memory) -> None:
        """Know every row; what is committed late is found by a pass when it can no more be."""
        reach = self._cursor.reach(connection)
        self._comparison.begin(connection, memory)
        self._base(memory, reach)
        self._resumed = False
        self._put_off()

    def poll(self, connection: Connection, memory: Memory, poll: Poll) -> Iterator[Change]:
        """Read what is not final, and go on with a pass over the keys if one is due."""
        reach = self._cursor.reach(connection)
        if not self._comparison.fits(memory):
            yield from self._comparison.reshape(connection, memory)
            self._base(memory, reach)
            return
        went_back = self._resumed and reach.clock < float(memory.note(_CLOCK) or 0)
        self._resumed = False
        if (self._horizon.back or went_back) and not self._cursor.exact:
            self._marks.clear()
            self._base(memory, reach)
        low = Low(memory.note(_LOW), memory.note(_BEYOND) is not None)
        yield from self._recent(connection, memory, low)
        self._rise(memory, low, reach)
        yield from self._pass(connection, memory, poll)

    def confirmed(self, connection: Connection, memory: Memory, position: int) -> None:
        """Nothing is kept for that."""

    def _base(self, memory: Memory, reach: Reach) -> None:
        """Look from here on; and at everything, when all that is on its way has come."""
        memory.write(_LOW, reach.value)
        memory.write(_BEYOND, None)
        memory.write(_CLOCK, repr(reach.clock))
        if not self._cursor.exact:
            memory.write(_RECHECK, repr(reach.clock))

    def _recent(self, connection: Connection, memory: Memory, low: Low) -> Iterator[Change]:
        behind: Seen | None = None
        while True:
            page = self._lens.recent(connection, low, behind, self._page_size)
            known = memory.rows(one.text for one in page) if page else {}
            changed: list[tuple[str, Known]] = []
            for one in page:
                was = known.get(one.text)
                if was != one.row:
                    changed.append((one.text, one.row))
                    yield self._watch.upserted(one, was)
            memory.renew(changed)
            if len(page) < self._page_size:
                return
            behind = page[-1]

    def _rise(self, memory: Memory, low: Low, reach: Reach) -> None:
        """Let the low place rise to what is final now; it was read up to there just before."""
        risen = low
        if self._cursor.exact:
            risen = Low(reach.value)
        else:
            if not self._marks or self._marks[-1].value != reach.value:
                self._marks.append(reach)
            final = self._horizon.settled - self._following.lag
            passed = [mark for mark in self._marks if mark.clock <= final]
            if passed:
                last = passed[-1]
                del self._marks[: len(passed) - 1]
                # A mark is the first one of its value.
                fine = self._cursor.fine and last.value is not None
                beyond = (fine and last.clock <= final - GRAIN) or (
                    low.beyond and low.value == last.value
                )
                risen = Low(last.value, beyond)
        if risen != low:
            memory.write(_LOW, risen.value)
            memory.write(_BEYOND, "" if risen.beyond else None)
            memory.write(_CLOCK, repr(reach.clock))

    def _pass(self, connection: Connection, memory: Memory, poll: Poll) -> Iterator[Change]:
        if poll.thorough or not self._comparison.passing:
            recheck = memory.note(_RECHECK)
            final = self._horizon.settled - self._following.lag
            self._rechecking = recheck is not None and float(recheck) <= final
            if not (poll.thorough or self._rechecking or self._now() >= self._next_pass):
                return
            self._comparison.start_over(memory)
        end = self._now() + PATIENCE
        yield from self._comparison.go_on(
            connection, memory, lambda: poll.thorough or self._now() < end
        )
        if not self._comparison.passing:
            self._put_off()
            if self._rechecking:
                memory.write(_RECHECK, None)

    def _put_off(self) -> None:
        if self._following.every is not None:
            self._next_pass = self._now() + self._following.every
