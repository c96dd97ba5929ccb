"""The shortest histories that show why each rule of the engine is there.

Each is a run of the whole engine over edges in memory. `test_mutants_engine.py` takes the rules
away, one at a time, and sees that the history of that rule fails and the others do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TypeAlias

from flusso_core.errors import EngineError
from flusso_core.testing import MemoryBuilder
from flusso_core.testing.database import CHILD, ROOT, formed

from .stage import (
    INDEX,
    LONG,
    BlockedBeginning,
    BlockedSink,
    PausedMissing,
    PausedPages,
    SlowPieces,
    Stage,
    StuckRecords,
    VersionlessSink,
)

Change: TypeAlias = Callable[[], AbstractContextManager[object]]
"""What is changed about the engine while a history is played."""


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
