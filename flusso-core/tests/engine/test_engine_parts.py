"""Watermark, batcher, planner, progress of a seed: every rule, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.engine.batcher import Batcher
from flusso_core.engine.planner import (
    Source,
    StartPlan,
    asked,
    emptied,
    filled,
    frozen,
    plan_start,
    reindexed,
    rolled_back,
    served,
    unnamed,
    without,
)
from flusso_core.engine.progress import Progress
from flusso_core.engine.room import Room
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import EngineError
from flusso_core.model import (
    Change,
    ChangeBatch,
    Generation,
    GenerationRecord,
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
MAPPING = IndexMapping("parents", "hash", (), "the schema")
FULL = GenerationRecord(3, "hash", "the schema", seeded=True)
SEEDED = StateRecord("parents", HERE, at(10), FULL)
UNBEGUN = replace(SEEDED, current=replace(FULL, seeded=False))
OLDER = GenerationRecord(2, "hash", "the schema", seeded=True)
PARTLY = replace(
    UNBEGUN,
    current=replace(UNBEGUN.current, ranges=(RangeProgress(KeyRange(), ("k",)),)),
    serving=OLDER,
)
RECORDS = pytest.mark.parametrize(
    "record", [SEEDED, UNBEGUN, PARTLY], ids=["seeded", "unbegun", "partly"]
)


def there(*numbers: int, schema: str = "hash", serves: int = 0) -> list[Generation]:
    return [Generation("parents", one, schema, serves=one == serves) for one in numbers]


def plan(
    record: StateRecord | None,
    *,
    identity: StreamIdentity = HERE,
    confirmed: int = 10,
    branched: int | None = None,
    existing: Sequence[Generation] = there(2, 3),
    policy: GapPolicy = GapPolicy.RESEED,
    made_with: str | None = None,
) -> StartPlan:
    return plan_start(
        MAPPING,
        record,
        source=Source(identity, at(confirmed), None if branched is None else at(branched)),
        existing=existing,
        policy=policy,
        made_with=made_with,
    )


@RECORDS
@pytest.mark.parametrize("confirmed", [0, 9, 10])
def test_an_index_whose_stream_is_whole_goes_on(record: StateRecord, confirmed: int) -> None:
    """H4."""
    assert plan(record, confirmed=confirmed) == StartPlan(record)


@RECORDS
@pytest.mark.parametrize("part", ["system", "database", "stream", "timeline"])
def test_another_stream_is_a_gap(record: StateRecord, part: str) -> None:
    """H3: each part of the identity counts, and the message names it."""
    other = replace(HERE, **{part: "another"})
    found = plan(record, identity=other)
    assert found.reason is not None
    assert f"{part} " in found.reason
    assert "'another'" in found.reason
    assert found.record.identity == other
    assert not found.record.current.clean


@RECORDS
def test_a_stream_that_begins_behind_the_record_is_a_gap(record: StateRecord) -> None:
    """H3: seeded or part-way."""
    found = plan(record, confirmed=11)
    assert found.reason is not None
    assert "10" in found.reason
    assert "11" in found.reason
    assert found.record.position == at(11)


def test_a_timeline_is_a_gap_only_beyond_the_switch_point() -> None:
    """H3, R1: what a promoted standby has of the old timeline is the same on both."""
    promoted = replace(HERE, timeline="2")
    same = plan(SEEDED, identity=promoted, branched=10)
    assert same == StartPlan(replace(SEEDED, identity=promoted))
    beyond = plan(SEEDED, identity=promoted, branched=9)
    assert beyond.reason is not None
    assert "timeline 1" in beyond.reason
    assert not beyond.record.current.clean
    assert plan(SEEDED, identity=promoted, branched=10, confirmed=11).reason is not None


def test_a_gap_of_a_seeded_index_is_swept_in_place() -> None:
    """H3, D4: under the next number, from the first page on, in the same generation."""
    begun = replace(FULL, sweep=4, swept=3, ranges=(RangeProgress(KeyRange(), ("k",)),))
    found = plan(replace(SEEDED, current=begun), confirmed=11)
    assert found.record.current == replace(begun, sweep=5, ranges=())
    assert found.record.serving is None


def test_a_first_seed_begins_again_in_a_new_generation_after_a_gap() -> None:
    """H3: what it had written may be gone from the source; the one that serves is put right."""
    found = plan(PARTLY, confirmed=11)
    assert found.record.current == GenerationRecord(4, "hash", "the schema")
    assert found.record.serving == replace(OLDER, sweep=1)


def test_a_sweep_that_had_not_ended_goes_on_where_it_was() -> None:
    """An intent without an end: not clean."""
    begun = replace(FULL, sweep=4, swept=3, ranges=(RangeProgress(KeyRange(), ("k",)),))
    assert not begun.clean
    record = replace(SEEDED, current=begun)
    assert plan(record) == StartPlan(record)
    assert filled(begun) == replace(FULL, sweep=4, swept=4)


def test_a_new_generation_is_above_every_other() -> None:
    """A late request of an old run must never reach it."""
    assert plan(PARTLY, confirmed=11, existing=there(3, 7)).record.current.number == 8
    assert plan(PARTLY, confirmed=11, existing=there(9, schema="old")).record.current.number == 10
    assert plan(None, existing=there(5)).record.current.number == 6
    assert plan(None, existing=()).record.current.number == 1
    kept = replace(SEEDED, kept=(GenerationRecord(6, "old"),))
    assert reindexed(kept, MAPPING).current.number == 7


@pytest.mark.parametrize("record", [SEEDED, PARTLY], ids=["seeded", "partly"])
def test_a_generation_that_is_gone_is_a_gap(record: StateRecord) -> None:
    """D1."""
    found = plan(record, existing=there(2))
    assert found.reason is not None
    assert "generation 3" in found.reason
    assert found.record.current.number == 4
    assert not found.record.current.seeded


def test_a_generation_that_is_not_there_never_begins_again_under_its_number() -> None:
    """C7: behind a TRUNCATE it had documents before it had a page; a late one must not reach it.

    Where the run ended between the record and the generation, it is no gap all the same.
    """
    found = plan(UNBEGUN, existing=(), policy=GapPolicy.STOP)
    assert found.reason is None
    assert found.record.current == replace(UNBEGUN.current, number=UNBEGUN.current.number + 1)
    empty = emptied(SEEDED, MAPPING)
    found = plan(empty, existing=there(3, serves=3), policy=GapPolicy.STOP)
    assert found.record == replace(empty, current=replace(empty.current, number=5))


def test_a_generation_that_is_gone_serves_no_more_while_a_new_schema_is_filled() -> None:
    """D1: made again it would be empty, and taken for right."""
    older = replace(SEEDED, current=replace(SEEDED.current, schema_hash="older"))
    assert plan(older, existing=there(3, schema="older")).record.serving == older.current
    found = plan(older, existing=())
    assert found.record.serving is None
    assert found.record.current.number == older.current.number + 1
    filling = replace(older, serving=replace(older.current, number=2))
    found = plan(filling, existing=there(2, schema="older", serves=2))
    assert found.record.serving == filling.serving


@pytest.mark.parametrize(
    ("record", "existing", "confirmed"),
    [(SEEDED, there(3), 11), (PARTLY, there(3), 11), (SEEDED, there(), 10)],
)
def test_a_gap_stops_the_run_where_the_policy_says_so(
    record: StateRecord, existing: Sequence[Generation], confirmed: int
) -> None:
    """H3: with the index, the reason and the cure."""
    with pytest.raises(EngineError, match=r"index parents: .*on_gap"):
        plan(record, existing=existing, confirmed=confirmed, policy=GapPolicy.STOP)


def test_another_schema_begins_a_generation_beside_the_old_one() -> None:
    """D4: it is no gap, and what serves goes on serving."""
    old = replace(FULL, schema_hash="old")
    record = replace(SEEDED, current=old)
    found = plan(record, existing=there(3, schema="old"), policy=GapPolicy.STOP)
    assert found.reason is None
    assert "schema has changed" in str(found.renewed)
    assert found.record.current == GenerationRecord(4, "hash", "the schema")
    assert found.record.serving == old
    assert found.record.position == at(10)


def made(with_what: str | None, *numbers: int, serves: int = 0) -> list[Generation]:
    return [replace(one, made_with=with_what) for one in there(*numbers, serves=serves)]


@pytest.mark.parametrize("was", ["1 shard", "2 shards", None])
@pytest.mark.parametrize("now", ["2 shards", None])
def test_what_a_generation_cannot_be_given_any_more_begins_another(
    was: str | None, now: str | None
) -> None:
    """D4: once, beside the old one; what is not known of either is no reason."""
    found = plan(SEEDED, existing=made(was, 2, 3), made_with=now, policy=GapPolicy.STOP)
    if (was, now) != ("1 shard", "2 shards"):
        assert found == StartPlan(SEEDED)
        return
    assert found.reason is None
    assert found.record.current == GenerationRecord(4, "hash", "the schema")
    assert found.record.serving == FULL
    begun = [*made(was, 3), *made(now, 4)]
    assert "only a new one" in str(found.renewed)
    assert plan(found.record, existing=begun, made_with=now) == StartPlan(found.record)


def test_a_generation_that_had_not_begun_is_made_with_the_options_of_now() -> None:
    begun = plan(UNBEGUN, existing=made("old", 2), made_with="new")
    assert begun.reason is None
    assert begun.record.current == replace(UNBEGUN.current, number=4)
    forgotten = plan(None, existing=made("old", 5, serves=5), made_with="new").record
    assert (forgotten.current.number, forgotten.serving) == (
        6,
        GenerationRecord(5, "hash", seeded=True),
    )


def test_what_another_program_made_serves_and_is_never_dropped_unasked() -> None:
    """D4: its numbers are its own."""
    theirs = [replace(one, foreign=True) for one in there(3, schema="theirs", serves=3)]
    first = plan(None, existing=theirs).record
    assert first.current == GenerationRecord(4, "hash", "the schema")
    assert first.serving == GenerationRecord(3, "theirs", seeded=True)
    assert plan(first, existing=[*theirs, *there(4)]).record == first
    assert unnamed([replace(theirs[0], serves=False)], served(first)) == []
    gone = plan(SEEDED, existing=theirs)
    assert "generation 3 no longer exists" in str(gone.reason)


def test_a_schema_that_is_taken_back_goes_on_with_what_serves() -> None:
    """The old schema's generation has had every change meanwhile."""
    newer = replace(UNBEGUN.current, number=4, schema_hash="newer")
    record = replace(SEEDED, current=newer, serving=FULL)
    found = plan(record, existing=there(3, 4))
    assert found == StartPlan(SEEDED)
    assert [one.number for one in unnamed(there(3, 4), found.record)] == [4]


