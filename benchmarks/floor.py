"""The floor: what the same reads and writes cost with nothing around them.

A bare asyncio loop, in a process of its own as flusso is: the statements that flusso makes of a
schema, run by psycopg; their bodies, sent as bulk requests; two readers and two writers, so that
both servers are busy at once. It follows nothing, remembers nothing and retries nothing.

`python -m benchmarks.floor` reads a `Task` as JSON from its standard input and writes a `Done`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from opensearchpy import AsyncOpenSearch

from flusso_core.schema import parse_schema
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import Connection, ConnectionTarget
from flusso_source_postgres.ranges import divide
from flusso_source_postgres.sql.compiled import CompiledIndex, compile_index, table_names
from flusso_source_postgres.statements import Statements, run

READERS = 2
WRITERS = 2
RANGES = 8

Bodies: TypeAlias = Sequence[tuple[str, bytes]]
"""Ids and documents."""

Chain: TypeAlias = Callable[[Connection], AsyncIterator[Bodies]]
"""Reads pages one after the other, on the connection that it is given."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to do.

    Attributes:
        database: URL of the world's database.
        opensearch: URL of the cluster.
        prefix: of the indexes that it writes to.
        schemas: flusso's schema of each index.
        page: rows or ids that a statement reads.
        definitions: mappings and settings of the indexes, which are made and filled; empty: they
            are there, and some of their documents are read and written again.
        ids: of those documents.
    """

    database: str
    opensearch: str
    prefix: str
    schemas: Mapping[str, str]
    page: int
    definitions: Mapping[str, Any]
    ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What it took.

    Attributes:
        documents: written.
        seconds: from the first statement until searches see the last of them.
    """

    documents: int
    seconds: float


def run_floor(task: Task) -> Done:
    """Do it in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.floor"],
        input=json.dumps(asdict(task)).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return Done(**json.loads(done.stdout))


async def do(task: Task) -> Done:
    """Do it here."""
    client = AsyncOpenSearch(hosts=[task.opensearch], timeout=60, max_retries=0)
    statements = Statements(ConnectionTarget.from_url(task.database), 2)
    connections = [await statements.connect() for _ in range(READERS)]
    try:
        # Dividing the keys is quick, and flusso does it before its first page as well.
        await statements.open()
        documents, seconds = 0, 0.0
        for name, schema in task.schemas.items():
            parsed = parse_schema(schema, name, f"{name}.schema.yml")
            compiled = compile_index(parsed, await read_tables(connections[0], table_names(parsed)))
            index = task.prefix + name
            if task.ids:
                chains = _rebuilds(compiled, task)
            else:
                await _make(client, index, task.definitions[name])
                spans = await divide(statements, compiled, RANGES)
                chains = [_range(compiled, span.lower, span.upper, task.page) for span in spans]
            began = time.perf_counter()
            documents += await _overlap(chains, connections, client, index)
            await client.indices.refresh(index=index)
            seconds += time.perf_counter() - began
            if not task.ids:
                serving = {"index": {"refresh_interval": "10s"}}
                await client.indices.put_settings(index=index, body=serving)
    finally:
        await statements.close()
        for connection in connections:
            await connection.close()
        await client.close()
    return Done(documents, seconds)


async def _make(client: AsyncOpenSearch, index: str, definition: Mapping[str, Any]) -> None:
    settings = {**definition["settings"]["index"], "refresh_interval": "-1"}
    await client.indices.create(
        index=index, body={"mappings": definition["mappings"], "settings": {"index": settings}}
    )


def _range(
    compiled: CompiledIndex,
    lower: tuple[str, ...] | None,
    upper: tuple[str, ...] | None,
    limit: int,
) -> Chain:
    """All rows of a range of keys, page by page."""
    width = compiled.key_size

    async def chain(connection: Connection) -> AsyncIterator[Bodies]:
        after, complete = lower, False
        while not complete:
            statement = compiled.page(lower=after is not None, upper=upper is not None, limit=limit)
            result = await run(connection, statement, [*(after or ()), *(upper or ())])
            get = result.get_value
            page: list[tuple[str, bytes]] = []
            for row in range(result.ntuples):
                after = tuple([(get(row, column) or b"").decode() for column in range(width)])
                page.append((after[0], (get(row, width) or b"").replace(b"\n", b" ")))
            complete = result.ntuples < limit
            yield page

    return chain


def _rebuilds(compiled: CompiledIndex, task: Task) -> Sequence[Chain]:
    """The documents of some ids, a page each."""

    def some(chunk: Sequence[str]) -> Chain:
        async def chain(connection: Connection) -> AsyncIterator[Bodies]:
            result = await run(connection, compiled.build, [chunk])
            get = result.get_value
            yield [
                (
                    chunk[int.from_bytes(get(row, 0) or b"") - 1],
                    (get(row, 1) or b"").replace(b"\n", b" "),
                )
                for row in range(result.ntuples)
            ]

        return chain

    starts = range(0, len(task.ids), task.page)
    return [some(task.ids[start : start + task.page]) for start in starts]


async def _overlap(
    chains: Sequence[Chain],
    connections: Sequence[Connection],
    client: AsyncOpenSearch,
    index: str,
) -> int:
    """Read all chains and write what they give; returns how many documents that were."""
    waiting = list(reversed(chains))
    pages: asyncio.Queue[Bodies | None] = asyncio.Queue(WRITERS)
    written = 0

    async def read(connection: Connection) -> None:
        while waiting:
            async for page in waiting.pop()(connection):
                await pages.put(page)

    async def write() -> None:
        nonlocal written
        while (page := await pages.get()) is not None:
            if page:
                await _bulk(client, index, page)
                written += len(page)

    async with asyncio.TaskGroup() as writers:
        for _ in range(WRITERS):
            writers.create_task(write())
        async with asyncio.TaskGroup() as readers:
            for connection in connections:
                readers.create_task(read(connection))
        for _ in range(WRITERS):
            await pages.put(None)
    return written


async def _bulk(client: AsyncOpenSearch, index: str, page: Bodies) -> None:
    lines: list[bytes] = []
    for key, body in page:
        lines += [b'{"index":{"_id":"%s"}}' % key.encode(), body]
    answer = await client.transport.perform_request(
        "POST",
        f"/{index}/_bulk",
        params={"filter_path": "errors"},
        headers={"content-type": "application/x-ndjson"},
        body=b"\n".join((*lines, b"")),
    )
    if answer != {"errors": False}:
        raise RuntimeError(f"the cluster refused some of {len(page)} documents of {index}")


def main() -> None:
    """The process."""
    task = Task(**json.load(sys.stdin))
    json.dump(asdict(asyncio.run(do(task))), sys.stdout)


if __name__ == "__main__":
    main()
