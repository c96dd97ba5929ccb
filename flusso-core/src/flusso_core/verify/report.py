"""What a comparison has found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from flusso_core.verify.suspects import Verdict

MOST_SHOWN = 20
"""Differences that a report names; the others are counted."""

MOST_PATHS = 5
"""Paths that a report names of one document."""


class Kind(StrEnum):
    """How a document differs."""

    MISSING = "missing"
    """The source has it, the destination has not."""

    STALE = "stale"
    """Both have it, with different content."""

    EXTRA = "extra"
    """The destination has it, the source has not."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that differs.

    Attributes:
        id: its `_id`.
        kind: how it differs.
        verdict: what that means.
        paths: where, of a stale one; the first few.
        quarantined: the destination has refused it and keeps it as refused: building it anew
            does not help before its cause is mended.
    """

    id: str
    kind: Kind
    verdict: Verdict
    paths: tuple[str, ...] = ()
    quarantined: bool = False


@dataclass(slots=True)
class Report:
    """What a comparison of one index at one sink has found.

    Attributes:
        sink: the sink's name.
        index: the logical name.
        generation: what was compared: the one that searches see.
        seed: of the sample whose content was compared; `None`: that of all was.
        expected: documents that the source has; each was looked up at the destination.
        stored: documents that the destination has; each was looked up in the source.
        documents: of the source whose content was compared.
        repaired: documents that differed, were built anew, and are right now.
        quarantined: differences whose documents the destination keeps as refused.
        behind: how far the index was behind the source when it was waited for in vain, in bytes
            or the source's own unit; `None`: it was not, or nothing had to be waited for.
        counts: of differences by verdict and kind.
        differences: the first of them.
    """

    sink: str
    index: str
    generation: int
    seed: int | None = None
    expected: int = 0
    stored: int = 0
    documents: int = 0
    repaired: int = 0
    quarantined: int = 0
    behind: int | None = None
    counts: Counter[tuple[Verdict, Kind]] = field(default_factory=Counter[tuple[Verdict, Kind]])
    differences: list[Difference] = field(default_factory=list[Difference])

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it while there are few."""
        self.counts[difference.verdict, difference.kind] += 1
        self.quarantined += difference.quarantined
        if len(self.differences) < MOST_SHOWN:
            self.differences.append(difference)

    def include(self, other: Report) -> None:
        """Take in what another part of the same comparison has found."""
        self.expected += other.expected
        self.stored += other.stored
        self.documents += other.documents
        self.quarantined += other.quarantined
        self.counts += other.counts
        self.differences = [*self.differences, *other.differences][:MOST_SHOWN]

    @property
    def sampled(self) -> bool:
        """Whether the content of some documents was not compared."""
        return self.seed is not None

    def count(self, verdict: Verdict, kind: Kind | None = None) -> int:
        """How many differences there are of a verdict, and of a kind."""
        if kind is not None:
            return self.counts[verdict, kind]
        return sum(number for (one, _), number in self.counts.items() if one is verdict)

    @property
    def drift(self) -> int:
        """How many documents differ for certain."""
        return self.count(Verdict.DRIFT)

    @property
    def undecided(self) -> int:
        """How many differ, with changes that have not been applied as a possible cause."""
        return self.count(Verdict.BEHIND)
