"""An index whose schema no longer fits its tables stops alone; the others go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import EngineError, SchemaMismatch
from flusso_core.interfaces import PutBatch, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    ChangeBatch,
    IndexMapping,
    Key,
    KeyRange,
    Page,
    Position,
    UnfitIndex,
)
from flusso_core.observe.observer import NoopObserver
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import ROOT

from .running import childless, live, until, virtual

GOOD, BAD = "parents", "people"
REASON = "people.schema.yml, line 7: column name of public.parents was dropped; correct the field"


class TwoIndexes(MemoryBuilder):
    """Two indexes of the same documents; `failing` says which requests find the second unfit."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self._inner = {name: MemoryBuilder(database, index=name) for name in (GOOD, BAD)}
        self.failing: set[str] = set()
        self.excluded: set[str] = set()
        self.unfit_at_start: Sequence[UnfitIndex] = ()
        self.builds: list[str] = []
        self.pages: Counter[str] = Counter()

    def mappings(self) -> Mapping[str, IndexMapping]:
        return {name: inner.mappings()[name] for name, inner in self._inner.items()}

    def unfit(self) -> Sequence[UnfitIndex]:
        return self.unfit_at_start

    def exclude(self, index: str) -> None:
        self.excluded.add(index)

    def check_fit(self, index: str, request: str) -> None:
        if index == BAD and request in self.failing:
            raise SchemaMismatch(BAD, REASON)

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        for name, inner in self._inner.items():
            if name in self.excluded:
                continue
            self.check_fit(name, "resolve")
            async for found in inner.resolve(changes):
                yield found

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        self.check_fit(index, "build")
        self.builds.append(index)
        async for chunk in self._inner[index].build(index, keys):
            yield chunk

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        self.check_fit(index, "ranges")
        return await super().ranges(index, count)

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        self.check_fit(index, "page")
        self.pages[index] += 1
        return await super().page(index, span, after, limit)


class Told(NoopObserver):
    """Remembers which indexes stopped, and why."""

    def __init__(self) -> None:
        self.stopped: list[tuple[str, str]] = []

    def index_stopped(self, index: str, reason: str) -> None:
        self.stopped.append((index, reason))


class Telling(MemoryCapture):
    """A capture that finds an index unfit at a commit, and says so at each later one too."""

    def __init__(self, database: MemoryDatabase, unfit_from: int) -> None:
        super().__init__(database)
        self._unfit_from = unfit_from

    async def live(self, start: Position, put: PutBatch) -> None:
        async def tell(batch: ChangeBatch) -> None:
            number = max(batch.transactions, default=0)
            unfit = (UnfitIndex(BAD, REASON),) if number >= self._unfit_from else ()
            await put(ChangeBatch(batch.changes, batch.position, batch.transactions, unfit=unfit))

        await super().live(start, tell)


def make(
    database: MemoryDatabase,
    *destinations: MemoryDestination,
    builder: TwoIndexes | None = None,
    capture: MemoryCapture | None = None,
    **settings: Any,
) -> Engine:
    sinks = {f"sink{number}": MemorySink(each) for number, each in enumerate(destinations)}
    return Engine(
        capture or MemoryCapture(database), builder or TwoIndexes(database), sinks, **settings
    )


@pytest.mark.parametrize("request_", ["resolve", "build", "capture"])
def test_an_index_that_no_longer_fits_stops_alone(request_: str) -> None:
    """C14: the others follow, the source is confirmed, and the index's record stays behind."""

    async def main() -> None:
        database, destinations = childless(), (MemoryDestination(), MemoryDestination())
        builder, told = TwoIndexes(database), Told()
        capture = Telling(database, database.head + 1 if request_ == "capture" else 10**9)
        running = make(database, *destinations, builder=builder, capture=capture, observer=told)
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        right_up_to = database.head
        builder.failing = {request_}
        for number in range(50):
            database.commit(database.put_parent(f"p{number:03}", "changed"))
            await asyncio.sleep(0.1)
        await until(lambda: database.confirmed == database.head)
        assert not task.done()
        running.stop()
        await task
        for destination in destinations:
            assert destination.search(GOOD) == database.documents()
            assert destination.records[GOOD].position.order == database.head
            assert destination.records[BAD].position.order == right_up_to
        assert told.stopped == [(BAD, REASON)], "once, however many lanes and batches"
        assert builder.excluded == {BAD}

    virtual(main)


