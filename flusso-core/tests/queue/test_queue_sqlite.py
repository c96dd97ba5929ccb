"""The durable queue: what it has taken is there after any crash, and the engine relies on it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import EngineError, SinkUnavailable
from flusso_core.hookspecs import QueueContext
from flusso_core.interfaces import Backlog, Queue
from flusso_core.model import Change, ChangeBatch, Operation, Position, StreamIdentity, TableName
from flusso_core.queue import sqlite_plugin
from flusso_core.queue.sqlite import SqliteQueue, SqliteQueueOptions, file_of
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.conformance import QueueBench, QueueConformance

IDENTITY = StreamIdentity("1", "shop", "flusso", "1")
CHANGE = Change(TableName("public", "users"), Operation.UPSERT, None, {"id": "1", "name": None})
FAST = RetryPolicy(initial=0.001, maximum=0.01)


def at(order: int) -> Position:
    return Position(order, f"token {order}")


def batch(order: int | None, changes: int = 1) -> ChangeBatch:
    return ChangeBatch([CHANGE] * changes, None if order is None else at(order))


@asynccontextmanager
async def opened(
    file: Path, *, identity: StreamIdentity = IDENTITY, start: int = 0, **bounds: int
) -> AsyncGenerator[tuple[SqliteQueue, Backlog], None]:
    queue = SqliteQueue(file, **bounds)
    try:
        yield queue, await queue.open(identity, at(start))
    finally:
        await queue.close()


async def orders(queue: SqliteQueue) -> list[int | None]:
    """The positions of what waits."""
    found: list[int | None] = []
    while queue.held:
        taken = await queue.get()
        found.append(taken.position.order if taken.position else None)
    return found


class Bench(QueueBench):
    """Looks into the file, beside the queue's own count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def queue(self, capacity: int) -> AsyncGenerator[Queue, None]:
        self._file = self._folder / f"{len(list(self._folder.iterdir()))}.queue"
        async with self.again(capacity) as queue:
            yield queue

    @asynccontextmanager
    async def again(self, capacity: int) -> AsyncGenerator[Queue, None]:
        # Positions from 0 on are new to a stream that begins below.
        async with opened(self._file, start=-1, capacity=capacity) as (queue, _):
            yield queue

    async def held(self, queue: Queue) -> int:
        assert isinstance(queue, SqliteQueue)
        return queue.held


class TestSqliteQueue(QueueConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        return Bench(tmp_path)


async def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    """R2: taken or not, until it is done."""
    file = tmp_path / "a.queue"
    async with opened(file) as (queue, backlog):
        assert backlog == Backlog(at(0), at(0))
        for order in range(1, 6):
            await queue.put(batch(order))
        assert await queue.get() == batch(1)
        assert await queue.get() == batch(2)
        assert await queue.get() == batch(3)
        await queue.done(at(2))
    async with opened(file) as (queue, backlog):
        assert backlog == Backlog(at(2), at(5))
        assert queue.stored == at(5)
        assert await orders(queue) == [3, 4, 5]


async def test_a_commit_whose_end_is_missing_comes_again_from_the_source(tmp_path: Path) -> None:
    """C10: its pieces are dropped; only ends of commits count as stored."""
    file = tmp_path / "a.queue"
    async with opened(file) as (queue, _):
        await queue.put(batch(1))
        await queue.put(batch(None, 3))
        await queue.put(batch(None, 3))
        assert queue.stored == at(1)
    async with opened(file) as (queue, backlog):
        assert backlog.end == at(1)
        assert await orders(queue) == [1]


async def test_what_the_source_delivers_again_is_not_added_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.queue") as (queue, _):
        for order in (1, 2, 3, 2, 3, 4):
            await queue.put(batch(order))
        assert await orders(queue) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("identity", "start"),
    [(StreamIdentity("2", "shop", "flusso", "1"), 2), (IDENTITY, 9)],
    ids=["another stream", "a stream that begins behind it"],
)
async def test_what_cannot_be_followed_up_is_dropped(
    tmp_path: Path, identity: StreamIdentity, start: int
) -> None:
    """H3: what the indexes lack then is a gap."""
    file = tmp_path / "a.queue"
    async with opened(file) as (queue, _):
        for order in range(1, 6):
            await queue.put(batch(order))
    async with opened(file, identity=identity, start=start) as (queue, backlog):
        assert backlog == Backlog(at(start), at(start))
        assert await orders(queue) == []


