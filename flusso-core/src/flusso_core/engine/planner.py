"""What an index needs when a run starts, and how far its seed has come. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from flusso_core.errors import EngineError
from flusso_core.model import (
    IndexMapping,
    Key,
    KeyRange,
    Position,
    RangeProgress,
    StateRecord,
    StreamIdentity,
)
from flusso_core.settings import GapPolicy


@dataclass(frozen=True, slots=True)
class StartPlan:
    """How an index goes on.

    Attributes:
        record: what the destination has to remember before anything is written.
        obsolete: a generation whose seed had not ended and that will not be used again.
        reason: why it is filled afresh although the destination remembers it; `None`: it is not.
    """

    record: StateRecord
    obsolete: int | None = None
    reason: str | None = None


def plan_start(
    mapping: IndexMapping,
    record: StateRecord | None,
    *,
    identity: StreamIdentity,
    confirmed: Position,
    existing: Collection[int],
    policy: GapPolicy,
) -> StartPlan:
    """Decide between going on, beginning, and filling afresh because of a gap.

    Args:
        mapping: the index as its schema is now.
        record: what the destination remembers of it.
        identity: the stream as it is now.
        confirmed: what the source says is durable: changes up to there never come again.
        existing: the generations of this mapping that exist at the destination.
        policy: what follows from a gap.

    Raises:
        EngineError: there is a gap and the policy is to stop.
    """
    newest = max(existing, default=0)
    if record is None or record.schema_hash != mapping.schema_hash:
        return StartPlan(
            StateRecord(mapping.index, newest + 1, mapping.schema_hash, identity, confirmed)
        )
    reason = _gap(record, identity, confirmed, existing)
    if reason is None:
        return StartPlan(record)
    if policy is GapPolicy.STOP:
        message = (
            f"index {mapping.index}: {reason}, so changes may be missing; set on_gap to "
            '"reseed" to fill it afresh beside the old one'
        )
        raise EngineError(message)
    fresh = StateRecord(
        mapping.index,
        max(newest, record.generation) + 1,
        mapping.schema_hash,
        identity,
        confirmed,
        serving=record.generation if record.seeded else record.serving,
    )
    return StartPlan(fresh, None if record.seeded else record.generation, reason)


def restarted(record: StateRecord) -> StartPlan:
    """The same index in a new, empty generation, because its root table was truncated."""
    fresh = replace(
        record,
        generation=record.generation + 1,
        seeded=False,
        ranges=(),
        serving=record.generation if record.seeded else record.serving,
    )
    return StartPlan(fresh, None if record.seeded else record.generation)


def _gap(
    record: StateRecord,
    identity: StreamIdentity,
    confirmed: Position,
    existing: Collection[int],
) -> str | None:
    if record.identity != identity:
        differences = _differences(record.identity, identity)
        return f"it was kept right by another change stream ({differences})"
    if record.position < confirmed:
        return (
            f"it is right up to {record.position.token}, but the change stream now begins at "
            f"{confirmed.token}"
        )
    begun = record.seeded or any(span.done or span.cursor for span in record.ranges)
    if begun and record.generation not in existing:
        return f"its generation {record.generation} no longer exists at the destination"
    return None


def _differences(old: StreamIdentity, new: StreamIdentity) -> str:
    pairs = (
        ("system", old.system, new.system),
        ("database", old.database, new.database),
        ("stream", old.stream, new.stream),
        ("timeline", old.timeline, new.timeline),
    )
    return ", ".join(f"{name} {was!r}, now {now!r}" for name, was, now in pairs if was != now)


class SeedProgress:
    """How far the key ranges of one index have been seeded.

    Args:
        ranges: they cover the whole key space; with what earlier runs have done.
    """

    def __init__(self, ranges: Sequence[RangeProgress]) -> None:
        self._ranges = list(ranges)

    @classmethod
    def begin(cls, spans: Sequence[KeyRange]) -> SeedProgress:
        """Nothing of these ranges has been seeded."""
        return cls([RangeProgress(span) for span in spans])

    @property
    def ranges(self) -> tuple[RangeProgress, ...]:
        """The progress, to be stored."""
        return tuple(self._ranges)

    @property
    def done(self) -> bool:
        """Whether every page of every range has landed."""
        return all(span.done for span in self._ranges)

    def unfinished(self) -> Iterator[int]:
        """The numbers of the ranges that have pages left."""
        return (number for number, span in enumerate(self._ranges) if not span.done)

    def of(self, number: int) -> RangeProgress:
        """The progress of that range."""
        return self._ranges[number]

    def landed(self, number: int, cursor: Key | None) -> None:
        """The range's next page has landed; `cursor` is its last key, `None`: it was the last."""
        before = self._ranges[number]
        self._ranges[number] = (
            replace(before, done=True) if cursor is None else replace(before, cursor=cursor)
        )
