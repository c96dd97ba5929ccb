"""How many documents one statement reads, so that memory is bounded in bytes."""

from __future__ import annotations

CHUNK_BYTES = 8 * 1024 * 1024
"""About the most bytes of documents that one statement returns."""

_FIRST_GUESS = 32 * 1024
"""Bytes of a document, before any was seen: cautious, so that the first chunk is small."""


class Sizing:
    """Learns how large an index's documents are.

    ```python
    sizing = Sizing()
    sizing.documents(1000)  # 256
    sizing.note(256, 256_000)
    ```
    """

    def __init__(self) -> None:
        self._average = float(_FIRST_GUESS)

    def documents(self, most: int) -> int:
        """How many to read at once: `most`, halved until they fit.

        Halving keeps the number of different statements small.
        """
        while most > 1 and most * self._average > CHUNK_BYTES:
            most //= 2
        return most

    def note(self, documents: int, size: int) -> None:
        """Learn from documents that together had that many bytes."""
        if documents:
            seen = size / documents
            # Up at once, down slowly.
            self._average = max(seen, (self._average + seen) / 2)
