"""The stream of a database in memory, as honest and as hard as real ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from flusso_core.errors import SourceUnavailable
from flusso_core.interfaces import ChangeCapture, PutBatch
from flusso_core.model import ChangeBatch, Finding, Position, StreamIdentity
from flusso_core.testing.database import MemoryDatabase


class MemoryCapture(ChangeCapture):
    """The stream of a `MemoryDatabase`'s commits.

    Args:
        database: what is captured.
        piece: changes in a batch at most; a larger commit comes in pieces.
        fault: called before each delivery and each question; may raise `SourceUnavailable`.
    """

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        piece: int = 3,
        fault: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._piece = piece
        self._fault = fault or _no_fault

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def cover(self, older: Sequence[str]) -> Collection[str]:
        """All: every table is in the stream."""
        return older

    async def provision(self, *, temporary: bool) -> None:
        """A temporary stream begins now; another one where it was confirmed."""
        if temporary:
            self._database.confirmed = self._database.head

    async def identity(self) -> StreamIdentity:
        """As the database says."""
        return self._database.identity

    async def confirmed(self) -> Position:
        """As the database says."""
        return _position(self._database.confirmed)

    async def head(self) -> Position:
        """The last commit."""
        self._fault()
        return _position(self._database.head)

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver commits, in pieces, for ever."""
        if start.order < self._database.confirmed:
            message = f"position {start.token} is gone"
            raise SourceUnavailable(message)
        number = start.order
        while True:
            await self._database.wait_for_commit(number)
            for commit in self._database.since(number):
                pieces = [
                    commit.changes[at : at + self._piece]
                    for at in range(0, len(commit.changes), self._piece)
                ] or [[]]
                for piece in pieces[:-1]:
                    self._fault()
                    await put(ChangeBatch(piece, None, (commit.number,), unfinished=True))
                position = _position(commit.number)
                self._fault()
                await put(ChangeBatch(pieces[-1], position, (commit.number,)))
                number = commit.number

    async def confirm(self, position: Position) -> None:
        """Let the database forget what came before."""
        self._database.confirmed = max(self._database.confirmed, position.order)

    async def wait_visible(self, batch: ChangeBatch) -> None:
        """Wait until snapshots see every commit of the batch."""
        self._fault()
        await self._database.wait_visible(max(batch.transactions, default=0))

    async def wait_settled(self) -> None:
        """Wait until snapshots see every commit that the stream does not bring again."""
        await self._database.wait_visible(self._database.confirmed)

    async def lag(self) -> int:
        """Commits that are not confirmed."""
        return self._database.head - self._database.confirmed

    async def check(self) -> Sequence[Finding]:
        """Nothing can be wrong."""
        return ()


def _position(number: int) -> Position:
    return Position(number, str(number))


def _no_fault() -> None:
    """Let everything succeed."""
