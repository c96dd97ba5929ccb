"""How far a sink's index is right, by its record, and whether it gets any further."""

from __future__ import annotations

import asyncio

from flusso_core.engine.retry import Retrier
from flusso_core.interfaces import ChangeCapture, Sink
from flusso_core.model import Position
from flusso_core.verify.served import NotComparable, record_of, serving

_POLL_SECONDS = 0.5
"""Records are stored about once a second."""


class Standing:
    """Waits until an index has what the source had committed.

    Whoever keeps the index right stores how far it is; where nobody does, it gets no further.

    Args:
        capture: knows where the source's stream ends.
        sink: remembers how far the index is right.
        index: the logical name.
        name: of the sink.
        generation: that is compared.
        retrier: how failures that pass are tried again.
        patience: seconds without any progress after which nothing is waited for.
    """

    def __init__(
        self,
        capture: ChangeCapture,
        sink: Sink,
        index: str,
        *,
        name: str,
        generation: int,
        retrier: Retrier,
        patience: float,
    ) -> None:
        self._capture = capture
        self._sink = sink
        self._index = index
        self._name = name
        self._generation = generation
        self._retrier = retrier
        self._patience = patience
        self._stuck_at: Position | None = None
        self._behind: int | None = None

    @property
    def behind(self) -> int | None:
        """How far the index was behind when it got no further; `None`: it has always got there."""
        return self._behind

    async def applied(self) -> bool:
        """Wait until everything has landed that is committed now.

        Returns:
            `False`: the index gets no further, or all of its rows are still to be read again, so
            that what has been committed may not be in it.

        Raises:
            NotComparable: another generation serves now.
        """
        head = await self._retrier.run("asking the source", self._capture.head)
        clock = asyncio.get_running_loop().time
        last, until = None, clock() + self._patience
        while True:
            position, clean = await self._reached()
            if position >= head:
                self._stuck_at = None
                return clean
            if position == self._stuck_at or clock() >= until:
                self._stuck_at = position
                self._behind = head.order - position.order
                return False
            if position != last:
                last, until = position, clock() + self._patience
            await asyncio.sleep(_POLL_SECONDS)

    async def _reached(self) -> tuple[Position, bool]:
        """Up to where the index is right, and whether no sweep of it is under way."""
        records = await self._retrier.run("reading the state records", self._sink.load_records)
        record = record_of(records, self._index, self._name)
        generation = serving(record, self._name)
        if generation.number != self._generation:
            raise NotComparable(
                f"{self._name}: another generation of index {self._index} took the place of the "
                "one that was compared; verify it again"
            )
        return record.position, generation.clean
