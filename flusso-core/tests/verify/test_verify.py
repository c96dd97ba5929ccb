"""A source compared with what a sink serves, over in-memory edges in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.engine.retry import Retrier
from flusso_core.errors import SinkUnavailable, SourceUnavailable
from flusso_core.interfaces import SinkCapabilities
from flusso_core.model import (
    BuiltDocument,
    Document,
    DocumentId,
    IndexMapping,
    Key,
    Rejection,
    StoredDocument,
    StrayKey,
    StreamIdentity,
)
from flusso_core.observe.observer import NoopObserver
from flusso_core.settings import FailurePolicies, FailurePolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)
from flusso_core.verify import Kind, NotComparable, Report, Sample, Verdict, Verifier
from flusso_core.verify.inquiry import Repair

NEWEST = 1 << 62


def virtual(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_in_virtual_time(main(), seconds=7200.0)


class Counting(MemoryBuilder):
    """Remembers what was built."""

    def __init__(self, database: MemoryDatabase, **settings: Any) -> None:
        super().__init__(database, **settings)
        self.built: list[Key] = []

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        self.built += keys
        async for chunk in super().build(index, keys):
            yield chunk


class World:
    """A database, a destination that an engine has filled, and what is done to it."""

    def __init__(self, parents: int = 20) -> None:
        self.database = MemoryDatabase()
        self.destination = MemoryDestination()
        for number in range(parents):
            self.database.commit(
                self.database.put_parent(f"p{number:03}", f"name {number}"),
                self.database.put_child(f"c{number:03}", f"p{number:03}"),
            )

    def engine(self, builder: MemoryBuilder | None = None, **settings: Any) -> Engine:
        sink = settings.pop("sink", None) or MemorySink(self.destination)
        builder = builder or MemoryBuilder(self.database)
        return Engine(MemoryCapture(self.database), builder, {"memory": sink}, **settings)

    async def fill(self, **settings: Any) -> None:
        """Have an engine fill the index and end."""
        await self.engine(**settings).run(once=True)

    @asynccontextmanager
    async def running(self, engine: Engine | None = None) -> AsyncGenerator[Engine, None]:
        """An engine that keeps the index, which is filled."""
        engine = engine or self.engine()
        task = asyncio.create_task(engine.run())
        while "parents" not in self.destination.serving or not self._seeded:
            await asyncio.sleep(0.01)
        try:
            yield engine
        finally:
            engine.stop()
            await task

    @property
    def _seeded(self) -> bool:
        record = self.destination.records.get("parents")
        return record is not None and record.current.seeded

    def tamper(self, key: str, body: bytes | None, version: int | None = None) -> None:
        """Change a document behind flusso's back; `None`: delete it."""
        [stored] = self.destination.generations.values()
        if body is None:
            del stored[key]
            return
        if version is None:
            version = stored[key].version + 1 if key in stored else 1
        identity = DocumentId("parents", self.destination.serving["parents"], StrayKey((key,)))
        self.destination.apply(Document(identity, body, version))

    def verifier(
        self,
        *,
        builder: MemoryBuilder | None = None,
        capture: MemoryCapture | None = None,
        sink: MemorySink | None = None,
        **settings: Any,
    ) -> Verifier:
        return Verifier(
            capture or MemoryCapture(self.database),
            builder or MemoryBuilder(self.database),
            sink or MemorySink(self.destination, max_documents=7),
            "parents",
            name="memory",
            retrier=Retrier(NoopObserver()),
            **settings,
        )

    async def verify(self, *, repair: Repair | None = None, **edges: Any) -> Report:
        return await self.verifier(**edges).run(repair=repair)


def found(report: Report) -> dict[str, Kind]:
    """The ids that differ for certain."""
    return {one.id: one.kind for one in report.differences if one.verdict is Verdict.DRIFT}


