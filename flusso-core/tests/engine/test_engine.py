"""The engine over in-memory edges: what the promises mean, as histories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from random import Random

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import DocumentRejected, EngineError
from flusso_core.interfaces import Resolved
from flusso_core.model import Change, Generation, IndexMapping, RootTruncated, StreamIdentity
from flusso_core.settings import FailurePolicies, FailurePolicy, GapPolicies, GapPolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import CHILD, ROOT
from flusso_core.testing.sink import unavailable

from .running import filled, live

FAST = RetryPolicy(initial=0.001, maximum=0.01)


def engine(database: MemoryDatabase, sink: MemorySink, **settings: object) -> Engine:
    return Engine(
        MemoryCapture(database),
        MemoryBuilder(database),
        {"memory": sink},
        retries=FAST,
        **settings,  # type: ignore[arg-type]
    )


async def sync(database: MemoryDatabase, destination: MemoryDestination) -> None:
    async with asyncio.timeout(10):
        await engine(database, MemorySink(destination)).run(once=True)


async def test_once_fills_the_index_and_confirms() -> None:
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    assert destination.search("parents") == database.documents()
    assert destination.records["parents"].current.seeded
    assert database.confirmed == database.head


async def test_a_restart_goes_on_without_reading_the_rows_again() -> None:
    """H6: what is seeded stays seeded; only the changes come."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    database.commit(database.put_parent("p001", "renamed"), database.delete_parent("p002"))
    database.parents["p003"] = "changed behind the stream's back"
    await sync(database, destination)
    found = destination.search("parents")
    assert b"renamed" in found["p001"]
    assert "p002" not in found
    assert found["p003"] != database.document("p003"), "the row was read without a change"


async def test_child_delete_and_move_rebuild_their_parents() -> None:
    """C3."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    database.commit(database.delete_child("c001"), database.put_child("c002", "p003"))
    await sync(database, destination)
    assert destination.search("parents") == database.documents()


@pytest.mark.parametrize("table", [ROOT, CHILD], ids=["root", "related"])
async def test_truncate_converges(table: object) -> None:
    """C7."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    database.commit(
        database.truncate(table),  # type: ignore[arg-type]
        database.put_parent("p999", "written behind the truncate"),
    )
    await sync(database, destination)
    assert destination.search("parents") == database.documents()
    assert database.confirmed == database.head


async def test_a_truncate_while_a_seed_begins_to_serve_keeps_what_serves() -> None:
    """C7: searches have a generation at every instant, and in the end the right one."""
    database, destination = filled(), MemoryDestination()
    serving, truncated, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Builder(MemoryBuilder):
        async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
            async for found in super().resolve(changes):
                if isinstance(found, RootTruncated):
                    truncated.set()
                yield found

    class Slow(MemorySink):
        async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
            await super().serve_generation(mapping, generation)
            serving.set()
            await go_on.wait()

        async def drop_generation(self, generation: Generation) -> None:
            assert generation.number != destination.serving[generation.index], "it serves"
            await super().drop_generation(generation)

    running = Engine(MemoryCapture(database), Builder(database), {"memory": Slow(destination)})
    task = asyncio.create_task(running.run(once=True))
    async with asyncio.timeout(10):
        await serving.wait()
        database.commit(database.truncate(ROOT), database.put_parent("p999", "reloaded"))
        await truncated.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        go_on.set()
        await task
    assert destination.search("parents") == database.documents()


