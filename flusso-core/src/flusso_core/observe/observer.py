"""Observers: synchronous, cheap listeners to what the engine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from flusso_core.model import DocumentId, Position, Rejection


class Phase(StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    BACKFILLING = "backfilling"
    LIVE = "live"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BatchStats:
    """What one batch was.

    Attributes:
        lane: the sink's name.
        changes: row events in it.
        documents: documents that they touched and that were not already waiting.
        gate_seconds: time spent waiting for its commits to be visible.
        resolve_seconds: time spent finding its documents.
    """

    lane: str
    changes: int
    documents: int
    gate_seconds: float
    resolve_seconds: float


@dataclass(frozen=True, slots=True)
class FlushStats:
    """What one flush was.

    Attributes:
        lane: the sink's name.
        index: the logical index, where all of it went.
        upserts: documents written.
        tombstones: documents deleted.
        bytes: of the bodies.
        build_seconds: time from taking the documents to having their bodies.
        flush_seconds: time the destination took.
        seed: whether it was a page of a seed.
    """

    lane: str
    index: str
    upserts: int
    tombstones: int
    bytes: int
    build_seconds: float
    flush_seconds: float
    seed: bool


class Observer(Protocol):
    """Hears everything; must return at once and never raise."""

    def phase(self, phase: Phase) -> None:
        """The run entered a phase."""

    def captured(self, changes: int, position: Position | None) -> None:
        """The capture delivered a batch of that many changes, and with it everything up to
        `position` (`None`: a commit goes on in the next batch).
        """

    def batch(self, stats: BatchStats) -> None:
        """A batch was resolved."""

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """A flush landed; `documents` are those that landed."""

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """A destination refused a document."""

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """A seed goes on: rows read in this run, and about how many this run has to read."""

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """An index is seeded: rows and time of this run."""

    def seed_given_up(self, lane: str, index: str) -> None:
        """A seed has ended before it was done: the index needs it no more, begins another, or
        goes on with it in the next run.
        """

    def index_stopped(self, index: str, reason: str) -> None:
        """An index does not fit its tables: it gets no more changes in this run, the others do."""

    def detached(self, lane: str, reason: str) -> None:
        """A sink no longer holds the source: what it misses from now on is a gap."""

    def attached(self, lane: str) -> None:
        """A sink is there, and its lane follows the changes from now on."""

    def confirmed(self, position: Position) -> None:
        """The source was told that everything up to `position` is durable."""

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Something failed for now and is tried again after that many seconds."""

    def recovered(self, what: str) -> None:
        """What was being retried works again."""


class NoopObserver:
    """An `Observer` that ignores everything; a base for those that hear only some of it."""

    def phase(self, phase: Phase) -> None:
        """Ignore it."""

    def captured(self, changes: int, position: Position | None) -> None:
        """Ignore it."""

    def batch(self, stats: BatchStats) -> None:
        """Ignore it."""

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Ignore it."""

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Ignore it."""

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Ignore it."""

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Ignore it."""

    def seed_given_up(self, lane: str, index: str) -> None:
        """Ignore it."""

    def index_stopped(self, index: str, reason: str) -> None:
        """Ignore it."""

    def detached(self, lane: str, reason: str) -> None:
        """Ignore it."""

    def attached(self, lane: str) -> None:
        """Ignore it."""

    def confirmed(self, position: Position) -> None:
        """Ignore it."""

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Ignore it."""

    def recovered(self, what: str) -> None:
        """Ignore it."""


class FanOut:
    """An `Observer` that tells several others, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def phase(self, phase: Phase) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.phase(phase)

    def captured(self, changes: int, position: Position | None) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.captured(changes, position)

    def batch(self, stats: BatchStats) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.batch(stats)

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.flushed(stats, documents)

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.rejected(lane, rejection)

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.seeding(lane, index, rows, estimate)

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.seeded(lane, index, rows, seconds)

    def seed_given_up(self, lane: str, index: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.seed_given_up(lane, index)

    def index_stopped(self, index: str, reason: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.index_stopped(index, reason)

    def detached(self, lane: str, reason: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.detached(lane, reason)

    def attached(self, lane: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.attached(lane)

    def confirmed(self, position: Position) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.confirmed(position)

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.retrying(what, error, seconds)

    def recovered(self, what: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.recovered(what)
