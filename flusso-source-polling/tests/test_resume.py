"""The stream outlives the process: what the state file promises, on SQLite files."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import sqlite3
import sys
import textwrap
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, ChangeBatch, FieldType, Operation, Position
from flusso_core.schema.model import IndexSchema, ScalarField
from flusso_core.testing.conformance import CHILDREN, PARENTS, SCHEMA, TABLES
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions


class Family:
    """A database file with the kit's parents and children, and captures of it."""

    def __init__(self, folder: Path, name: str = "family.db") -> None:
        self.path = folder / name
        self.state = folder / "family.state"
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript("PRAGMA journal_mode = WAL;" + TABLES)

    def write(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def capture(self, schema: IndexSchema = SCHEMA, **options: object) -> PollingCapture:
        given = {
            "connection_url": f"sqlite:///{self.path}",
            "state": str(self.state),
            "interval": 0.02,
            **options,
        }
        return PollingCapture(SourceContext(PollingOptions.model_validate(given), (schema,)))

    @asynccontextmanager
    async def provisioned(self, **options: object) -> AsyncGenerator[PollingCapture, None]:
        async with self.capture(**options) as capture:  # type: ignore[arg-type]
            await capture.provision(temporary=False)
            yield capture


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family(tmp_path)


async def follow(capture: PollingCapture, start: Position | None = None) -> list[ChangeBatch]:
    """Everything behind a position, or behind what is confirmed, that there is now."""
    found: asyncio.Queue[ChangeBatch] = asyncio.Queue()
    begin = await capture.confirmed() if start is None else start
    live = asyncio.create_task(capture.live(begin, found.put))
    batches: list[ChangeBatch] = []
    try:
        head = await capture.head()
        async with asyncio.timeout(20):
            while not batches or batches[-1].position is None or batches[-1].position < head:
                getting = asyncio.ensure_future(found.get())
                await asyncio.wait({getting, live}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    live.result()
                batches.append(getting.result())
    finally:
        live.cancel()
        await asyncio.wait({live})
    return batches


def changes(batches: list[ChangeBatch]) -> list[Change]:
    return [change for batch in batches for change in batch.changes]


def touched(batches: list[ChangeBatch]) -> set[str]:
    """The keys of parents that changes lead to."""
    found: set[str] = set()
    for change in changes(batches):
        column = "key" if change.table == PARENTS else "parent"
        images = (change.before, change.after)
        found |= {text for one in images if one is not None and (text := one[column]) is not None}
    return found


async def test_a_restart_goes_on_and_finds_what_happened_between(family: Family) -> None:
    """H3, R2: one stream over two runs; what was confirmed does not come again."""
    family.write("INSERT INTO parents VALUES ('a', 'Ada'), ('b', 'Bob')")
    async with family.provisioned() as capture:
        identity = await capture.identity()
        family.write("UPDATE parents SET name = 'Ann' WHERE key = 'a'")
        batches = await follow(capture)
        assert touched(batches) == {"a"}
        end = batches[-1].position
        assert end is not None
        await capture.confirm(end)
    family.write("DELETE FROM parents WHERE key = 'b'", "INSERT INTO children VALUES ('1', 'a')")
    async with family.provisioned() as capture:
        assert await capture.identity() == identity
        assert await capture.confirmed() == end
        batches = await follow(capture)
    assert sorted((str(one.table), one.operation) for one in changes(batches)) == [
        ("public.children", Operation.UPSERT),
        ("public.parents", Operation.DELETE),
    ]
    assert all(one.position is None or one.position > end for one in batches)


async def test_what_was_not_confirmed_comes_again(family: Family) -> None:
    """R2."""
    async with family.provisioned() as capture:
        family.write("INSERT INTO parents VALUES ('a', 'Ada')")
        first = await follow(capture)
    async with family.provisioned() as capture:
        again = await follow(capture)
    assert changes(again) == changes(first) != []


_KILLED = """
import asyncio, os, signal, sys
from flusso_core.hookspecs import SourceContext
from flusso_core.testing.conformance import SCHEMA
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

async def put(batch):
    if batch.changes:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    options = {"connection_url": sys.argv[1], "state": sys.argv[2], "interval": 0.02}
    context = SourceContext(PollingOptions.model_validate(options), (SCHEMA,))
    async with PollingCapture(context) as capture:
        await capture.provision(temporary=False)
        print((await capture.identity()).timeline, flush=True)
        await capture.live(await capture.confirmed(), put)

asyncio.run(main())
"""


async def test_a_kill_between_poll_and_confirm_loses_nothing(family: Family) -> None:
    """R2: the change is known to the reader, and in the journal, or in neither."""
    family.write("INSERT INTO parents VALUES ('a', 'Ada')")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(_KILLED),
        f"sqlite:///{family.path}",
        str(family.state),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        stream = (await process.stdout.readline()).decode().strip()
        family.write("INSERT INTO children VALUES ('1', 'a')")
        assert await process.wait() == -signal.SIGKILL
    family.write("DELETE FROM children")
    async with family.provisioned() as capture:
        assert (await capture.identity()).timeline == stream
        found = changes(await follow(capture))
    assert [(one.table, one.operation) for one in found] == [
        (CHILDREN, Operation.UPSERT),
        (CHILDREN, Operation.DELETE),
    ]


async def test_a_lost_state_file_is_another_stream(family: Family) -> None:
    """H3: so the engine sees a gap."""
    async with family.provisioned() as capture:
        identity = await capture.identity()
        position = await capture.confirmed()
    family.state.unlink()
    async with family.provisioned() as capture:
        assert await capture.identity() != identity
        assert await capture.confirmed() > position


async def test_a_state_file_of_another_database_is_another_stream(
    family: Family, tmp_path: Path
) -> None:
    """H3: and nothing is compared with what the other one had."""
    family.write("INSERT INTO parents VALUES ('a', 'Ada')")
    async with family.provisioned() as capture:
        identity = await capture.identity()
    other = Family(tmp_path, "other.db")
    async with other.provisioned() as capture:
        assert await capture.identity() != identity
        assert changes(await follow(capture)) == []


async def test_another_file_in_the_place_of_the_database_is_another_stream(
    family: Family, tmp_path: Path
) -> None:
    """H3: as when a backup is put back, whatever it holds."""
    async with family.provisioned() as capture:
        identity = await capture.identity()
    backup = tmp_path / "backup.db"
    shutil.copy(family.path, backup)
    backup.replace(family.path)
    async with family.provisioned() as capture:
        assert await capture.identity() != identity


async def test_a_state_file_in_use_is_told(family: Family) -> None:
    """D5: by another process, or by another pipeline in this one."""
    async with family.provisioned():
        script = textwrap.dedent(_KILLED)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            f"sqlite:///{family.path}",
            str(family.state),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
    assert f"another process has the state file {family.state}" in errors.decode()


async def test_what_is_no_state_file_is_refused(family: Family) -> None:
    family.state.write_bytes(b"not a database, but long enough to have a header" * 50)
    async with family.capture() as capture:
        with pytest.raises(SourceFatal, match="remove it: every index is then filled afresh"):
            await capture.provision(temporary=False)
    assert family.state.read_bytes().startswith(b"not a database")


async def test_another_database_is_not_taken_for_a_state_file(family: Family) -> None:
    """Neither by a run nor by a teardown: it stays what it is to the last byte."""
    with closing(sqlite3.connect(family.state)) as connection:
        connection.execute("CREATE TABLE rows_of_an_application (id INTEGER)")
    before = family.state.read_bytes()
    async with family.capture() as capture:
        with pytest.raises(SourceFatal, match="name another file in"):
            await capture.provision(temporary=False)
        with pytest.raises(SourceFatal, match="nothing was removed"):
            await capture.teardown(dry_run=False)
    assert family.state.read_bytes() == before


@contextmanager
def full_disk(size: int) -> Generator[None, None, None]:
    """No file grows beyond that size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_and_loses_nothing(family: Family) -> None:
    """R1: polling goes on when there is room."""
    async with family.provisioned() as capture:
        family.write(
            "INSERT INTO parents WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n "
            "WHERE i < 2000) SELECT 'p' || i, 'x' FROM n"
        )
        with (
            full_disk(200_000),
            pytest.raises(SourceUnavailable, match=r"family.state cannot be used.*nothing is lost"),
        ):
            await follow(capture)
        assert len(touched(await follow(capture))) == 2000


async def test_with_enough_waiting_polls_wait(family: Family) -> None:
    """The journal is bounded; the rest waits in the database, and comes when there is room."""
    family.write("INSERT INTO parents VALUES ('a', '0'), ('b', '0')")
    async with family.provisioned(max_pending=2) as capture:
        blocked = asyncio.Event()

        async def put(batch: ChangeBatch) -> None:
            if batch.changes:
                blocked.set()
                await asyncio.Event().wait()

        live = asyncio.create_task(capture.live(await capture.confirmed(), put))
        family.write("UPDATE parents SET name = '1'")
        async with asyncio.timeout(10):
            await blocked.wait()
        family.write("INSERT INTO parents VALUES ('c', '0')")
        for _ in range(3):  # each of them wakes a poll, if it polls
            await capture.head()
            await asyncio.sleep(0.05)
        assert await capture.lag() == 2
        live.cancel()
        await asyncio.wait({live})
        await capture.confirm(await capture.head())
        assert touched(await follow(capture)) == {"c"}


async def test_more_routing_columns_touch_every_row_once_more(family: Family) -> None:
    """C3: what was remembered does not lead to the documents that another schema asks for."""
    family.write("INSERT INTO children VALUES ('1', 'a'), ('2', 'b')")
    lonely = IndexSchema(
        index="children",
        table=CHILDREN,
        schema_hash="1",
        origin="a test",
        fields=(ScalarField("parent", FieldType.KEYWORD, "parent"),),
    )
    async with family.capture(lonely) as capture:
        await capture.provision(temporary=False)
    family.write("DELETE FROM children WHERE key = '2'", "INSERT INTO parents VALUES ('c', 'Cid')")
    async with family.provisioned() as capture:
        found = changes(await follow(capture))
    assert [(one.operation, one.before, one.after) for one in found] == [
        (Operation.DELETE, {"key": "1"}, None),
        (Operation.DELETE, {"key": "2"}, None),
        (Operation.UPSERT, None, {"parent": "a"}),
    ]


_FORTY = """
INSERT INTO parents WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 40)
SELECT printf('p%02d', i), 'x' FROM n
"""


async def test_a_table_that_grows_and_shrinks_is_read_in_bounded_spans(family: Family) -> None:
    """Spans are cut and joined as rows come and go, and nothing is told twice or missed."""
    async with family.provisioned(page_size=3) as capture:
        for statement, expected in (
            (
                _FORTY,
                {f"p{number:02}" for number in range(1, 41)},
            ),
            ("UPDATE parents SET name = 'y' WHERE key = 'p17'", {"p17"}),
            ("INSERT INTO parents VALUES ('p175', 'x'), ('p176', 'x')", {"p175", "p176"}),
            (
                "DELETE FROM parents WHERE key BETWEEN 'p05' AND 'p30'",
                {f"p{number:02}" for number in range(5, 31)} | {"p175", "p176"},
            ),
            ("UPDATE parents SET key = 'a' WHERE key = 'p40'", {"a", "p40"}),
            (
                "DELETE FROM parents",
                {"a"} | {f"p{number:02}" for number in (*range(1, 5), *range(31, 40))},
            ),
            ("INSERT INTO parents VALUES ('p17', 'x')", {"p17"}),
        ):
            family.write(statement)
            batches = await follow(capture)
            assert touched(batches) == expected
            assert len(changes(batches)) == len(expected)
            end = batches[-1].position
            assert end is not None
            await capture.confirm(end)
