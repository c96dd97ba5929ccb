"""Wrong sinks, each caught by the check that is there for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.interfaces import SinkCapabilities
from flusso_core.model import (
    Document,
    FlushReport,
    Generation,
    GenerationSize,
    IndexMapping,
    Rejection,
    StateRecord,
    StoredDocument,
    document_id_text,
)
from flusso_core.testing import MemorySink
from flusso_core.testing.benches import MemorySinkBench
from flusso_core.testing.conformance import SinkConformance

from .mutants import Mutant, assert_caught, failing


class SwallowsItemErrors(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        await super().flush(documents, caught_up=caught_up)
        return FlushReport()


class BlamesEveryone(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        if report.rejected:
            return FlushReport(rejected=[Rejection(one, "refused") for one in documents])
        return report


class GivesNoReason(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        return replace(report, rejected=[replace(one, reason="") for one in report.rejected])


class PoisonSpoilsTheRest(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for number, document in enumerate(documents):
            report = await super().flush([document], caught_up=caught_up)
            if report.rejected:
                rest = [Rejection(one, "after a refused one") for one in documents[number + 1 :]]
                bad = [one for one in rest if one.document.body == document.body]
                return FlushReport(rejected=[*report.rejected, *bad])
        return FlushReport()


class OlderUpsertWins(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        for document in documents:
            stored = self._destination.generations.get(document.id[:2], {})
            known = stored.get(document_id_text(document.id.key))
            if known is not None and known.body is not None and document.body is not None:
                known.body = document.body
        return report


class OlderTombstoneWins(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        for document in documents:
            stored = self._destination.generations.get(document.id[:2], {})
            known = stored.get(document_id_text(document.id.key))
            if known is not None and document.body is None:
                known.body = None
        return report


class ForgetsDeletes(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        for stored in self._destination.generations.values():
            for key in [key for key, entry in stored.items() if entry.body is None]:
                del stored[key]
        return report


class IgnoresTombstones(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        upserts = [document for document in documents if document.body is not None]
        return await super().flush(upserts, caught_up=caught_up)


class AnswersBeforeItHasWritten(MemorySink):
    """Durable a moment later: what a destination without an acknowledgement does."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        loop = asyncio.get_running_loop()
        for document in documents:
            loop.call_later(0.001, self._destination.apply, document)
        return FlushReport()


