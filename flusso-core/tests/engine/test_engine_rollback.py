"""Going back to an older generation, over in-memory edges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import EngineError
from flusso_core.interfaces import SinkCapabilities
from flusso_core.model import IndexMapping, Key, KeyRange, Page
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import ROOT

from .running import childless, live, until, virtual


class Held(MemoryBuilder):
    """Reads no page while it is held."""

    held = False

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        while self.held:
            await asyncio.sleep(1)
        return await super().page(index, span, after, limit)


def make(
    database: MemoryDatabase,
    *destinations: MemoryDestination,
    builder: MemoryBuilder | None = None,
    form: str | None = None,
) -> Engine:
    sinks = {f"sink{number}": MemorySink(each) for number, each in enumerate(destinations)}
    reading = builder or MemoryBuilder(database, form=form)
    return Engine(MemoryCapture(database), reading, sinks)


def clean(destination: MemoryDestination) -> bool:
    record = destination.records["parents"]
    return record.current.clean and record.serving is None


async def reindexed(running: Engine, destination: MemoryDestination) -> None:
    """The index is in its second generation, and the first is kept."""
    await until(lambda: destination.serving == {"parents": 1})
    await running.reindex("parents", keep_old=True)
    await until(lambda: destination.serving == {"parents": 2} and clean(destination))


async def truncated(database: MemoryDatabase, destination: MemoryDestination) -> None:
    """The root table has lost all rows and got one, and the next generation is to have it."""
    database.commit(database.truncate(ROOT), database.put_parent("p001", "again"))
    await until(lambda: destination.records["parents"].current.number == 2)


async def applied(database: MemoryDatabase, destination: MemoryDestination) -> None:
    """Every change is, and searches find what the database has."""
    await until(lambda: database.confirmed == database.head)
    assert destination.search("parents") == database.documents()


def change(database: MemoryDatabase) -> None:
    database.commit(database.put_parent("p001", "renamed"), database.delete_parent("p002"))


@pytest.mark.parametrize("keep", [False, True])
def test_searches_see_the_kept_generation_at_once_and_it_is_swept(keep: bool) -> None:
    """D4: it missed what came meanwhile; what was seen until then is kept or dropped."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = Held(database)
        running = make(database, destination, builder=builder)
        async with live(running):
            await reindexed(running, destination)
            before = destination.search("parents")
            change(database)
            await until(lambda: destination.search("parents") == database.documents())
            builder.held = True
            await running.rollback("parents", keep_current=keep)
            assert destination.serving == {"parents": 1}
            assert destination.search("parents") == before
            database.commit(database.put_parent("p005", "live"))
            await until(lambda: database.confirmed == database.head)
            assert b"live" in destination.search("parents")["p005"], "changes reach it at once"
            builder.held = False
            await until(lambda: clean(destination))
            assert destination.search("parents") == database.documents()
            assert (("parents", 2) in destination.generations) is keep
            assert [one.number for one in destination.records["parents"].kept] == [2] * keep
            if keep:
                await running.rollback("parents")
                assert destination.serving == {"parents": 2}
                await until(lambda: clean(destination))
                assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_reindex_is_given_up_by_going_back() -> None:
    """D4: what serves has had every change: nothing of it is read again."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = Held(database)
        running = make(database, destination, builder=builder)
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            builder.held = True
            await running.reindex("parents")
            change(database)
            await running.rollback("parents", keep_current=False)
            assert clean(destination)
            assert list(destination.generations) == [("parents", 1)]
            await applied(database, destination)
            builder.held = False
            await running.reindex("parents")
            await until(lambda: destination.serving == {"parents": 3} or clean(destination))
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_what_was_given_up_lends_the_next_generation_neither_its_number_nor_its_cursors() -> None:
    """D4: the next one is filled from its first row, and no late request reaches it."""

    async def main() -> None:
        database, destination = childless(1000), MemoryDestination()
        builder = Held(database)
        running = make(database, destination, builder=builder)
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            await running.reindex("parents")
            while len(destination.generations.get(("parents", 2), ())) < 5:
                await asyncio.sleep(0)
            builder.held = True
            await running.rollback("parents", keep_current=False)
            builder.held = False
            await running.reindex("parents")
            await until(lambda: destination.serving == {"parents": 3})
            assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("turns", range(40))
def test_a_kill_at_any_step_is_made_good_by_the_next_run(turns: int, keep: bool) -> None:
    """R2: it has happened or it has not, and what no record names is gone."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        running = make(database, destination)
        task = asyncio.create_task(running.run())
        await reindexed(running, destination)
        change(database)
        asking = asyncio.create_task(running.rollback("parents", keep_current=keep))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task, asking])
        asking.exception()
        database.commit(database.put_parent("p003", "while down"))
        await make(database, destination).run(once=True)
        assert destination.search("parents") == database.documents()
        record = destination.records["parents"]
        named = {record.current.number, *(one.number for one in record.kept)}
        assert {number for _, number in destination.generations} == named
        assert destination.serving == {"parents": record.current.number}

    virtual(main)


