"""How an engine behaves: bounds and policies, each with a sane default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes: when full, when `max_delay` is over, or at once when the stage after
    it is idle.

    Attributes:
        max_changes: row events in a batch.
        max_delay: seconds that a change waits at most for others while the next stage is busy.
    """

    max_changes: int = 1000
    max_delay: float = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a lane holds in memory at most.

    Attributes:
        max_documents: built documents; those that are being sent count twice.
        max_bytes: of their bodies, likewise; ids that wait take half as much beside that.
        max_dirty: ids of documents that are not yet right at the destination.
    """

    max_documents: int = 5000
    max_bytes: int = 32 * 1024 * 1024
    max_dirty: int = 200_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the back-off with which what passes by itself is tried again, for ever.

    Each wait is drawn at random, from none to a bound that doubles with each attempt.

    Attributes:
        initial: bound of the first wait, in seconds.
        maximum: bound of every wait, in seconds.
    """

    initial: float = 0.2
    maximum: float = 30.0


class FailurePolicy(StrEnum):
    """What follows when a destination refuses a document: stop the run, or quarantine it."""

    STOP = "stop"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class FailurePolicies:
    """A `FailurePolicy` for each index, with a default."""

    default: FailurePolicy = FailurePolicy.STOP
    by_index: Mapping[str, FailurePolicy] = field(default_factory=dict[str, FailurePolicy])

    def of(self, index: str) -> FailurePolicy:
        """The policy of that index."""
        return self.by_index.get(index, self.default)


class GapPolicy(StrEnum):
    """What follows when the stream no longer holds all that an index has missed: fill the index
    afresh beside the old one, or stop the run.
    """

    RESEED = "reseed"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class GapPolicies:
    """A `GapPolicy` for each index, with a default."""

    default: GapPolicy = GapPolicy.RESEED
    by_index: Mapping[str, GapPolicy] = field(default_factory=dict[str, GapPolicy])

    def of(self, index: str) -> GapPolicy:
        """The policy of that index."""
        return self.by_index.get(index, self.default)
