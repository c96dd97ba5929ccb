"""How frames become batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import ChangeBatch, TableName
from flusso_source_postgres.assembler import MAX_CHANGES, MAX_COMMITS, Assembler
from flusso_source_postgres.pgoutput import Decoder
from flusso_source_postgres.relation import Route
from flusso_source_postgres.wire import ProtocolError, format_lsn, parse_lsn, standby_status

from . import encoder
from .encoder import Relation, frame

USERS = TableName("public", "users")
TABLE = Relation(1, USERS, ("id",), frozenset({"id"}))


def made(*, start: int = 0, next_xid: int = 100) -> Assembler:
    one = Assembler(Decoder({USERS: Route(frozenset({"id"}))}), start=start, next_xid=next_xid)
    one.feed(frame(encoder.relation(TABLE)))
    return one


def feed_commit(one: Assembler, xid: int, rows: int, end: int) -> list[ChangeBatch]:
    """Feed a whole commit; take a batch where the assembler says that it is full."""
    frames = [encoder.begin(xid), *[encoder.insert(1, [str(n)]) for n in range(rows)]]
    taken: list[ChangeBatch] = []
    for message in (*frames, encoder.commit(end)):
        if one.feed(frame(message)):
            batch = one.take()
            assert batch is not None
            taken.append(batch)
    return taken


def test_many_small_commits_become_one_batch_that_ends_with_the_last() -> None:
    one = made()
    for number in range(1, 4):
        assert feed_commit(one, number, 2, number * 10) == []
    batch = one.take()
    assert batch is not None
    assert len(batch.changes) == 6
    assert batch.position is not None
    assert (batch.position.order, batch.position.token) == (30, "0/1E")
    assert batch.transactions == (1, 2, 3)
    assert one.take() is None


def test_a_large_commit_becomes_pieces_without_position_but_the_last() -> None:
    """H8."""
    one = made()
    pieces = feed_commit(one, 5, 3 * MAX_CHANGES, 10)
    last = one.take()
    pieces += [last] if last else []
    assert sum(len(piece.changes) for piece in pieces) == 3 * MAX_CHANGES
    assert all(len(piece.changes) <= MAX_CHANGES + 1 for piece in pieces)
    assert all(piece.transactions == (5,) for piece in pieces)
    assert [piece.position is None for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert [piece.unfinished for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def test_a_piece_may_confirm_the_commits_that_it_has_whole() -> None:
    one = made()
    feed_commit(one, 1, 1, 10)
    one.feed(frame(encoder.begin(2)))
    one.feed(frame(encoder.insert(1, ["x"])))
    batch = one.take()
    assert batch is not None
    assert batch.position is not None
    assert batch.position.order == 10
    assert batch.transactions == (1, 2)
    assert batch.unfinished


def test_commits_without_a_row_of_ours_only_move_the_position() -> None:
    """H7."""
    one = made()
    for number in range(1, MAX_COMMITS):
        feed_commit(one, number, 0, number)
    batch = one.take()
    assert batch is not None
    assert (list(batch.changes), batch.transactions) == ([], ())
    assert batch.position is not None
    assert batch.position.order == MAX_COMMITS - 1


def test_a_keepalive_moves_the_position_only_between_transactions() -> None:
    """H7."""
    one = made()
    one.feed(encoder.keepalive(50))
    batch = one.take()
    assert batch is not None
    assert batch.position is not None
    assert (batch.changes, batch.position.order) == ([], 50)
    one.feed(frame(encoder.begin(3)))
    one.feed(encoder.keepalive(99))
    assert one.in_transaction
    assert one.take() is None
    one.feed(frame(encoder.insert(1, ["x"])))
    one.feed(frame(encoder.commit(60)))
    batch = one.take()
    assert batch is not None
    assert batch.position is not None
    assert batch.position.order == 60


def test_positions_never_fall() -> None:
    one = made(start=100)
    one.feed(encoder.keepalive(40))
    assert one.take() is None
    feed_commit(one, 3, 1, 50)
    batch = one.take()
    assert batch is not None
    assert batch.position is None


def test_a_keepalive_that_wants_an_answer_says_so() -> None:
    one = made()
    one.feed(encoder.keepalive(1))
    assert not one.reply
    one.feed(encoder.keepalive(2, reply=True))
    one.feed(encoder.keepalive(3))
    assert one.reply


@given(st.integers(2**31, 2**50), st.lists(st.integers(-(2**30), 2**20), min_size=1, max_size=20))
def test_transaction_ids_are_widened_across_a_wrap(next_xid: int, steps: list[int]) -> None:
    """The gate compares 64 bits; the stream carries 32."""
    one = made(next_xid=next_xid)
    expected = [next_xid + step for step in steps]
    for place, xid in enumerate(expected, 1):
        feed_commit(one, xid % 2**32, 1, place)
    batch = one.take()
    assert batch is not None
    assert list(batch.transactions) == expected


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"x"],
        [b"k123"],
        [b"w"],
        [frame(encoder.insert(1, ["x"]))],
        [frame(encoder.commit(1))],
        [frame(encoder.begin(3)), frame(encoder.begin(4))],
    ],
)
def test_what_has_no_place_in_the_stream_is_a_protocol_error(frames: list[bytes]) -> None:
    one = made()
    for each in frames[:-1]:
        one.feed(each)
    with pytest.raises(ProtocolError):
        one.feed(frames[-1])


@given(st.integers(0, 2**64 - 1))
def test_a_location_is_spelled_as_the_server_does(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_a_reply_confirms_one_position_for_all() -> None:
    reply = standby_status(0x1_0000_0002)
    assert len(reply) == 34
    assert reply[:25] == b"r" + bytes([0, 0, 0, 1, 0, 0, 0, 2]) * 3
    assert reply[-1] == 0
