"""Engines without one of their rules, each caught by the shortest history that needs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from flusso_core.engine.generations import Generations
from flusso_core.engine.lane import Lane
from flusso_core.engine.ledger import Debtor, Ledger
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.series import Series
from flusso_core.engine.watermark import Watermark
from flusso_core.interfaces import DocumentBuilder, Resolved
from flusso_core.model import (
    Change,
    ChangeBatch,
    Document,
    DocumentId,
    IndexKeys,
    Position,
    RootTruncated,
)
from flusso_core.testing import MemoryBuilder, MemoryCapture

from . import rules
from .mutants import Mutant, assert_caught, failing
from .rules import Rules
from .stage import INDEX
from .test_mutants_ledger import DropsThePageRule, OneVersionForAll

_LEDGER = "flusso_core.engine.lane.Ledger"
_GENERATIONS = "flusso_core.engine.lane.Generations"


def without_gate() -> AbstractContextManager[object]:
    async def wait_visible(self: MemoryCapture, batch: ChangeBatch) -> None:
        """Nobody waits."""

    return patch.object(MemoryCapture, "wait_visible", wait_visible)


def without_versions() -> AbstractContextManager[object]:
    return patch(_LEDGER, OneVersionForAll)


def without_epoch() -> AbstractContextManager[object]:
    def make(*, epoch: int) -> Ledger:
        del epoch
        return Ledger(epoch=1)

    return patch(_LEDGER, make)


def without_page_rule() -> AbstractContextManager[object]:
    return patch(_LEDGER, DropsThePageRule)


def confirming_early() -> AbstractContextManager[object]:
    begin = Watermark.begin

    def begin_and_end(self: Watermark, batch: int, *args: Any) -> None:
        begin(self, batch, *args)
        self.end(batch)

    return patch.object(Watermark, "begin", begin_and_end)


def confirming_what_no_record_says() -> AbstractContextManager[object]:
    def position(self: Lane) -> Position:
        return self._watermark.position  # pyright: ignore[reportPrivateUsage]

    return patch.object(Lane, "position", property(position))


def without_settling() -> AbstractContextManager[object]:
    async def wait_settled(self: MemoryCapture) -> None:
        """Nobody waits."""

    return patch.object(MemoryCapture, "wait_settled", wait_settled)


def without_gaps() -> AbstractContextManager[object]:
    def none(*_: object, **__: object) -> None:
        """Whatever the record says."""

    return patch("flusso_core.engine.planner._gap", none)


def emptying_in_place() -> AbstractContextManager[object]:
    resolve = MemoryBuilder.resolve

    async def deleting(
        self: MemoryBuilder, changes: Sequence[Change]
    ) -> AsyncGenerator[Resolved, None]:
        async for found in resolve(self, changes):
            if isinstance(found, RootTruncated):
                yield IndexKeys(INDEX, [(key,) for key in "abc"])
            else:
                yield found

    return patch.object(MemoryBuilder, "resolve", deleting)


class ServesAPart(Generations):
    """Takes each batch for the end of its last commit."""

    def resolved(self, batch: Debtor, *, unfinished: bool) -> None:
        del unfinished
        super().resolved(batch, unfinished=False)


class JoinsSweeps(Generations):
    """Reads nothing again while it sweeps."""

    seeded = True

    async def sweep(self, index: str, reason: str, builder: DocumentBuilder | None = None) -> None:
        reading = [self._records.generation(target) for target in self._fills]
        if not any(one is not None and one.seeded is self.seeded for one in reading):
            await super().sweep(index, reason, builder)


class JoinsSeeds(JoinsSweeps):
    """Reads nothing again while it seeds."""

    seeded = False


class MarksByTheNewestSchema(Lane):
    """What serves by an older one gets nothing."""

    async def _mark_all(self, batch: ChangeBatch, debtor: Debtor) -> int:
        return await self._mark_fitting(self._schemas.builder, batch, debtor)


class SweepsSomeTime(Generations):
    """Returns before anything is noted down."""

    async def sweep(self, index: str, reason: str, builder: DocumentBuilder | None = None) -> None:
        self._errands.spawn(super().sweep(index, reason, builder))


class DeletesExtraIds(Seeder):
    """Deletes what the source lacked when it was asked."""

    async def _mark_extra(self, series: Series) -> None:
        target = series.target
        async for ids in self._sink.document_ids(series.mapping, target.generation):
            keys = await series.builder.missing(target.index, ids)
            version = self._ledger.open_page(target).version
            gone = [Document(DocumentId(*target, key), None, version) for key in keys]
            await self._sink.flush(gone, caught_up=False)


def serving_a_part_of_a_commit() -> AbstractContextManager[object]:
    return patch(_GENERATIONS, ServesAPart)


def joining_sweeps() -> AbstractContextManager[object]:
    return patch(_GENERATIONS, JoinsSweeps)


def joining_seeds() -> AbstractContextManager[object]:
    return patch(_GENERATIONS, JoinsSeeds)


def marking_by_the_newest_schema() -> AbstractContextManager[object]:
    return patch("flusso_core.engine.engine.Lane", MarksByTheNewestSchema)


def sweeping_some_time() -> AbstractContextManager[object]:
    return patch(_GENERATIONS, SweepsSomeTime)


def deleting_extra_ids() -> AbstractContextManager[object]:
    return patch("flusso_core.engine.lane.Seeder", DeletesExtraIds)


CHANGES: Mapping[str, rules.Change] = {
    change.__name__: change
    for change in (
        without_gate,
        without_versions,
        without_epoch,
        without_page_rule,
        confirming_early,
        confirming_what_no_record_says,
        without_settling,
        without_gaps,
        emptying_in_place,
        serving_a_part_of_a_commit,
        joining_sweeps,
        joining_seeds,
        marking_by_the_newest_schema,
        deleting_extra_ids,
        sweeping_some_time,
    )
}


def mutant(name: str, wrong: str, caught_by: str, *also: str) -> Mutant:
    return Mutant(name, wrong, partial(_itself, CHANGES[name]), caught_by, frozenset(also))


def _itself(change: rules.Change) -> rules.Change:
    return change


MUTANTS = {
    made.name: made
    for made in (
        mutant(
            "without_gate",
            "builds before a commit can be seen",
            "test_nothing_is_built_before_its_commit_can_be_seen",
        ),
        mutant(
            "without_versions",
            "lets a timed-out request win",
            "test_a_late_request_of_this_run_does_no_harm",
            "test_a_late_request_of_an_earlier_run_does_no_harm",
            "test_a_row_that_came_back_survives_the_end_of_a_sweep",
            "test_a_sweep_that_meets_a_sweep_begins_again",
            "test_nothing_is_built_before_its_commit_can_be_seen",
        ),
        mutant(
            "without_epoch",
            "begins to count anew in each run",
            "test_a_late_request_of_an_earlier_run_does_no_harm",
            "test_a_stream_that_begins_behind_a_record_is_a_gap",
            "test_nothing_is_confirmed_before_it_has_landed",
        ),
        mutant(
            "without_page_rule",
            "writes pages over newer documents",
            "test_a_page_writes_nothing_that_changed_since_it_was_opened",
        ),
        mutant(
            "confirming_early",
            "confirms early",
            "test_nothing_is_confirmed_before_it_has_landed",
            "test_a_related_truncate_is_owed_until_its_sweep_is_noted_down",
        ),
        mutant(
            "confirming_what_no_record_says",
            "confirms what has landed before a record says so",
            "test_a_record_says_so_before_the_source_is_told",
        ),
        mutant(
            "without_settling",
            "reads rows before the source has settled",
            "test_rows_of_a_commit_that_the_stream_never_brings_are_waited_for",
        ),
        mutant(
            "without_gaps",
            "goes on over a gap",
            "test_a_stream_that_begins_behind_a_record_is_a_gap",
        ),
        mutant(
            "emptying_in_place",
            "empties an index in place",
            "test_a_late_request_never_reaches_an_emptied_index",
        ),
        mutant(
            "serving_a_part_of_a_commit",
            "lets searches see a part of a reload",
            "test_an_emptied_index_serves_when_its_whole_commit_is_right",
        ),
        mutant(
            "joining_sweeps",
            "takes a sweep under way for the one asked for",
            "test_a_sweep_that_meets_a_sweep_begins_again",
        ),
        mutant(
            "joining_seeds",
            "takes a seed under way for the sweep asked for",
            "test_a_sweep_that_meets_a_seed_begins_it_again",
        ),
        mutant(
            "marking_by_the_newest_schema",
            "forgets what serves by an older schema",
            "test_what_serves_by_an_older_schema_gets_changes",
        ),
        mutant(
            "deleting_extra_ids",
            "deletes what was missing a moment ago",
            "test_a_row_that_came_back_survives_the_end_of_a_sweep",
        ),
        mutant(
            "sweeping_some_time",
            "sees to the sweep of a TRUNCATE later",
            "test_a_related_truncate_is_owed_until_its_sweep_is_noted_down",
        ),
    )
}

KITS = ((Rules, MUTANTS),)


def test_the_honest_engine_passes() -> None:
    assert failing(Rules, partial(_itself, nullcontext)) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_an_engine_without_one_of_its_rules_is_caught(name: str) -> None:
    assert_caught(Rules, MUTANTS[name])
