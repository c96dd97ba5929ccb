"""The pipeline that `flusso run` runs, on a thread of its own beside the demo."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from flusso_core.config import Deployment
from flusso_core.observe import FanOut, NoopObserver, Observer, Phase
from flusso_core.pipeline import Overrides, assemble
from flusso_sandbox.errors import SandboxError

_POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0


class _Stopwatch(NoopObserver):
    """Measures the backfill, from its first page until searches see all of it."""

    def __init__(self) -> None:
        self.live = threading.Event()
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def phase(self, phase: Phase) -> None:
        """Start and stop the clocks."""
        if phase is Phase.BACKFILLING:
            self.seconds, self.cpu_seconds = time.monotonic(), time.process_time()
        elif phase is Phase.LIVE:
            self.seconds = time.monotonic() - self.seconds
            self.cpu_seconds = time.process_time() - self.cpu_seconds
            self.live.set()


class RunningPipeline:
    """An engine over a deployment, which runs for as long as the `with` lasts.

    The thread leaves the main one to the demo, which can measure without holding up the pipeline.

    Args:
        deployment: as `load_deployment` gives it.
        overrides: as the flags of `flusso run` would make them.
        observer: hears everything, on the pipeline's thread.
    """

    def __init__(self, deployment: Deployment, overrides: Overrides, observer: Observer) -> None:
        self._stopwatch = _Stopwatch()
        self._engine = assemble(
            deployment, overrides=overrides, observer=FanOut((observer, self._stopwatch))
        )
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="flusso-pipeline", daemon=True)

    def __enter__(self) -> Self:
        self._task = self._loop.create_task(self._engine.run())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tell(self._engine.stop)
        self._thread.join(_STOP_SECONDS)
        if self._task is not None:
            self._tell(self._task.cancel)
        self._thread.join(_STOP_SECONDS)

    @property
    def backfill_seconds(self) -> float:
        """How long the backfill took, once it is over."""
        return self._stopwatch.seconds

    @property
    def backfill_cpu_seconds(self) -> float:
        """What this process worked in that time."""
        return self._stopwatch.cpu_seconds

    def wait_live(self, check: Callable[[], None]) -> None:
        """Wait until every index is filled.

        Args:
            check: raises when there is nothing to wait for any more.

        Raises:
            FlussoError: the pipeline has ended instead.
        """
        while not self._stopwatch.live.wait(_POLL_SECONDS):
            check()
            self.check()

    def check(self) -> None:
        """See to it that the pipeline still runs.

        Raises:
            FlussoError: it has ended; this is why.
        """
        if self._task is None or not self._task.done():
            return
        self._task.result()
        msg = "the pipeline has ended before it was told to"
        raise SandboxError(msg)

    def _run(self) -> None:
        loop, task = self._loop, self._task
        if task is None:  # it is made before the thread
            return
        try:
            loop.run_until_complete(asyncio.wait((task,)))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    def _tell(self, ask: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the pipeline has ended
            self._loop.call_soon_threadsafe(ask)