async def test_more_than_fits_in_memory_is_read_from_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.queue") as (queue, _):
        for order in range(1, 60):
            await queue.put(batch(order, 500))
        assert queue.held == 59 * 500
        assert len(queue._at_hand) < 20  # pyright: ignore[reportPrivateUsage]
        assert await orders(queue) == list(range(1, 60))


async def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.queue", max_bytes=1000) as (queue, _):
        for order in range(1, 4):
            await queue.put(batch(order))
        blocked = asyncio.create_task(queue.put(batch(4, 20)))
        await asyncio.sleep(0.05)
        assert not blocked.done()
        assert await queue.get() == batch(1)
        await queue.clear()
        await asyncio.wait_for(blocked, 5)


async def test_one_process_has_the_file(tmp_path: Path) -> None:
    """D5."""
    file = tmp_path / "a.queue"
    async with opened(file):
        with pytest.raises(SinkUnavailable, match="another process"):
            async with opened(file):
                pass
    async with opened(file):
        pass


async def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.queue"
    file.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(EngineError, match=r"a\.queue cannot be used"):
        async with opened(file):
            pass


def test_a_lane_of_any_name_has_a_file_of_its_own(tmp_path: Path) -> None:
    options = SqliteQueueOptions(path=str(tmp_path), capacity=7)
    queue = sqlite_plugin.flusso_queue().create(QueueContext("../é/x", options))
    assert isinstance(queue, SqliteQueue)
    assert file_of(str(tmp_path), "../é/x").parent == tmp_path


WRITER = """
import asyncio, sys
from pathlib import Path
from flusso_core.model import Change, ChangeBatch, Operation, Position, StreamIdentity, TableName
from flusso_core.queue.sqlite import SqliteQueue

change = Change(TableName("public", "users"), Operation.UPSERT, None, {"id": "1", "name": None})

async def main():
    queue = SqliteQueue(Path(sys.argv[1]))
    backlog = await queue.open(StreamIdentity("1", "shop", "flusso", "1"), Position(0, "token 0"))
    order = backlog.end.order
    print("begun", flush=True)
    while True:
        order += 1
        await queue.put(ChangeBatch([change] * 3, None))
        await queue.put(ChangeBatch([change], Position(order, f"token {order}")))
        print(order, flush=True)

asyncio.run(main())
"""


def test_whatever_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """R2: the process is killed in the midst of writing, again and again."""
    file = tmp_path / "a.queue"
    acknowledged = 0
    for lines in (1, 30, 7):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == "begun\n"
            for _ in range(lines):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().splitlines(keepends=True)
            writer.wait(10)
        acknowledged = max([acknowledged, *(int(line) for line in rest if line.endswith("\n"))])
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()

    async def reopened() -> tuple[Backlog, list[int | None]]:
        async with opened(file) as (queue, backlog):
            return backlog, await orders(queue)

    backlog, found = asyncio.run(reopened())
    assert backlog.begin == at(0)
    assert backlog.end.order >= acknowledged > 30
    assert found == [each for order in range(1, backlog.end.order + 1) for each in (None, order)]


