"""The decoder, against an encoder of its own and against anything at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import Change, Operation, RowImage, TableName
from flusso_source_postgres.events import (
    Begin,
    BeginPrepare,
    Commit,
    CommitPrepared,
    Described,
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
from flusso_source_postgres.wire import ProtocolError

from . import encoder
from .encoder import Relation, Row, Unchanged, Value

ORDERS = TableName("public", "orders")
OTHER = TableName("public", "other")
TOAST = Unchanged.TOAST

TABLE = Relation(16384, ORDERS, ("id", "note", "user_id", "rest"), frozenset({"id"}))
UNROUTED = Relation(16385, OTHER, ("id",))


def decoder(*columns: str, relation: Relation = TABLE, partitioned: bool = False) -> Decoder:
    unchanged = frozenset({"id"}) if partitioned else None
    made = Decoder({ORDERS: Route(frozenset(columns or ("id", "user_id")), unchanged)})
    assert made.decode(encoder.relation(relation)) == Described(ORDERS)
    assert made.decode(encoder.relation(UNROUTED)) is None
    return made


def change(before: RowImage | None, after: RowImage | None) -> Change:
    operation = Operation.DELETE if after is None else Operation.UPSERT
    return Change(ORDERS, operation, before, after)


def test_an_insert_has_only_the_routing_columns_of_the_new_row() -> None:
    event = decoder().decode(encoder.insert(16384, ["1", "big", None, ""]))
    assert event == change(None, {"id": "1", "user_id": None})


def test_an_update_without_old_row_leaves_the_identity_alone_and_the_rest_unknown() -> None:
    event = decoder().decode(encoder.update(16384, ["1", "n", "7", None]))
    assert event == change({"id": "1"}, {"id": "1", "user_id": "7"})


def test_an_old_key_knows_nothing_of_the_other_columns() -> None:
    event = decoder().decode(
        encoder.update(16384, ["2", "n", "7", None], key=["1", None, None, None])
    )
    assert event == change({"id": "1"}, {"id": "2", "user_id": "7"})
    event = decoder().decode(encoder.delete(16384, key=["1", None, None, None]))
    assert event == change({"id": "1"}, None)


def test_a_whole_old_row_knows_its_nulls() -> None:
    """C13: a NULL is not an empty string."""
    event = decoder().decode(
        encoder.update(16384, ["1", "n", "", None], old=["1", "n", None, None])
    )
    assert event == change({"id": "1", "user_id": None}, {"id": "1", "user_id": ""})
    event = decoder().decode(encoder.delete(16384, old=["1", "n", None, None]))
    assert event == change({"id": "1", "user_id": None}, None)


def test_an_unchanged_toast_value_comes_from_the_old_row_or_is_unknown() -> None:
    """C13."""
    event = decoder().decode(
        encoder.update(16384, ["1", TOAST, TOAST, None], old=["1", "n", "long", None])
    )
    assert event == change({"id": "1", "user_id": "long"}, {"id": "1", "user_id": "long"})
    event = decoder().decode(encoder.update(16384, ["1", TOAST, TOAST, None]))
    assert event == change({"id": "1"}, {"id": "1"})


def test_the_key_flags_of_a_full_identity_are_not_taken_for_the_key() -> None:
    """C11: under FULL every column is flagged."""
    full = Relation(16384, ORDERS, TABLE.columns, frozenset(TABLE.columns), "f")
    event = decoder(relation=full).decode(encoder.delete(16384, old=["1", "a", "7", "b"]))
    assert event == change({"id": "1", "user_id": "7"}, None)


def test_an_old_row_of_a_partition_is_never_taken_for_more_than_it_carries() -> None:
    """C12: the partition's identity may be another than the partitioned table's."""
    full = Relation(16384, ORDERS, TABLE.columns, frozenset(TABLE.columns), "f")
    root = decoder(relation=full, partitioned=True)
    assert root.decode(encoder.update(16384, ["1", "n", "7", None])) == change(
        {"id": "1"}, {"id": "1", "user_id": "7"}
    )
    assert root.decode(encoder.delete(16384, old=["1", None, None, None])) == change(
        {"id": "1"}, None
    )
    # A partition with FULL below a table with DEFAULT sends its row as a key.
    assert decoder(partitioned=True).decode(
        encoder.delete(16384, key=["1", "n", "7", None])
    ) == change({"id": "1", "user_id": "7"}, None)


def test_a_truncate_names_its_routed_tables_only() -> None:
    """C7."""
    event = decoder().decode(encoder.truncate(16385, 16384))
    assert event == Truncated((Change(ORDERS, Operation.TRUNCATE, None, None),))
    assert decoder().decode(encoder.truncate(16385)) is None


def test_unrouted_tables_are_skipped_undecoded() -> None:
    """C15."""
    made = decoder()
    for kind in b"IUD":
        assert made.decode(bytes([kind]) + encoder.number(16385, 4) + b"\xff\xff\xff") is None


def test_transactions_carry_id_time_and_end() -> None:
    made = decoder()
    assert made.decode(encoder.begin(77, seconds=1_700_000_000.25)) == Begin(77, 1_700_000_000.25)
    assert made.decode(encoder.commit(4096)) == Commit(4096)
    assert made.decode(encoder.type_name(70_000, "", "color")) == TypeNamed(
        70_000, "pg_catalog", "color"
    )
    assert made.decode(encoder.origin(77, "over there")) == Origin(77, "over there")
    assert made.decode(encoder.message(True, 5, "prefix", b"a\0b")) == LogicalMessage(
        True, 5, "prefix", b"a\0b"
    )


def test_a_table_that_changed_is_read_by_its_newest_description() -> None:
    """C14: a column that no schema names is nothing."""
    made = decoder()
    wider = Relation(16384, ORDERS, ("extra", "user_id", "id"), frozenset({"id"}))
    made.decode(encoder.relation(wider))
    event = made.decode(encoder.insert(16384, ["x", "7", "1"]))
    assert event == change(None, {"id": "1", "user_id": "7"})


def test_a_column_that_was_not_there_is_unknown_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    narrow = Relation(16384, ORDERS, ("id",), frozenset({"id"}))
    event = decoder(relation=narrow).decode(encoder.insert(16384, ["1"]))
    assert event == change(None, {"id": "1"})
    assert "public.orders come without user_id" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"Z",
        b"I\0\0\x40\x00",
        b"I\0\0\x40\x00K\0\0",
        encoder.insert(99, ["1"]),
        encoder.insert(16384, ["1"]),
        encoder.insert(16384, ["1", "n", "7", "r"])[:-7],
        encoder.relation(TABLE)[:-5],
        b"I\0\0\x40\x00N\0\x04t\xff\xff\xff\xffabc",
        b"I\0\0\x40\x00N\0\x04x",
        b"I\0\0\x40\x00N\0\x04t\0\0\0\x01\xff",
    ],
)
def test_what_is_no_message_is_a_protocol_error_that_quotes_no_row(message: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decoder().decode(message)
    assert caught.value.__cause__ is None
    assert "abc" not in str(caught.value)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
VALUES: st.SearchStrategy[Value] = st.none() | st.text() | st.just(TOAST)


@st.composite
def updates(draw: st.DrawFn) -> tuple[Relation, frozenset[str], list[Value], list[str | None]]:
    """A table, its routing columns, a new row with TOAST in it, and a whole old row."""
    columns = tuple(draw(st.lists(NAMES, min_size=1, max_size=6, unique=True)))
    routed = frozenset(draw(st.sets(st.sampled_from(columns))))
    flagged = frozenset(draw(st.sets(st.sampled_from(columns))))
    size = len(columns)
    new = draw(st.lists(VALUES, min_size=size, max_size=size))
    old = draw(st.lists(st.none() | st.text(), min_size=size, max_size=size))
    return Relation(5, ORDERS, columns, flagged), routed, new, old


def image(relation: Relation, routed: frozenset[str], values: Row) -> dict[str, str | None]:
    return {
        name: value
        for name, value in zip(relation.columns, values, strict=True)
        if name in routed and not isinstance(value, Unchanged)
    }


@given(updates())
def test_what_is_encoded_is_decoded(
    case: tuple[Relation, frozenset[str], list[Value], list[str | None]],
) -> None:
    relation, routed, new, old = case
    made = Decoder({ORDERS: Route(routed)})
    made.decode(encoder.relation(relation))
    before, after = image(relation, routed, old), image(relation, routed, new)
    flagged = {name: value for name, value in after.items() if name in relation.flagged}
    known = {name: value for name, value in before.items() if value is not None}
    assert made.decode(encoder.insert(5, new)) == change(None, after)
    assert made.decode(encoder.update(5, new)) == change(flagged, after)
    assert made.decode(encoder.update(5, new, old=old)) == change(before, before | after)
    assert made.decode(encoder.update(5, new, key=old)) == change(known, known | after)
    assert made.decode(encoder.delete(5, old=old)) == change(before, None)
    assert made.decode(encoder.delete(5, key=old)) == change(known, None)


def protocol(version: int) -> Decoder:
    return Decoder({ORDERS: Route(frozenset({"id", "user_id"}))}, protocol=version)


ROW = ["1", "n", "7", None]
SEEN = change(None, {"id": "1", "user_id": "7"})


def test_a_streamed_transaction_comes_in_blocks_with_the_ids_of_its_parts() -> None:
    made = protocol(2)
    messages = [
        encoder.stream_start(9),
        encoder.origin(4, "over there"),
        encoder.streamed(9, encoder.relation(TABLE)),
        encoder.streamed(9, encoder.insert(16384, ROW)),
        encoder.STREAM_STOP,
        encoder.stream_start(9, first=False),
        encoder.streamed(10, encoder.insert(16384, ROW)),
        encoder.streamed(10, encoder.truncate(16384)),
        encoder.streamed(10, encoder.message(True, 5, "p", b"")),
        encoder.STREAM_STOP,
        encoder.stream_abort(9, 10),
        encoder.stream_commit(9, 4096),
    ]
    assert [made.decode(each) for each in messages] == [
        StreamStart(9, True),
        Origin(4, "over there"),
        Streamed(9, Described(ORDERS)),
        Streamed(9, SEEN),
        StreamStop(),
        StreamStart(9, False),
        Streamed(10, SEEN),
        Streamed(10, Truncated((Change(ORDERS, Operation.TRUNCATE, None, None),))),
        Streamed(10, LogicalMessage(True, 5, "p", b"")),
        StreamStop(),
        StreamAbort(9, 10, None, None),
        StreamCommit(9, 4096, encoder.EPOCH),
    ]


def test_what_a_streamed_transaction_says_of_a_table_is_for_others_when_it_has_committed() -> None:
    """C14: it may have altered the table."""
    made = protocol(2)
    wider = Relation(16384, ORDERS, ("extra", *TABLE.columns), frozenset({"id"}))
    made.decode(encoder.relation(TABLE))
    made.decode(encoder.stream_start(9))
    made.decode(encoder.streamed(9, encoder.relation(wider)))
    assert made.decode(encoder.streamed(9, encoder.insert(16384, ["x", *ROW]))) == Streamed(9, SEEN)
    made.decode(encoder.STREAM_STOP)
    assert made.decode(encoder.insert(16384, ROW)) == SEEN
    made.decode(encoder.stream_commit(9, 4096))
    assert made.decode(encoder.insert(16384, ["x", *ROW])) == SEEN
    for ending in (encoder.stream_abort(11, 11), encoder.stream_abort(11, 11, at=7)):
        made.decode(encoder.stream_start(11))
        made.decode(encoder.streamed(11, encoder.relation(TABLE)))
        made.decode(encoder.STREAM_STOP)
        made.decode(ending)
        assert made.decode(encoder.insert(16384, ["x", *ROW])) == SEEN


def test_an_abort_says_where_and_when_with_protocol_4() -> None:
    event = protocol(4).decode(encoder.stream_abort(9, 10, at=77))
    assert event == StreamAbort(9, 10, 77, encoder.EPOCH)


def test_two_phase_commits_have_names() -> None:
    """C10."""
    made = protocol(3)
    messages = [
        encoder.begin_prepare(9, "gid 'é'"),
        encoder.prepared(b"P", 9, "gid", 64),
        encoder.prepared(b"K", 9, "gid", 72),
        encoder.rollback_prepared(9, "gid", 80),
        encoder.prepared(b"p", 9, "gid", 96),
    ]
    assert [made.decode(each) for each in messages] == [
        BeginPrepare(9, "gid 'é'", encoder.EPOCH),
        Prepare(9, "gid", 64, encoder.EPOCH),
        CommitPrepared(9, "gid", 72, encoder.EPOCH),
        RollbackPrepared(9, "gid", 80, encoder.EPOCH),
        StreamPrepare(9, "gid", 96, encoder.EPOCH),
    ]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (1, encoder.stream_start(9)),
        (1, encoder.stream_commit(9, 9)),
        (1, encoder.stream_abort(9, 9)),
        (2, encoder.begin_prepare(9, "g")),
        (2, encoder.prepared(b"K", 9, "g", 9)),
        (4, encoder.STREAM_STOP),
        (4, encoder.begin_prepare(9, "g")[:-1]),
        (4, encoder.message(True, 5, "prefix", b"content")[:-1]),
    ],
)
def test_a_message_of_a_later_protocol_or_out_of_place_is_an_error(
    version: int, message: bytes
) -> None:
    with pytest.raises(ProtocolError):
        protocol(version).decode(message)


def test_a_block_of_a_stream_holds_nothing_but_its_changes() -> None:
    made = protocol(4)
    made.decode(encoder.stream_start(9))
    for message in (encoder.begin(3), encoder.stream_start(9), encoder.stream_commit(9, 9)):
        with pytest.raises(ProtocolError):
            made.decode(message)


WITHIN = [
    encoder.relation(TABLE),
    encoder.insert(16384, ["1", None, "7", TOAST]),
    encoder.update(16384, ["1", None, "7", "x"], key=["1", None, None, None]),
    encoder.update(16384, ["1", None, "7", "x"], old=["1", "y", "6", None]),
    encoder.delete(16384, old=["1", None, "7", "x"]),
    encoder.truncate(16384, 16385),
    encoder.message(True, 5, "prefix", b"content"),
    encoder.type_name(7, "public", "color"),
]
MESSAGES = [
    *WITHIN,
    *(encoder.streamed(9, each) for each in WITHIN),
    encoder.begin(3),
    encoder.commit(9),
    encoder.origin(4, "over there"),
    encoder.stream_start(9),
    encoder.STREAM_STOP,
    encoder.stream_commit(9, 9),
    encoder.stream_abort(9, 10),
    encoder.stream_abort(9, 9, at=7),
    encoder.begin_prepare(9, "gid"),
    encoder.prepared(b"P", 9, "gid", 64),
    encoder.prepared(b"K", 9, "gid", 64),
    encoder.prepared(b"p", 9, "gid", 64),
    encoder.rollback_prepared(9, "gid", 64),
]

DAMAGE = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)


@given(st.lists(st.tuples(st.sampled_from(MESSAGES), DAMAGE, st.integers(0, 200)), max_size=8))
def test_any_stream_of_bytes_gives_events_or_protocol_errors(
    stream: list[tuple[bytes, list[tuple[int, int]], int]],
) -> None:
    """Whole messages in any order, with bytes changed and cut off, through one decoder."""
    made = protocol(4)
    made.decode(encoder.relation(TABLE))
    made.decode(encoder.relation(UNROUTED))
    for message, damages, length in stream:
        damaged = bytearray(message)
        for place, value in damages:
            damaged[place % len(damaged)] = value
        for data in (bytes(damaged), bytes(damaged[:length])):
            with contextlib.suppress(ProtocolError):
                made.decode(data)


@given(st.lists(st.binary(), max_size=3))
def test_random_bytes_give_an_event_or_a_protocol_error(stream: list[bytes]) -> None:
    made = protocol(4)
    for data in stream:
        with contextlib.suppress(ProtocolError):
            made.decode(data)
