"""A first SIGINT or SIGTERM drains, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

HANDLED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def draining(stop: Callable[[], None], restore: Callable[[], object]) -> Generator[None]:
    """Within a running loop, in the main thread: call `stop` on the loop at the first signal.

    The second ends the process with 130 (SIGINT) or 143 (SIGTERM), even while the loop is busy.

    Args:
        stop: asks the work to end.
        restore: puts the terminal right before a hard exit.
    """
    loop = asyncio.get_running_loop()
    signalled = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            restore()
            os._exit(128 + number)
        signalled = True
        loop.call_soon_threadsafe(_drain, number, stop)

    # Not `loop.add_signal_handler`: a busy loop would not hear the second signal.
    before = {number: signal.signal(number, handle) for number in HANDLED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drain(number: int, stop: Callable[[], None]) -> None:
    name = signal.Signals(number).name
    logger.warning("%s: finishing what is under way; a second signal exits at once", name)
    stop()
