"""The lease, epochs and state records, on a real server."""

# What happens between two steps of a takeover can only be arranged from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import (
    GenerationRecord,
    KeyRange,
    Position,
    RangeProgress,
    StateRecord,
    StreamIdentity,
)
from flusso_sink_opensearch import state

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(state, "_POLL_SECONDS", 0.02)


async def test_every_run_gets_a_higher_epoch(bench: Bench) -> None:
    epochs: list[int] = []
    for _ in range(3):
        sink = await bench.sink(acquire=False)
        epochs.append(await sink.acquire("a run"))
        await sink.release()
        await sink.release()
    assert epochs == [1, 2, 3]


async def test_a_second_run_waits_for_the_first(bench: Bench, quick_lease: None) -> None:
    """D5: never two writers; a released lease is taken at once."""
    first = await bench.sink()
    second = await bench.sink(acquire=False)
    waiting = asyncio.create_task(second.acquire("second"))
    for _ in range(30):
        await first.renew()
        assert not waiting.done()
        await asyncio.sleep(0.05)
    await first.release()
    assert await asyncio.wait_for(waiting, 10) == 2


async def test_the_lease_of_a_run_that_died_ends(bench: Bench, quick_lease: None) -> None:
    first = await bench.sink()
    await first.close()
    second = await bench.sink(acquire=False)
    assert await asyncio.wait_for(second.acquire("second"), 10) == 2


async def test_only_one_of_many_gets_a_free_lease(bench: Bench) -> None:
    before = await bench.sink()
    await before.release()
    sinks = [await bench.sink(acquire=False) for _ in range(5)]
    tasks = [asyncio.create_task(sink.acquire(str(n))) for n, sink in enumerate(sinks)]
    done, pending = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [2]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def test_a_paused_run_can_do_no_harm_after_a_takeover(
    bench: Bench, quick_lease: None
) -> None:
    """D5: neither its documents nor its records arrive, and it is told why."""
    paused = await bench.users()
    await paused.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await paused.store_records([bench.record(1)])
    now = await bench.users()
    await now.flush([bench.document("1", 2)], caught_up=False)
    await now.store_records([bench.record(2)])
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await paused.flush([bench.document("2", 99, {"name": "b"})], caught_up=False)
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await paused.store_records([bench.record(99)])
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await paused.renew()
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await paused.begin_generation(bench.mapping, 1)
    await paused.release()
    assert [await bench.get(key) for key in "12"] == [None, None]
    assert (await now.load_records())["users"].position.order == 2
    await now.renew()


