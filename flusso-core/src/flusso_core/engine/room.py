"""How much may wait in a lane's ledger: in documents, in batches and in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from flusso_core.model import Key
from flusso_core.settings import Bounds

_ID_BYTES = 200
"""What an id takes in the ledger besides its text: its tuple, its string's header, its place in a
dictionary that has just grown (CPython, 64 bits)."""

_SAMPLE = 20
"""Keys of a piece that are measured."""


class Room:
    """Decides whether more may be marked.

    Ids that wait take half of `max_bytes` at most: long keys are fewer than `max_dirty`.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._most = bounds.max_dirty
        self._bytes = bounds.max_bytes / 2
        self._text = 0.0

    @property
    def limit(self) -> int:
        """Most documents that may wait."""
        return max(1, min(self._most, int(self._bytes / (_ID_BYTES + self._text))))

    def weigh(self, keys: Sequence[Key]) -> None:
        """Note how long keys usually are."""
        sample = [sum(map(len, key)) for key in islice(keys, _SAMPLE)]
        if sample:
            self._text += (sum(sample) / len(sample) - self._text) / 4

    def has(self, *, dirty: int, pending: int) -> bool:
        """Whether there is room, with so many documents and batches waiting.

        Rows that change again and again while the destination is down make no more documents
        dirty, but ever more batches.
        """
        return dirty < self.limit and pending <= self.limit
