"""Gathers the events of the stream into batches: frames in, `ChangeBatch` out, no I/O.

Many small commits become one batch and a large commit becomes many, whatever the socket held.
"""

from __future__ import annotations

from flusso_core.model import Change, ChangeBatch, Position
from flusso_source_postgres.events import (
    Begin,
    Commit,
    Described,
    LogicalMessage,
    Origin,
    Truncated,
    TypeNamed,
)
from flusso_source_postgres.pgoutput import Decoder
from flusso_source_postgres.wire import (
    DATA_HEADER,
    KEEPALIVE,
    XLOG_DATA,
    ProtocolError,
    format_lsn,
    parse_keepalive,
)

MAX_CHANGES = 1000
"""Changes in a batch, except that a commit's last change may find it full."""

MAX_COMMITS = 1000
"""Commits in a batch: their transaction ids have a bound as well."""

_HALF = 1 << 31
_WRAP = 1 << 32


class Assembler:
    """Makes batches of one stream's frames.

    Args:
        decoder: of this stream; it keeps what Relation messages have said.
        start: the location at which the stream begins.
        next_xid: the server's next transaction id, 64 bits, about now.

    Attributes:
        reply: the server waits for an answer; reset by whoever gives it.
        described: a table that is followed may have changed; reset by whoever looks.
    """

    def __init__(self, decoder: Decoder, *, start: int, next_xid: int) -> None:
        self.reply = False
        self.described = False
        self._decode = decoder.decode
        self._reference = next_xid
        self._changes: list[Change] = []
        self._transactions: list[int] = []
        self._committed_at: float | None = None
        # The transaction in progress, and where the last one of this batch ended.
        self._open: int | None = None
        self._end = start
        self._taken = start

    def feed(self, frame: bytes) -> bool:
        """Take one frame; say whether the batch is full.

        Raises:
            ProtocolError: the frame is not to be understood here.
        """
        if not frame:
            raise ProtocolError("an empty message")
        if frame[0] == KEEPALIVE:
            self._keepalive(frame)
            return False
        if frame[0] != XLOG_DATA:
            raise ProtocolError(f"an unknown message of kind {frame[:1]!r}")
        event = self._decode(frame, DATA_HEADER)
        if event is None:
            return False
        match event:
            case Change():
                self._add(event)
            case Begin():
                self._begin(event)
            case Commit():
                self._commit(event)
                return len(self._transactions) >= MAX_COMMITS or len(self._changes) >= MAX_CHANGES
            case Truncated():
                for change in event.changes:
                    self._add(change)
            case Described():
                self.described = True
            case TypeNamed() | Origin() | LogicalMessage():
                pass
            case _:
                raise ProtocolError(f"{type(event).__name__} in a stream of whole transactions")
        # One more change than fits closes the batch, so that a commit that just fits is whole.
        return len(self._changes) > MAX_CHANGES

    def take(self) -> ChangeBatch | None:
        """What has been gathered, if there is anything to deliver."""
        moved = self._end > self._taken
        if not self._changes and not moved:
            return None
        batch = ChangeBatch(
            changes=self._changes,
            position=Position(self._end, format_lsn(self._end)) if moved else None,
            # There is nothing to see of a commit that touched no table of ours.
            transactions=tuple(self._transactions) if self._changes else (),
            committed_at=self._committed_at,
            unfinished=self._open is not None,
        )
        self._taken = self._end
        self._changes = []
        self._transactions = [] if self._open is None else [self._open]
        if self._open is None:
            self._committed_at = None
        return batch

    @property
    def has_changes(self) -> bool:
        """Whether rows, and not only a newer position, wait to be taken."""
        return bool(self._changes)

    @property
    def in_transaction(self) -> bool:
        """Whether the last commit is not complete yet."""
        return self._open is not None

    def _add(self, change: Change) -> None:
        if self._open is None:
            raise ProtocolError("a change outside of a transaction")
        self._changes.append(change)

    def _begin(self, event: Begin) -> None:
        if self._open is not None:
            raise ProtocolError("a transaction within a transaction")
        # The stream carries 32 bits; transactions of one slot lie within 2^31 of each other.
        distance = (event.xid - self._reference + _HALF) % _WRAP - _HALF
        self._open = self._reference + distance
        self._reference = max(self._reference, self._open)
        self._transactions.append(self._open)
        self._committed_at = event.committed_at

    def _commit(self, event: Commit) -> None:
        if self._open is None:
            raise ProtocolError("the end of a transaction that has not begun")
        self._open = None
        self._end = max(self._end, event.end)

    def _keepalive(self, frame: bytes) -> None:
        keepalive = parse_keepalive(frame)
        self.reply = self.reply or keepalive.reply
        # In the middle of a transaction it says nothing about what may be confirmed.
        if self._open is None:
            self._end = max(self._end, keepalive.end)
