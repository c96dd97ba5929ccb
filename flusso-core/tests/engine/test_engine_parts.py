"""Watermark, batcher, planner, progress of a seed: every rule, without I/O."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.engine.batcher import Batcher
from flusso_core.engine.planner import SeedProgress, StartPlan, plan_start, restarted
from flusso_core.engine.room import Room
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import EngineError
from flusso_core.model import (
    Change,
    ChangeBatch,
    IndexMapping,
    KeyRange,
    Operation,
    Position,
    RangeProgress,
    StateRecord,
    StreamIdentity,
    TableName,
)
from flusso_core.settings import BatchPolicy, Bounds, GapPolicy


def at(order: int) -> Position:
    return Position(order, str(order))


# Watermark


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_watermark_is_the_end_of_the_unbroken_run(order: tuple[int, ...]) -> None:
    """H8: whatever ends first."""
    watermark = Watermark(at(0))
    for number in range(4):
        watermark.begin(number, at(number + 1))
    done: set[int] = set()
    for number in order:
        before = watermark.position
        moved = watermark.end(number)
        done.add(number)
        unbroken = next((end for end in range(4) if end not in done), 4)
        assert watermark.position == at(unbroken)
        assert moved == (watermark.position > before)
        assert watermark.pending == 4 - unbroken


def test_a_piece_of_a_commit_moves_the_watermark_nowhere() -> None:
    """C10: only with the commit's end."""
    watermark = Watermark(at(5))
    watermark.begin(1, None)
    watermark.begin(2, at(7))
    assert not watermark.end(1)
    assert watermark.position == at(5)
    assert watermark.end(2)
    assert watermark.position == at(7)


def test_the_watermark_never_falls() -> None:
    """A stream that was resumed delivers again what was delivered."""
    watermark = Watermark(at(5))
    watermark.begin(1, at(9))
    watermark.end(1)
    watermark.begin(2, at(7))
    assert not watermark.end(2)
    assert watermark.position == at(9)


# Batcher


def change(number: int) -> Change:
    return Change(TableName("public", "t"), Operation.UPSERT, None, {"key": str(number)})


def commit(number: int, changes: int = 1, *, ended: bool = True) -> ChangeBatch:
    return ChangeBatch(
        [change(number)] * changes, at(number) if ended else None, (number,), float(number)
    )


def test_a_batch_closes_at_once_when_the_next_stage_is_idle() -> None:
    batcher = Batcher(BatchPolicy(max_changes=10, max_delay=5.0))
    batcher.add(commit(1), 100.0)
    assert batcher.wait(100.0, idle=True) == 0.0
    assert batcher.wait(100.0, idle=False) == 5.0


def test_a_batch_closes_when_its_first_change_has_waited() -> None:
    batcher = Batcher(BatchPolicy(max_changes=10, max_delay=5.0))
    batcher.add(commit(1), 100.0)
    batcher.add(commit(2), 104.0)
    assert batcher.wait(104.0, idle=False) == pytest.approx(1.0)
    assert batcher.wait(105.0, idle=False) == 0.0
    assert batcher.wait(109.0, idle=False) == 0.0
    batcher.close()
    batcher.add(commit(3), 200.0)
    assert batcher.wait(200.0, idle=False) == 5.0


def test_a_full_batch_closes_whatever_follows() -> None:
    batcher = Batcher(BatchPolicy(max_changes=3, max_delay=5.0))
    batcher.add(commit(1, 2), 0.0)
    assert batcher.wait(0.0, idle=False) == 5.0
    batcher.add(commit(2), 0.0)
    assert batcher.full
    assert batcher.wait(0.0, idle=False) == 0.0


def test_a_keepalive_waits_for_nothing() -> None:
    """H7."""
    batcher = Batcher(BatchPolicy(max_delay=5.0))
    batcher.add(ChangeBatch((), at(3)), 0.0)
    assert batcher.wait(0.0, idle=False) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8))
def test_a_closed_batch_is_all_that_was_added(shape: list[tuple[int, bool]]) -> None:
    """Order, transaction ids for the gate, and the position of the last commit that has ended."""
    batcher = Batcher(BatchPolicy())
    added = [commit(number + 1, size, ended=ended) for number, (size, ended) in enumerate(shape)]
    for batch in added:
        batcher.add(batch, 0.0)
    closed = batcher.close()
    assert batcher.empty
    assert not batcher.full
    assert list(closed.changes) == [entry for batch in added for entry in batch.changes]
    assert list(closed.transactions) == [number + 1 for number in range(len(shape))]
    ends = [batch.position for batch in added if batch.position is not None]
    assert closed.position == (ends[-1] if ends else None)
    assert closed.committed_at == float(len(shape))


def test_a_commit_in_pieces_gives_its_transaction_once() -> None:
    batcher = Batcher(BatchPolicy())
    batcher.add(commit(7, ended=False), 0.0)
    batcher.add(commit(7), 0.0)
    assert batcher.close().transactions == (7,)


# Planner

HERE = StreamIdentity("system", "database", "stream", "1")
MAPPING = IndexMapping("parents", "hash", ())
SEEDED = StateRecord("parents", 3, "hash", HERE, at(10), seeded=True)
UNBEGUN = replace(SEEDED, seeded=False)
PARTLY = replace(UNBEGUN, ranges=(RangeProgress(KeyRange(), ("k",)),), serving=2)


def plan(
    record: StateRecord | None,
    *,
    identity: StreamIdentity = HERE,
    confirmed: int = 10,
    existing: tuple[int, ...] = (3,),
    policy: GapPolicy = GapPolicy.RESEED,
) -> StartPlan:
    return plan_start(
        MAPPING,
        record,
        identity=identity,
        confirmed=at(confirmed),
        existing=existing,
        policy=policy,
    )


