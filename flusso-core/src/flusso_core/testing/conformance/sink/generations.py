"""Checks of generations: an index is filled aside and shown at once."""

from __future__ import annotations

from contextlib import aclosing

from flusso_core.errors import GenerationLost, SinkError, SinkFatal
from flusso_core.model import Generation, GenerationSize
from flusso_core.testing.conformance.promise import Promise
from flusso_core.testing.conformance.samples import (
    GENERATION,
    OTHER,
    SAMPLE,
    content,
    tombstone,
    upsert,
)
from flusso_core.testing.conformance.sink.bench import GUIDE, SinkBench, SinkChecks, writing

SEARCHABLE = Promise(
    "a caught-up flush, or a `refresh` after other flushes, makes them searchable", GUIDE
)
BEGUN = Promise("a generation takes writes once it was begun, and never before", GUIDE)
REPEATED = Promise("beginning, serving or dropping a generation again changes nothing", GUIDE)
APART = Promise(
    "with `records`, a new generation begins empty, and no write to one reaches another", GUIDE
)
SERVED = Promise("searches see one whole generation: the one that was served last", GUIDE)
DROPPED = Promise("a dropped generation is gone, and nothing else is", GUIDE)
LISTED = Promise(
    "`generations` tells which exist and which one serves, and none without `records`", GUIDE
)
KEPT = Promise("a generation that searches see is never dropped", GUIDE)
MADE = Promise(
    "`generations` tells what each was made with, as `made_with` said then: where they differ, a "
    "run fills a new one",
    GUIDE,
)
SIZED = Promise(
    "`size` tells how many documents a generation has, or that it does not know; it, "
    "`generations`, `load_records` and `drop_generation` need no lease",
    GUIDE,
)
IDS = Promise("`document_ids` tells the `_id` of every document of a generation", GUIDE)
RESUMED = Promise(
    "`resume_generation` has writes to a generation of an earlier run accepted, keeps what is "
    "there, and makes none",
    GUIDE,
)
INDEXES = Promise("what happens to one index does not touch another", GUIDE)

SECOND = GENERATION + 1
ONE = Generation(SAMPLE.index, GENERATION, SAMPLE.schema_hash)
TWO = Generation(SAMPLE.index, SECOND, SAMPLE.schema_hash)


