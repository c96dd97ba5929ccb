"""The shortest histories that show why each rule of the engine is there.

Each is a run of the whole engine over edges in memory. `test_mutants_engine.py` takes the rules
away, one at a time, and sees that the history of that rule fails and the others do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeAlias

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import EngineError
from flusso_core.interfaces import PutBatch, SinkCapabilities
from flusso_core.model import (
    ChangeBatch,
    Document,
    FlushReport,
    IndexMapping,
    Key,
    KeyRange,
    Page,
    Position,
    StateRecord,
)
from flusso_core.testing import (
    AppliedLater,
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import CHILD, ROOT, formed

INDEX = "parents"
LONG = 30.0

Change: TypeAlias = Callable[[], AbstractContextManager[object]]
"""What is changed about the engine while a history is played."""


class VersionlessSink(MemorySink):
    """Writes whatever comes last, as most destinations do."""

    @property
    def capabilities(self) -> SinkCapabilities:
        return replace(super().capabilities, versions=False)

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for document in documents:
            stored = self._destination.generations.get(document.id[:2], {})
            stored.pop(document.id.key[0], None)
        return await super().flush(documents, caught_up=caught_up)


class Stage:
    """A database of two parents, a destination, and a run between them."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.destination = MemoryDestination()
        self.late: set[bytes] = set()
        for key in "ab":
            self.database.commit(self.database.put_parent(key, "old"))
        self.database.confirmed = self.database.head

    def engine(
        self,
        builder: MemoryBuilder | None = None,
        sink: MemorySink | None = None,
        capture: MemoryCapture | None = None,
    ) -> Engine:
        return Engine(
            capture or MemoryCapture(self.database),
            builder or MemoryBuilder(self.database),
            {"memory": sink or self.sink()},
            retries=RetryPolicy(initial=0.01, maximum=0.1),
        )

    def sink(self) -> MemorySink:
        """A sink; what is named in `late` is answered never and lands when the test says so."""
        return LateSink(self.destination, self.late)

    @asynccontextmanager
    async def running(self, engine: Engine) -> AsyncGenerator[asyncio.Task[None], None]:
        """A run, killed at the end."""
        task = asyncio.create_task(engine.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def caught_up(self) -> None:
        """Return when all is confirmed that is committed, and served."""
        async with asyncio.timeout(LONG):
            while (
                self.database.confirmed < self.database.head
                or INDEX not in self.destination.serving
            ):
                await asyncio.sleep(0.01)

    async def swept(self, times: int) -> None:
        """Return when the index has been swept so often."""
        async with asyncio.timeout(LONG):
            while self.destination.records[INDEX].current.swept < times:
                await asyncio.sleep(0.01)

    def assert_equal(self, when: str) -> None:
        assert self.destination.search(INDEX) == self.database.documents(), when


class LateSink(MemorySink):
    """Some requests are answered never and land later."""

    def __init__(self, destination: MemoryDestination, late: set[bytes]) -> None:
        super().__init__(destination, max_documents=1)
        self._late = late

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for text in list(self._late):
            if any(text in (document.body or b"") for document in documents):
                self._late.discard(text)
                self._destination.late.extend(documents)
                raise AppliedLater("a fault of the test")
        return await super().flush(documents, caught_up=caught_up)


class BlockedSink(MemorySink):
    """Answers no flush."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        await asyncio.Event().wait()
        raise AssertionError


class StuckRecords(MemorySink):
    """Stores no record any more when it is stuck."""

    stuck = False

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        await super().store_records(records)


class PausedPages(MemoryBuilder):
    """Its first page is held back once its rows have been read."""

    def __init__(self, database: MemoryDatabase, *, form: str | None = None) -> None:
        super().__init__(database, chunk=100, form=form)
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        return [KeyRange()]

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        page = await super().page(index, span, after, limit)
        self.read.set()
        await self.go_on.wait()
        return page


class SlowPieces(MemoryCapture):
    """A second passes after each piece of a commit."""

    async def live(self, start: Position, put: PutBatch) -> None:
        async def slowly(batch: ChangeBatch) -> None:
            await put(batch)
            await asyncio.sleep(1)

        await super().live(start, slowly)


class PausedMissing(MemoryBuilder):
    """What it finds missing is held back."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        found = await super().missing(index, ids)
        if found:
            self.read.set()
            await self.go_on.wait()
        return found


class BlockedBeginning(MemorySink):
    """Begins no second generation."""

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        if generation > 1:
            await asyncio.Event().wait()
        await super().begin_generation(mapping, generation)


class Rules:
    """Each history is given what to change about the engine; an honest one: nothing."""

    async def test_nothing_is_built_before_its_commit_can_be_seen(self, bench: Change) -> None:
        """The gate: what was built before would be old, and never be built again."""
        with bench():
            stage = Stage()
            async with stage.running(stage.engine()):
                await stage.caught_up()
                stage.database.commit(stage.database.put_parent("a", "new"), hidden=True)
                await asyncio.sleep(5)
                stage.database.reveal()
                await asyncio.sleep(5)
            stage.assert_equal("after a commit that could be seen late")

    async def test_a_late_request_of_this_run_does_no_harm(self, bench: Change) -> None:
        """Versions: a request that timed out lands after a newer one."""
        with bench():
            stage = Stage()
            stage.late.add(b"first")
            async with stage.running(stage.engine()):
                await stage.caught_up()
                stage.database.commit(stage.database.put_parent("a", "first"))
                while not stage.destination.late:
                    await asyncio.sleep(0.01)
                stage.database.commit(stage.database.put_parent("a", "second"))
                await stage.caught_up()
            stage.destination.apply_late()
            stage.assert_equal("after a late request")

    async def test_a_late_request_of_an_earlier_run_does_no_harm(self, bench: Change) -> None:
        """The epoch: the next run's flights are newer, however few they are."""
        with bench():
            stage = Stage()
            async with stage.running(stage.engine()):
                await stage.caught_up()
                for number in range(20):
                    stage.database.commit(stage.database.put_parent("b", f"name {number}"))
                    await stage.caught_up()
                stage.late.add(b"first")
                stage.database.commit(stage.database.put_parent("a", "first"))
                while not stage.destination.late:
                    await asyncio.sleep(0.01)
            stage.database.commit(stage.database.put_parent("a", "second"))
            async with stage.running(stage.engine()):
                await stage.caught_up()
            stage.destination.apply_late()
            stage.assert_equal("after a late request of an earlier run")

    async def test_a_page_writes_nothing_that_changed_since_it_was_opened(
        self, bench: Change
    ) -> None:
        """The page rule: its rows are old by the time that they are written."""
        with bench():
            stage = Stage()
            builder = PausedPages(stage.database)
            sink = VersionlessSink(stage.destination)
            async with stage.running(stage.engine(builder, sink)):
                await builder.read.wait()
                stage.database.commit(stage.database.put_parent("a", "new"))
                await asyncio.sleep(5)
                builder.go_on.set()
                await stage.caught_up()
            stage.assert_equal("after a page that was read before a change")

    async def test_nothing_is_confirmed_before_it_has_landed(self, bench: Change) -> None:
        """Debts: a run that is killed now must get the change again."""
        with bench():
            stage = Stage()
            async with stage.running(stage.engine()):
                await stage.caught_up()
            before = stage.database.confirmed
            blocked = BlockedSink(stage.destination)
            async with stage.running(stage.engine(sink=blocked)):
                await asyncio.sleep(1)
                stage.database.commit(stage.database.put_parent("a", "new"))
                await asyncio.sleep(10)
                assert stage.database.confirmed == before, "confirmed, and not landed"
            async with stage.running(stage.engine()):
                await stage.caught_up()
            stage.assert_equal("after a kill")

    async def test_a_record_says_so_before_the_source_is_told(self, bench: Change) -> None:
        """Records: who takes over from a run goes on from what they say, and no further."""
        with bench():
            stage = Stage()
            sink = StuckRecords(stage.destination)
            async with stage.running(stage.engine(sink=sink)):
                await stage.caught_up()
                before, sink.stuck = stage.database.confirmed, True
                for key in "cd":
                    stage.database.commit(stage.database.put_parent(key, "new"))
                    await asyncio.sleep(5)
                stage.assert_equal("while no record can be stored")
                assert stage.database.confirmed == before, "confirmed, and no record says so"

    async def test_rows_of_a_commit_that_the_stream_never_brings_are_waited_for(
        self, bench: Change
    ) -> None:
        """The settling wait: it may have been written before the stream began, and seen after."""
        with bench():
            stage = Stage()
            stage.database.commit(stage.database.put_parent("a", "new"), hidden=True)
            stage.database.confirmed = stage.database.head
            async with stage.running(stage.engine()):
                await asyncio.sleep(5)
                stage.database.reveal()
                await stage.caught_up()
            stage.assert_equal("after a transaction that straddles the start")

    async def test_a_stream_that_begins_behind_a_record_is_a_gap(self, bench: Change) -> None:
        """Records: what was confirmed while this index did not listen never comes again."""
        with bench():
            stage = Stage()
            async with stage.running(stage.engine()):
                await stage.caught_up()
            stage.database.commit(stage.database.put_parent("a", "unheard"))
            stage.database.confirmed = stage.database.head
            async with stage.running(stage.engine()):
                await asyncio.sleep(5)
                await stage.caught_up()
            stage.assert_equal("after a gap")

    async def test_a_late_request_never_reaches_an_emptied_index(self, bench: Change) -> None:
        """TRUNCATE of the root: a new generation, because nothing can be remembered of the old."""
        with bench():
            stage = Stage()
            async with stage.running(stage.engine()):
                await stage.caught_up()
                stage.late.add(b"first")
                stage.database.commit(stage.database.put_parent("c", "first"))
                while not stage.destination.late:
                    await asyncio.sleep(0.01)
                await stage.caught_up()
                stage.database.commit(stage.database.truncate(ROOT))
                await stage.caught_up()
                await asyncio.sleep(5)
            for stored in stage.destination.generations.values():
                for key in [key for key, entry in stored.items() if entry.body is None]:
                    del stored[key]  # deletes are remembered for minutes only
            stage.destination.apply_late()
            stage.assert_equal("after a TRUNCATE and a late request")

    async def test_an_emptied_index_serves_when_its_whole_commit_is_right(
        self, bench: Change
    ) -> None:
        """TRUNCATE and reload in one commit, which comes in several batches."""
        with bench():
            stage = Stage()
            database, destination = stage.database, stage.destination
            async with stage.running(stage.engine(capture=SlowPieces(database, piece=1))):
                await stage.caught_up()
                reload = [database.put_parent(key, "reloaded") for key in "ab"]
                database.commit(database.truncate(ROOT), *reload)
                async with asyncio.timeout(LONG):
                    while database.confirmed < database.head:
                        assert destination.search(INDEX).keys() == {"a", "b"}, "a part of it"
                        await asyncio.sleep(0.01)
            stage.assert_equal("after TRUNCATE and reload")

    async def test_a_sweep_that_meets_a_sweep_begins_again(self, bench: Change) -> None:
        """What was asked for later is owed rows that were read later."""
        with bench():
            stage = Stage()
            builder = PausedPages(stage.database)
            builder.go_on.set()
            engine = stage.engine(builder)
            async with stage.running(engine):
                await stage.caught_up()
                builder.read.clear()
                builder.go_on.clear()
                await engine.sweep(INDEX)
                await builder.read.wait()
                stage.database.parents["a"] = "unheard"
                await engine.sweep(INDEX)
                builder.go_on.set()
                await stage.swept(1)
                await asyncio.sleep(5)
            stage.assert_equal("after two sweeps")

    async def test_a_sweep_that_meets_a_seed_begins_it_again(self, bench: Change) -> None:
        """TRUNCATE of a related table: what the seed has read of it already is wrong."""
        with bench():
            stage = Stage()
            stage.database.commit(stage.database.put_child("x", "a"))
            stage.database.confirmed = stage.database.head
            builder = PausedPages(stage.database)
            async with stage.running(stage.engine(builder)):
                await builder.read.wait()
                stage.database.commit(stage.database.truncate(CHILD))
                await asyncio.sleep(5)
                builder.go_on.set()
                await stage.caught_up()
            stage.assert_equal("after a TRUNCATE of a related table, and a seed")

    async def test_what_serves_by_an_older_schema_gets_changes(self, bench: Change) -> None:
        """Two generations: each is owed what touches it by its own schema."""
        with bench():
            stage = Stage()
            database = stage.database
            database.commit(database.put_parent("a", "old", "o"))
            database.confirmed = database.head
            async with stage.running(stage.engine(MemoryBuilder(database, form="owner"))):
                await stage.caught_up()
            paused = PausedPages(database, form="grandchildren")
            async with stage.running(stage.engine(paused)):
                await paused.read.wait()
                database.commit(database.put_owner("o", "new"))
                await stage.caught_up()
            expected = {key: formed(body, "owner") for key, body in database.documents().items()}
            assert stage.destination.search(INDEX) == expected, "what serves was forgotten"

    async def test_a_row_that_came_back_survives_the_end_of_a_sweep(self, bench: Change) -> None:
        """Ids that the source lacks are marked: the build decides, by the row of then."""
        with bench():
            stage = Stage()
            builder = PausedMissing(stage.database)
            engine = stage.engine(builder)
            async with stage.running(engine):
                await stage.caught_up()
                del stage.database.parents["a"]
                await engine.sweep(INDEX)
                await builder.read.wait()
                stage.database.commit(stage.database.put_parent("a", "back"))
                await stage.caught_up()
                builder.go_on.set()
                await stage.swept(1)
            stage.assert_equal("after a sweep, and a row that came back")

    async def test_a_related_truncate_is_owed_until_its_sweep_is_noted_down(
        self, bench: Change
    ) -> None:
        """Once it is confirmed it never comes again: the record alone tells of the sweep."""
        with bench():
            stage = Stage()
            stage.database.commit(stage.database.put_child("x", "a"))
            engine = stage.engine(sink=BlockedBeginning(stage.destination))
            async with stage.running(engine):
                await stage.caught_up()
                before = stage.database.confirmed
                asking = asyncio.create_task(engine.reindex(INDEX))
                await asyncio.sleep(1)
                stage.database.commit(stage.database.truncate(CHILD))
                await asyncio.sleep(5)
                confirmed = stage.database.confirmed
            with suppress(EngineError):
                await asking
            assert confirmed == before, "confirmed, and no record tells of the sweep"
            async with stage.running(stage.engine()):
                await stage.caught_up()
                await asyncio.sleep(5)
            stage.assert_equal("after a kill")
