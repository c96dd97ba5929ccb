"""The conformance kit of captures."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import TypeAdapter

from flusso_core.engine import Engine
from flusso_core.errors import SourceUnavailable
from flusso_core.interfaces import ChangeCapture
from flusso_core.model import Position, Severity
from flusso_core.testing.conformance.promise import Promise
from flusso_core.testing.conformance.source.bench import (
    GUIDE,
    SourceBench,
    SourceChecks,
    provisioned,
)
from flusso_core.testing.conformance.source.following import (
    Follower,
    following,
)
from flusso_core.testing.conformance.source.rows import (
    CHILDREN,
    INDEX,
    PARENTS,
    Delete,
    Put,
    Rekey,
    Rows,
    Truncate,
    Write,
    parsed,
    touched_by,
)
from flusso_core.testing.sink import MemoryDestination, MemorySink

WHOLE = Promise("a position is given for whole commits only", GUIDE)
COMMITTED = Promise("nothing is delivered that was not committed", GUIDE)
RESUMED = Promise(
    "a stream that keeps its identity resumes without a gap, from a position that was stored as "
    "text; one that cannot resume has another identity in each run",
    GUIDE,
)
CONFIRMED = Promise("only what was confirmed is forgotten, and it is, in the end", GUIDE)
IDLE = Promise("an idle stream advances to the head by empty batches", GUIDE)
PATIENT = Promise("while `put` blocks, nothing is lost and nobody is disconnected", GUIDE)
AGAIN = Promise("what a cancelled `put` did not take is delivered again", GUIDE)
GATE = Promise("after `wait_visible`, every new snapshot sees every commit of the batch", GUIDE)
LOST = Promise("a lost connection raises `SourceUnavailable`, and the stream goes on", GUIDE)
QUIET = Promise("`provision` may come twice, and `check` changes nothing", GUIDE)
CLOSES = Promise("`close` may come twice, and without `open`", GUIDE)
SECRET = Promise("no secret shows in a `repr`", GUIDE)
HANDED_OVER = Promise(
    "what is committed before, during and after the first read of the rows reaches the index",
    GUIDE,
)

BEFORE = (
    Put(PARENTS, "a", "Ada"),
    Put(PARENTS, "b", "Bob"),
    Put(PARENTS, "c", "Cid"),
    Put(CHILDREN, "1", "a"),
    Put(CHILDREN, "2", "b"),
)
"""What is there when a stream begins."""

HAPPENINGS: dict[str, tuple[Write, ...]] = {
    "a parent inserted": (Put(PARENTS, "n", "New"),),
    "a parent updated": (Put(PARENTS, "a", "Ann"),),
    "a parent deleted": (Delete(PARENTS, "a"),),
    "a parent's key changed": (Rekey(PARENTS, "a", "z"),),
    "a child inserted": (Put(CHILDREN, "3", "c"),),
    "a child moved": (Put(CHILDREN, "1", "b"),),
    "a child deleted": (Delete(CHILDREN, "2"),),
    "a child's key changed": (Rekey(CHILDREN, "1", "9"),),
    "several in one commit": (
        Put(PARENTS, "n", "New"),
        Put(CHILDREN, "1", "n"),
        Delete(PARENTS, "b"),
    ),
    "odd keys": (
        Put(PARENTS, "", "empty"),
        Put(PARENTS, "ü😀'\"\\\n", "odd"),
        Put(CHILDREN, "'", "{}"),
    ),
    "parents truncated": (Truncate(PARENTS),),
    "children truncated": (Truncate(CHILDREN),),
    "truncated and filled again": (Truncate(PARENTS), Put(PARENTS, "a", "again")),
}

_POSITIONS = TypeAdapter(Position)
_LARGE = 3000
_LEFT_ALONE = 1.0


class CaptureConformance(SourceChecks):
    """Everything that the engine relies on in a capture.

    Subclass it and give a fixture `bench` that returns a `SourceBench` on an empty database:

    ```python
    class TestMyCapture(CaptureConformance):
        @pytest.fixture
        def bench(self, database: str) -> MyBench:
            return MyBench(database)
    ```
    """

    @pytest.mark.parametrize("happening", HAPPENINGS)
    async def test_a_committed_change_is_delivered(
        self, bench: SourceBench, happening: str
    ) -> None:
        """With the old and the new keys by which its documents are found."""
        writes = HAPPENINGS[happening]
        rows = Rows()
        rows.apply(BEFORE)
        await bench.commit(*BEFORE)
        async with provisioned(bench) as capture, following(capture) as follower:
            await follower.reach_head(capture)
            follower.forget()
            await bench.commit(*writes)
            await follower.reach_head(capture)
            for batch in follower.batches:
                await GATE.within(capture.wait_visible(batch), "wait_visible")
            seen = await bench.rows()
        tables = {write.table for write in writes if isinstance(write, Truncate)}
        follower.check_touched(rows.apply(writes), tables)
        GATE.same((seen.parents, seen.children), (rows.parents, rows.children), "the rows")

    async def test_a_position_covers_everything_before_it(self, bench: SourceBench) -> None:
        """When the position of a commit comes, all changes up to it have come."""
        async with provisioned(bench) as capture, following(capture) as follower:
            for number in range(40):
                await bench.commit(Put(PARENTS, f"p{number}", "x"))
                if number % 8 == 7:
                    await follower.reach_head(capture)
                    follower.check_touched(f"p{known}" for known in range(number + 1))

    async def test_a_large_commit_has_one_position(self, bench: SourceBench) -> None:
        """However many pieces it comes in, none but its end can be confirmed."""
        async with provisioned(bench) as capture, following(capture) as follower:
            await bench.commit(*(Put(PARENTS, f"p{number}", "x") for number in range(_LARGE)))
            await follower.reach_head(capture)
        seen = 0
        for batch in follower.batches:
            seen += len(batch.changes)
            if batch.position is not None and 0 < seen < _LARGE:
                raise WHOLE.broken(f"a position after {seen} of {_LARGE} changes of a commit")
        WHOLE.same(seen, _LARGE, "changes of the commit")

    async def test_a_rolled_back_transaction_brings_nothing(self, bench: SourceBench) -> None:
        """What never was touches nothing."""
        async with provisioned(bench) as capture, following(capture) as follower:
            await bench.roll_back(Put(PARENTS, "never", "x"))
            await bench.commit(Put(PARENTS, "a", "x"))
            await follower.reach_head(capture)
        COMMITTED.same(touched_by(follower.changes)[0], {"a"}, "the documents that are touched")

    async def test_nothing_is_lost_between_provision_and_live(self, bench: SourceBench) -> None:
        """The first page is read in between."""
        async with provisioned(bench) as capture:
            await bench.commit(Put(PARENTS, "a", "x"))
            start = await capture.confirmed()
            await bench.commit(Put(PARENTS, "b", "x"))
            async with following(capture, start) as follower:
                await follower.reach_head(capture)
        follower.check_touched("ab")

    async def test_a_stream_resumes_without_a_gap(self, bench: SourceBench) -> None:
        """Unconfirmed changes come again in the next run; the position was stored as text."""
        async with provisioned(bench) as capture:
            identity = await capture.identity()
            async with following(capture) as follower:
                await bench.commit(Put(PARENTS, "a", "x"))
                await follower.reach_head(capture)
                stored = _POSITIONS.dump_json(follower.position)
                await _confirm(capture, _POSITIONS.validate_json(stored))
                await bench.commit(Put(PARENTS, "b", "x"))
                await follower.reach_head(capture)
        await bench.commit(Put(PARENTS, "c", "x"))
        async with provisioned(bench) as capture:
            if await capture.identity() != identity:
                return  # what is stored of the other stream will be a gap
            restored = _POSITIONS.validate_json(stored)
            RESUMED.same(_POSITIONS.dump_json(restored), stored, "a position as text")
            async with following(capture, restored) as resumed:
                await resumed.reach_head(capture)
        resumed.check_touched("bc")

    async def test_only_what_was_confirmed_is_forgotten(self, bench: SourceBench) -> None:
        """And the source is told of it soon, so that it can let go."""
        async with provisioned(bench) as capture:
            before = await capture.confirmed()
            async with following(capture) as follower:
                await bench.commit(Put(PARENTS, "a", "x"))
                await follower.reach_head(capture)
                first = follower.position
                await bench.commit(Put(PARENTS, "b", "x"))
                await follower.reach_head(capture)
                CONFIRMED.same(await capture.confirmed(), before, "before anything is confirmed")
                await _confirm(capture, first)
                if await capture.confirmed() > first:
                    raise CONFIRMED.broken(f"{await capture.confirmed()} after {first}")
                if await capture.lag() < 0:
                    raise CONFIRMED.broken(f"a lag of {await capture.lag()}")

    async def test_an_idle_stream_advances(self, bench: SourceBench) -> None:
        """What was confirmed rises, though no table of ours changes."""
        async with provisioned(bench) as capture, following(capture) as follower:
            for _ in range(2):
                await bench.roll_back(Put(PARENTS, "never", "x"))
                head = await capture.head()
                await IDLE.within(follower.reach(head), "an idle stream, up to the head")
        IDLE.same(follower.changes, [], "the changes")

    async def test_a_blocked_consumer_loses_nothing(self, bench: SourceBench) -> None:
        """As when a destination is dead."""
        async with provisioned(bench) as capture, following(capture) as follower:
            follower.gate.clear()
            for number in range(20):
                await bench.commit(Put(PARENTS, f"p{number}", "x"))
            await asyncio.sleep(_LEFT_ALONE)
            PATIENT.same(follower.changes, [], "while `put` blocks")
            follower.gate.set()
            await follower.reach_head(capture)
        follower.check_touched(f"p{number}" for number in range(20))

    async def test_a_batch_that_was_not_taken_comes_again(self, bench: SourceBench) -> None:
        """`live` is cancelled while `put` blocks, and called again."""
        async with provisioned(bench) as capture:
            start = await capture.confirmed()
            async with following(capture, start) as follower:
                follower.gate.clear()
                await bench.commit(Put(PARENTS, "a", "x"))
                await asyncio.sleep(_LEFT_ALONE / 2)
            AGAIN.same(follower.changes, [], "while `put` blocks")
            async with following(capture, start) as follower:
                await follower.reach_head(capture)
        follower.check_touched("a")

    async def test_the_gate_waits_for_snapshots(self, bench: SourceBench) -> None:
        """A document that is built after it is no older than the change."""
        async with provisioned(bench) as capture, following(capture) as follower:
            for number in range(10):
                await bench.commit(Put(PARENTS, "a", f"name {number}"))
                await follower.reach_head(capture)
                for batch in follower.batches:
                    await GATE.within(capture.wait_visible(batch), "wait_visible")
                seen = (await bench.rows()).parents["a"]
                GATE.same(seen, f"name {number}", "a snapshot after the gate")

    async def test_it_settles(self, bench: SourceBench) -> None:
        """With nobody in the way, pages may be read soon."""
        async with provisioned(bench) as capture:
            await GATE.within(capture.wait_settled(), "wait_settled with no other transaction")

    async def test_a_lost_connection_is_told_and_survived(self, bench: SourceBench) -> None:
        """The engine follows again from where it was."""
        async with provisioned(bench) as capture:
            start = await capture.confirmed()
            follower = Follower(start)
            live = asyncio.create_task(capture.live(start, follower.put))
            await bench.commit(Put(PARENTS, "a", "x"))
            await follower.reach_head(capture)
            impossible = await bench.disconnect()
            if impossible is not None:
                live.cancel()
                await asyncio.wait([live])
                impossible.skip()
            await LOST.failure(SourceUnavailable, live, "`live` on a lost connection")
            await bench.commit(Put(PARENTS, "b", "x"))
            again = await LOST.within(
                _follow_again(capture, follower.position), "following after a lost connection"
            )
        again.check_touched("b")

    async def test_provisioning_again_changes_nothing(self, bench: SourceBench) -> None:
        """As after a lost answer; and a check creates nothing."""
        async with bench.capture() as capture:
            findings = await QUIET.within(capture.check(), "check")
            errors = [finding for finding in findings if finding.severity is Severity.ERROR]
            QUIET.same(errors, [], "`check` of a healthy database")
            await capture.provision(temporary=False)
            identity = await capture.identity()
            await bench.commit(Put(PARENTS, "a", "x"))
            await capture.provision(temporary=False)
            QUIET.same(await capture.identity(), identity, "after a second `provision`")
            async with following(capture) as follower:
                await follower.reach_head(capture)
        follower.check_touched("a")

    async def test_a_temporary_stream_begins_now(self, bench: SourceBench) -> None:
        """Where no destination remembers anything, the stream needs not outlive the process."""
        async with bench.capture() as capture:
            await capture.provision(temporary=True)
            async with following(capture) as follower:
                await bench.commit(Put(PARENTS, "a", "x"))
                await follower.reach_head(capture)
        follower.check_touched("a")

    async def test_close_may_come_at_any_time_and_twice(self, bench: SourceBench) -> None:
        """After `open`, and without it."""
        await CLOSES.within(bench.capture().close(), "close of a capture that was not opened")
        async with provisioned(bench) as capture:
            pass
        await CLOSES.within(capture.close(), "a second close")

    async def test_no_secret_shows(self, bench: SourceBench) -> None:
        """Not in the text of the object, open or closed."""
        async with bench.capture() as capture:
            text = repr(capture) + str(capture)
        for secret in bench.secrets:
            if secret in text + repr(bench.capture()):
                raise SECRET.broken(f"a secret of {len(secret)} characters")

    async def test_the_hand_over_from_rows_to_stream_loses_nothing(
        self, bench: SourceBench
    ) -> None:
        """A whole pipeline, with commits before, during and after its first read, and a kill."""
        rows = Rows()

        async def commit(*writes: Write) -> None:
            await bench.commit(*writes)
            rows.apply(writes)

        await commit(*(Put(PARENTS, f"p{number:03}", "old") for number in range(300)))
        destination = MemoryDestination()
        running = asyncio.create_task(_engine(bench, destination).run())
        for number in range(60):
            key = f"p{number * 7 % 300:03}"
            await commit(
                Put(PARENTS, key, f"name {number}"),
                Put(CHILDREN, f"c{number % 20}", key),
                Delete(PARENTS, f"p{number * 11 % 300:03}"),
            )
            if number == 40:
                running.cancel()
                await asyncio.wait([running])
                running = asyncio.create_task(_engine(bench, destination).run())
            await asyncio.sleep(0)
        expected = rows.documents()
        try:
            await HANDED_OVER.within(
                _until_equal(destination, expected, running), "the pipeline, to an equal index"
            )
        except BaseException:
            _compare(destination, expected)
            raise
        finally:
            running.cancel()
            await asyncio.wait([running])


async def _follow_again(capture: ChangeCapture, start: Position) -> Follower:
    """Follow to the head, as often as it takes: the source may need a while."""
    while True:
        try:
            async with following(capture, start) as follower:
                await follower.reach_head(capture)
            return follower
        except SourceUnavailable:
            await asyncio.sleep(0.1)


def _engine(bench: SourceBench, destination: MemoryDestination) -> Engine:
    sink = MemorySink(destination, max_documents=50)
    return Engine(bench.capture(), bench.builder(), {"memory": sink})


async def _until_equal(
    destination: MemoryDestination, expected: dict[str, object], running: asyncio.Task[None]
) -> None:
    while _held(destination) != expected:
        if running.done():
            running.result()
        await asyncio.sleep(0.02)


def _compare(destination: MemoryDestination, expected: dict[str, object]) -> None:
    HANDED_OVER.same(_held(destination), expected, "the index")


def _held(destination: MemoryDestination) -> dict[str, object]:
    return {key: parsed(body) for key, body in destination.search(INDEX).items()}


async def _confirm(capture: ChangeCapture, position: Position) -> None:
    """Confirm, and wait until the source says so."""

    async def said() -> None:
        while await capture.confirmed() < position:  # noqa: ASYNC110  # the source is asked
            await asyncio.sleep(0.02)

    await CONFIRMED.within(capture.confirm(position), "confirm", seconds=5)
    await CONFIRMED.within(said(), f"the source's confirmation of {position}")
