"""D4: where the Rust program has run, its index serves until one of ours is filled.

What it leaves behind is laid out here as its release 0.15.1 does it (`libs/1-sinks/2-opensearch` of
its repository): the markers, the aliases and the generations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from opensearchpy import AsyncOpenSearch

from flusso_core.engine import Engine
from flusso_core.model import Generation
from flusso_core.testing import MemoryBuilder, MemoryCapture, MemoryDatabase
from flusso_sink_opensearch.sink import OpenSearchSink

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration

HASH = "a1b2c3d4"
ROWS = 400
THEIRS = Generation("parents", 1, HASH)


async def lay_out(raw: AsyncOpenSearch, prefix: str, hashed: str, *, serves: bool) -> str:
    """What the Rust program leaves: an index, its aliases, and a marker."""
    alias, name = f"{prefix}parents_{hashed}", f"{prefix}parents_{hashed}_1"
    properties = {"name": {"type": "keyword"}, "children": {"type": "keyword"}}
    await raw.indices.create(
        index=name,
        body={
            "mappings": {"dynamic": "strict", "properties": properties},
            "settings": {"index": {"number_of_replicas": 0, "refresh_interval": "10s"}},
        },
    )
    held = (alias, f"{prefix}parents") if serves else ()
    for one in held:
        await raw.indices.put_alias(index=name, name=one)
    marker = {"active_generation": 1, "seeded": serves}
    await raw.index(index=f"{prefix}flusso_meta", id=alias, body=marker)
    return name


def rows(count: int) -> MemoryDatabase:
    database = MemoryDatabase()
    for number in range(count):
        database.commit(database.put_parent(f"p{number}", "now"))
    database.confirmed = database.head
    return database


@pytest.fixture
async def layout(bench: Bench) -> str:
    """The Rust program's index of the same rows, and one that it had begun to fill."""
    name = await lay_out(bench.raw, bench.prefix, HASH, serves=True)
    lines: list[Mapping[str, Any]] = []
    for number in range(ROWS):
        lines += [{"index": {"_id": f"p{number}"}}, {"name": "then", "children": []}]
    await bench.raw.bulk(body=lines, index=name, params={"refresh": "true"})
    await lay_out(bench.raw, bench.prefix, "b1b2c3d4", serves=False)
    # Neither: no marker names it, and its name is nearly that of one.
    await bench.raw.indices.create(index=f"{bench.prefix}parents_c1b2c3d4_1")
    return name


async def fill(bench: Bench, database: MemoryDatabase) -> None:
    """A whole run of ours."""
    sink = await bench.sink(acquire=False, refresh_interval="1s")
    engine = Engine(MemoryCapture(database), MemoryBuilder(database), {"search": sink})
    await engine.run(once=True)


async def test_its_index_serves_until_ours_is_filled(bench: Bench, layout: str) -> None:
    """D4: a search never sees less; then the alias moves, and nothing of theirs is gone."""
    seen: list[int] = []
    alias = f"{bench.prefix}parents"

    async def search() -> None:
        while True:
            seen.append((await bench.raw.count(index=alias))["count"])

    searching = asyncio.create_task(search())
    await fill(bench, rows(ROWS + 7))
    searching.cancel()
    with suppress(asyncio.CancelledError):
        await searching
    assert set(seen) <= {ROWS, ROWS + 7}
    assert seen[0] == ROWS
    names = {body["name"] for body in (await bench.hits(alias)).values()}
    assert names == {"now"}
    assert list(await bench.raw.indices.get_alias(name=alias)) != [layout]
    theirs = await bench.raw.indices.get_alias(index=layout)
    assert list(theirs[layout]["aliases"]) == [f"{alias}_{HASH}"]
    await fill(bench, rows(3))
    assert await bench.raw.indices.exists(index=layout), "a restart drops nothing of theirs"


async def test_what_it_made_is_told_and_removed_when_asked_for(bench: Bench, layout: str) -> None:
    """With its marker, by which it would take an index for filled that is gone."""
    await fill(bench, rows(5))
    onlooker: OpenSearchSink = await bench.sink(acquire=False)
    there = await onlooker.generations("parents")
    assert {(one.schema_hash, one.foreign, one.serves) for one in there} == {
        (HASH, True, False),
        ("b1b2c3d4", True, False),
        ("00000000", False, True),
    }
    assert (await onlooker.size(THEIRS)).documents == ROWS
    meta = f"{bench.prefix}flusso_meta"
    await bench.raw.indices.delete(index=layout)  # as if killed between the two
    for one in there:
        if one.foreign:
            await onlooker.drop_generation(one)
    assert [one.foreign for one in await onlooker.generations("parents")] == [False]
    for hashed in (HASH, "b1b2c3d4"):
        assert not await bench.raw.exists(index=meta, id=f"{bench.prefix}parents_{hashed}")
    assert await bench.raw.indices.exists(index=f"{bench.prefix}parents_c1b2c3d4_1")
