"""What a run says about itself: whether it is ready, and where each index stands."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from flusso_core.model import DocumentId, JsonValue, Position, Rejection
from flusso_core.observe.observer import BatchStats, FlushStats, NoopObserver, Phase

VERSION = 2
"""Of the shape under `v2` in a status."""

_POSITIONS = 10_000
"""Ends of batches that are remembered until they are confirmed. Of more, the oldest are forgotten:
what they would count is counted by the next one."""


class IndexState(StrEnum):
    """Where an index stands at one sink."""

    WAITING = "waiting"
    BACKFILLING = "backfilling"
    LIVE = "live"
    STOPPED = "stopped"


@dataclass(slots=True)
class _Index:
    """An index at one sink: its state, and how far its seed is."""

    state: IndexState = IndexState.WAITING
    began: float = 0.0
    rows: int = 0
    estimate: int | None = None
    reason: str | None = None

    def describe(self, now: float) -> dict[str, JsonValue]:
        told: dict[str, JsonValue] = {"state": self.state}
        if self.state is IndexState.BACKFILLING:
            seconds = now - self.began
            rate = self.rows / seconds if seconds > 0 else 0.0
            left = None if self.estimate is None else max(0, self.estimate - self.rows)
            told |= {
                "rows": self.rows,
                "estimated_rows": self.estimate,
                "rows_per_second": round(rate, 1),
                "seconds_left": round(left / rate, 1) if rate and left is not None else None,
            }
        if self.reason is not None:
            told["reason"] = self.reason
        return told


class RunStatus(NoopObserver):
    """Keeps what it hears; `reasons` and `status` tell it at any time. Its memory is bounded.

    A run is ready while it backfills or is live, everything is connected, and no index has
    stopped.

    Args:
        sinks: their names.
        indexes: the logical names of those that the run keeps right.
    """

    def __init__(self, sinks: Iterable[str], indexes: Iterable[str]) -> None:
        names = list(indexes)
        self._lanes = {sink: {index: _Index() for index in names} for sink in sinks}
        self._indexes = names
        self._phase = Phase.STARTING
        self._began = time.monotonic()
        self._failing: dict[str, str] = {}
        self._detached: dict[str, str] = {}
        self._counts = {
            "changes_captured": 0,
            "documents_built": 0,
            "documents_quarantined": 0,
            "batches": 0,
            "errors": 0,
        }
        self._last_error: tuple[str, float] | None = None
        self._confirmed: str | None = None
        self._captured = deque[tuple[Position, int]](maxlen=_POSITIONS)
        self._committed = 0
        self._lag: int | None = None

    # What it hears

    def phase(self, phase: Phase) -> None:
        """Take note of it."""
        self._phase = phase
        if phase is Phase.LIVE:
            for entry in self._entries():
                if entry.state is IndexState.WAITING:
                    entry.state = IndexState.LIVE

    def lag(self, amount: int) -> None:
        """Take note of the source's lag, which is polled."""
        self._lag = amount

    def captured(self, changes: int, position: Position | None) -> None:
        """Count them, and where they end."""
        self._counts["changes_captured"] += changes
        if position is not None and changes:
            self._captured.append((position, self._counts["changes_captured"]))

    def batch(self, stats: BatchStats) -> None:
        """Count it."""
        del stats
        self._counts["batches"] += 1

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Count what landed."""
        del documents
        self._counts["documents_built"] += stats.upserts + stats.tombstones

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Count it."""
        self._counts["documents_quarantined"] += 1
        self._failed(f"{lane}: index {rejection.document.id.index}: a document was refused")

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Take note of how far it is."""
        entry = self._lanes[lane][index]
        if entry.state is not IndexState.BACKFILLING:
            entry.state, entry.began = IndexState.BACKFILLING, time.monotonic()
        entry.rows, entry.estimate = rows, estimate

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """It is filled."""
        del rows, seconds
        self._lanes[lane][index].state = IndexState.LIVE

    def seed_given_up(self, lane: str, index: str) -> None:
        """It is as it was before the seed, until another one begins."""
        entry = self._lanes[lane][index]
        if entry.state is IndexState.BACKFILLING:
            live = self._phase is Phase.LIVE
            entry.state = IndexState.LIVE if live else IndexState.WAITING

    def index_stopped(self, index: str, reason: str) -> None:
        """It gets no more changes."""
        for entries in self._lanes.values():
            entries[index].state = IndexState.STOPPED
            entries[index].reason = reason
        self._failed(f"index {index}: {reason}")

    def detached(self, lane: str, reason: str) -> None:
        """The sink holds the source no more."""
        self._detached[lane] = reason
        self._failed(f"{lane}: {reason}")

    def attached(self, lane: str) -> None:
        """The sink is there again."""
        self._detached.pop(lane, None)

    def confirmed(self, position: Position) -> None:
        """Count what was captured up to there."""
        self._confirmed = position.token
        while self._captured and self._captured[0][0] <= position:
            _, self._committed = self._captured.popleft()

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Something is not there, until it has recovered."""
        del seconds
        message = f"{what}: {error}"
        self._failing[what] = message
        self._failed(message)

    def recovered(self, what: str) -> None:
        """It is there again."""
        self._failing.pop(what, None)

    # What it tells

    def reasons(self) -> Sequence[str]:
        """Why the run is not ready; none: it is."""
        reasons = [*self._failing.values()]
        reasons += [f"{lane}: {reason}" for lane, reason in self._detached.items()]
        for index in self._indexes:
            reason = next((lane[index].reason for lane in self._lanes.values()), None)
            if reason is not None:
                reasons.append(f"index {index}: {reason}")
        if self._phase in {Phase.STARTING, Phase.STOPPED}:
            reasons.append(f"the run is {self._phase}")
        return reasons

    def status(self) -> Mapping[str, JsonValue]:
        """Counts and states, as `/status` answers them (`docs/reference/http.md`)."""
        now = time.monotonic()
        return {
            "phase": self._phase,
            "uptime_seconds": round(now - self._began, 3),
            "indexes": {index: self._worst(index) for index in self._indexes},
            **self._counts,
            "changes_committed": self._committed,
            "changes_in_flight": self._counts["changes_captured"] - self._committed,
            "slot_lag_bytes": self._lag,
            "last_error": None if self._last_error is None else self._last_error[0],
            "v2": {
                "version": VERSION,
                "ready": not self.reasons(),
                "reasons": list(self.reasons()),
                "confirmed": self._confirmed,
                "last_error_at": None if self._last_error is None else _iso(self._last_error[1]),
                "sinks": {
                    lane: {
                        "detached": lane in self._detached,
                        "indexes": {index: entry.describe(now) for index, entry in entries.items()},
                    }
                    for lane, entries in self._lanes.items()
                },
            },
        }

    def states(self, index: str) -> frozenset[IndexState]:
        """Where the index stands, at one sink or another.

        Raises:
            KeyError: the run has no such index.
        """
        return frozenset(entries[index].state for entries in self._lanes.values())

    def indexes(self) -> Mapping[str, Mapping[str, Mapping[str, JsonValue]]]:
        """Index to its state at each sink."""
        now = time.monotonic()
        return {
            index: {lane: entries[index].describe(now) for lane, entries in self._lanes.items()}
            for index in self._indexes
        }

    def _worst(self, index: str) -> IndexState:
        """The state of the sink that is least far."""
        states = self.states(index)
        for state in (IndexState.STOPPED, IndexState.WAITING, IndexState.BACKFILLING):
            if state in states:
                return state
        return IndexState.LIVE

    def _entries(self) -> Iterable[_Index]:
        return (entry for entries in self._lanes.values() for entry in entries.values())

    def _failed(self, message: str) -> None:
        self._counts["errors"] += 1
        self._last_error = (message, time.time())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