def spoil(world: World) -> dict[str, Kind]:
    """Make one document of each kind wrong."""
    world.tamper("p003", None)
    world.tamper("p004", b'{"name": "name 4", "children": ["c004", "c999"]}')
    world.tamper("p777", b"{}")
    world.tamper("~stray", b"{}")
    return {
        "p003": Kind.MISSING,
        "p004": Kind.STALE,
        "p777": Kind.EXTRA,
        "~stray": Kind.EXTRA,
    }


@pytest.mark.parametrize("runs", [True, False], ids=["beside a run", "alone"])
def test_every_kind_of_drift_is_found_and_nothing_else(runs: bool) -> None:
    """A run that keeps the index is not disturbed, and none is needed where all is applied."""

    async def main() -> None:
        world = World()
        await world.fill()
        wrong = spoil(world)
        if runs:
            async with world.running():
                report = await world.verify()
        else:
            report = await world.verify()
        assert found(report) == wrong
        assert (report.drift, report.undecided, report.behind) == (4, 0, None)
        assert (report.expected, report.stored, report.documents) == (20, 21, 20)
        [stale] = [one for one in report.differences if one.kind is Kind.STALE]
        assert stale.paths == ("children[1]",)
        assert report.count(Verdict.DRIFT, Kind.EXTRA) == 2

    virtual(main)


def test_an_index_that_is_right_has_no_differences() -> None:
    async def main() -> None:
        world = World()
        await world.fill()
        before = dict(world.destination.records)
        told: list[tuple[int, int | None]] = []

        def progressed(count: int, estimate: int | None) -> None:
            told.append((count, estimate))

        report = await world.verifier().run(progressed=progressed)
        assert not report.counts
        assert (told[0], told[-1]) == ((0, 20), (20, 20))
        assert world.destination.records == before

    virtual(main)


