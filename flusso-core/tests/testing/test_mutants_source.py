"""Wrong captures and builders, each caught by the check that is there for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.interfaces import PutBatch, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    ChangeBatch,
    Key,
    KeyRange,
    Operation,
    Page,
    Position,
)
from flusso_core.testing import MemoryBuilder, MemoryCapture
from flusso_core.testing.benches import MemorySourceBench
from flusso_core.testing.conformance import BuilderConformance, CaptureConformance

from .mutants import Mutant, assert_caught, failing


class WrongBatches(MemoryCapture):
    """Delivers something else than it should."""

    async def live(self, start: Position, put: PutBatch) -> None:
        async def altered(batch: ChangeBatch) -> None:
            found = self.alter(batch)
            if found is not None:
                await put(found)

        await super().live(start, altered)

    def alter(self, batch: ChangeBatch) -> ChangeBatch | None:
        raise NotImplementedError


class ForgetsOldKeys(WrongBatches):
    def alter(self, batch: ChangeBatch) -> ChangeBatch:
        return replace(
            batch,
            changes=[
                change if change.after is None else change._replace(before=None)
                for change in batch.changes
            ],
        )


class IgnoresDeletes(WrongBatches):
    def alter(self, batch: ChangeBatch) -> ChangeBatch:
        kept = [change for change in batch.changes if change.operation is not Operation.DELETE]
        return replace(batch, changes=kept)


class IgnoresTruncate(WrongBatches):
    def alter(self, batch: ChangeBatch) -> ChangeBatch:
        kept = [change for change in batch.changes if change.operation is not Operation.TRUNCATE]
        return replace(batch, changes=kept)


class NoKeepalives(WrongBatches):
    def alter(self, batch: ChangeBatch) -> ChangeBatch | None:
        return batch if batch.changes else None


class PositionsInsideACommit(WrongBatches):
    def alter(self, batch: ChangeBatch) -> ChangeBatch:
        inside = Position(batch.transactions[0] - 1, "inside")
        return replace(batch, position=batch.position or inside)


class PositionsFall(WrongBatches):
    """Numbers each connection's batches from the beginning."""

    _count = 0

    def alter(self, batch: ChangeBatch) -> ChangeBatch:
        position = batch.position
        if position is not None and position.order % 5 == 4:
            return replace(batch, position=Position(position.order - 2, position.token))
        return batch


class ConfirmsWhatItDelivers(MemoryCapture):
    async def live(self, start: Position, put: PutBatch) -> None:
        async def confirming(batch: ChangeBatch) -> None:
            await put(batch)
            if batch.position is not None:
                await self.confirm(batch.position)

        await super().live(start, confirming)


class NeverConfirms(MemoryCapture):
    async def confirm(self, position: Position) -> None:
        """Nobody is told."""


class TakesTheHeadForConfirmed(MemoryCapture):
    async def confirmed(self) -> Position:
        return await self.head()


class TakesABatchForTaken(MemoryCapture):
    """A delivery that was cancelled is not repeated."""

    _taken = 0

    async def live(self, start: Position, put: PutBatch) -> None:
        async def noting(batch: ChangeBatch) -> None:
            self._taken = max(self._taken, batch.transactions[0])
            await put(batch)

        await super().live(max(start, Position(self._taken, str(self._taken))), noting)


class HasNoGate(MemoryCapture):
    async def wait_visible(self, batch: ChangeBatch) -> None:
        """As if every commit could be seen when it is in the stream."""


class SettlesNever(MemoryCapture):
    async def wait_settled(self) -> None:
        await asyncio.sleep(1e5)


class TakesALostConnectionForFatal(MemoryCapture):
    async def live(self, start: Position, put: PutBatch) -> None:
        try:
            await super().live(start, put)
        except SourceUnavailable as error:
            raise SourceFatal("the connection was lost") from error


class ProvisionsAfresh(MemoryCapture):
    async def provision(self, *, temporary: bool) -> None:
        await super().provision(temporary=True)


class ShowsItsUrl(MemoryCapture):
    def __repr__(self) -> str:
        return "capture of postgresql://kit:hunter2@127.0.0.1"