class GenerationChecks(SinkChecks):
    """Each check fails with the promise that was broken."""

    async def test_a_caught_up_flush_is_searchable_at_once(self, bench: SinkBench) -> None:
        """A lone change is found by the next search."""
        document = upsert("1", 1, {"name": "a"})
        async with writing(bench) as sink:
            await sink.serve_generation(SAMPLE, GENERATION)
            await sink.flush([document], caught_up=True)
            found = await bench.served(SAMPLE)
            SEARCHABLE.same(found, content([document]), "after a caught-up flush")
            await sink.flush([tombstone("1", 2)], caught_up=True)
            SEARCHABLE.same(await bench.served(SAMPLE), {}, "after a caught-up tombstone")

    async def test_a_refresh_shows_what_flushes_before_it_wrote(self, bench: SinkBench) -> None:
        """It comes after the last of several flushes."""
        documents = [upsert(key, 1, {"name": key}) for key in "123"]
        async with writing(bench) as sink:
            await sink.serve_generation(SAMPLE, GENERATION)
            for document in documents:
                await sink.flush([document], caught_up=False)
            await sink.refresh(SAMPLE.index)
            SEARCHABLE.same(await bench.served(SAMPLE), content(documents), "after `refresh`")

    async def test_a_generation_that_was_not_begun_takes_no_write(self, bench: SinkBench) -> None:
        """No write ever creates an index."""
        async with writing(bench, OTHER) as sink:
            await BEGUN.failure(
                SinkError,
                sink.flush([upsert("1", 1, {"name": "a"})], caught_up=False),
                "a flush to an index that was not begun",
            )
            found = await bench.stored(SAMPLE, GENERATION)
            BEGUN.same(found, {}, "after a flush to an index that was not begun")

    async def test_beginning_again_keeps_what_is_there(self, bench: SinkBench) -> None:
        """As after a lost answer, in the same run and, with `records`, in the next one."""
        document = upsert("1", 1, {"name": "a"})
        async with writing(bench) as sink:
            await sink.flush([document], caught_up=False)
            await sink.begin_generation(SAMPLE, GENERATION)
            found = await bench.stored(SAMPLE, GENERATION)
            REPEATED.same(found, content([document]), "after a second `begin_generation`")
            remembers = sink.capabilities.records
        if remembers:
            async with writing(bench):
                found = await bench.stored(SAMPLE, GENERATION)
            REPEATED.same(found, content([document]), "after the next run has begun it")

    async def test_what_is_resumed_goes_on_and_what_is_gone_is_not_made(
        self, bench: SinkBench
    ) -> None:
        """Made again, and empty, it would be taken for what it was."""
        old, new = (upsert(key, 1, {"name": "a"}) for key in "12")
        async with writing(bench) as sink:
            if not sink.capabilities.records:
                return
            await sink.flush([old], caught_up=False)
        async with bench.sink() as sink:
            await sink.acquire("the next run")
            for _ in range(2):
                await sink.resume_generation(SAMPLE, GENERATION)
            await RESUMED.within(sink.flush([new], caught_up=False), "a flush to what was resumed")
            found = await bench.stored(SAMPLE, GENERATION)
            RESUMED.same(found, content([old, new]), "after it was resumed and written to")
            await RESUMED.failure(
                GenerationLost,
                sink.resume_generation(SAMPLE, SECOND),
                "`resume_generation` of one that is not there",
            )
            numbers = [one.number for one in await sink.generations(SAMPLE.index)]
            RESUMED.same(numbers, [GENERATION], "the generations behind it")
            await sink.release()

    async def test_a_new_generation_is_empty_and_apart(self, bench: SinkBench) -> None:
        """The old one serves, unchanged, until the new one is served."""
        old, new = upsert("1", 1, {"name": "old"}), upsert("2", 2, {"name": "new"})
        new = new._replace(id=new.id._replace(generation=SECOND))
        async with writing(bench) as sink:
            await sink.serve_generation(SAMPLE, GENERATION)
            await sink.flush([old], caught_up=True)
            if not sink.capabilities.records:
                LISTED.same(list(await sink.generations(SAMPLE.index)), [], "without `records`")
                return
            await sink.begin_generation(SAMPLE, SECOND)
            APART.same(await bench.stored(SAMPLE, SECOND), {}, "a generation that has begun")
            await sink.flush([new], caught_up=False)
            await sink.refresh(SAMPLE.index)
            APART.same(await bench.stored(SAMPLE, GENERATION), content([old]), "the old one")
            APART.same(await bench.stored(SAMPLE, SECOND), content([new]), "the new one")
            SERVED.same(await bench.served(SAMPLE), content([old]), "before it is served")
            there = {one: one.serves for one in await sink.generations(SAMPLE.index)}
            LISTED.same(there, {ONE: True, TWO: False}, "`generations`")
            for _ in range(2):
                await sink.serve_generation(SAMPLE, SECOND)
                SERVED.same(await bench.served(SAMPLE), content([new]), "after it is served")

    async def test_every_document_is_told_by_its_id(self, bench: SinkBench) -> None:
        """Of that generation only, and none that was deleted; without `records` none at all."""
        documents = [upsert(key, 1, {"name": "a"}) for key in ("1", "~2", "3 ü", "x" * 600)]
        async with writing(bench) as sink:
            await sink.flush(documents, caught_up=False)
            await sink.flush([upsert("4", 1, {"name": "a"})], caught_up=False)
            await sink.flush([tombstone("4", 2)], caught_up=False)
            await sink.begin_generation(SAMPLE, SECOND)
            found: list[str] = []
            async with aclosing(sink.document_ids(SAMPLE, GENERATION)) as chunks:
                async for ids in chunks:
                    found += ids
            remembers = sink.capabilities.records
        IDS.same(sorted(found), sorted(content(documents)) if remembers else [], "`document_ids`")

    async def test_a_dropped_generation_is_gone(self, bench: SinkBench) -> None:
        """A late write to it fails and does not bring it back."""
        kept = upsert("1", 1, {"name": "kept"})
        kept = kept._replace(id=kept.id._replace(generation=SECOND))
        async with writing(bench) as sink:
            await sink.flush([upsert("1", 1, {"name": "dropped"})], caught_up=False)
            if sink.capabilities.records:
                await sink.begin_generation(SAMPLE, SECOND)
                await sink.flush([kept], caught_up=False)
                await sink.serve_generation(SAMPLE, SECOND)
            for _ in range(2):
                await sink.drop_generation(ONE)
            if not sink.capabilities.records:
                return
            DROPPED.same(await bench.stored(SAMPLE, GENERATION), {}, "the dropped one")
            DROPPED.same(await bench.stored(SAMPLE, SECOND), content([kept]), "the other one")
            LISTED.same(list(await sink.generations(SAMPLE.index)), [TWO], "`generations`")
            await BEGUN.failure(
                SinkError,
                sink.flush([upsert("2", 2, {"name": "late"})], caught_up=False),
                "a flush to a dropped generation",
            )
            found = await bench.stored(SAMPLE, GENERATION)
            DROPPED.same(found, {}, "after a late write to the dropped one")

    async def test_what_a_generation_was_made_with_is_told(self, bench: SinkBench) -> None:
        """Also in the next run; otherwise each run would fill another one."""
        for run in range(2):
            async with writing(bench) as sink:
                if not sink.capabilities.records:
                    return
                there = [one.made_with for one in await sink.generations(SAMPLE.index)]
                MADE.same(there, [sink.made_with(SAMPLE)], f"run {run}")

    async def test_an_onlooker_counts_and_drops(self, bench: SinkBench) -> None:
        """Beside the writer: a command that lists generations, and one that removes old ones."""
        old = [upsert(key, 1, {"name": "a"}) for key in "123"]
        new = [one._replace(id=one.id._replace(generation=SECOND)) for one in old[:2]]
        async with writing(bench) as sink:
            if not sink.capabilities.records:
                return
            await sink.flush(old, caught_up=False)
            await sink.flush([tombstone("1", 2)], caught_up=False)
            await sink.begin_generation(SAMPLE, SECOND)
            await sink.flush(new, caught_up=False)
            await sink.serve_generation(SAMPLE, SECOND)
            async with bench.sink() as onlooker:
                SIZED.same(dict(await onlooker.load_records()), {}, "`load_records`")
                for one in await onlooker.generations(SAMPLE.index):
                    counted = (await onlooker.size(one)).documents
                    if counted is not None:
                        SIZED.same(counted, 2, f"`size` of generation {one.number}")
                await KEPT.failure(
                    SinkFatal, onlooker.drop_generation(TWO), "`drop_generation` of what serves"
                )
                await onlooker.drop_generation(ONE)
                SIZED.same(await onlooker.size(ONE), GenerationSize(), "what was dropped")
            DROPPED.same(await bench.stored(SAMPLE, GENERATION), {}, "after it was dropped")
            KEPT.same(await bench.served(SAMPLE), content(new), "what serves")

    async def test_indexes_do_not_touch_each_other(self, bench: SinkBench) -> None:
        """The same key in two indexes is two documents."""
        one = upsert("1", 1, {"name": "one"})
        two = upsert("1", 1, {"name": "two"}, mapping=OTHER)
        async with writing(bench, SAMPLE, OTHER) as sink:
            await sink.flush([one], caught_up=False)
            await sink.flush([two], caught_up=False)
            INDEXES.same(await bench.stored(SAMPLE, GENERATION), content([one]), "the first")
            INDEXES.same(await bench.stored(OTHER, GENERATION), content([two]), "the second")
            await sink.flush([tombstone("1", 2)], caught_up=False)
            INDEXES.same(await bench.stored(OTHER, GENERATION), content([two]), "the second")
