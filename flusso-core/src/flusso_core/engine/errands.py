"""What is done beside the stream: tasks of a lane's run, that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from flusso_core.errors import EngineError


class Errands:
    """Runs errands in the group of a lane's run: none before it begins, or once it ends."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, group: asyncio.TaskGroup) -> None:
        """The run has begun."""
        self._group = group

    def end(self) -> list[asyncio.Task[None]]:
        """The run ends; returns every errand that is under way, to be cancelled."""
        self._group = None
        return list(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do it in a task; `None`: the run ends, and the next start sees to it."""
        try:
            task = None if self._group is None else self._group.create_task(work)
        except RuntimeError:  # the run is being cancelled, and its group takes no task any more
            task = None
        if task is None:
            work.close()
            return None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def obey(self, work: Callable[[], Awaitable[None]], *, failure: str) -> None:
        """Do what was asked for from outside, within the run: it goes on without who asked.

        Args:
            work: what was asked for.
            failure: what is not true when the run ends before it is done.

        Raises:
            EngineError: it was refused; or the run has ended before it was done, or not begun.
        """
        refused: list[EngineError] = []

        async def obeyed() -> None:
            try:
                await work()
            except EngineError as error:  # it is for who asked, and no reason to end the run
                refused.append(error)

        task = self.spawn(obeyed())
        if task is not None:
            await asyncio.wait([task])
        if task is None or task.cancelled():
            raise EngineError(f"{failure}: the run of this sink has ended, or had not begun")
        task.result()
        if refused:
            raise refused[0]