def test_without_an_older_generation_of_every_sink_nothing_is_changed() -> None:
    async def main() -> None:
        database, first, second = childless(), MemoryDestination(), MemoryDestination()
        running = make(database, first)
        async with live(running):
            await reindexed(running, first)
        running = make(database, first, second)
        async with live(running):
            await until(lambda: second.serving == {"parents": 1} and clean(first))
            with pytest.raises(EngineError, match="sink1: index parents has no older generation"):
                await running.rollback("parents")
            assert first.serving == {"parents": 2}
            with pytest.raises(EngineError, match="there is no index 'others'"):
                await running.rollback("others")
        del first.generations["parents", 1]
        running = make(database, first)
        with pytest.raises(EngineError, match="sink0: index parents has no older generation"):
            await running.run(once=True, request=lambda: running.rollback("parents"))

    virtual(main)


def test_a_kept_generation_of_another_schema_waits_for_its_file() -> None:
    """D4: a run goes by the schema file; with that put back, going back needs no seed."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        await make(database, destination, form="owner").run(once=True)
        old = make(database, destination, form="owner")
        await old.run(once=True, request=lambda: old.reindex("parents", keep_old=True))
        assert destination.serving == {"parents": 2}
        await make(database, destination, form="grandchildren").run(once=True)
        assert destination.serving == {"parents": 3}
        new = make(database, destination, form="grandchildren")
        with pytest.raises(EngineError, match="put the older files back"):
            await new.run(once=True, request=lambda: new.rollback("parents"))
        change(database)
        builder = Held(database, form="owner")
        builder.held = True
        back = make(database, destination, builder=builder)
        task = asyncio.create_task(back.run(request=lambda: back.rollback("parents")))
        await until(lambda: destination.serving == {"parents": 1})
        builder.held = False
        await until(lambda: clean(destination))
        back.stop()
        await task
        assert all(b'"form": "owner"' in body for body in destination.search("parents").values())
        assert len(destination.search("parents")) == len(database.documents())
        assert set(destination.generations) == {("parents", 1), ("parents", 3)}

    virtual(main)


def test_behind_a_truncate_what_served_is_emptied_by_its_sweep() -> None:
    """C7: it is void and gets no changes, until it is current again."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        down = False

        def throttle(_: str) -> bool:
            return down

        running = Engine(
            MemoryCapture(database),
            MemoryBuilder(database),
            {"memory": MemorySink(destination, throttle=throttle)},
        )
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            down = True
            await truncated(database, destination)
            asking = asyncio.create_task(running.rollback("parents", keep_current=False))
            await asyncio.sleep(60)
            down = False
            await asking
            await until(lambda: clean(destination))
            assert destination.serving == {"parents": 1}
            assert list(destination.generations) == [("parents", 1)]
            await applied(database, destination)

    virtual(main)


