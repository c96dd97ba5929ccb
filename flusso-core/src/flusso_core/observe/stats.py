"""Counts what a run did, for a summary at its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from flusso_core.model import DocumentId, Position, Rejection
from flusso_core.observe.observer import BatchStats, FlushStats, NoopObserver

WINDOW = 10_000
"""How many of the latest measurements of a duration are kept."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A distribution of durations in seconds, over the latest `WINDOW` measurements.

    All are 0 where nothing was measured.
    """

    median: float
    p95: float
    highest: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did so far.

    Attributes:
        changes: row events captured.
        batches: batches resolved.
        documents: documents written or deleted, those of seeds included.
        upserts: of these, written.
        tombstones: of these, deleted.
        seeded: of these, pages of seeds.
        bytes: of the bodies.
        flushes: requests that wrote them.
        rejected: documents that a destination refused.
        retries: failures that were tried again.
        gate: time that batches waited for their commits to be visible.
        resolve: time to find a batch's documents.
        build: time to read a flush's documents.
        flush: time that a destination took for one.
    """

    changes: int
    batches: int
    documents: int
    upserts: int
    tombstones: int
    seeded: int
    bytes: int
    flushes: int
    rejected: int
    retries: int
    gate: Durations
    resolve: Durations
    build: Durations
    flush: Durations


class StatsObserver(NoopObserver):
    """Counts what it hears; `summary` gives the counts at any time. Its memory is bounded."""

    def __init__(self) -> None:
        self._changes = 0
        self._batches = 0
        self._upserts = 0
        self._tombstones = 0
        self._seeded = 0
        self._bytes = 0
        self._flushes = 0
        self._rejected = 0
        self._retries = 0
        self._gate = deque[float](maxlen=WINDOW)
        self._resolve = deque[float](maxlen=WINDOW)
        self._build = deque[float](maxlen=WINDOW)
        self._flush = deque[float](maxlen=WINDOW)

    def captured(self, changes: int, position: Position | None) -> None:
        """Count them."""
        del position
        self._changes += changes

    def batch(self, stats: BatchStats) -> None:
        """Count it."""
        self._batches += 1
        self._gate.append(stats.gate_seconds)
        self._resolve.append(stats.resolve_seconds)

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Count what landed."""
        del documents
        self._flushes += 1
        self._upserts += stats.upserts
        self._tombstones += stats.tombstones
        self._bytes += stats.bytes
        if stats.seed:
            self._seeded += stats.upserts + stats.tombstones
        self._build.append(stats.build_seconds)
        self._flush.append(stats.flush_seconds)

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Count it."""
        del lane, rejection
        self._rejected += 1

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Count it."""
        del what, error, seconds
        self._retries += 1

    def summary(self) -> RunSummary:
        """What was heard so far."""
        return RunSummary(
            changes=self._changes,
            batches=self._batches,
            documents=self._upserts + self._tombstones,
            upserts=self._upserts,
            tombstones=self._tombstones,
            seeded=self._seeded,
            bytes=self._bytes,
            flushes=self._flushes,
            rejected=self._rejected,
            retries=self._retries,
            gate=durations(self._gate),
            resolve=durations(self._resolve),
            build=durations(self._build),
            flush=durations(self._flush),
        )


def durations(measured: Sequence[float]) -> Durations:
    """The distribution of these durations, by nearest rank."""
    ordered = sorted(measured)
    if not ordered:
        return Durations(0.0, 0.0, 0.0)

    def rank(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Durations(median=rank(0.5), p95=rank(0.95), highest=ordered[-1])
