"""Sweeps, TRUNCATE, and two generations of an index at once, over in-memory edges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import EngineError
from flusso_core.model import (
    Document,
    DocumentId,
    FlushReport,
    Generation,
    IndexMapping,
    Key,
    KeyRange,
    Page,
)
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import CHILD, ROOT

from .running import childless, filled, live, until, virtual


def make(database: MemoryDatabase, sink: MemorySink, **settings: Any) -> Engine:
    return Engine(MemoryCapture(database), MemoryBuilder(database), {"memory": sink}, **settings)


def spoil(database: MemoryDatabase, destination: MemoryDestination) -> None:
    """Change a row behind the stream's back, and put in what no row has: a key, and no key."""
    database.parents["p003"] = "changed"
    for key in ("p777", "~stray"):
        document = Document(DocumentId("parents", 1, (key,)), b'{"extra": true}', 1)
        destination.apply(document)
    (stored,) = destination.generations.values()
    stored["~sha256:0"] = stored["p777"]


def test_a_sweep_puts_right_what_no_change_could_tell() -> None:
    """R5, V3: rows that changed unseen, ids that the source lacks, ids that are no key at all."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination))
        with pytest.raises(EngineError, match="nothing runs"):
            await running.sweep("parents")
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            spoil(database, destination)
            await running.sweep("parents")
            assert not destination.records["parents"].current.clean, "the intent is durable"
            await until(lambda: destination.records["parents"].current.clean)
            assert destination.search("parents") == database.documents()
            assert list(destination.generations) == [("parents", 1)]

    virtual(main)


def test_a_sweep_that_was_killed_is_done_by_the_next_run() -> None:
    """R2: an intent without an end means: not clean."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination))
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        spoil(database, destination)
        await running.sweep("parents")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not destination.records["parents"].current.clean
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_an_interval_sweeps_again_and_again() -> None:
    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination), sweep_intervals={"parents": 60.0})
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            for _ in range(2):
                spoil(database, destination)
                await until(lambda: destination.search("parents") == database.documents())

    virtual(main)


def test_a_related_truncate_is_owed_until_its_intent_is_stored() -> None:
    """C7, H8: killed before the sweep, the next run does it, from the record alone."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        down = False

        async def pause() -> None:
            await asyncio.sleep(3600 if down else 0)

        task = asyncio.create_task(make(database, MemorySink(destination, pause=pause)).run())
        await until(lambda: database.confirmed == database.head)
        before, down = database.confirmed, True
        database.commit(database.truncate(CHILD))
        await asyncio.sleep(60)
        assert database.confirmed == before, "nothing knows of the sweep yet"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_truncate_and_reload_in_one_commit_never_shows_an_empty_index() -> None:
    """C7: the alias moves when the commit's own debts are paid, and no row is read for it."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        seen: list[int] = []

        def fault(_: str) -> None:
            seen.append(len(destination.search("parents")))

        running = make(database, MemorySink(destination, fault=fault))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            seen.clear()
            reload = (database.put_parent(f"p{number:03}", "reloaded") for number in range(20))
            database.commit(database.truncate(ROOT), *reload)
            await until(lambda: destination.serving == {"parents": 2})
            await until(lambda: database.confirmed == database.head)
            assert set(seen) == {20}
            assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("keep", [False, True])
def test_what_serves_gets_changes_while_a_new_generation_fills(keep: bool) -> None:
    """D4."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        slow = False

        class Slow(MemoryBuilder):
            async def estimate(self, index: str) -> int | None:
                while slow:
                    await asyncio.sleep(1)
                return await super().estimate(index)

        running = Engine(
            MemoryCapture(database), Slow(database), {"memory": MemorySink(destination)}
        )
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            slow = True
            await running.reindex("parents", keep_old=keep)
            database.commit(database.put_parent("p001", "renamed"), database.delete_parent("p002"))
            await until(lambda: database.confirmed == database.head)
            assert destination.serving == {"parents": 1}
            assert destination.search("parents") == database.documents()
            slow = False
            await until(lambda: destination.serving == {"parents": 2})
            await until(lambda: destination.records["parents"].serving is None)
            assert destination.search("parents") == database.documents()
        assert (("parents", 1) in destination.generations) is keep
        assert [one.number for one in destination.records["parents"].kept] == [1] * keep

    virtual(main)


@pytest.mark.parametrize("turns", range(1, 12))
def test_a_reindex_goes_on_without_who_asked_for_it(turns: int) -> None:
    """D4: cancelled at any step, the caller leaves no generation that is recorded and not live."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            asking = asyncio.create_task(running.reindex("parents"))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            await until(lambda: destination.records["parents"].serving is None)
            await running.reindex("parents")
            await until(lambda: destination.serving == {"parents": 2 + (turns > 1)})
            assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("ask", [Engine.sweep, Engine.reindex])