def test_a_sink_without_memory_keeps_nothing() -> None:
    async def main() -> None:
        database = childless()

        class Forgetful(MemorySink):
            @property
            def capabilities(self) -> SinkCapabilities:
                return SinkCapabilities(records=False, versions=False)

        running = Engine(
            MemoryCapture(database),
            MemoryBuilder(database),
            {"out": Forgetful(MemoryDestination())},
        )
        with pytest.raises(EngineError, match="no sink that is up keeps generations"):
            await running.run(once=True, request=lambda: running.rollback("parents"))

    virtual(main)


def test_what_is_refused_in_the_middle_does_not_end_the_run() -> None:
    """C7: the older one was there when it was asked for, and then a TRUNCATE took its place."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        down = False

        class Slow(MemorySink):
            async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
                while down:
                    await asyncio.sleep(1)
                await super().serve_generation(mapping, generation)

        running = Engine(
            MemoryCapture(database), MemoryBuilder(database), {"memory": Slow(destination)}
        )
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            down = True
            await truncated(database, destination)
            asking = asyncio.create_task(running.rollback("parents", keep_current=False))
            await asyncio.sleep(5)
            down = False
            with pytest.raises(EngineError, match="no older generation"):
                await asking  # the new one serves by then; the run goes on
            await until(lambda: clean(destination))
            await applied(database, destination)

    virtual(main)


class Losing(MemorySink):
    """Somebody deletes generation 1 in the moment in which it is to take writes or to serve."""

    losing = ""
    away = False

    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        self._lose("resume", mapping, generation)
        await super().resume_generation(mapping, generation)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        while self.away:
            await asyncio.sleep(1)
        self._lose("serve", mapping, generation)
        await super().serve_generation(mapping, generation)

    def _lose(self, request: str, mapping: IndexMapping, generation: int) -> None:
        if self.losing == request and generation == 1:
            self._destination.generations.pop((mapping.index, generation), None)


@pytest.mark.parametrize("losing", ["resume", "serve"])
@pytest.mark.parametrize("cut_short", [False, True])
def test_an_older_generation_that_is_deleted_meanwhile_is_made_anew(
    cut_short: bool, losing: str
) -> None:
    """D1: who has asked hears of it, and the run goes on; so does the start behind a kill."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()

        def make_losing() -> tuple[Engine, Losing]:
            sink = Losing(destination)
            edges = (MemoryCapture(database), MemoryBuilder(database), {"memory": sink})
            return Engine(*edges), sink

        running, sink = make_losing()
        task = asyncio.create_task(running.run())
        await reindexed(running, destination)
        # Before the kill it is there, or nothing would be cut short.
        sink.losing, sink.away = "" if cut_short else losing, cut_short
        if cut_short:
            record = destination.records["parents"]
            asking = asyncio.create_task(running.rollback("parents"))
            while destination.records["parents"] == record:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task, asking])
            asking.exception()
            running, sink = make_losing()
            sink.losing = losing
            task = asyncio.create_task(running.run())
        else:
            with pytest.raises(EngineError, match="generation 1 of parents was deleted"):
                await running.rollback("parents")
        await until(lambda: clean(destination) and destination.serving == {"parents": 3})
        assert destination.search("parents") == database.documents()
        assert database.confirmed == database.head
        running.stop()
        await task

    virtual(main)


def test_a_request_is_part_of_a_job() -> None:
    """D4: a job that begins with a reindex ends when that has ended."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        await make(database, destination).run(once=True)
        running = make(database, destination)
        seen: list[Sequence[int]] = []

        async def request() -> None:
            await running.reindex("parents")
            record = running.records()["sink0"]["parents"]
            assert record.serving is not None
            seen.append((record.serving.number, record.current.number))

        await running.run(once=True, request=request)
        assert seen == [(1, 2)]
        assert destination.serving == {"parents": 2}
        assert clean(destination)
        assert running.records() == {}

    virtual(main)