class Slow(MemorySink):
    """Every flush takes seconds; reading takes none."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> Any:
        await asyncio.sleep(random.Random(len(documents)).uniform(1, 9))
        return await super().flush(documents, caught_up=caught_up)


@pytest.mark.parametrize("seed", range(5))
def test_a_change_on_its_way_does_not_count(seed: int) -> None:
    """Rows come, change, move and go while flushes are slow; only what is wrong is told."""

    async def main() -> None:
        world, chance = World(40), random.Random(seed)
        await world.fill()
        world.tamper("p003", b'{"name": "name 3", "children": []}', NEWEST)
        world.tamper("p777", b"{}", NEWEST)
        async with world.running(world.engine(sink=Slow(world.destination))):
            stop = asyncio.Event()
            writing = asyncio.create_task(write(world.database, chance, stop))
            report = await world.verify(patience=60.0)
            stop.set()
            await writing
        assert found(report) == {"p003": Kind.STALE, "p777": Kind.EXTRA}
        assert report.undecided == 0

    virtual(main)


async def write(database: MemoryDatabase, chance: random.Random, stop: asyncio.Event) -> None:
    """Commit something now and then, sparing what was made wrong."""
    while not stop.is_set():
        key = f"p{chance.randrange(4, 50):03}"
        child = f"c{chance.randrange(4, 50):03}"
        if chance.random() < 0.2:
            database.commit(database.delete_parent(key), database.delete_child(child))
        else:
            hidden = chance.random() < 0.3
            put = database.put_child(child, key)
            database.commit(database.put_parent(key, f"{chance.random()}"), put, hidden=hidden)
            await asyncio.sleep(0.1)
            database.reveal()
        await asyncio.sleep(chance.uniform(0, 0.5))


def test_a_document_that_changes_all_the_time_neither_counts_nor_hangs() -> None:
    """It swings between two contents faster than they land."""

    async def main() -> None:
        world = World()
        await world.fill()

        async def swing() -> None:
            while True:
                for name in ("this", "that"):
                    world.database.commit(world.database.put_parent("p001", name))
                    await asyncio.sleep(0.3)

        async with world.running(world.engine(sink=Slow(world.destination))):
            swinging = asyncio.create_task(swing())
            await asyncio.sleep(30)
            report = await world.verify(patience=60.0)
            swinging.cancel()
        assert (report.drift, report.undecided) == (0, 0)
        assert set(report.counts) <= {(Verdict.CHANGING, Kind.STALE)}

    virtual(main)


def test_a_row_that_changes_all_the_time_does_not_hide_a_document_that_is_never_written() -> None:
    """Its version at the sink is higher than any that the engine will ever give."""

    async def main() -> None:
        world = World()
        await world.fill()
        world.tamper("p001", b"{}", NEWEST)

        async def change() -> None:
            for number in range(1_000_000):
                world.database.commit(world.database.put_parent("p001", f"{number}"))
                await asyncio.sleep(0.3)

        async with world.running():
            changing = asyncio.create_task(change())
            report = await world.verify()
            changing.cancel()
        assert found(report) == {"p001": Kind.STALE}

    virtual(main)


def test_what_is_seen_of_the_source_is_never_older_than_what_is_stored() -> None:
    """The other way round, a row that changes there and back would be called drift."""

    async def main() -> None:
        world = World()
        await world.fill()
        database, original = world.database, world.database.parents["p001"]

        class Changing(MemoryBuilder):
            times = 0

            async def build(
                self, index: str, keys: Sequence[Key]
            ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
                self.times += 1
                if self.times % 2 == 0:  # it is not there before the sink is asked
                    database.commit(database.put_parent("p001", original))
                async for chunk in super().build(index, keys):
                    yield chunk
                if self.times % 2 == 1:
                    database.commit(database.put_parent("p001", "there"))
                    while b"there" not in world.destination.search("parents")["p001"]:
                        await asyncio.sleep(0.01)

        class SuspectsOne(MemorySink):
            asked = 0

            async def documents(
                self, mapping: IndexMapping, generation: int, ids: Sequence[str]
            ) -> AsyncGenerator[Sequence[StoredDocument], None]:
                async for chunk in super().documents(mapping, generation, ids):
                    self.asked += "p001" in [one.id for one in chunk]
                    late = self.asked == 1
                    yield [
                        one._replace(body=b"{}") if late and one.id == "p001" else one
                        for one in chunk
                    ]

        async with world.running(world.engine(sink=Slow(world.destination))):
            report = await world.verify(
                builder=Changing(database), sink=SuspectsOne(world.destination)
            )
        assert report.drift == 0

    virtual(main)


def test_where_nothing_runs_changes_that_are_not_applied_are_told_apart() -> None:
    """The record does not move: whatever differs may be one of them."""

    async def main() -> None:
        world = World()
        await world.fill()
        world.database.commit(world.database.put_parent("p001", "later"))
        world.database.commit(world.database.delete_parent("p002"))
        world.tamper("p003", None)
        started = asyncio.get_running_loop().time()
        report = await world.verify(patience=20.0, most_suspects=1)
        assert asyncio.get_running_loop().time() - started < 30.0, "it is waited for once"
        assert (report.drift, report.undecided, report.behind) == (0, 3, 2)
        kinds = {one.id: one.kind for one in report.differences}
        assert kinds == {"p001": Kind.STALE, "p002": Kind.EXTRA, "p003": Kind.MISSING}

    virtual(main)


def test_a_sweep_that_is_under_way_leaves_it_open() -> None:
    """It reads all rows again, and may be about to put right what differs."""

    async def main() -> None:
        world = World()
        await world.fill()
        spoil(world)
        record = world.destination.records["parents"]
        swept = replace(record, current=replace(record.current, sweep=record.current.sweep + 1))
        world.destination.records["parents"] = swept
        report = await world.verify()
        assert (report.drift, report.undecided) == (0, 4)

    virtual(main)


def test_many_differences_are_judged_a_few_at_a_time() -> None:
    """An index that has lost everything needs no more memory than one that lost a little."""

    async def main() -> None:
        world = World(200)
        await world.fill()
        [stored] = world.destination.generations.values()
        stored.clear()
        most = 0

        class Watching(MemorySink):
            async def documents(
                self, mapping: Any, generation: int, ids: Sequence[str]
            ) -> AsyncGenerator[Sequence[StoredDocument], None]:
                nonlocal most
                most = max(most, len(ids))
                async for chunk in super().documents(mapping, generation, ids):
                    yield chunk

        for number in range(200):
            world.tamper(f"x{number}", b"{}", 1)
        sink = Watching(world.destination)
        report = await world.verify(sink=sink, most_suspects=10)
        assert report.count(Verdict.DRIFT, Kind.EXTRA) == 200
        assert report.count(Verdict.DRIFT, Kind.MISSING) == 200
        assert len(report.differences) == 20
        assert most < 20

    virtual(main)


def test_failures_that_pass_change_nothing() -> None:
    """R1: both edges fail now and then."""

    async def main() -> None:
        world = World()
        await world.fill()
        wrong = spoil(world)
        for number in range(30):
            world.tamper(f"x{number}", b"{}", 1)
            wrong[f"x{number}"] = Kind.EXTRA
        calls = 0

        def fault(*_: str) -> None:
            nonlocal calls
            calls += 1
            if calls % 23 == 0:
                raise SourceUnavailable("a fault of the test")

        report = await world.verify(
            builder=MemoryBuilder(world.database, fault=fault),
            capture=MemoryCapture(world.database, fault=fault),
            sink=MemorySink(world.destination, fault=fault, max_documents=7),
            most_suspects=5,
        )
        assert found(report).items() <= wrong.items()
        assert (report.drift, report.expected, report.stored) == (len(wrong), 20, 51)

    virtual(main)


def test_a_listing_that_begins_anew_counts_nothing_twice() -> None:
    """What was found before it failed had been judged already."""

    class GivenUp(MemorySink):
        failed = False

        async def document_ids(
            self, mapping: IndexMapping, generation: int
        ) -> AsyncGenerator[Sequence[str], None]:
            async for ids in super().document_ids(mapping, generation):
                yield ids
            if not self.failed:
                self.failed = True
                raise SinkUnavailable("the search was given up")

    async def main() -> None:
        world = World()
        await world.fill()
        wrong = spoil(world)
        report = await world.verify(sink=GivenUp(world.destination), most_suspects=1)
        assert (found(report), report.drift, report.stored) == (wrong, len(wrong), 21)

    virtual(main)


class Asked(MemorySink):
    """Remembers of what the bodies were asked for, and of what only whether it is there."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination, max_documents=7)
        self.read: set[str] = set()
        self.looked_up: set[str] = set()

    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        self.read |= set(ids)
        async for chunk in super().documents(mapping, generation, ids):
            yield chunk

    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        self.looked_up |= set(ids)
        return await super().present(mapping, generation, ids)


