"""Indexes, aliases and what searches see, on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import GenerationLost, SinkFatal, SinkUnavailable
from flusso_core.model import FieldType, FlushReport, Generation, GenerationSize, MappedField
from flusso_core.testing import MemoryBuilder, MemoryCapture, MemoryDatabase
from flusso_sandbox.fault_proxy import Fault, FaultProxy

if TYPE_CHECKING:
    from conftest import Bench

OLD = Generation("users", 1, "abc123")

pytestmark = pytest.mark.integration


async def aliases(bench: Bench, index: str) -> set[str]:
    found = await bench.raw.indices.get_alias(index=index)
    return {name.removeprefix(bench.prefix) for name in found[index]["aliases"]}


async def test_a_generation_seeds_apart_and_then_serves(bench: Bench) -> None:
    """Searches see nothing of a generation before it is complete, and then all of it."""
    sink = await bench.users(refresh_interval="7s")
    settings = await bench.raw.indices.get_settings(index=bench.data)
    assert settings[bench.data]["settings"]["index"]["refresh_interval"] == "-1"
    assert await aliases(bench, bench.data) == {"users_abc123_1_w1"}
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await sink.serve_generation(bench.mapping, 1)
    await sink.serve_generation(bench.mapping, 1)
    assert await aliases(bench, bench.data) == {"users", "users_abc123", "users_abc123_1_w1"}
    for alias in ("users", "users_abc123"):
        assert await bench.hits(f"{bench.prefix}{alias}") == {"1": {"name": "a"}}
    settings = await bench.raw.indices.get_settings(index=bench.data)
    assert settings[bench.data]["settings"]["index"]["refresh_interval"] == "7s"


async def test_what_was_seeded_is_searchable_when_the_alias_moves(bench: Bench) -> None:
    """Also where nothing but flusso ever refreshes."""
    sink = await bench.users(refresh_interval="-1")
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await sink.serve_generation(bench.mapping, 1)
    assert await bench.hits(f"{bench.prefix}users") == {"1": {"name": "a"}}


async def test_the_alias_moves_to_the_next_generation_at_once(bench: Bench) -> None:
    """D4: the old one serves until the new one does, and is dropped only then."""
    sink = await bench.users()
    await sink.flush([bench.document("1", 1, {"name": "old"})], caught_up=False)
    await sink.serve_generation(bench.mapping, 1)
    await sink.begin_generation(bench.mapping, 2)
    there = {one.number: one.serves for one in await sink.generations("users")}
    assert there == {1: True, 2: False}
    await sink.flush([bench.document("1", 2, {"name": "new"}, generation=2)], caught_up=False)
    logical = f"{bench.prefix}users"
    assert await bench.hits(logical) == {"1": {"name": "old"}}
    with pytest.raises(SinkFatal, match="is what searches see"):
        await sink.drop_generation(OLD)
    await sink.serve_generation(bench.mapping, 2)
    assert await bench.hits(logical) == {"1": {"name": "new"}}
    await sink.drop_generation(OLD)
    await sink.drop_generation(OLD)
    assert [one.number for one in await sink.generations("users")] == [2]


async def test_a_generation_that_is_gone_does_not_serve(bench: Bench) -> None:
    """D1: what has served goes on, and the engine is told which generation to fill afresh."""
    sink = await bench.users()
    await sink.serve_generation(bench.mapping, 1)
    await sink.begin_generation(bench.mapping, 2)
    await bench.raw.indices.delete(index=f"{bench.data[:-1]}2")
    with pytest.raises(GenerationLost, match="was deleted") as lost:
        await sink.serve_generation(bench.mapping, 2)
    assert (lost.value.index, lost.value.generation) == ("users", 2)
    there = {one.number: one.serves for one in await sink.generations("users")}
    assert there == {1: True}


async def test_a_generation_that_is_gone_is_not_resumed(bench: Bench) -> None:
    """D1: made again and empty, it would be taken for what it was."""
    await bench.users()
    other = await bench.sink()
    await bench.raw.indices.delete(index=bench.data)
    with pytest.raises(GenerationLost, match="was deleted"):
        await other.resume_generation(bench.mapping, 1)
    assert await other.generations("users") == []


async def test_an_alias_leaves_whatever_index_held_it(bench: Bench) -> None:
    """An index of another program under the logical name serves until ours is ready."""
    old = f"{bench.prefix}users_rust"
    await bench.raw.indices.create(index=old, body={"aliases": {f"{bench.prefix}users": {}}})
    sink = await bench.users()
    assert await aliases(bench, old) == {"users"}
    await sink.serve_generation(bench.mapping, 1)
    assert await aliases(bench, old) == set()
    assert "users" in await aliases(bench, bench.data)


async def test_an_index_in_the_place_of_the_alias_is_an_error_that_names_it(bench: Bench) -> None:
    await bench.raw.indices.create(index=f"{bench.prefix}users")
    sink = await bench.users()
    with pytest.raises(SinkFatal, match=f"alias {bench.prefix}users to .*same name"):
        await sink.serve_generation(bench.mapping, 1)


async def test_a_restart_writes_on_to_the_same_generation(bench: Bench) -> None:
    first = await bench.users()
    await first.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await first.serve_generation(bench.mapping, 1)
    await first.release()
    second = await bench.users(refresh_interval="3s")
    assert await aliases(bench, bench.data) == {"users", "users_abc123", "users_abc123_1_w2"}
    await second.flush([bench.document("2", 2, {"name": "b"})], caught_up=True)
    assert (await bench.hits(f"{bench.prefix}users")).keys() == {"1", "2"}
    settings = await bench.raw.indices.get_settings(index=bench.data)
    assert settings[bench.data]["settings"]["index"]["refresh_interval"] == "3s"


async def test_a_restart_leaves_a_seeding_generation_unrefreshed(bench: Bench) -> None:
    first = await bench.users()
    await first.release()
    await bench.users()
    settings = await bench.raw.indices.get_settings(index=bench.data)
    assert settings[bench.data]["settings"]["index"]["refresh_interval"] == "-1"


async def test_a_generation_remembers_what_it_was_made_with(bench: Bench) -> None:
    """Whatever options begin it again."""
    first = await bench.users()
    made = first.made_with(bench.mapping)
    await first.release()
    second = await bench.users(auto_subfields=False)
    (found,) = await second.generations("users")
    assert found.made_with == made != second.made_with(bench.mapping)


async def test_options_that_an_index_cannot_be_given_make_another_once(bench: Bench) -> None:
    """D4: beside the old one, which serves until then."""
    database = MemoryDatabase()
    for number in range(50):
        database.commit(database.put_parent(f"p{number}", "a"))

    async def run(**options: Any) -> dict[str, Any]:
        sink = await bench.sink(acquire=False, **options)
        engine = Engine(MemoryCapture(database), MemoryBuilder(database), {"search": sink})
        await engine.run(once=True)
        alias = f"{bench.prefix}parents"
        assert len(await bench.hits(alias)) == 50
        settings = await bench.raw.indices.get_settings(index=alias)
        ((name, found),) = settings.items()
        return {"name": name.removeprefix(bench.prefix), **found["settings"]["index"]}

    assert (await run())["name"] == "parents_00000000_1"
    assert (await run(settings={"search.idle.after": "9m"}))["name"] == "parents_00000000_1"
    sharded = {"number_of_shards": 3, "settings": {"codec": "best_compression"}}
    for _ in range(2):
        found = await run(**sharded)
        assert found["name"] == "parents_00000000_2"
        assert (found["number_of_shards"], found["codec"]) == ("3", "best_compression")
    assert (await run(**sharded, auto_subfields=False))["name"] == "parents_00000000_3"
    there = await bench.raw.indices.get(index=f"{bench.prefix}parents_*")
    assert len(there) == 1


async def test_a_generation_is_measured(bench: Bench) -> None:
    """Its documents, not the objects nested in them; nothing is known of one that is closed."""
    name = f"{bench.prefix}users_abc123_1"
    sink = await bench.sink()
    nested = (MappedField("city", FieldType.KEYWORD, "homes.city"),)
    homes = MappedField("homes", FieldType.NESTED, "homes", fields=nested)
    mapping = replace(bench.mapping, fields=(homes,))
    await sink.begin_generation(mapping, 1)
    body = {"homes": [{"city": "a"}, {"city": "b"}]}
    await sink.flush([bench.document(key, 1, body) for key in "123"], caught_up=False)
    size = await sink.size(OLD)
    assert size.documents == 3
    assert size.bytes
    await bench.raw.indices.close(index=name)
    assert await sink.size(OLD) == GenerationSize()


async def test_beginning_twice_changes_nothing(bench: Bench) -> None:
    sink = await bench.users()
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await sink.begin_generation(bench.mapping, 1)
    assert await sink.flush([bench.document("1", 2, {"name": "b"})], caught_up=False) == (
        FlushReport()
    )
    assert await bench.get("1") == {"name": "b"}


async def test_settings_of_the_user_reach_the_index(bench: Bench) -> None:
    await bench.users(number_of_shards=2, settings={"index.mapping.nested_objects.limit": 77})
    found = await bench.raw.indices.get_settings(index=bench.data)
    settings = found[bench.data]["settings"]["index"]
    assert settings["number_of_shards"] == "2"
    assert settings["mapping"]["nested_objects"]["limit"] == "77"


async def test_a_document_never_changes_the_mapping(bench: Bench) -> None:
    """D1: `dynamic: strict`."""
    await bench.users()
    found = await bench.raw.indices.get_mapping(index=bench.data)
    assert found[bench.data]["mappings"]["dynamic"] == "strict"


async def test_a_late_request_never_reaches_a_generation_that_got_its_number_again(
    bench: Bench,
) -> None:
    """D2: a dropped number may come again in the next run, whose aliases are others."""
    with FaultProxy(bench.url, late_seconds=None) as proxy:
        first = await bench.users(url=proxy.url, timeout_secs=1)
        proxy.choose = lambda request: Fault.LATE if request.path == "/_bulk" else None
        with pytest.raises(SinkUnavailable):
            await first.flush([bench.document("1", 1, {"name": "stale"})], caught_up=False)
        proxy.choose = lambda request: None
        assert proxy.under_way == 1
        await first.drop_generation(OLD)
        await first.release()
        second = await bench.users()
        proxy.deliver()
        async with asyncio.timeout(10):
            while proxy.under_way:
                await asyncio.sleep(0.01)
        await second.flush([bench.document("2", 2, {"name": "new"})], caught_up=False)
        assert await bench.get("1") is None
        assert await bench.get("2") == {"name": "new"}
