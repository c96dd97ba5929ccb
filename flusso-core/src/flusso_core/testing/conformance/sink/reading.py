"""Checks of reading back: what a destination has, compared with what it was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from flusso_core.interfaces import Sink
from flusso_core.json_text import exact_json
from flusso_core.model import StoredDocument, document_id_text
from flusso_core.testing.conformance.promise import Promise, shown
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

READ = Promise(
    "with `read_back`, `documents` tells of each id, once, what is durable under it; without, "
    "nothing",
    GUIDE,
)
THERE = Promise(
    "with `read_back`, `present` tells which ids have a document that is durable; without, none",
    GUIDE,
)
RISES = Promise(
    "with `read_back` and `versions`, a document's version rises when it is written, and only then",
    GUIDE,
)
BESIDE = Promise("reading back needs neither a lease nor a generation that was begun", GUIDE)

SECOND = GENERATION + 1
ABSENT = StoredDocument("absent", None, 0)


class ReadingChecks(SinkChecks):
    """Each check fails with the promise that was broken."""

    async def test_documents_are_read_back_as_they_are(self, bench: SinkBench) -> None:
        """Every digit and every odd id, before any search sees them, of that generation only."""
        written = [
            *(upsert(key, 1, body) for key, body in ODD_BODIES.items()),
            *(upsert(key, 1, {"name": "/".join(key)}) for key in ODD_KEYS),
            upsert("deleted", 1, {"name": "a"}),
        ]
        other = upsert("absent", 1, {"name": "b"}, generation=SECOND)
        async with writing(bench) as sink:
            capabilities = sink.capabilities
            await sink.flush(written, caught_up=False)
            await sink.flush([tombstone("deleted", 2)], caught_up=False)
            if capabilities.records:
                await sink.begin_generation(SAMPLE, SECOND)
                await sink.flush([other], caught_up=False)
            ids = [document_id_text(document.id.key) for document in written]
            found = await READ.within(_read(sink, [*ids, ABSENT.id]), "`documents`")
        if not capabilities.read_back:
            READ.same(found, [], "without `read_back`")
            return
        times = Counter(document.id for document in found)
        READ.same(dict(times), dict.fromkeys([*ids, ABSENT.id], 1), "how often each id came")
        bodies = {one.id: exact_json(one.body) for one in found if one.body is not None}
        READ.same(bodies, content([*written, tombstone("deleted", 2)]), "`documents`")
        absent = [one for one in found if one.body is None and one.version]
        READ.same(absent, [], "what is not there, with a version")

    async def test_ids_with_a_document_are_told_from_others(self, bench: SinkBench) -> None:
        """Odd ones too, before any search sees them, of that generation only."""
        written = [upsert(key, 1, {"name": "/".join(key)}) for key in ODD_KEYS]
        deleted = [upsert("deleted", 1, {"name": "a"})]
        other = upsert(ABSENT.id, 1, {"name": "b"}, generation=SECOND)
        async with writing(bench) as sink:
            capabilities = sink.capabilities
            await sink.flush([*written, *deleted], caught_up=False)
            await sink.flush([tombstone("deleted", 2)], caught_up=False)
            if capabilities.records:
                await sink.begin_generation(SAMPLE, SECOND)
                await sink.flush([other], caught_up=False)
            there = [document_id_text(document.id.key) for document in written]
            asked = [*there, "deleted", ABSENT.id]
            found = await THERE.within(sink.present(SAMPLE, GENERATION, asked), "`present`")
        THERE.same(sorted(found), sorted(there) if capabilities.read_back else [], "`present`")

    async def test_a_version_tells_whether_a_document_was_written(self, bench: SinkBench) -> None:
        """Also where it was written as it was before: it is then as new as that."""
        async with writing(bench) as sink:
            if not (sink.capabilities.read_back and sink.capabilities.versions):
                return
            seen: list[int] = []
            for version in (1, 2):
                documents = [upsert("1", version, {"name": "a"}), upsert("2", version, b"{}")]
                await sink.flush(documents[: 3 - version], caught_up=False)
                seen += [one.version for one in sorted(await _read(sink, ["1", "2"]))]
        first, second, rewritten, untouched = seen
        if not (first < rewritten and second == untouched):
            raise RISES.broken(
                f"both were written, then the first again: versions {shown(seen[:2])}, then "
                f"{shown(seen[2:])}"
            )

    async def test_another_process_reads_while_one_writes(self, bench: SinkBench) -> None:
        """It has not become the writer, and never does."""
        documents = [upsert(key, 1, {"name": key}) for key in "123"]
        async with writing(bench) as sink, bench.sink() as reader:
            if not (sink.capabilities.read_back and sink.capabilities.records):
                return
            await sink.flush(documents, caught_up=False)
            found = await BESIDE.within(_read(reader, ["1", "2", "3"]), "`documents`")
            bodies = {one.id: one.body and exact_json(one.body) for one in found}
            BESIDE.same(bodies, content(documents), "`documents` of another process")
            there = await BESIDE.within(reader.present(SAMPLE, GENERATION, ["1", "4"]), "`present`")
            BESIDE.same(sorted(there), ["1"], "`present` of another process")
            ids = await BESIDE.within(_list(reader), "`document_ids`")
            BESIDE.same(sorted(ids), ["1", "2", "3"], "`document_ids` of another process")
            await sink.renew()


async def _read(sink: Sink, ids: Sequence[str]) -> list[StoredDocument]:
    found: list[StoredDocument] = []
    async with aclosing(sink.documents(SAMPLE, GENERATION, ids)) as chunks:
        async for documents in chunks:
            found += documents
    return found


async def _list(sink: Sink) -> list[str]:
    found: list[str] = []
    async with aclosing(sink.document_ids(SAMPLE, GENERATION)) as chunks:
        async for ids in chunks:
            found += ids
    return found