def test_of_what_a_sample_leaves_out_nothing_but_the_ids_is_asked() -> None:
    """Every document is one or the other, and a seed draws the same ones again."""

    async def main() -> None:
        world = World(100)
        await world.fill()
        drawn: list[set[str]] = []
        for seed in (1, 2, 1):
            sink = Asked(world.destination)
            report = await world.verify(sink=sink, sample=Sample(share=0.2, seed=seed), readers=3)
            assert (report.seed, report.sampled, report.counts) == (seed, True, {})
            assert (report.expected, report.stored) == (100, 100)
            assert report.documents == len(sink.read)
            assert 5 < len(sink.read) < 40
            assert sink.read.isdisjoint(sink.looked_up)
            assert len(sink.read | sink.looked_up) == 100
            drawn.append(sink.read)
        assert drawn[0] == drawn[2] != drawn[1]

    virtual(main)


def test_what_is_missing_or_extra_outside_of_a_sample_is_found_and_other_content_is_not() -> None:
    """Whatever is drawn: by ids all documents are compared."""

    async def main() -> None:
        world = World(100)
        await world.fill()
        wrong = spoil(world)
        by_id = {key: kind for key, kind in wrong.items() if kind is not Kind.STALE}
        draws = [Sample(share=0.2, seed=seed) for seed in range(30)]
        seen: list[bool] = []
        for sample in draws:
            report = await world.verify(sample=sample)
            takes = sample.draw(100).takes("p004")
            assert found(report) == (wrong if takes else by_id)
            assert (report.expected, report.stored) == (100, 101)
            seen.append(takes)
        assert set(seen) == {True, False}

    virtual(main)