def test_documents_without_a_memory_are_put_right_in_place() -> None:
    """The state record was deleted, and not the documents that serve."""
    found = plan(None, existing=there(5, 6, serves=5)).record
    assert (found.current.number, found.current.seeded, found.current.clean) == (5, True, False)
    other = plan(None, existing=there(5, schema="old", serves=5)).record
    assert (other.current.number, other.current.seeded) == (6, False)
    assert other.serving is not None
    assert other.serving.number == 5


def test_a_truncate_begins_a_generation_and_keeps_what_serves() -> None:
    """C7: what served is void: should it be used again, it is swept."""
    fresh = emptied(SEEDED, MAPPING)
    assert fresh.current == GenerationRecord(4, "hash", "the schema")
    assert fresh.serving == asked(FULL)
    again = emptied(fresh, MAPPING)
    assert again.current.number == 5
    assert again.serving is not None
    assert again.serving.number == 3
    assert emptied(UNBEGUN, MAPPING).serving is None


def test_what_is_superseded_is_kept_where_that_was_asked_for() -> None:
    """D4."""
    kept = served(reindexed(SEEDED, MAPPING, keep=True))
    assert (kept.serving, kept.kept, kept.keep) == (None, (FULL,), False)
    dropped = served(reindexed(SEEDED, MAPPING))
    assert (dropped.serving, dropped.kept) == (None, ())