class LeavesOutTheAbsent(MemoryBuilder):
    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        async for chunk in super().build(index, keys):
            yield [one for one in chunk if one.body is not None]


class GivesChunksTwice(MemoryBuilder):
    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        async for chunk in super().build(index, keys):
            yield [*chunk, *chunk[-1:]]


class BuildsFromACache(MemoryBuilder):
    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        cache = self._database.__dict__.setdefault("cache", {})
        async for chunk in super().build(index, keys):
            yield [cache.setdefault(one.key, one) for one in chunk]


class ResolvesNewKeysOnly(MemoryBuilder):
    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        new = [change._replace(before=None) if change.after else change for change in changes]
        async for found in super().resolve(new):
            yield found


class ResolvesRootsOnly(MemoryBuilder):
    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        roots = [
            change
            for change in changes
            if change.table.name == "parents" or change.operation is Operation.TRUNCATE
        ]
        async for found in super().resolve(roots):
            yield found


class ResolvesNoTruncate(MemoryBuilder):
    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        kept = [change for change in changes if change.operation is not Operation.TRUNCATE]
        async for found in super().resolve(kept):
            yield found


class RangesEndAtTheLastKey(MemoryBuilder):
    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        spans = list(await super().ranges(index, count))
        last = max(self._database.parents, default="")
        return [*spans[:-1], KeyRange(spans[-1].lower, (last,))]