def test_what_a_transform_drops_is_an_extra_outside_of_a_sample_too() -> None:
    """The source has a row of it, and no document."""

    def drop(document: dict[str, Any]) -> Mapping[str, Any] | None:
        return None if document["name"] == "name 7" else document

    async def main() -> None:
        world, transforms, nothing = World(), {"parents": [drop]}, Sample(share=1e-9)
        await world.fill(transforms=transforms)
        right = await world.verify(transforms=transforms, sample=nothing)
        assert (right.counts, right.expected, right.stored, right.documents) == ({}, 19, 19, 0)
        world.tamper("p007", b"{}", NEWEST)
        report = await world.verify(transforms=transforms, sample=nothing)
        assert found(report) == {"p007": Kind.EXTRA}

    virtual(main)


@pytest.mark.parametrize("seed", range(5))
def test_a_change_on_its_way_does_not_count_outside_of_a_sample(seed: int) -> None:
    """Rows come and go while flushes are slow; only what is missing is told."""

    async def main() -> None:
        world, chance = World(40), random.Random(seed)
        await world.fill()
        world.tamper("p003", None)
        async with world.running(world.engine(sink=Slow(world.destination))):
            stop = asyncio.Event()
            writing = asyncio.create_task(write(world.database, chance, stop))
            report = await world.verify(patience=60.0, sample=Sample(share=1e-9))
            stop.set()
            await writing
        assert found(report) == {"p003": Kind.MISSING}
        assert (report.undecided, report.documents) == (0, 0)

    virtual(main)


def test_repair_builds_exactly_what_differs() -> None:
    """And what is wrong afterwards is still told: here, what no write can change."""

    async def main() -> None:
        world = World()
        await world.fill()
        wrong = spoil(world)
        world.tamper("p005", b"{}", NEWEST)
        builder = Counting(world.database)
        async with world.running(world.engine(builder)) as engine:
            builder.built.clear()
            report = await world.verify(repair=lambda keys: engine.rebuild("parents", keys))
            built = {key[0] for key in builder.built}
            again = await world.verify()
        assert built == {"p003", "p004", "p005", "p777"}
        assert report.repaired == len(wrong) == 4
        assert found(report) == found(again) == {"p005": Kind.STALE}

    virtual(main)


def test_transforms_are_applied_before_documents_are_compared() -> None:
    """What a transform drops is an extra where it is there."""

    def upper(document: dict[str, Any]) -> Mapping[str, Any] | None:
        if document["name"] == "name 7":
            return None
        return {**document, "name": document["name"].upper()}

    async def main() -> None:
        world, transforms = World(), {"parents": [upper]}
        await world.fill(transforms=transforms)
        assert not (await world.verify(transforms=transforms)).counts
        body = json.dumps({"name": "NAME 7", "children": ["c007"]}).encode()
        world.tamper("p007", body, NEWEST)
        assert found(await world.verify(transforms=transforms)) == {"p007": Kind.EXTRA}

    virtual(main)


def test_what_a_transform_fails_on_differs_from_what_it_was_before() -> None:
    """D3: nothing of it was written since."""

    def fail(document: dict[str, Any]) -> Mapping[str, Any] | None:
        if document["name"] == "name 7":
            raise KeyError("country")
        return {**document, "name": document["name"].upper()}

    async def main() -> None:
        world, skip = World(), FailurePolicies(default=FailurePolicy.SKIP)
        await world.fill(transforms={"parents": [fail]}, failures=skip)
        report = await world.verify(transforms={"parents": [fail]})
        assert found(report) == {"p007": Kind.MISSING}

    virtual(main)