@pytest.mark.parametrize("request_", ["resolve", "build", "capture"])
def test_the_next_start_fills_what_had_stopped(request_: str) -> None:
    """C14, H3: what the index missed is a gap."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = TwoIndexes(database)
        capture = Telling(database, database.head + 1 if request_ == "capture" else 10**9)
        running = make(database, destination, builder=builder, capture=capture)
        async with live(running):
            await until(lambda: database.confirmed == database.head)
            builder.failing = {request_}
            database.commit(database.delete_parent("p001"), database.put_parent("p002", "changed"))
            await until(lambda: database.confirmed == database.head)
        assert destination.search(BAD) != database.documents()
        await make(database, destination).run(once=True)
        assert destination.search(BAD) == destination.search(GOOD) == database.documents()

    virtual(main)


@pytest.mark.parametrize("request_", ["ranges", "page"])
def test_an_index_whose_seed_does_not_fit_stops_alone(request_: str) -> None:
    """C14, H6: it is not seeded, the other is, and a run that was to catch up says so."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder, told = TwoIndexes(database), Told()
        builder.failing = {request_}
        running = make(database, destination, builder=builder, observer=told)
        with pytest.raises(EngineError, match=r"index has stopped.*people.*line 7"):
            await running.run(once=True)
        assert destination.search(GOOD) == database.documents()
        assert destination.records[GOOD].current.seeded
        assert not destination.records[BAD].current.seeded
        assert told.stopped == [(BAD, REASON)]
        await make(database, destination).run(once=True)
        assert destination.search(BAD) == database.documents()

    virtual(main)


def test_an_index_whose_table_is_missing_at_the_start_stops_alone() -> None:
    """C14: its record stays as it was, and nothing of it is built."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        await make(database, destination).run(once=True)
        before = destination.records[BAD]
        database.commit(database.put_parent("p001", "changed"))
        builder = TwoIndexes(database)
        builder.unfit_at_start = [UnfitIndex(BAD, REASON)]
        with pytest.raises(EngineError, match="people"):
            await make(database, destination, builder=builder).run(once=True)
        assert destination.search(GOOD) == database.documents()
        assert destination.records[BAD] == before
        assert BAD not in builder.builds
        await make(database, destination).run(once=True)
        assert destination.search(BAD) == database.documents()

    virtual(main)


def test_a_run_without_any_index_left_ends() -> None:
    """C14: there is nothing to do, and confirming would lose what none of them has."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = TwoIndexes(database)
        builder.unfit_at_start = [UnfitIndex(GOOD, "gone"), UnfitIndex(BAD, "gone as well")]
        with pytest.raises(EngineError, match="gone as well"):
            await make(database, destination, builder=builder).run()
        assert database.confirmed == 0
        assert not destination.records

    virtual(main)


def test_a_truncate_of_an_index_that_has_stopped_leaves_its_record() -> None:
    """C7, C14: no new generation begins for it."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        capture = Telling(database, database.head + 1)
        running = make(database, destination, capture=capture)
        async with live(running):
            await until(lambda: database.confirmed == database.head)
            before = destination.records[BAD]
            database.commit(database.truncate(ROOT), database.put_parent("p999", "reloaded"))
            await until(lambda: database.confirmed == database.head)
            await until(lambda: destination.search(GOOD) == database.documents())
        assert destination.records[BAD] == before

    virtual(main)


def test_an_index_that_has_stopped_is_not_swept_when_its_interval_is_over() -> None:
    """C14: its record stays as it is, and nothing of it is read."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = TwoIndexes(database)
        running = make(database, destination, builder=builder, sweep_intervals={BAD: 10.0})
        async with live(running):
            await until(lambda: len(destination.serving) == 2)
            builder.failing = {"build"}
            database.commit(database.put_parent("p001", "changed"))
            await until(lambda: BAD in builder.excluded)
            swept, read = destination.records[BAD].current.sweep, builder.pages[BAD]
            await asyncio.sleep(60)
            assert destination.records[BAD].current.sweep == swept
            assert builder.pages[BAD] == read

    virtual(main)


def test_an_index_that_nobody_serves_is_a_defect_of_who_names_it() -> None:
    """A capture that speaks of an unknown index must not be taken for a healthy one."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = TwoIndexes(database)
        builder.unfit_at_start = [UnfitIndex("nobody's", "?")]
        with pytest.raises(EngineError, match="nobody's"):
            await make(database, destination, builder=builder).run()

    virtual(main)


def test_a_builder_that_resolves_what_has_stopped_ends_the_run() -> None:
    """It would be asked again for ever."""

    class Stubborn(TwoIndexes):
        def exclude(self, index: str) -> None:
            pass

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = Stubborn(database)
        builder.failing = {"resolve"}
        with pytest.raises(EngineError, match="resolved all the same"):
            await make(database, destination, builder=builder).run()

    virtual(main)


@pytest.mark.parametrize("request_", ["page", "build"])
def test_an_index_that_stops_while_documents_are_built_anew_is_named(request_: str) -> None:
    """C14: what it is owed is void, but nobody is told that it landed."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = TwoIndexes(database)
        engine = make(database, destination, builder=builder)
        async with live(engine):
            await until(lambda: destination.serving == {GOOD: 1, BAD: 1})
            builder.failing = {request_}
            keys: Sequence[Key] = [(key,) for key in database.parents]
            with pytest.raises(EngineError, match=REASON):
                await engine.rebuild(BAD, keys)
            with pytest.raises(EngineError, match=REASON):
                await engine.rebuild(BAD, keys)
            await engine.rebuild(GOOD, keys)

    virtual(main)