class ReportsConflictsAsErrors(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        conflicts = [
            Rejection(document, "version conflict")
            for document in documents
            for known in [self._known(document)]
            if known is not None and known > document.version
        ]
        report = await super().flush(documents, caught_up=caught_up)
        return replace(report, rejected=[*report.rejected, *conflicts])

    def _known(self, document: Document) -> int | None:
        entry = self._destination.generations.get(document.id[:2], {}).get(
            document_id_text(document.id.key)
        )
        return None if entry is None else entry.version


class RefusesRepetitions(MemorySink):
    """`op_type=create`, where an upsert was asked for."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for document in documents:
            stored = self._destination.generations.get(document.id[:2], {}).get(
                document_id_text(document.id.key)
            )
            if stored is not None and stored.version == document.version and document.body:
                raise SinkFatal("it exists already")
        return await super().flush(documents, caught_up=caught_up)


class RoundsNumbers(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        rounded = [
            document._replace(
                body=document.body
                and document.body.replace(b"9007199254740993", b"9007199254740992")
            )
            for document in documents
        ]
        return await super().flush(rounded, caught_up=caught_up)


class CreatesOnWrite(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for document in documents:
            self._destination.generations.setdefault(document.id[:2], {})
        return await super().flush(documents, caught_up=caught_up)


class BeginsByEmptying(MemorySink):
    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        await super().begin_generation(mapping, generation)
        self._destination.generations[mapping.index, generation] = {}


class MakesWhatItResumes(MemorySink):
    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        await self.begin_generation(mapping, generation)


class ResumesByEmptying(MemorySink):
    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        await super().resume_generation(mapping, generation)
        self._destination.generations[mapping.index, generation].clear()


class ServesAtOnce(MemorySink):
    """What is begun is seen before it is filled."""

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        await super().begin_generation(mapping, generation)
        if generation > 1:
            self._destination.serving[mapping.index] = generation


class DropsTooMuch(MemorySink):
    async def drop_generation(self, generation: Generation) -> None:
        for where in list(self._destination.generations):
            if where[0] == generation.index:
                del self._destination.generations[where]


class DropsWhatServes(MemorySink):
    async def drop_generation(self, generation: Generation) -> None:
        self._destination.serving.pop(generation.index, None)
        await super().drop_generation(generation)


class DropsByTheLeaseAlone(MemorySink):
    async def drop_generation(self, generation: Generation) -> None:
        self._check_writer()
        await super().drop_generation(generation)


class CountsTombstones(MemorySink):
    async def size(self, generation: Generation) -> GenerationSize:
        stored = self._destination.generations.get((generation.index, generation.number))
        return GenerationSize() if stored is None else GenerationSize(len(stored))


class ForgetsWhatItWasMadeWith(MemorySink):
    """It compares with what the destination has made of it, which is never the same."""

    def made_with(self, mapping: IndexMapping) -> str:
        return f"{super().made_with(mapping)}, and the defaults"


class LosesRecordsWithItsProcess(MemorySink):
    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self._own: dict[str, StateRecord] = {}

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        self._own |= {record.index: record for record in records}

    async def load_records(self) -> Mapping[str, StateRecord]:
        return dict(self._own)


class ReplacesAllRecords(MemorySink):
    async def store_records(self, records: Sequence[StateRecord]) -> None:
        await super().store_records(records)
        stored = {record.index for record in records}
        for index in self._destination.records.keys() - stored:
            del self._destination.records[index]


class CountsEpochsInItsProcess(MemorySink):
    async def acquire(self, owner: str) -> int:
        await super().acquire(owner)
        return 1


class TakesTheLeaseFromTheLiving(MemorySink):
    async def acquire(self, owner: str) -> int:
        self._destination.writer = None
        return await super().acquire(owner)


class WritesAfterATakeover(MemorySink):
    def _check_writer(self) -> None:
        """Nobody looks."""


class RaisesFatalInAnOutage(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        try:
            return await super().flush(documents, caught_up=caught_up)
        except SinkUnavailable as error:
            raise SinkFatal("gone") from error


class ClosesOnce(MemorySink):
    _closed = False

    async def close(self) -> None:
        if self._closed:
            raise SinkFatal("closed already")
        self._closed = True


class SharesOneRequest(MemorySink):
    """Flushes that run side by side lose each other's documents."""

    _busy = False

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        if self._busy:
            return FlushReport()
        self._busy = True
        try:
            return await super().flush(documents, caught_up=caught_up)
        finally:
            self._busy = False


class StaysBusyWhenCancelled(MemorySink):
    _turn: asyncio.Lock | None = None

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        self._turn = self._turn or asyncio.Lock()
        await self._turn.acquire()
        report = await super().flush(documents, caught_up=caught_up)
        self._turn.release()
        return report


class ForgetsTheQuarantine(MemorySink):
    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Nowhere."""


class MixesIndexes(MemorySink):
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        for (index, _), stored in self._destination.generations.items():
            for document in documents:
                if document.body is None and index != document.id.index:
                    stored.pop(document_id_text(document.id.key), None)
        return report


class ClaimsNoBounds(MemorySink):
    @property
    def capabilities(self) -> SinkCapabilities:
        return replace(super().capabilities, max_bytes=0)


class ShowsItsPassword(MemorySink):
    def __repr__(self) -> str:
        return "sink at http://kit:hunter2@127.0.0.1"


class ReadsThroughFloats(MemorySink):
    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        async for chunk in super().documents(mapping, generation, ids):
            yield [
                one._replace(body=one.body and json.dumps(json.loads(one.body)).encode())
                for one in chunk
            ]


class TellsOnlyWhatItHas(MemorySink):
    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        async for chunk in super().documents(mapping, generation, ids):
            yield [one for one in chunk if one.body is not None]


class ReadsAnyGeneration(MemorySink):
    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        newest = max(number for _, number in self._destination.generations)
        absent: set[str] = set()
        async for chunk in super().documents(mapping, generation, ids):
            absent |= {one.id for one in chunk if one.body is None}
            yield [one for one in chunk if one.body is not None]
        async for chunk in super().documents(mapping, newest, sorted(absent)):
            yield chunk


class HidesVersions(MemorySink):
    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        async for chunk in super().documents(mapping, generation, ids):
            yield [one._replace(version=0) for one in chunk]


class ReadsOnlyAsTheWriter(MemorySink):
    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        if (mapping.index, generation) not in self._begun:
            raise SinkFatal("it was not begun")
        async for chunk in super().documents(mapping, generation, ids):
            yield chunk


class TakesTombstonesForDocuments(MemorySink):
    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        stored = self._destination.generations[mapping.index, generation]
        return stored.keys() & set(ids)


class FindsIdsInAnyGeneration(MemorySink):
    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        found = set(await super().present(mapping, generation, ids))
        for _, number in self._destination.generations:
            found |= set(await super().present(mapping, number, ids))
        return found


class FindsOnlyWhatSearchesSee(MemorySink):
    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        if self._destination.serving.get(mapping.index) != generation:
            return ()
        return await super().present(mapping, generation, ids)


class FindsIdsOnlyAsTheWriter(MemorySink):
    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        if (mapping.index, generation) not in self._begun:
            raise SinkFatal("it was not begun")
        return await super().present(mapping, generation, ids)


class ListsOnlyAsTheWriter(MemorySink):
    async def document_ids(
        self, mapping: IndexMapping, generation: int
    ) -> AsyncGenerator[Sequence[str], None]:
        if (mapping.index, generation) not in self._begun:
            raise SinkFatal("it was not begun")
        async for chunk in super().document_ids(mapping, generation):
            yield chunk


def bench(make: type[MemorySink]) -> MemorySinkBench:
    made = MemorySinkBench(make)
    made.secrets = ("hunter2",)
    return made


def mutant(make: type[MemorySink], wrong: str, caught_by: str, *also: str) -> Mutant:
    return Mutant(make.__name__, wrong, partial(bench, make), caught_by, frozenset(also))


EVERY_READ_BACK = (
    "test_a_cancelled_flush_does_no_harm",
    "test_a_caught_up_flush_is_searchable_at_once",
    "test_a_dropped_generation_is_gone",
    "test_a_generation_that_was_not_begun_takes_no_write",
    "test_a_new_generation_is_empty_and_apart",
    "test_a_quarantined_document_is_kept",
    "test_a_redelivered_document_changes_nothing",
    "test_a_refresh_shows_what_flushes_before_it_wrote",
    "test_a_refused_document_is_itemised_and_delays_no_other",
    "test_a_run_that_was_taken_over_writes_nothing",
    "test_a_tombstone_deletes",
    "test_an_older_document_never_replaces_a_newer_one",
    "test_an_onlooker_counts_and_drops",
    "test_an_outage_is_told_and_survived",
    "test_beginning_again_keeps_what_is_there",
    "test_documents_arrive_as_they_were_given",
    "test_flushes_run_side_by_side",
    "test_indexes_do_not_touch_each_other",
    "test_keys_of_any_spelling_become_ids",
)
"""What cannot but fail where nothing is there when `flush` returns."""

MUTANTS = {
    made.name: made
    for made in (
        mutant(
            SwallowsItemErrors,
            "does not report refused documents",
            "test_a_refused_document_is_itemised_and_delays_no_other",
            "test_a_quarantined_document_is_kept",
        ),
        mutant(
            BlamesEveryone,
            "reports a whole flush as refused because of one document",
            "test_a_refused_document_is_itemised_and_delays_no_other",
        ),
        mutant(
            GivesNoReason,
            "reports a refused document without a reason",
            "test_a_refused_document_is_itemised_and_delays_no_other",
        ),
        mutant(
            PoisonSpoilsTheRest,
            "writes nothing behind a refused document",
            "test_a_refused_document_is_itemised_and_delays_no_other",
        ),
        mutant(
            OlderUpsertWins,
            "lets an older build replace a newer one",
            "test_an_older_document_never_replaces_a_newer_one",
        ),
        mutant(
            OlderTombstoneWins,
            "lets an older delete remove a newer document",
            "test_an_older_document_never_replaces_a_newer_one",
        ),
        mutant(
            ForgetsDeletes, "forgets the versions of what it deleted", "test_a_delete_is_remembered"
        ),
        mutant(
            IgnoresTombstones,
            "ignores deletes",
            "test_a_tombstone_deletes",
            "test_a_caught_up_flush_is_searchable_at_once",
            "test_a_delete_is_remembered",
            "test_an_onlooker_counts_and_drops",
            "test_documents_are_read_back_as_they_are",
            "test_every_document_is_told_by_its_id",
            "test_ids_with_a_document_are_told_from_others",
            "test_keys_of_any_spelling_become_ids",
        ),
        mutant(
            AnswersBeforeItHasWritten,
            "answers before it has written",
            "test_a_flushed_document_is_durable",
            "test_a_version_tells_whether_a_document_was_written",
            "test_another_process_reads_while_one_writes",
            "test_documents_are_read_back_as_they_are",
            "test_every_document_is_told_by_its_id",
            "test_ids_with_a_document_are_told_from_others",
            "test_what_is_resumed_goes_on_and_what_is_gone_is_not_made",
            *EVERY_READ_BACK,
        ),
        mutant(
            ReportsConflictsAsErrors,
            "takes a version conflict for a refusal",
            "test_an_older_document_never_replaces_a_newer_one",
            "test_a_delete_is_remembered",
        ),
        mutant(
            RefusesRepetitions,
            "fails when a document is delivered again",
            "test_a_redelivered_document_changes_nothing",
        ),
        mutant(
            RoundsNumbers,
            "rounds 64-bit integers",
            "test_documents_arrive_as_they_were_given",
            "test_documents_are_read_back_as_they_are",
        ),
        mutant(
            CreatesOnWrite,
            "makes an index by writing to it",
            "test_a_generation_that_was_not_begun_takes_no_write",
            "test_a_dropped_generation_is_gone",
        ),
        mutant(
            BeginsByEmptying,
            "empties a generation that is begun again",
            "test_beginning_again_keeps_what_is_there",
            "test_a_run_that_was_taken_over_writes_nothing",
        ),
        mutant(
            ServesAtOnce,
            "shows a generation before it is filled",
            "test_a_new_generation_is_empty_and_apart",
        ),
        mutant(
            DropsTooMuch,
            "drops all generations of an index",
            "test_a_dropped_generation_is_gone",
            "test_an_onlooker_counts_and_drops",
        ),
        mutant(
            MakesWhatItResumes,
            "makes a generation that it is to go on with",
            "test_what_is_resumed_goes_on_and_what_is_gone_is_not_made",
        ),
        mutant(
            ResumesByEmptying,
            "begins a generation again that it is to go on with",
            "test_what_is_resumed_goes_on_and_what_is_gone_is_not_made",
        ),
        mutant(
            DropsWhatServes,
            "drops a generation that searches see",
            "test_an_onlooker_counts_and_drops",
        ),
        mutant(
            DropsByTheLeaseAlone,
            "drops nothing for a command beside the writer",
            "test_an_onlooker_counts_and_drops",
        ),
        mutant(
            CountsTombstones,
            "counts deleted documents",
            "test_an_onlooker_counts_and_drops",
        ),
        mutant(
            ForgetsWhatItWasMadeWith,
            "would make every generation anew on each start",
            "test_what_a_generation_was_made_with_is_told",
        ),
        mutant(
            LosesRecordsWithItsProcess,
            "keeps records in its process",
            "test_records_come_back_as_they_were",
            "test_a_record_is_durable_when_it_was_stored",
            "test_a_run_that_was_taken_over_writes_nothing",
        ),
        mutant(
            ReplacesAllRecords,
            "loses the records of other indexes",
            "test_records_come_back_as_they_were",
        ),
        mutant(CountsEpochsInItsProcess, "gives every run the same epoch", "test_epochs_rise"),
        mutant(
            TakesTheLeaseFromTheLiving,
            "does not wait for the lease",
            "test_a_second_run_waits_for_the_first",
        ),
        mutant(
            WritesAfterATakeover,
            "writes on after it was taken over",
            "test_a_run_that_was_taken_over_writes_nothing",
        ),
        mutant(
            RaisesFatalInAnOutage,
            "ends the run where it should be tried again",
            "test_an_outage_is_told_and_survived",
        ),
        mutant(
            ClosesOnce, "fails when it is closed twice", "test_close_may_come_at_any_time_and_twice"
        ),
        mutant(
            SharesOneRequest,
            "loses documents of flushes that run side by side",
            "test_flushes_run_side_by_side",
        ),
        mutant(
            StaysBusyWhenCancelled,
            "hangs after a cancelled flush",
            "test_a_cancelled_flush_does_no_harm",
            "test_an_outage_is_told_and_survived",
        ),
        mutant(
            ForgetsTheQuarantine,
            "does not keep refused documents",
            "test_a_quarantined_document_is_kept",
        ),
        mutant(
            MixesIndexes, "deletes a key in every index", "test_indexes_do_not_touch_each_other"
        ),
        mutant(
            ClaimsNoBounds,
            "declares a flush of no bytes",
            "test_capabilities_are_known_before_it_is_open",
        ),
        mutant(
            ReadsThroughFloats,
            "reads numbers back as floats",
            "test_documents_are_read_back_as_they_are",
        ),
        mutant(
            TellsOnlyWhatItHas,
            "says nothing of ids that have no document",
            "test_documents_are_read_back_as_they_are",
        ),
        mutant(
            ReadsAnyGeneration,
            "reads documents of another generation",
            "test_documents_are_read_back_as_they_are",
        ),
        mutant(
            HidesVersions,
            "reads documents back without their versions",
            "test_a_version_tells_whether_a_document_was_written",
        ),
        mutant(
            ReadsOnlyAsTheWriter,
            "gives documents to the writer alone",
            "test_another_process_reads_while_one_writes",
        ),
        mutant(
            TakesTombstonesForDocuments,
            "takes what was deleted for a document",
            "test_ids_with_a_document_are_told_from_others",
        ),
        mutant(
            FindsIdsInAnyGeneration,
            "looks ids up in every generation",
            "test_ids_with_a_document_are_told_from_others",
        ),
        mutant(
            FindsOnlyWhatSearchesSee,
            "looks ids up in what searches see",
            "test_ids_with_a_document_are_told_from_others",
            "test_another_process_reads_while_one_writes",
        ),
        mutant(
            FindsIdsOnlyAsTheWriter,
            "looks ids up for the writer alone",
            "test_another_process_reads_while_one_writes",
        ),
        mutant(
            ListsOnlyAsTheWriter,
            "lists ids to the writer alone",
            "test_another_process_reads_while_one_writes",
        ),
        mutant(ShowsItsPassword, "shows a password", "test_no_secret_shows"),
    )
}


KITS = ((SinkConformance, MUTANTS),)


def test_the_honest_sink_passes() -> None:
    assert failing(SinkConformance, partial(bench, MemorySink)) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_sink_is_caught(name: str) -> None:
    assert_caught(SinkConformance, MUTANTS[name])