class RangesOverlap(MemoryBuilder):
    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Reads the lower bound too."""
        page = await super().page(index, span, after, limit)
        if after is None and span.lower is not None:
            body = self._database.document(span.lower[0])
            return replace(page, documents=[BuiltDocument(span.lower, body), *page.documents])
        return page


class PagesBeyondTheirLimit(MemoryBuilder):
    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        return await super().page(index, span, after, limit + 1)


class CursorsStandOnTheNextRow(MemoryBuilder):
    """The row behind each page is skipped."""

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        page = await super().page(index, span, after, limit)
        if page.cursor is None or limit > 20:
            return page
        following = min(key for key in self._database.parents if key > page.cursor[0])
        return replace(page, cursor=(following,))


class BreaksLines(MemoryBuilder):
    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        async for chunk in super().build(index, keys):
            yield [one._replace(body=one.body and one.body.replace(b", ", b",\n")) for one in chunk]


class MissesNothing(MemoryBuilder):
    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        return ()


class StripsKeys(MemoryBuilder):
    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        page = await super().page(index, span, after, limit)
        return replace(
            page, documents=[one._replace(key=(one.key[0].strip(),)) for one in page.documents]
        )


def capture(make: type[MemoryCapture], wrong: str, caught_by: str, *also: str) -> Mutant:
    return Mutant(make.__name__, wrong, partial(bench, capture=make), caught_by, frozenset(also))


def builder(make: type[MemoryBuilder], wrong: str, caught_by: str, *also: str) -> Mutant:
    return Mutant(make.__name__, wrong, partial(bench, builder=make), caught_by, frozenset(also))


def bench(
    *, capture: type[MemoryCapture] = MemoryCapture, builder: type[MemoryBuilder] = MemoryBuilder
) -> MemorySourceBench:
    made = MemorySourceBench(capture, builder, hidden=builder is MemoryBuilder)
    made.secrets = ("hunter2",)
    return made


CHANGE, COVERS = (
    "test_a_committed_change_is_delivered",
    "test_a_position_covers_everything_before_it",
)
LARGE, RESUMES = "test_a_large_commit_has_one_position", "test_a_stream_resumes_without_a_gap"
HAND_OVER = "test_the_hand_over_from_rows_to_stream_loses_nothing"
RANGES, PAGES = "test_ranges_cover_every_row_once", "test_pages_go_on_after_their_cursor"

CAPTURES = {
    made.name: made
    for made in (
        capture(ForgetsOldKeys, "does not tell the old keys", CHANGE),
        capture(IgnoresDeletes, "does not tell deletes", CHANGE),
        capture(IgnoresTruncate, "does not tell a TRUNCATE", CHANGE),
        capture(
            NoKeepalives,
            "stands still while nothing of ours changes",
            "test_an_idle_stream_advances",
        ),
        capture(PositionsInsideACommit, "gives a position inside of a commit", LARGE),
        capture(
            PositionsFall,
            "gives positions that fall",
            COVERS,
            "test_a_blocked_consumer_loses_nothing",
            "test_the_gate_waits_for_snapshots",
        ),
        capture(
            ConfirmsWhatItDelivers,
            "confirms what it has delivered",
            "test_only_what_was_confirmed_is_forgotten",
            RESUMES,
        ),
        capture(
            NeverConfirms,
            "never lets the source forget",
            "test_only_what_was_confirmed_is_forgotten",
            RESUMES,
        ),
        capture(
            TakesTheHeadForConfirmed,
            "begins where the stream is, whatever was confirmed",
            "test_nothing_is_lost_between_provision_and_live",
            "test_only_what_was_confirmed_is_forgotten",
            "test_provisioning_again_changes_nothing",
            HAND_OVER,
        ),
        capture(
            TakesABatchForTaken,
            "does not repeat a cancelled delivery",
            "test_a_batch_that_was_not_taken_comes_again",
        ),
        capture(
            HasNoGate,
            "does not wait for snapshots",
            "test_the_gate_waits_for_snapshots",
            CHANGE,
            HAND_OVER,
        ),
        capture(SettlesNever, "waits for ever for nobody", "test_it_settles", HAND_OVER),
        capture(
            TakesALostConnectionForFatal,
            "ends the run with a lost connection",
            "test_a_lost_connection_is_told_and_survived",
        ),
        capture(
            ProvisionsAfresh,
            "begins anew when it is provisioned again",
            "test_provisioning_again_changes_nothing",
            RESUMES,
        ),
        capture(ShowsItsUrl, "shows a password", "test_no_secret_shows"),
    )
}

BUILDERS = {
    made.name: made
    for made in (
        builder(LeavesOutTheAbsent, "leaves out keys without a row", "test_each_key_comes_once"),
        builder(GivesChunksTwice, "gives keys twice", "test_each_key_comes_once"),
        builder(
            BuildsFromACache,
            "builds from what it read before",
            "test_documents_are_built_from_the_rows",
        ),
        builder(
            ResolvesNewKeysOnly,
            "resolves the new keys only",
            "test_changes_resolve_to_old_and_new_documents",
        ),
        builder(
            ResolvesRootsOnly,
            "resolves changes of the root only",
            "test_changes_resolve_to_old_and_new_documents",
            "test_many_changes_resolve_together",
        ),
        builder(
            ResolvesNoTruncate,
            "resolves a TRUNCATE to nothing",
            "test_a_truncate_touches_every_document",
        ),
        builder(RangesEndAtTheLastKey, "ends the ranges at the last key", RANGES),
        builder(RangesOverlap, "reads the bound of two ranges in both", RANGES),
        builder(PagesBeyondTheirLimit, "reads more than the limit", PAGES),
        builder(
            CursorsStandOnTheNextRow,
            "skips the row behind each page",
            PAGES,
            "test_keys_are_spelled_alike",
        ),
        builder(
            BreaksLines,
            "breaks lines in a body",
            "test_a_body_is_one_line",
            "test_keys_are_spelled_alike",
        ),
        builder(
            MissesNothing,
            "finds no document gone",
            "test_missing_tells_ids_without_a_document",
        ),
        builder(StripsKeys, "spells keys otherwise in pages", "test_keys_are_spelled_alike"),
    )
}


KITS = ((CaptureConformance, CAPTURES), (BuilderConformance, BUILDERS))


def test_the_honest_edges_pass() -> None:
    assert failing(CaptureConformance, bench) == set()
    assert failing(BuilderConformance, partial(MemorySourceBench)) == set()


@pytest.mark.parametrize("name", CAPTURES)
def test_a_wrong_capture_is_caught(name: str) -> None:
    assert_caught(CaptureConformance, CAPTURES[name])


@pytest.mark.parametrize("name", BUILDERS)
def test_a_wrong_builder_is_caught(name: str) -> None:
    assert_caught(BuilderConformance, BUILDERS[name])
