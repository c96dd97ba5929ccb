"""Back-pressure: whoever marks documents waits until there is room for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flusso_core.engine.ledger import Ledger
from flusso_core.engine.room import Room
from flusso_core.engine.watermark import Watermark
from flusso_core.model import Key


class Admission:
    """Blocks those who mark while too much waits for a flight.

    Args:
        room: decides how much is too much.
        ledger: has the documents that wait.
        watermark: has the batches that are not done.
    """

    def __init__(self, room: Room, ledger: Ledger, watermark: Watermark) -> None:
        self._room = room
        self._ledger = ledger
        self._watermark = watermark
        self._opened = asyncio.Event()

    async def wait(self, keys: Sequence[Key] = ()) -> None:
        """Return when there is room for these keys."""
        self._room.weigh(keys)
        while not self._has_room():
            self._opened.clear()
            await self._opened.wait()

    def reconsider(self) -> None:
        """Ledger or watermark have changed: there may be room now."""
        if self._has_room():
            self._opened.set()

    def _has_room(self) -> bool:
        return self._room.has(dirty=self._ledger.dirty, pending=self._watermark.pending)