def back(record: StateRecord, *, keep: bool = True, **given: Any) -> StateRecord:
    given.setdefault("existing", [*there(1, 3), *there(2, schema="old")])
    return rolled_back(record, MAPPING, keep=keep, **given)


def test_going_back_takes_the_newest_older_one_of_the_schema() -> None:
    """D4: one that got no changes is swept, and the newer one is kept where that is wished for."""
    first, second = GenerationRecord(1, "hash", seeded=True), GenerationRecord(2, "old")
    record = replace(SEEDED, kept=(first, second), keep=True)
    older = back(record)
    assert older == replace(SEEDED, current=asked(first), kept=(second, FULL))
    assert back(record, keep=False).kept == (second,)
    assert back(older).current == asked(FULL)


def test_going_back_gives_up_what_is_being_filled() -> None:
    """D4: what serves has had every change, unless it was void or frozen."""
    filling = reindexed(SEEDED, MAPPING, keep=True)
    assert back(filling) == SEEDED
    assert back(emptied(SEEDED, MAPPING)).current == asked(FULL)
    # What serves has another schema: it is kept, as what searches saw.
    other = GenerationRecord(2, "old", seeded=True)
    kept = replace(filling, serving=other, kept=(FULL,))
    assert back(kept) == replace(SEEDED, current=asked(FULL), kept=(other,))


