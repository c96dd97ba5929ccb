"""How fast polls go: so many statements a second, and a longer wait the less there is to find."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, event

from flusso_core.errors import SourceUnavailable


class Throttle:
    """Holds statements back, and ends a poll that nobody waits for any more.

    Args:
        rate: statements a second at most; `None`: as many as there are.
        now: seconds on a clock that never goes back.

    Attributes:
        statements: how many there were.
    """

    def __init__(self, rate: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._gap = 0.0 if rate is None else 1 / rate
        self._now = now
        self._next = 0.0
        self._given_up = threading.Event()
        self.statements = 0

    def watch(self, connection: Connection) -> None:
        """Hold the statements of this connection back from now on."""
        event.listen(connection, "before_cursor_execute", self._before)

    def unwatch(self, connection: Connection) -> None:
        """Let them go."""
        event.remove(connection, "before_cursor_execute", self._before)

    def give_up(self) -> None:
        """Have the poll end at its next statement. From any thread."""
        self._given_up.set()

    def begin(self) -> None:
        """A poll begins, which somebody waits for."""
        self._given_up.clear()

    def _before(self, *_: object) -> None:
        wait = self._next - self._now()
        if self._given_up.wait(max(0.0, wait)):
            raise SourceUnavailable("the poll was given up")
        self._next = max(self._next, self._now()) + self._gap
        self.statements += 1


class Interval:
    """The wait between polls.

    Args:
        least: seconds, while there are changes.
        most: seconds, where there are none.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = max(least, most)
        self._wait = least

    def after(self, *, found: bool, took: float) -> float:
        """Seconds to wait after a poll.

        Args:
            found: it has found something, or has more to look at.
            took: seconds.
        """
        self._wait = self._least if found else min(2 * self._wait, self._most)
        return max(self._wait, took)
