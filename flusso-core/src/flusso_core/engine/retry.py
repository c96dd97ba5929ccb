"""Trying again what passes by itself: for ever, with exponential back-off and full jitter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from flusso_core.errors import SinkUnavailable, SourceUnavailable
from flusso_core.observe.observer import Observer
from flusso_core.settings import RetryPolicy

T = TypeVar("T")


class Retrier:
    """Runs operations until they succeed or fail for good.

    Args:
        observer: hears of each failure and of the recovery.
        policy: bounds of the back-off.
        lane: the sink whose lane they are of, which then stands before what they are.
    """

    def __init__(
        self, observer: Observer, policy: RetryPolicy | None = None, *, lane: str | None = None
    ) -> None:
        self._observer = observer
        self._policy = policy or RetryPolicy()
        self._before = "" if lane is None else f"{lane}: "

    async def run(
        self,
        what: str,
        operation: Callable[[], Awaitable[T]],
        *,
        ending: asyncio.Event | None = None,
        recovers: bool = True,
    ) -> T:
        """Run `operation` until it raises neither `SourceUnavailable` nor `SinkUnavailable`.

        Args:
            what: names it to the observer.
            operation: is called anew for each attempt.
            ending: once it is set, nothing waits for the next attempt any more.
            recovers: whether it works again when it returns; otherwise the caller tells.
        """
        failures = 0
        what = self._before + what

        def told(state: RetryCallState) -> None:
            nonlocal failures
            failures += 1
            error = state.outcome.exception() if state.outcome else None
            if error is not None:
                self._observer.retrying(what, error, state.upcoming_sleep)

        async def attempt() -> T:  # tenacity awaits what it can tell to be a coroutine function
            return await operation()

        async def sleep(seconds: float) -> None:
            if ending is None:
                await asyncio.sleep(seconds)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ending.wait()

        attempts = AsyncRetrying(
            sleep=sleep,
            retry=retry_if_exception_type((SourceUnavailable, SinkUnavailable)),
            wait=wait_random_exponential(self._policy.initial, self._policy.maximum),
            before_sleep=told,
            reraise=True,
        )
        result: T = await attempts(attempt)
        if recovers and failures and not (ending and ending.is_set()):
            self._observer.recovered(what)
        return result