# Within the engine


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Down(MemorySink):
    """A destination that fails every write while it is `down`."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination, fault=self._check)
        self.down = False

    def _check(self, moment: str) -> None:
        if self.down and moment in ("before", "records"):
            raise SinkUnavailable("down")


def make(database: MemoryDatabase, folder: Path, *sinks: MemorySink) -> Engine:
    def make_queue(lane: str) -> SqliteQueue:
        return SqliteQueue(file_of(str(folder), lane))

    return Engine(
        MemoryCapture(database),
        MemoryBuilder(database),
        {f"sink{number}": sink for number, sink in enumerate(sinks)},
        queue=make_queue,
        retries=FAST,
        drain_seconds=0.2,
    )


def filled() -> MemoryDatabase:
    database = MemoryDatabase()
    for number in range(10):
        database.commit(database.put_parent(f"p{number}", f"name {number}"))
    return database


async def test_the_source_is_confirmed_when_the_queue_has_it(tmp_path: Path) -> None:
    """H8: and the sink gets it from the queue, also in a later run."""
    database, destination = filled(), MemoryDestination()
    sink = Down(destination)
    task = asyncio.create_task(make(database, tmp_path, sink).run())
    await until(lambda: destination.serving == {"parents": 1})
    sink.down = True
    database.commit(database.put_parent("p1", "changed"), database.delete_parent("p2"))
    await until(lambda: database.confirmed == database.head)
    assert "p2" in destination.search("parents")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await make(database, tmp_path, MemorySink(destination)).run(once=True)
    assert destination.search("parents") == database.documents()
    assert destination.records["parents"].current.number == 1, "there is no gap"
    assert destination.records["parents"].position.order == database.head


async def test_a_queue_that_is_lost_is_a_gap(tmp_path: Path) -> None:
    """H3: what the source was told is nowhere else."""
    database, destination = filled(), MemoryDestination()
    sink = Down(destination)
    task = asyncio.create_task(make(database, tmp_path, sink).run())
    await until(lambda: destination.serving == {"parents": 1})
    sink.down = True
    database.commit(database.delete_parent("p2"))
    await until(lambda: database.confirmed == database.head)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(shutil.rmtree, tmp_path)
    await make(database, tmp_path, MemorySink(destination)).run(once=True)
    assert destination.search("parents") == database.documents()


async def test_one_lane_that_is_behind_leaves_the_other_alone(tmp_path: Path) -> None:
    """D6: the queues keep apart what each sink lacks; a restart goes on with both."""
    database = filled()
    healthy, behind = MemoryDestination(), MemoryDestination()
    sink = Down(behind)
    task = asyncio.create_task(make(database, tmp_path, MemorySink(healthy), sink).run())
    await until(lambda: behind.serving == healthy.serving == {"parents": 1})
    sink.down = True
    for number in range(20):
        database.commit(database.put_parent(f"p{number}", "changed"))
    await until(lambda: healthy.search("parents") == database.documents())
    await until(lambda: database.confirmed == database.head)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = make(database, tmp_path, MemorySink(healthy), MemorySink(behind))
    await again.run(once=True)
    assert behind.search("parents") == healthy.search("parents") == database.documents()
    assert behind.records["parents"].current.number == 1


@pytest.mark.parametrize("seed", range(8))
async def test_kills_at_any_step_lose_nothing(tmp_path: Path, seed: int) -> None:
    """R2, H8: runs are cancelled anywhere; queue, records and source agree afterwards."""
    random = Random(seed)
    database, destination = filled(), MemoryDestination()
    for _ in range(5):
        sink = Down(destination)
        sink.down = random.random() < 0.3
        task = asyncio.create_task(make(database, tmp_path, sink).run())
        for _ in range(random.randrange(60)):
            await asyncio.sleep(random.choice((0, 0, 0.002)))
            key = f"p{random.randrange(12)}"
            database.commit(
                database.put_parent(key, f"name {random.random()}"),
                *(database.put_child(f"c{random.randrange(9)}", key) for _ in range(5)),
                database.delete_parent(f"p{random.randrange(12)}"),
            )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(20):
        await make(database, tmp_path, MemorySink(destination)).run(once=True)
    assert destination.search("parents") == database.documents()
    assert database.confirmed == database.head
