"""Keeps an observer that is not flusso's own from taking the run down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from flusso_core.model import DocumentId, Position, Rejection
from flusso_core.observe.observer import BatchStats, FlushStats, Observer, Phase

logger = logging.getLogger(__name__)


class GuardedObserver:
    """An `Observer` that passes everything on to another, and drops that one once it raises.

    Args:
        observer: of a user's hook.
        name: what the log calls it.
    """

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer: Observer | None = observer
        self._name = name

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        if self._observer is None:
            return
        try:
            tell(self._observer)
        except Exception:  # a stranger's code: whatever it raises stays with it
            self._observer = None
            logger.exception("the observer %s failed and is told nothing more", self._name)

    def phase(self, phase: Phase) -> None:
        """Pass it on."""
        self._tell(lambda to: to.phase(phase))

    def captured(self, changes: int, position: Position | None) -> None:
        """Pass it on."""
        self._tell(lambda to: to.captured(changes, position))

    def batch(self, stats: BatchStats) -> None:
        """Pass it on."""
        self._tell(lambda to: to.batch(stats))

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Pass it on."""
        self._tell(lambda to: to.flushed(stats, documents))

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Pass it on."""
        self._tell(lambda to: to.rejected(lane, rejection))

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Pass it on."""
        self._tell(lambda to: to.seeding(lane, index, rows, estimate))

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Pass it on."""
        self._tell(lambda to: to.seeded(lane, index, rows, seconds))

    def seed_given_up(self, lane: str, index: str) -> None:
        """Pass it on."""
        self._tell(lambda to: to.seed_given_up(lane, index))

    def index_stopped(self, index: str, reason: str) -> None:
        """Pass it on."""
        self._tell(lambda to: to.index_stopped(index, reason))

    def detached(self, lane: str, reason: str) -> None:
        """Pass it on."""
        self._tell(lambda to: to.detached(lane, reason))

    def attached(self, lane: str) -> None:
        """Pass it on."""
        self._tell(lambda to: to.attached(lane))

    def confirmed(self, position: Position) -> None:
        """Pass it on."""
        self._tell(lambda to: to.confirmed(position))

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Pass it on."""
        self._tell(lambda to: to.retrying(what, error, seconds))

    def recovered(self, what: str) -> None:
        """Pass it on."""
        self._tell(lambda to: to.recovered(what))
