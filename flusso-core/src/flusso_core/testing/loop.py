"""An event loop with virtual time: an hour of back-off takes milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what the loop would sleep is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits, and nothing will ever wake one: a deadlock")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Task(asyncio.Task[T]):
    """A task that sets order by when it was made, and not by where it lies in memory."""

    def __init__(self, number: int, *args: Any, **options: Any) -> None:
        self._number = number  # before anybody asks for the hash
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer as soon as nothing else can run.

    The same program runs in the same order each time, where it does not ask the clock of the wall
    and makes nothing depend on the order of a set of texts.

    A program that waits for ever without any timer is a deadlock, and raises `RuntimeError`.
    Real I/O does not work in it: nothing ever waits for a socket.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        numbers = count()

        def make(
            loop: asyncio.AbstractEventLoop, work: Any, context: Any = None, **options: Any
        ) -> asyncio.Task[Any]:
            return _Task(next(numbers), work, loop=loop, context=context, **options)

        self.set_task_factory(make)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._virtual.now


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, seconds: float = 3600.0) -> T:
    """Run `main` to its end on a `VirtualTimeLoop` of its own.

    Raises:
        TimeoutError: it had not ended after so many virtual seconds.
    """

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await main

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(bounded())