def test_what_the_sink_has_refused_is_told_apart() -> None:
    """D3: building it anew would not help."""

    async def main() -> None:
        world = World()
        await world.fill()
        world.tamper("p003", None)
        world.tamper("p004", None)

        class Keeping(MemorySink):
            async def quarantined(self) -> AsyncGenerator[Any, None]:
                for rejection in self._destination.quarantined:
                    index, _, key = rejection.document.id
                    yield Kept(index, key)

        refused = Document(DocumentId("parents", 1, ("p004",)), b"{}", 1)
        world.destination.quarantined.append(Rejection(refused, "refused"))
        report = await world.verify(sink=Keeping(world.destination))
        assert {one.id: one.quarantined for one in report.differences} == {
            "p003": False,
            "p004": True,
        }
        assert report.quarantined == 1

    virtual(main)


class Kept:
    """As much of a quarantined document as is asked for."""

    def __init__(self, index: str, key: Key) -> None:
        self.index = index
        self.key = key


def test_what_serves_by_an_older_schema_is_compared_by_that_schema() -> None:
    """D4: while the index is filled by the new one."""

    async def main() -> None:
        world = World()
        await world.fill(builder=MemoryBuilder(world.database, form="owner"))
        world.tamper("p003", b'{"name": "name 3", "children": ["c003"], "form": "grandchildren"}')
        report = await world.verify(builder=MemoryBuilder(world.database, form="grandchildren"))
        assert found(report) == {"p003": Kind.STALE}

    virtual(main)


def test_an_index_that_cannot_be_compared_is_refused_with_the_reason() -> None:
    async def main() -> None:
        world = World()
        with pytest.raises(NotComparable, match="memory has no index parents"):
            await world.verify()
        await world.fill()
        record = world.destination.records["parents"]
        unseeded = replace(record, current=replace(record.current, seeded=False))
        world.destination.records["parents"] = unseeded
        with pytest.raises(NotComparable, match="is still filling index parents"):
            await world.verify()
        older = replace(record, current=replace(record.current, schema_hash="gone", schema=None))
        world.destination.records["parents"] = older
        with pytest.raises(NotComparable, match="serves by an older schema"):
            await world.verify()
        world.destination.records["parents"] = record
        world.database.identity = StreamIdentity("another", "test", "flusso", "1")
        with pytest.raises(NotComparable, match=r"server memory, and the source is .* at another"):
            await world.verify()
        world.database.identity = record.identity
        world.destination.serving["parents"] = 77
        with pytest.raises(NotComparable, match="do not see generation 1, which they should"):
            await world.verify()

    virtual(main)


@pytest.mark.parametrize(
    ("without", "reason"),
    [("records", "it remembers nothing"), ("read_back", "it gives no documents back")],
)
def test_a_sink_that_gives_nothing_back_cannot_be_verified(without: str, reason: str) -> None:
    class Mute(MemorySink):
        @property
        def capabilities(self) -> SinkCapabilities:
            changed: dict[str, Any] = {without: False}
            return replace(super().capabilities, **changed)

    async def main() -> None:
        world = World()
        await world.fill()
        with pytest.raises(NotComparable, match=f"memory cannot be verified: {reason}"):
            await world.verify(sink=Mute(world.destination))

    virtual(main)


def test_a_generation_that_took_its_place_ends_the_comparison() -> None:
    """What was read of the old one says nothing about it."""

    async def main() -> None:
        world = World()
        await world.fill()
        spoil(world)

        class Replaced(MemoryCapture):
            async def head(self) -> Any:
                record = world.destination.records["parents"]
                current = replace(record.current, number=record.current.number + 1)
                world.destination.records["parents"] = replace(record, current=current)
                return await super().head()

        with pytest.raises(NotComparable, match="verify it again"):
            await world.verify(capture=Replaced(world.database))

    virtual(main)
