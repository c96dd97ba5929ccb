"""Documents that are named are built anew, at every sink, over in-memory edges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import EngineError, SinkUnavailable
from flusso_core.model import BuiltDocument, Document, DocumentId, Key, KeyRange, StrayKey
from flusso_core.observe.observer import NoopObserver
from flusso_core.settings import Bounds, FailurePolicies, FailurePolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)

from .running import childless, live, until, virtual

KEYS: Sequence[Key] = [(f"p{number:03}",) for number in range(20)]


class Counting(MemoryBuilder):
    """Remembers what was built, and looked up."""

    def __init__(self, database: MemoryDatabase, **settings: Any) -> None:
        super().__init__(database, **settings)
        self.built: list[Key] = []
        self.looked_up = 0

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        self.built += keys
        async for chunk in super().build(index, keys):
            yield chunk

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        self.looked_up += len(ids)
        return await super().missing(index, ids)


class Attached(NoopObserver):
    """Counts the times that a lane came up."""

    times = 0

    def attached(self, lane: str) -> None:
        self.times += 1


def make(
    builder: MemoryBuilder, database: MemoryDatabase, *sinks: MemorySink, **settings: Any
) -> Engine:
    return Engine(
        MemoryCapture(database),
        builder,
        {f"sink{number}": sink for number, sink in enumerate(sinks)},
        **settings,
    )


def spoil(database: MemoryDatabase, destination: MemoryDestination) -> None:
    """Change rows behind the stream's back, and put in what no row has: a key, and no key."""
    for key in ("p003", "p004"):
        database.parents[key] = "changed"
    for (index, number), stored in destination.generations.items():
        for key in ("p777", "~stray"):
            destination.apply(Document(DocumentId(index, number, (key,)), b'{"extra": true}', 1))
        stored["~sha256:0"] = stored["p777"]


EXTRA = ("p777", "~~stray", "~sha256:0")


@pytest.mark.parametrize(
    "named",
    [
        ["p003", "p004", *EXTRA],
        [("p003",), ("p004",), ("p777",), ("~stray",), StrayKey(("~sha256:0",))],
        [*(StrayKey((one,)) for one in EXTRA), "p004", ("p003",), ("p003", "of two columns")],
    ],
)
def test_what_is_named_is_right_afterwards_and_nothing_else_is_built(
    named: Sequence[Key | str],
) -> None:
    """By keys, by ids, and by what is no key: at both sinks, without a change or a sweep."""

    async def main() -> None:
        database, first, second = childless(), MemoryDestination(), MemoryDestination()
        builder = Counting(database)
        running = make(builder, database, MemorySink(first), MemorySink(second))
        with pytest.raises(EngineError, match="nothing runs"):
            await running.rebuild("parents", named)
        async with live(running):
            await until(lambda: first.serving == second.serving == {"parents": 1})
            with pytest.raises(EngineError, match="no index"):
                await running.rebuild("others", named)
            spoil(database, first)
            spoil(database, second)
            builder.built.clear()
            await running.rebuild("parents", named)
            assert first.search("parents") == second.search("parents") == database.documents()
            assert {("p003",), ("p004",)} <= set(builder.built)
            assert not set(builder.built) & set(KEYS) - {("p003",), ("p004",)}
            await running.rebuild("parents", [])

    virtual(main)


def test_a_text_that_is_no_key_never_reaches_a_build() -> None:
    """What a person types cannot end a run: the source's types would refuse it in a build."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = Counting(database)
        running = make(builder, database, MemorySink(destination))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            builder.built.clear()
            await running.rebuild("parents", ["", "~x", ("a", "b"), (), '["p001"]', "p001"])
            assert all(len(key) == 1 for key in builder.built)
            assert destination.search("parents") == database.documents()

    virtual(main)


def test_many_are_marked_a_piece_at_a_time() -> None:
    """C10: while the destination takes nothing, what is named waits with who has named it."""

    async def main() -> None:
        database, destination = childless(4000), MemoryDestination()
        down = False

        def fault(_: str) -> None:
            if down:
                raise SinkUnavailable("down")

        builder = Counting(database, chunk=1000)
        sink = MemorySink(destination, fault=fault, max_documents=1000)
        running = make(builder, database, sink, bounds=Bounds(max_dirty=100))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            down = True
            database.parents = dict.fromkeys(database.parents, "changed")
            asking = asyncio.create_task(
                running.rebuild("parents", [(key,) for key in database.parents])
            )
            await asyncio.sleep(300)
            assert builder.looked_up <= 2000
            down = False
            await asking
            assert destination.search("parents") == database.documents()

    virtual(main)


class Slow(Counting):
    """Divides nothing, and so fills nothing, while it is told to wait."""

    waiting = False

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        while self.waiting:
            await asyncio.sleep(1)
        return await super().ranges(index, count)


def test_both_generations_get_what_is_named_while_one_is_filled() -> None:
    """D4: what serves is put right at once, and what is filled loses nothing by it."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        builder = Slow(database)
        running = make(builder, database, MemorySink(destination))
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            builder.waiting = True
            await running.reindex("parents")
            spoil(database, destination)
            await running.rebuild("parents", [("p003",), ("p004",), *EXTRA])
            assert destination.serving == {"parents": 1}
            assert destination.search("parents") == database.documents()
            filling = destination.generations["parents", 2]
            assert {key for key, stored in filling.items() if stored.body} == {"p003", "p004"}
            builder.waiting = False
            await until(lambda: destination.serving == {"parents": 2})
            assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("turns", range(0, 60, 3))