def test_going_back_needs_an_older_one_that_lasts() -> None:
    """D4: one of another schema or other options would be replaced at the next start."""
    kept = replace(SEEDED, kept=(GenerationRecord(2, "old"),))
    for record, existing in ((SEEDED, there(3)), (kept, there(3))):
        with pytest.raises(EngineError, match="no older generation"):
            back(record, existing=existing)
    with pytest.raises(EngineError, match=r"\(2\).*put the older files back"):
        back(kept)
    first = GenerationRecord(1, "hash", seeded=True)
    made = [replace(one, made_with="2 shards") for one in there(1, 3)]
    record = replace(SEEDED, kept=(first,))
    assert back(record, existing=made, made_with="2 shards").current == asked(first)
    with pytest.raises(EngineError, match="other options of the sink"):
        back(record, existing=made, made_with="4 shards")


def test_what_no_record_names_can_go_unless_it_serves() -> None:
    """A crash between a record and a drop leaks nothing; what others show stays."""
    record = replace(PARTLY, kept=(GenerationRecord(1, "old"),))
    existing = [*there(1, 2, 3, 4, 5, serves=5), *there(6, schema="old")]
    assert [one.number for one in unnamed(existing, record)] == [4, 6]


def test_what_gets_no_more_changes_is_not_clean() -> None:
    record = replace(PARTLY, serving=OLDER)
    once = frozen(record)
    assert once.serving is not None
    assert not once.serving.clean
    assert frozen(once) == once


def test_a_lost_generation_is_filled_afresh() -> None:
    """D1."""
    assert without(PARTLY, MAPPING, 3).current == GenerationRecord(4, "hash", "the schema")
    assert without(PARTLY, MAPPING, 3).serving == OLDER
    assert without(PARTLY, MAPPING, 2) == replace(PARTLY, serving=None)


# Progress of a seed


def test_a_seed_is_done_when_every_range_is() -> None:
    """H6."""
    middle = ("m",)
    progress = Progress.begin([KeyRange(None, middle), KeyRange(middle, None)])
    assert list(progress.unfinished()) == [0, 1]
    progress.landed(1, ("x",))
    assert progress.of(1).cursor == ("x",)
    assert progress.left == 1.0
    progress.landed(1, None)
    assert list(progress.unfinished()) == [0]
    assert progress.left == 0.5
    assert not progress.done
    resumed = Progress(progress.ranges)
    assert list(resumed.unfinished()) == [0]
    resumed.landed(0, None)
    assert resumed.done
    assert resumed.left == 0.0
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
    assert room.has(dirty=400, pending=1)
    assert not room.has(dirty=600, pending=1)


@pytest.mark.parametrize("full", ["dirty", "pending"])
def test_each_bound_holds_alone(full: str) -> None:
    """C10, R3: a few hot rows do not fill the batches for ever."""
    counts = {"dirty": 9, "pending": 10}
    room = Room(Bounds(max_dirty=10))
    assert room.has(**counts)
    counts[full] += 1
    assert not room.has(**counts)
