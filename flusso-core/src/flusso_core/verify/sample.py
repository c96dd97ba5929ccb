"""How much of an index is compared: all of it, or key ranges that are drawn by chance."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flusso_core.model import KeyRange

RANGES = 200
"""Key ranges to draw from: so many that a few of them lie all over the table."""

_SPELLED = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<percent>%?)")


@dataclass(frozen=True, slots=True)
class Sample:
    """About so many documents, or such a share of them.

    Attributes:
        share: of all documents, above 0 and up to 1; `None`: `documents` says it.
        documents: how many, as far as it is known how many there are.
    """

    share: float | None = None
    documents: int | None = None

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

    def draw(
        self, spans: Sequence[KeyRange], estimate: int | None, rng: random.Random
    ) -> list[KeyRange]:
        """Some of the ranges, at least one; all of them where nobody knows how many rows there are.

        Args:
            spans: of about the same size.
            estimate: about how many rows they have together.
            rng: draws them.
        """
        share = self.share
        if share is None:
            share = 1.0 if not estimate or self.documents is None else self.documents / estimate
        return rng.sample(spans, max(1, min(len(spans), round(len(spans) * share))))
