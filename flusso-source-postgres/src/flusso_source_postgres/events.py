"""What the messages of the `pgoutput` plugin say: one event a message.

Locations in the WAL are integers, times are seconds since 1970, transaction ids are the low 32
bits that the stream carries. A message's section in the manual's "Logical Replication Message
Formats" has the event's name.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from flusso_core.model import Change, TableName


class Begin(NamedTuple):
    """The start of a transaction.

    Attributes:
        xid: the top transaction's id.
        committed_at: when it committed.
    """

    xid: int
    committed_at: float


class Commit(NamedTuple):
    """The end of a transaction; a stream that is resumed at `end` does not repeat it."""

    end: int


class Truncated(NamedTuple):
    """Tables emptied by one TRUNCATE, those reached by CASCADE included."""

    changes: tuple[Change, ...]


class Described(NamedTuple):
    """A table that is followed is described, for the first time or after it may have changed."""

    table: TableName


class TypeNamed(NamedTuple):
    """The name of a type that is not one of the server's own."""

    oid: int
    schema: str
    name: str


class Origin(NamedTuple):
    """The transaction came from another server, where it committed at `lsn`."""

    lsn: int
    name: str


class LogicalMessage(NamedTuple):
    """A message of an application, by `pg_logical_emit_message`."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


# Protocol 2: transactions that are sent while they are in progress.


class StreamStart(NamedTuple):
    """A block of changes of a transaction in progress begins; it is the `first` one or not."""

    xid: int
    first: bool


class StreamStop(NamedTuple):
    """The block ends."""


class StreamCommit(NamedTuple):
    """A transaction that was streamed has committed; see `Commit`."""

    xid: int
    end: int
    committed_at: float


class StreamAbort(NamedTuple):
    """A streamed transaction, or one of its subtransactions, was rolled back.

    Attributes:
        xid: the top transaction.
        subxid: what was rolled back; all of it where this is `xid`.
        at: where, and `aborted_at` when; only with protocol 4 and `streaming 'parallel'`.
    """

    xid: int
    subxid: int
    at: int | None
    aborted_at: float | None


# Protocol 3: two-phase commit. `end` is where the message's own WAL record ends.


class BeginPrepare(NamedTuple):
    """The start of a transaction that was prepared under the name `gid`."""

    xid: int
    gid: str
    prepared_at: float


class Prepare(NamedTuple):
    """The end of a prepared transaction, which may still be rolled back."""

    xid: int
    gid: str
    end: int
    prepared_at: float


class CommitPrepared(NamedTuple):
    """A prepared transaction has committed."""

    xid: int
    gid: str
    end: int
    committed_at: float


class RollbackPrepared(NamedTuple):
    """A prepared transaction was rolled back."""

    xid: int
    gid: str
    end: int
    rolled_back_at: float


class StreamPrepare(NamedTuple):
    """A transaction that was streamed is prepared; see `Prepare`."""

    xid: int
    gid: str
    end: int
    prepared_at: float


PlainEvent: TypeAlias = Change | Truncated | Described | TypeNamed | Origin | LogicalMessage
"""What comes within a transaction."""


class Streamed(NamedTuple):
    """An event within a block of a streamed transaction, by the (sub)transaction `xid`."""

    xid: int
    event: PlainEvent


Event: TypeAlias = (
    PlainEvent
    | Begin
    | Commit
    | Streamed
    | StreamStart
    | StreamStop
    | StreamCommit
    | StreamAbort
    | BeginPrepare
    | Prepare
    | CommitPrepared
    | RollbackPrepared
    | StreamPrepare
)