@pytest.mark.parametrize("record", [SEEDED, UNBEGUN, PARTLY], ids=["seeded", "unbegun", "partly"])
@pytest.mark.parametrize("confirmed", [0, 9, 10])
def test_an_index_whose_stream_is_whole_goes_on(record: StateRecord, confirmed: int) -> None:
    """H4."""
    assert plan(record, confirmed=confirmed) == StartPlan(record)


@pytest.mark.parametrize("record", [SEEDED, UNBEGUN, PARTLY], ids=["seeded", "unbegun", "partly"])
@pytest.mark.parametrize("part", ["system", "database", "stream", "timeline"])
def test_another_stream_is_a_gap(record: StateRecord, part: str) -> None:
    """H3: each part of the identity counts, and the message names it."""
    other = replace(HERE, **{part: "another"})
    found = plan(record, identity=other)
    assert found.reason is not None
    assert f"{part} " in found.reason
    assert "'another'" in found.reason
    assert found.record.identity == other
    assert found.record.generation == 4
    assert not found.record.seeded
    assert found.record.ranges == ()


@pytest.mark.parametrize("record", [SEEDED, UNBEGUN, PARTLY], ids=["seeded", "unbegun", "partly"])
def test_a_stream_that_begins_behind_the_record_is_a_gap(record: StateRecord) -> None:
    """H3: seeded or part-way."""
    found = plan(record, confirmed=11)
    assert found.reason is not None
    assert "10" in found.reason
    assert "11" in found.reason
    assert found.record.position == at(11)


def test_a_gap_keeps_what_serves_and_drops_what_had_not_ended() -> None:
    """D4: searches see the old generation until the new one is seeded."""
    seeded = plan(SEEDED, confirmed=11)
    assert (seeded.record.serving, seeded.obsolete) == (3, None)
    partly = plan(PARTLY, confirmed=11)
    assert (partly.record.serving, partly.obsolete) == (2, 3)


def test_a_new_generation_is_above_every_other() -> None:
    """A late request of an old run must never reach it."""
    assert plan(SEEDED, confirmed=11, existing=(3, 7)).record.generation == 8
    assert plan(SEEDED, confirmed=11, existing=()).record.generation == 4
    assert plan(None, existing=(5,)).record.generation == 6
    assert plan(None, existing=()).record.generation == 1


@pytest.mark.parametrize("record", [SEEDED, PARTLY], ids=["seeded", "partly"])
def test_a_generation_that_is_gone_is_a_gap(record: StateRecord) -> None:
    """D1."""
    found = plan(record, existing=(2,))
    assert found.reason is not None
    assert "generation 3" in found.reason


def test_a_generation_that_had_not_begun_need_not_exist() -> None:
    """The run ended between the record and the generation."""
    assert plan(UNBEGUN, existing=()) == StartPlan(UNBEGUN)


@pytest.mark.parametrize(
    ("record", "existing", "confirmed"),
    [(SEEDED, (3,), 11), (PARTLY, (3,), 11), (SEEDED, (), 10)],
)
def test_a_gap_stops_the_run_where_the_policy_says_so(
    record: StateRecord, existing: tuple[int, ...], confirmed: int
) -> None:
    """H3: with the index, the reason and the cure."""
    with pytest.raises(EngineError, match=r"index parents: .*on_gap"):
        plan(record, existing=existing, confirmed=confirmed, policy=GapPolicy.STOP)


def test_another_schema_begins_afresh_and_is_no_gap() -> None:
    found = plan(replace(SEEDED, schema_hash="old"), existing=(), policy=GapPolicy.STOP)
    assert found.reason is None
    assert found.record == StateRecord("parents", 1, "hash", HERE, at(10))


def test_a_truncate_begins_a_generation_and_keeps_what_serves() -> None:
    """C7."""
    fresh = restarted(replace(SEEDED, ranges=(RangeProgress(KeyRange(), None, done=True),)))
    assert fresh.record == replace(SEEDED, generation=4, seeded=False, ranges=(), serving=3)
    assert fresh.obsolete is None
    again = restarted(PARTLY)
    assert again.record == replace(PARTLY, generation=4, ranges=())
    assert again.obsolete == 3


# Progress of a seed


def test_a_seed_is_done_when_every_range_is() -> None:
    """H6."""
    middle = ("m",)
    progress = SeedProgress.begin([KeyRange(None, middle), KeyRange(middle, None)])
    assert list(progress.unfinished()) == [0, 1]
    progress.landed(1, ("x",))
    assert progress.of(1).cursor == ("x",)
    progress.landed(1, None)
    assert list(progress.unfinished()) == [0]
    assert not progress.done
    resumed = SeedProgress(progress.ranges)
    assert list(resumed.unfinished()) == [0]
    resumed.landed(0, None)
    assert resumed.done
    assert not progress.done


# Room


def test_long_keys_are_fewer() -> None:
    """C10: ids are bounded by count and by bytes."""
    room = Room(Bounds(max_bytes=1_000_000, max_dirty=2000))
    assert room.limit == 2000
    for _ in range(20):
        room.weigh([("k" * 800,)] * 3)
    assert room.limit == pytest.approx(500, rel=0.02)
    room.weigh([])
    assert room.has(dirty=400, debts=400, pending=1)
    assert not room.has(dirty=600, debts=600, pending=1)


@pytest.mark.parametrize("full", ["dirty", "debts", "pending"])
def test_each_bound_holds_alone(full: str) -> None:
    """C10, R3: a few hot rows fill neither debts nor batches for ever."""
    counts = {"dirty": 9, "debts": 39, "pending": 10}
    room = Room(Bounds(max_dirty=10))
    assert room.has(**counts)
    counts[full] += 1
    assert not room.has(**counts)
