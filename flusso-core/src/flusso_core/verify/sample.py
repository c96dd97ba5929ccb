"""Of how much of an index the content is compared: of all, or of documents drawn by chance."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_SPELLED = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<percent>%?)")

_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """About so many documents, or such a share of them.

    Attributes:
        share: of all documents, above 0 and up to 1; `None`: `documents` says it.
        documents: how many, as far as it is known how many there are.
        seed: what decides which: with the same one they are the same again. Not negative.
    """

    share: float | None = None
    documents: int | None = None
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Sample:
        """Read `5%` or `10000`.

        Raises:
            ValueError: it is neither.
        """
        found = _SPELLED.fullmatch(text.strip())
        number = float(found["number"]) if found else 0.0
        if found and found["percent"] and 0 < number <= 100:
            return cls(share=number / 100)
        if found and not found["percent"] and number >= 1 and number.is_integer():
            return cls(documents=int(number))
        raise ValueError(f"{text!r} is neither a percentage such as 5% nor a number of documents")

    def draw(self, estimate: int | None) -> Draw:
        """What decides of each document; all are taken where nobody knows how many there are.

        Args:
            estimate: about how many there are.
        """
        share = self.share
        if share is None:
            share = 1.0 if not estimate or self.documents is None else self.documents / estimate
        return Draw(share, self.seed)


class Draw:
    """Takes documents by chance, each by its id alone.

    So it does not matter in which order they come, or what others there are, and nothing has to
    be remembered.

    Args:
        share: how many of all documents are taken; all from 1 on.
        seed: with another one others are taken.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._below = share * (1 << 8 * _DIGEST_BYTES)
        self._before = hashlib.blake2b(f"{seed}:".encode(), digest_size=_DIGEST_BYTES)

    def takes(self, identity: str) -> bool:
        """Whether the document with this `_id` is taken."""
        digest = self._before.copy()
        digest.update(identity.encode())
        return int.from_bytes(digest.digest(), "big") < self._below
