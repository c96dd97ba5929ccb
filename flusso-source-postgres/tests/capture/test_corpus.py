"""The decoder, over frames that Postgres 15 to 18 have sent; see `record_corpus`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from flusso_core.model import Change, Operation, TableName
from flusso_source_postgres.events import (
    Begin,
    BeginPrepare,
    Commit,
    CommitPrepared,
    Event,
    LogicalMessage,
    Origin,
    Prepare,
    RollbackPrepared,
    StreamAbort,
    StreamCommit,
    Streamed,
    StreamPrepare,
    StreamStart,
    StreamStop,
    Truncated,
    TypeNamed,
)
from flusso_source_postgres.pgoutput import Decoder
from flusso_source_postgres.relation import Route
from flusso_source_postgres.wire import DATA_HEADER, KEEPALIVE, parse_keepalive

from .record_corpus import CORPUS, MANY, unpacked

USERS, ORDERS = TableName("public", "users"), TableName("public", "orders")
VISITS = TableName("public", "visits")
ROUTES = {
    USERS: Route(frozenset({"id", "name", "paint"})),
    ORDERS: Route(frozenset({"id", "user_id", "note"})),
    VISITS: Route(frozenset({"id", "day"}), unchanged=frozenset({"id", "day"})),
}
BIG = "x" * 3000

FILES = {path.stem: json.loads(path.read_text("ascii")) for path in sorted(CORPUS.iterdir())}
RECORDINGS = [
    pytest.param(recording, id=f"{name}-protocol-{recording['protocol']}")
    for name, content in FILES.items()
    for recording in content["recordings"]
]


def image(**values: str | None) -> dict[str, str | None]:
    return values


def user(number: int | str, name: str | None = None, paint: str | None = None) -> dict[str, Any]:
    return {"id": str(number), "name": name, "paint": paint}


def insert(table: TableName, row: dict[str, str | None]) -> Change:
    return Change(table, Operation.UPSERT, None, row)


def truncate(table: TableName) -> Change:
    return Change(table, Operation.TRUNCATE, None, None)


INSERTED = [insert(USERS, user(number)) for number in range(2, MANY + 2)]
DELETED = [
    Change(USERS, Operation.DELETE, {"id": str(number)}, None) for number in range(2, MANY + 2)
]
ORDER = image(id="10", user_id="1", note=BIG)
VISIT = image(id="1", day="2024-02-03")

COMMITTED = [
    [insert(USERS, user(1, 'é "1"', "red")), insert(USERS, user(2))],
    [insert(ORDERS, ORDER), insert(ORDERS, image(id="11", user_id=None, note=""))],
    [Change(USERS, Operation.UPSERT, {"id": "2"}, user(3))],
    [Change(USERS, Operation.UPSERT, {"id": "1"}, user(1, "b", "red"))],
    # The large note is not sent again, and is taken from the old row.
    [Change(ORDERS, Operation.UPSERT, ORDER, {**ORDER, "user_id": "3"})],
    [Change(ORDERS, Operation.DELETE, image(id="11", user_id=None, note=""), None)],
    [insert(USERS, user(4)), insert(USERS, user(6))],
    [insert(VISITS, VISIT), insert(VISITS, image(id="2", day="2025-02-03"))],
    # It moves to another partition.
    [Change(VISITS, Operation.DELETE, VISIT, None), insert(VISITS, {**VISIT, "day": "2025-12-31"})],
    [Change(VISITS, Operation.DELETE, image(id="2", day="2025-02-03"), None)],
    [],
    [insert(ORDERS, image(id="12", user_id="4", note="wider"))],
    [insert(USERS, user(7))],
    [insert(USERS, user(8))],
    [truncate(USERS), truncate(ORDERS)],
    [insert(USERS, user(1))],
    INSERTED,
    [*DELETED, *INSERTED],
    [insert(VISITS, image(id="99", day="2024-09-09"))],
]
"""The transactions of `record_corpus.STORY`, in the order in which they committed."""

BY_PROTOCOL: dict[int, set[type]] = {
    1: {Begin, Commit, Change, Truncated, TypeNamed, Origin},
    2: {StreamStart, StreamStop, Streamed, StreamCommit, StreamAbort, LogicalMessage},
    3: {BeginPrepare, Prepare, CommitPrepared, RollbackPrepared, StreamPrepare},
    4: set(),
}


def decoded(recording: dict[str, Any]) -> list[Event]:
    decoder = Decoder(ROUTES, protocol=recording["protocol"])
    events: list[Event] = []
    for frame in unpacked(recording["frames"]):
        if frame[0] == KEEPALIVE:
            parse_keepalive(frame)
            continue
        event = decoder.decode(frame, DATA_HEADER)
        if event is not None:
            events.append(event)
    return events


def changes_of(event: Event) -> list[Change]:
    if isinstance(event, Truncated):
        return list(event.changes)
    return [event] if isinstance(event, Change) else []


def committed(events: Iterable[Event]) -> list[list[Change]]:
    """What a subscriber applies: the changes of each transaction, when it commits."""
    transactions: list[list[Change]] = []
    streams: dict[int, list[tuple[int, Change]]] = defaultdict(list)
    prepared: dict[str, list[Change]] = {}
    current: list[Change] = []
    stream = 0
    for event in events:
        match event:
            case Begin() | BeginPrepare():
                current = []
            case Commit():
                transactions.append(current)
            case Prepare(gid=gid):
                prepared[gid] = current
            case StreamStart(xid=xid):
                stream = xid
            case Streamed(xid=xid, event=inner):
                streams[stream] += [(xid, change) for change in changes_of(inner)]
            case StreamAbort(xid=xid, subxid=subxid):
                left = [] if xid == subxid else [e for e in streams[xid] if e[0] != subxid]
                streams[xid] = left
            case StreamCommit(xid=xid):
                transactions.append([change for _, change in streams.pop(xid)])
            case StreamPrepare(xid=xid, gid=gid):
                prepared[gid] = [change for _, change in streams.pop(xid)]
            case CommitPrepared(gid=gid):
                transactions.append(prepared.pop(gid))
            case RollbackPrepared(gid=gid):
                del prepared[gid]
            case _:
                current += changes_of(event)
    assert not prepared
    return transactions


def test_there_are_recordings_of_every_server_with_their_provenance() -> None:
    assert sorted(FILES) == [f"postgres-{version}" for version in (15, 16, 17, 18)]
    for name, content in FILES.items():
        assert content["server"].startswith(f"PostgreSQL {name.removeprefix('postgres-')}.")
        assert content["by"] == "record_corpus.py"
        protocols = [recording["protocol"] for recording in content["recordings"]]
        assert protocols == ([1, 2, 3] if name == "postgres-15" else [1, 2, 3, 4])


@pytest.mark.parametrize("recording", RECORDINGS)
def test_what_a_server_has_sent_is_what_it_was_told(recording: dict[str, Any]) -> None:
    """C1, C2, C3, C7, C10, C12, C13, C14."""
    applied = committed(decoded(recording))
    # A transaction that only sends a message is streamed to none who asks for no messages.
    assert [one for one in applied if one] == [one for one in COMMITTED if one]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recording_has_every_kind_of_message_of_its_protocol(recording: dict[str, Any]) -> None:
    events = decoded(recording)
    kinds = {type(event) for event in events}
    for protocol, expected in BY_PROTOCOL.items():
        assert (expected <= kinds) if protocol <= recording["protocol"] else not expected & kinds
    for event in events:
        if isinstance(event, StreamAbort):
            assert (event.at is not None) == (recording["protocol"] == 4)
        elif isinstance(event, LogicalMessage):
            assert event[0::2] == (True, "corpus")
            assert event.content == b"a message"
        elif isinstance(event, Origin):
            assert event == Origin(0x4D2, "over there")
        elif isinstance(event, CommitPrepared | StreamPrepare):
            assert event.gid in ("kept", "large")