def test_a_seed_goes_on_beside_it(turns: int) -> None:
    """H5: named at any step of a first seed, it is marked as any change would be."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        running = make(MemoryBuilder(database), database, MemorySink(destination))
        async with live(running):
            await until(lambda: ("parents", 1) in destination.generations)
            for _ in range(turns):
                await asyncio.sleep(0)
            await running.rebuild("parents", [*KEYS, "p777"])
            for (key,) in KEYS:
                assert destination.generations["parents", 1][key].body == database.document(key)
            await until(lambda: destination.serving == {"parents": 1})
            assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("kill", [False, True])
def test_an_end_in_the_middle_is_an_error_and_asking_again_is_enough(kill: bool) -> None:
    """R2: a debt of its own is remembered nowhere, and who asked is told so."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        flushed = 0

        def fault(moment: str) -> None:
            nonlocal flushed
            flushed += moment == "before"
            if flushed > limit:
                raise SinkUnavailable("down")

        limit = 1_000_000
        running = make(MemoryBuilder(database), database, MemorySink(destination, fault=fault))
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        limit = flushed + 3
        database.parents = dict.fromkeys(database.parents, "changed")
        asking = asyncio.create_task(running.rebuild("parents", KEYS))
        await asyncio.sleep(60)
        task.cancel() if kill else running.stop()
        with pytest.raises(EngineError, match="sink0: not every document of index parents"):
            await asking
        await asyncio.wait([task])
        changed = sum(b"changed" in body for body in destination.search("parents").values())
        assert 0 < changed < len(KEYS)
        attached = Attached()
        running = make(
            MemoryBuilder(database), database, MemorySink(destination), observer=attached
        )
        async with live(running):
            await until(lambda: attached.times == 1)
            await running.rebuild("parents", KEYS)
            assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_lane_that_goes_down_meanwhile_is_named() -> None:
    """D6: the other sink has it all, and who asked learns which one has not."""

    async def main() -> None:
        database, first, second = childless(), MemoryDestination(), MemoryDestination()
        down = False

        def fault(_: str) -> None:
            if down:
                raise SinkUnavailable("down")

        class Mortal(MemorySink):
            async def renew(self) -> None:
                fault("renew")

        running = make(
            MemoryBuilder(database),
            database,
            MemorySink(first),
            Mortal(second, fault=fault),
            detach_after={"sink1": 60.0},
        )
        async with live(running):
            await until(lambda: first.serving == second.serving == {"parents": 1})
            down = True
            database.parents = dict.fromkeys(database.parents, "changed")
            with pytest.raises(EngineError, match="sink1: not every document of index parents"):
                await running.rebuild("parents", KEYS)
            assert first.search("parents") == database.documents()
            await running.rebuild("parents", KEYS)  # that one is not up any more

    virtual(main)


def test_what_is_refused_is_in_quarantine_when_it_returns() -> None:
    """D3: it is owed no longer, and the others have landed."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        refused = "p003"
        sink = MemorySink(destination, refuses=lambda document: document.id.key == (refused,))
        failures = FailurePolicies(FailurePolicy.SKIP)
        running = make(MemoryBuilder(database), database, sink, failures=failures)
        async with live(running):
            await until(lambda: destination.serving == {"parents": 1})
            destination.quarantined.clear()
            database.parents = dict.fromkeys(database.parents, "changed")
            await running.rebuild("parents", KEYS)
            assert [one.document.id.key for one in destination.quarantined] == [("p003",)]
            refused = "nobody"
            await running.rebuild("parents", KEYS)
            assert destination.search("parents") == database.documents()

    virtual(main)
