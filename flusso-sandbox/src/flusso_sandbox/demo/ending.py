"""SIGINT and SIGTERM, asked for where the demo can end instead of raised where it happens to be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


class Ending:
    """What a signal has asked for.

    A handler that raises strikes anywhere: within a model that pydantic builds, where it comes out
    as an error of the model; in a callback whose exceptions are dropped; between two messages of
    psycopg's. So this one only takes note, and the demo checks at every step and in every wait.
    A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._cuts: list[Callable[[], None]] = []

    @property
    def received(self) -> int | None:
        """The signal that was received, if one was."""
        return self._received

    def check(self) -> None:
        """Go on, unless a signal was received.

        Raises:
            SystemExit: one was; with 130 (SIGINT) or 143 (SIGTERM).
        """
        if self._received is not None:
            raise SystemExit(128 + self._received)

    @contextmanager
    def signals(self) -> Generator[None]:
        """Receive signals; what fails after one (a statement that was cut short) is its doing.

        Raises:
            SystemExit: as `check` does.
        """
        before = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        except Exception as error:
            if self._received is None:
                raise
            raise SystemExit(128 + self._received) from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def cutting_short(self, cut: Callable[[], None]) -> Generator[None]:
        """Have a signal call this too; it ends a wait in which nothing can be checked, and never
        raises.
        """
        self._cuts.append(cut)
        try:
            yield
        finally:
            self._cuts.remove(cut)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            os._exit(128 + number)
        self._received = number
        for cut in self._cuts:
            cut()
