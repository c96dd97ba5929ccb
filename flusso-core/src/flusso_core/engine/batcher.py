"""The batcher: gathers what the capture delivers into batches worth resolving together."""

from __future__ import annotations

from flusso_core.model import Change, ChangeBatch, Position, UnfitIndex
from flusso_core.settings import BatchPolicy


class Batcher:
    """Collects delivered batches until one closes. It keeps no clock: the caller tells the time.

    A batch closes when it is full, when its first change has waited for `max_delay`, or at once
    when the stage after it is idle: a lone change never waits for company.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._pending: list[ChangeBatch] = []
        self._changes = 0
        self._since = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing has been added since the last batch closed."""
        return not self._pending

    @property
    def full(self) -> bool:
        """Whether the batch closes whatever the next stage does."""
        return self._changes >= self._policy.max_changes

    def add(self, batch: ChangeBatch, now: float) -> None:
        """Add what the capture delivered at `now` (seconds on any clock that does not jump)."""
        if not self._pending:
            self._since = now
        self._pending.append(batch)
        self._changes += len(batch.changes)

    def wait(self, now: float, *, idle: bool) -> float:
        """Seconds until the batch closes unless more comes; 0: it closes now."""
        if idle or self.full or not self._changes:
            return 0.0
        return max(0.0, self._since + self._policy.max_delay - now)

    def close(self) -> ChangeBatch:
        """Close the batch and return all of it as one."""
        pending, self._pending, self._changes = self._pending, [], 0
        if len(pending) == 1:
            return pending[0]
        changes: list[Change] = []
        transactions: list[int] = []
        unfit: list[UnfitIndex] = []
        position: Position | None = None
        committed_at: float | None = None
        for batch in pending:
            changes.extend(batch.changes)
            transactions.extend(batch.transactions)
            unfit.extend(batch.unfit)
            position = batch.position or position
            committed_at = batch.committed_at or committed_at
        return ChangeBatch(
            changes,
            position,
            tuple(dict.fromkeys(transactions)),
            committed_at,
            tuple(unfit),
            unfinished=pending[-1].unfinished,
        )
