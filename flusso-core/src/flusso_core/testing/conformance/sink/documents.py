"""Checks of `flush`: what becomes of documents."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from flusso_core.errors import SinkError
from flusso_core.interfaces import Sink
from flusso_core.model import Document
from flusso_core.testing.conformance.promise import Impossible, Promise, shown
from flusso_core.testing.conformance.samples import (
    GENERATION,
    ODD_BODIES,
    ODD_KEYS,
    SAMPLE,
    content,
    tombstone,
    upsert,
)
from flusso_core.testing.conformance.sink.bench import GUIDE, SinkBench, SinkChecks, writing

DURABLE = Promise(
    "when `flush` returns, every document that its report does not name is durable", GUIDE
)
EXACT = Promise("a document arrives as it was given, under the id of its key", GUIDE)
IDEMPOTENT = Promise("a document that is delivered again changes nothing", GUIDE)
DELETED = Promise("a tombstone deletes its document, also one that is not there", GUIDE)
NEWER = Promise(
    "with `versions`, no document or tombstone replaces one of a higher version; without, the "
    "last one that was flushed stays",
    GUIDE,
)
ITEMISED = Promise(
    "a refused document is named in the report, with a reason, and delays no other", GUIDE
)
KEPT = Promise("a quarantined document is kept, and one that comes again is no error", GUIDE)
PARALLEL = Promise(
    "as many flushes as the capabilities say may run at once, each as large as they say", GUIDE
)
CANCELLED = Promise("a cancelled flush leaves a sink that can go on", GUIDE)


class DocumentChecks(SinkChecks):
    """Each check fails with the promise that was broken."""

    async def test_a_flushed_document_is_durable(self, bench: SinkBench) -> None:
        """At once, not when the sink is closed."""
        async with writing(bench) as sink:
            documents = [upsert(str(number), number, {"id": number}) for number in range(1, 4)]
            await _flush(sink, *documents)
            found = await bench.stored(SAMPLE, GENERATION)
        DURABLE.same(found, content(documents), "while the sink is open")

    async def test_documents_arrive_as_they_were_given(self, bench: SinkBench) -> None:
        """Empty and huge ones, any character, 64-bit integers and exact decimals."""
        huge = upsert("huge", 1, {"text": "flusso " * 150_000})
        documents = [upsert(key, 1, body) for key, body in ODD_BODIES.items()]
        async with writing(bench) as sink:
            await _flush(sink, *documents)
            await _flush(sink, huge)
        expected = content([*documents, huge])
        EXACT.same(await bench.stored(SAMPLE, GENERATION), expected, "after a flush")

    async def test_keys_of_any_spelling_become_ids(self, bench: SinkBench) -> None:
        """Different keys never become one document, and their tombstones find them."""
        documents = [upsert(key, 1, {"name": "/".join(key)}) for key in ODD_KEYS]
        async with writing(bench) as sink:
            await _flush(sink, *documents)
            found = await bench.stored(SAMPLE, GENERATION)
            EXACT.same(found, content(documents), "after a flush of odd keys")
            await _flush(sink, *(tombstone(key, 2) for key in ODD_KEYS))
        found = await bench.stored(SAMPLE, GENERATION)
        EXACT.same(found, {}, "after the tombstones of odd keys")

    async def test_a_redelivered_document_changes_nothing(self, bench: SinkBench) -> None:
        """The same flush again, as after a lost answer, and anew, as after a restart."""
        once = [upsert("1", 1, {"name": "a"}), tombstone("2", 1), upsert("3", 1, {"name": "c"})]
        anew = [document._replace(version=2) for document in once]
        async with writing(bench) as sink:
            for number, documents in enumerate((once, once, anew)):
                await _flush(sink, *documents)
                found = await bench.stored(SAMPLE, GENERATION)
                IDEMPOTENT.same(found, content(once), f"after delivery {number + 1}")

    async def test_a_tombstone_deletes(self, bench: SinkBench) -> None:
        """What it deletes may come back later."""
        first = [upsert("1", 1, {"name": "a"}), upsert("2", 1, {"name": "b"})]
        second = [tombstone("1", 2), tombstone("never", 2)]
        third = [upsert("1", 3, {"name": "again"})]
        written: list[Document] = []
        async with writing(bench) as sink:
            for documents in (first, second, third):
                await _flush(sink, *documents)
                written += documents
                found = await bench.stored(SAMPLE, GENERATION)
                DELETED.same(found, content(written), f"after {shown(documents)}")

    async def test_an_older_document_never_replaces_a_newer_one(self, bench: SinkBench) -> None:
        """A request that arrives late does no harm, and is no error either."""
        async with writing(bench) as sink:
            newest = [upsert("1", 5, {"name": "new"}), upsert("2", 5, {"name": "new"})]
            older = [upsert("1", 4, {"name": "old"}), tombstone("2", 3)]
            await _flush(sink, *newest)
            if not sink.capabilities.versions:
                older = [document._replace(version=6) for document in older]
            await _flush(sink, *older)
            expected = content(newest if sink.capabilities.versions else [*newest, *older])
        when = f"after version 5 and then version {older[0].version}"
        NEWER.same(await bench.stored(SAMPLE, GENERATION), expected, when)

    async def test_a_delete_is_remembered(self, bench: SinkBench) -> None:
        """A late document does not come back from the dead, nor one that never was there."""
        async with writing(bench) as sink:
            await _flush(sink, upsert("1", 1, {"name": "a"}))
            await _flush(sink, tombstone("1", 9), tombstone("2", 9))
            late = [upsert("1", 8, {"name": "late"}), upsert("2", 8, {"name": "late"})]
            if not sink.capabilities.versions:
                late = [document._replace(version=10) for document in late]
            await _flush(sink, *late)
            expected = {} if sink.capabilities.versions else content(late)
        when = f"after a tombstone of version 9 and then version {late[0].version}"
        NEWER.same(await bench.stored(SAMPLE, GENERATION), expected, when)

    async def test_a_refused_document_is_itemised_and_delays_no_other(
        self, bench: SinkBench
    ) -> None:
        """Poison is reported, alone; where nothing is refused, everything is written."""
        poison = bench.poison()
        refuses = not isinstance(poison, Impossible)
        body = b'{"id":"no number","unknown":[1]}' if isinstance(poison, Impossible) else poison
        bad = [upsert("2", 1, body), upsert("5", 1, body)]
        good = [upsert(key, 1, {"name": key}) for key in "134"]
        documents = [good[0], bad[0], good[1], good[2], bad[1]]
        async with writing(bench) as sink:
            report = await sink.flush(documents, caught_up=False)
            found = await bench.stored(SAMPLE, GENERATION)
        ITEMISED.same(
            [rejection.document for rejection in report.rejected],
            bad if refuses else [],
            "the rejected documents",
        )
        ITEMISED.same(list(report.throttled), [], "the throttled documents")
        if not all(rejection.reason.strip() for rejection in report.rejected):
            raise ITEMISED.broken("a rejection without a reason")
        ITEMISED.same(found, content(good if refuses else documents), "after the flush")

    async def test_a_quarantined_document_is_kept(self, bench: SinkBench) -> None:
        """The debt of a refused document is paid by its entry, so that must be durable."""
        poison = bench.poison()
        if isinstance(poison, Impossible):
            poison.skip()
            return
        bad = [upsert(key, 1, poison) for key in ("1", "2")]
        async with writing(bench) as sink:
            report = await sink.flush(bad, caught_up=False)
            for _ in range(2):
                await sink.quarantine(report.rejected)
                found = await bench.quarantined()
                if isinstance(found, Impossible):
                    raise KEPT.broken(f"documents are refused, yet: {found.reason}")
                KEPT.same(set(found), {document.id for document in bad}, "after `quarantine`")

    async def test_flushes_run_side_by_side(self, bench: SinkBench) -> None:
        """The engine goes to the limits that the capabilities declare."""
        async with writing(bench) as sink:
            limits = sink.capabilities
            size = min(limits.max_documents, 500)
            flushes = [
                [upsert(f"{flush}-{number}", 1, {"id": number}) for number in range(size)]
                for flush in range(limits.flushes_in_flight)
            ]
            await PARALLEL.within(
                asyncio.gather(*(_flush(sink, *documents) for documents in flushes)),
                f"{len(flushes)} flushes of {size} documents",
            )
        expected = content([document for documents in flushes for document in documents])
        PARALLEL.same(await bench.stored(SAMPLE, GENERATION), expected, "after all flushes")

    async def test_a_cancelled_flush_does_no_harm(self, bench: SinkBench) -> None:
        """Whatever became of it, the same document is written again, newer, and that stays."""
        async with writing(bench) as sink:
            for number, steps in enumerate((0, 1, 3, 10)):
                version = 2 * number + 1
                cancelled = asyncio.create_task(_flush(sink, upsert("1", version, {"id": steps})))
                for _ in range(steps):
                    await asyncio.sleep(0)
                cancelled.cancel()
                with suppress(asyncio.CancelledError, SinkError):
                    await CANCELLED.within(cancelled, "a cancelled flush")
                newest = upsert("1", version + 1, {"id": 100 + steps})
                await CANCELLED.within(_flush(sink, newest), "a flush after a cancelled one")
                found = await bench.stored(SAMPLE, GENERATION)
                CANCELLED.same(found, content([newest]), f"a flush cancelled after {steps} steps")


async def _flush(sink: Sink, *documents: Document) -> None:
    """Flush documents that are to land."""
    report = await DURABLE.within(sink.flush(documents, caught_up=False), "flush")
    if report.throttled or report.rejected:
        raise DURABLE.broken(f"good documents were refused or throttled: {shown(report)}")