async def test_a_hidden_commit_is_not_built_before_it_is_visible() -> None:
    """C16: without the gate the old row would be written and never replaced."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    running = engine(database, MemorySink(destination))
    async with live(running):
        database.commit(database.put_parent("p001", "late"), hidden=True)
        for _ in range(200):
            await asyncio.sleep(0)
        assert database.confirmed < database.head
        database.reveal()
        async with asyncio.timeout(5):
            while b"late" not in destination.search("parents")["p001"]:
                await asyncio.sleep(0)
    assert database.confirmed == database.head


async def test_changes_during_the_seed_reach_the_index() -> None:
    """H1, H5."""
    database, destination = filled(60), MemoryDestination()
    running = engine(database, MemorySink(destination))
    task = asyncio.create_task(running.run(once=True))
    random = Random(1)
    for number in range(300):
        await asyncio.sleep(0)
        key = f"p{random.randrange(60):03}"
        match random.randrange(3):
            case 0:
                database.commit(database.put_parent(key, f"changed {number}"))
            case 1:
                database.commit(database.delete_parent(key))
            case _:
                database.commit(database.put_child(f"c{random.randrange(60):03}", key))
    async with asyncio.timeout(10):
        await task
    await sync(database, destination)
    assert destination.search("parents") == database.documents()


@pytest.mark.parametrize("seed", range(20))
async def test_faults_and_kills_lose_nothing(seed: int) -> None:
    """R2, D2: runs are cancelled anywhere and flushes fail before and after they applied."""
    random = Random(seed)
    database, destination = filled(30), MemoryDestination()
    for _ in range(6):
        sink = MemorySink(destination, fault=unavailable(random.randrange(3, 9)))
        task = asyncio.create_task(engine(database, sink).run())
        for step in range(random.randrange(5, 200)):
            await asyncio.sleep(0)
            if step % 3 == 0:
                key = f"p{random.randrange(40):03}"
                database.commit(
                    database.put_parent(key, f"step {step}"),
                    database.put_child(f"c{random.randrange(40):03}", key),
                    database.delete_parent(f"p{random.randrange(40):03}"),
                    hidden=random.random() < 0.3,
                )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for record in destination.records.values():
            assert database.confirmed <= record.position.order
    database.reveal()
    await sync(database, destination)
    assert destination.search("parents") == database.documents()


async def test_a_gap_is_swept_in_place() -> None:
    """H3: what the gap has hidden, deletes among it, is put right in the same generation."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    database.commit(database.delete_parent("p001"))
    database.confirmed = database.head
    await sync(database, destination)
    assert destination.search("parents") == database.documents()
    assert list(destination.generations) == [("parents", 1)]
    assert destination.records["parents"].current.sweep == 1


async def test_a_gap_stops_the_run_where_the_policy_says_so() -> None:
    """H3."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    database.identity = StreamIdentity("memory", "another", "flusso", "1")
    running = engine(database, MemorySink(destination), gaps=GapPolicies(default=GapPolicy.STOP))
    with pytest.raises(EngineError, match=r"index parents: .*database 'test', now 'another'"):
        await running.run(once=True)


async def test_a_generation_deleted_under_us_is_filled_again() -> None:
    """D1."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination)
    destination.generations.clear()
    await sync(database, destination)
    assert destination.search("parents") == database.documents()


async def test_a_refused_document_stops_the_run_unconfirmed() -> None:
    """D3."""
    database, destination = filled(), MemoryDestination()
    running = engine(database, MemorySink(destination, refuse=["p007"]))
    with pytest.raises(DocumentRejected, match=r"p007.*refused by the test.*on_error"):
        await running.run(once=True)
    assert not destination.records["parents"].current.seeded


async def test_a_refused_document_is_quarantined_and_delays_nothing() -> None:
    """D3."""
    database, destination = filled(), MemoryDestination()
    running = engine(
        database,
        MemorySink(destination, refuse=["p007"]),
        failures=FailurePolicies(default=FailurePolicy.SKIP),
    )
    await running.run(once=True)
    expected = database.documents()
    del expected["p007"]
    assert destination.search("parents") == expected
    assert {entry.document.id.key for entry in destination.quarantined} == {("p007",)}
    assert database.confirmed == database.head


async def test_stop_drains_and_confirms() -> None:
    """R2."""
    database, destination = filled(), MemoryDestination()
    running = engine(database, MemorySink(destination))
    async with live(running):
        async with asyncio.timeout(5):
            while destination.serving.get("parents") is None:
                await asyncio.sleep(0)
    assert database.confirmed == destination.records["parents"].position.order


async def test_two_lanes_confirm_only_what_both_have() -> None:
    """D6."""
    database = filled()
    healthy, dead = MemoryDestination(), MemoryDestination()
    running = Engine(
        MemoryCapture(database),
        MemoryBuilder(database),
        {"healthy": MemorySink(healthy), "dead": MemorySink(dead, fault=unavailable(1))},
        retries=FAST,
    )
    task = asyncio.create_task(running.run())
    database.commit(database.put_parent("p001", "renamed"))
    async with asyncio.timeout(5):
        while healthy.search("parents") != database.documents():
            await asyncio.sleep(0.001)
    assert database.confirmed == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sync(database, dead)
    assert dead.search("parents") == database.documents()
