"""Work that is given up when something else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; give it up when the event is set. Returns whether it was done before that.

    What the work raises is raised, also while it is given up.
    """
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        given_up = event.is_set()
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.wait((working, waiting))
    if not working.cancelled():
        working.result()
    return not given_up