async def test_a_run_that_slept_while_taking_over_does_not_take_back(
    bench: Bench, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D5: between its lease and its alias another run came; the alias stays with that one."""
    slow = await bench.sink(acquire=False)
    meta = slow._open.meta
    reached, go_on = asyncio.Event(), asyncio.Event()
    take = meta._take_write_alias

    async def sleepy(epoch: int) -> None:
        reached.set()
        await go_on.wait()
        await take(epoch)

    monkeypatch.setattr(meta, "_take_write_alias", sleepy)
    waiting = asyncio.create_task(slow.acquire("slow"))
    await asyncio.wait_for(reached.wait(), 10)
    now = await bench.users()
    go_on.set()
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await waiting
    await now.store_records([bench.record(1)])
    await now.renew()


async def test_of_two_runs_that_see_the_same_alias_only_one_takes_it(
    bench: Bench, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D5: what a run saw may be over when it acts; the step is a compare-and-set."""
    before = await bench.sink()
    await before.release()
    slow = await bench.sink(acquire=False)
    indices = slow._open.cluster.client.indices
    get_alias = indices.get_alias

    async def seen_long_ago(**asked: Any) -> Any:
        seen = await get_alias(**asked)
        now = await bench.sink()
        await now.renew()
        return seen

    monkeypatch.setattr(indices, "get_alias", seen_long_ago)
    with pytest.raises(SinkFatal, match="another run of flusso has taken over"):
        await slow.acquire("slow")
    await bench.sinks[-1].renew()


async def test_a_record_whose_index_was_never_made_comes_back_without_a_word(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sink = await bench.sink(on_missing_index="stop")
    await sink.store_records([bench.record(1)])
    assert await sink.load_records() == {"users": bench.record(1)}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_a_renewal_whose_answer_was_lost_does_not_end_the_run(bench: Bench) -> None:
    sink = await bench.sink()
    meta = sink._open.meta
    before = meta._lease
    await sink.renew()
    meta._lease = before
    await sink.renew()
    await sink.renew()


async def test_records_come_back_as_they_were(bench: Bench) -> None:
    """H3, H4: identity, position, ranges and cursors, keys of any spelling."""
    sink = await bench.users()
    full = StateRecord(
        index="users",
        identity=StreamIdentity("7301", 'sh"op', "slot", "2"),
        position=Position(2**63 - 1, "7FFFFFFF/FFFFFFFF"),
        current=GenerationRecord(
            number=1,
            schema_hash="abc123",
            schema='{"a": "😀"}',
            ranges=(
                RangeProgress(KeyRange(None, ("a", 'b"\n😀')), cursor=("A", ""), done=False),
                RangeProgress(KeyRange(("a", 'b"\n😀'), None), done=True),
            ),
        ),
        serving=GenerationRecord(3, "def", seeded=True, sweep=2, swept=1),
    )
    await sink.store_records([full])
    loaded = await sink.load_records()
    assert loaded == {"users": full}
    # Positions compare by their order alone.
    assert loaded["users"].position.token == full.position.token


async def test_a_record_replaces_the_one_of_its_index(bench: Bench) -> None:
    sink = await bench.users()
    for position in (5, 6, 4):
        await sink.store_records([bench.record(position)])
    assert (await sink.load_records())["users"].position.order == 4
    await sink.release()
    other = await bench.sink()
    assert (await other.load_records())["users"].position.order == 4


async def test_a_record_of_an_index_that_is_gone_is_void(bench: Bench) -> None:
    """D1: deleted while nobody looked; it must be filled afresh, not taken for complete."""
    sink = await bench.users()
    await sink.store_records([bench.record(1)])
    await bench.raw.indices.delete(index=bench.data)
    assert await sink.load_records() == {}


async def test_a_record_of_an_index_that_was_replaced_is_void(bench: Bench) -> None:
    sink = await bench.users()
    await sink.store_records([bench.record(1)])
    await bench.raw.indices.delete(index=bench.data)
    await bench.raw.indices.create(index=bench.data)
    assert await sink.load_records() == {}


async def test_a_missing_index_stops_the_run_where_the_policy_says_so(bench: Bench) -> None:
    sink = await bench.users(on_missing_index="stop")
    await sink.store_records([bench.record(1)])
    await bench.raw.indices.delete(index=bench.data)
    with pytest.raises(SinkFatal, match=f"the index {bench.data} at .* was deleted or replaced"):
        await sink.load_records()


async def test_epochs_rise_on_where_the_memory_was_deleted(bench: Bench) -> None:
    """Else the documents' old versions would win over everything that is written now."""
    for _ in range(3):
        sink = await bench.users()
        await sink.release()
    await bench.raw.indices.delete(index=f"{bench.prefix}flusso_meta")
    sink = await bench.sink(acquire=False)
    assert await sink.acquire("a run") == 4


async def test_losing_the_memory_ends_the_run_and_makes_no_index(bench: Bench) -> None:
    sink = await bench.users()
    await bench.raw.indices.delete(index=f"{bench.prefix}flusso_meta")
    with pytest.raises(SinkFatal):
        await sink.store_records([bench.record(1)])
    with pytest.raises(SinkFatal):
        await sink.renew()
    assert not await bench.raw.indices.exists(index=f"{bench.prefix}flusso_meta")


async def test_nothing_is_written_without_the_lease(bench: Bench) -> None:
    sink = await bench.sink(acquire=False)
    with pytest.raises(SinkFatal, match="lease is not held"):
        await sink.begin_generation(bench.mapping, 1)


async def test_an_attempt_that_failed_half_way_does_not_wait_for_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease was taken, and then nothing answered any more."""
    sink = await bench.sink(acquire=False)
    meta = sink._open.meta

    async def unreachable(_epoch: int) -> None:
        raise SinkUnavailable("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(meta, "_take_write_alias", unreachable)
        with pytest.raises(SinkUnavailable):
            await sink.acquire("a run")
    with caplog.at_level("INFO"):
        async with asyncio.timeout(5):
            assert await sink.acquire("a run") == 2
    assert "waiting" not in caplog.text