def test_what_is_asked_for_ends_with_the_run(
    ask: Callable[[Engine, str], Coroutine[Any, Any, None]], kill: bool
) -> None:
    """D4: a reindex that went on alone would touch what belongs to the next run."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        down = False

        async def pause() -> None:
            await asyncio.sleep(3600 if down else 0)

        running = make(database, MemorySink(destination, pause=pause))
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        down = True
        asking = asyncio.create_task(ask(running, "parents"))
        await asyncio.sleep(1)
        task.cancel() if kill else running.stop()
        with pytest.raises(EngineError, match="is not noted down"):
            await asking
        await asyncio.wait([task])
        down = False
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_reindex_behind_a_truncate_that_a_stop_cuts_short() -> None:
    """R2: the run ends without an error, though the newest generation was never live."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        blocked = False

        class Blocked(MemorySink):
            async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
                if blocked:
                    await asyncio.sleep(3600)
                await super().begin_generation(mapping, generation)

        running = make(database, Blocked(destination))
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        blocked = True
        database.commit(database.truncate(ROOT))
        await until(lambda: destination.records["parents"].current.number == 2)
        database.commit(database.put_parent("p001", "again"))
        asking = asyncio.create_task(running.reindex("parents"))
        await asyncio.sleep(1)
        running.stop()
        with pytest.raises(EngineError, match="is not noted down"):
            await asking
        await task
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_generation_deleted_while_running_is_filled_afresh() -> None:
    """D1: without a restart."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination))
        async with live(running):
            await until(lambda: database.confirmed == database.head)
            destination.generations.clear()
            destination.serving.clear()
            database.commit(database.put_parent("p001", "renamed"))
            await until(lambda: destination.search("parents") == database.documents())
            await until(lambda: database.confirmed == database.head)
            assert destination.serving == {"parents": 2}

    virtual(main)


def test_options_that_a_generation_cannot_be_given_make_another_once() -> None:
    """D4: without a moment in which a search finds less, and not again on the next start."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        await make(database, MemorySink(destination, options="1 shard")).run(once=True)
        less: list[int] = []

        def fault(_: str) -> None:
            if len(destination.search("parents")) < len(database.parents):
                less.append(len(destination.search("parents")))

        for _ in range(2):
            changed = MemorySink(destination, options="2 shards", fault=fault)
            await make(database, changed).run(once=True)
            assert destination.serving == {"parents": 2}
            assert destination.made == {("parents", 2): "2 shards"}
            assert destination.search("parents") == database.documents()
        assert less == []

    virtual(main)


def test_a_generation_that_no_record_names_is_dropped_at_the_start() -> None:
    """D4: a crash between a record and a drop leaks nothing."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        await make(database, MemorySink(destination)).run(once=True)
        sink = MemorySink(destination)
        await sink.begin_generation(IndexMapping("parents", "older", ()), 7)
        await make(database, MemorySink(destination)).run(once=True)
        assert list(destination.generations) == [("parents", 1)]

    virtual(main)


class Lagging(MemorySink):
    """Takes its time for every document of a generation that no search sees yet."""

    less: Sequence[str] = ()
    """What a search saw no more when the alias had moved."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        serving = self._destination.serving.get("parents", 1)
        if any(document.id.generation != serving for document in documents):
            await asyncio.sleep(0.05)
        return await super().flush(documents, caught_up=caught_up)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        older = self._destination.serving.get("parents")
        await super().serve_generation(mapping, generation)
        if older is not None:
            seen = self._destination.generations["parents", older]
            sees = self._destination.generations["parents", generation]
            self.less = sorted(seen.keys() - sees.keys())


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.1])
def test_a_search_never_sees_less_than_before(rate: float) -> None:
    """D4: the alias moves when the new generation has all that the old one was given."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        sink = Lagging(destination, max_documents=100)
        running = make(database, sink)
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            await running.reindex("parents")
            number = 99999
            while destination.serving == {"parents": 1}:
                number -= 1
                database.commit(database.put_parent(f"q{number}", "new"))
                await asyncio.sleep(rate)
            assert sink.less == []
            await until(lambda: destination.search("parents") == database.documents())

    virtual(main)


def test_what_is_lost_while_it_takes_over_is_filled_afresh() -> None:
    """D1, D4: what waits for it to catch up waits no longer, and what serves goes on."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()

        class Behind(MemoryBuilder):
            """Has a row come when the last page of the second generation has been read."""

            async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
                page = await super().page(index, span, after, limit)
                if span.upper is None and page.cursor is None and destination.serving:
                    database.commit(database.put_parent("q", "new"))
                    await until(lambda: "q" in destination.search("parents"))
                return page

        class Losing(MemorySink):
            """Loses the second generation with what came last."""

            async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
                if any(one.id.generation == 2 and one.id.key == ("q",) for one in documents):
                    await asyncio.sleep(60)
                    destination.generations.pop(("parents", 2))
                return await super().flush(documents, caught_up=caught_up)

        running = Engine(MemoryCapture(database), Behind(database), {"memory": Losing(destination)})
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            await running.reindex("parents")
            await until(lambda: ("parents", 3) in destination.generations)
            database.commit(database.put_parent("p001", "renamed"))
            await until(lambda: destination.search("parents") == database.documents())
            await until(lambda: destination.serving == {"parents": 3})
            await until(lambda: destination.search("parents") == database.documents())

    virtual(main)


class Vanishing(MemorySink):
    """Its generations are deleted between the moment in which they are listed and the next."""

    vanishing = True

    async def generations(self, index: str) -> Sequence[Generation]:
        found = await super().generations(index)
        if self.vanishing:
            self.vanishing = False
            self._destination.generations.clear()
            self._destination.serving.clear()
        return found


@pytest.mark.parametrize("seeded", [True, False])
def test_what_is_deleted_while_a_run_starts_is_filled_afresh(seeded: bool) -> None:
    """D1: made again, and empty, it would be taken for what it was."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        if seeded:
            await make(database, MemorySink(destination)).run(once=True)
        else:
            running = make(database, MemorySink(destination))
            task = asyncio.create_task(running.run())
            await until(lambda: bool(destination.generations))
            task.cancel()
            await asyncio.wait([task])
        running = make(database, Vanishing(destination))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 2})
            assert destination.search("parents") == database.documents()

    virtual(main)
