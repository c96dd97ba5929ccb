"""Engines and builders that only a history of some length shows to be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from flusso_core.engine.admission import Admission
from flusso_core.engine.flights import Flights
from flusso_core.engine.ledger import Ledger, Target
from flusso_core.interfaces import Resolved
from flusso_core.model import Change, ChangeBatch, Key, TableName
from flusso_core.testing import MemoryBuilder
from flusso_core.testing.database import GRANDCHILD, OWNER

from .histories import live
from .mutants import Mutant, assert_caught
from .rules import Change as Wrong
from .test_histories import STEPS
from .test_mutants_engine import marking_by_the_newest_schema

MOST = 150
"""Histories that are lived through at most; a mutant is caught in one of eight or so."""


class Histories:
    """Random histories, the same each time; `test_histories.py` has the honest engine's."""

    async def test_every_history_converges(self, bench: Wrong) -> None:
        with bench():
            for seed in range(MOST):
                await live(seed, runs=seed % 6, steps=STEPS[seed % 3])


_above = MemoryBuilder._above  # pyright: ignore[reportPrivateUsage]


def _seeing_nothing_above(*tables: TableName) -> AbstractContextManager[object]:
    def above(
        self: MemoryBuilder, table: TableName, row: Mapping[str, str | None]
    ) -> Collection[str]:
        return () if table in tables else _above(self, table, row)

    return patch.object(MemoryBuilder, "_above", above)


def resolving_one_level() -> AbstractContextManager[object]:
    return _seeing_nothing_above(GRANDCHILD)


def resolving_no_belongs_to() -> AbstractContextManager[object]:
    return _seeing_nothing_above(OWNER)


def resolving_where_a_grandchild_went_only() -> AbstractContextManager[object]:
    resolve = MemoryBuilder.resolve

    async def new_rows(
        self: MemoryBuilder, changes: Sequence[Change]
    ) -> AsyncGenerator[Resolved, None]:
        new = [
            change._replace(before=None)
            if change.table == GRANDCHILD and change.after is not None
            else change
            for change in changes
        ]
        async for found in resolve(self, new):
            yield found

    return patch.object(MemoryBuilder, "resolve", new_rows)


def admitting_everything() -> AbstractContextManager[object]:
    async def wait(self: Admission, keys: Sequence[Key] = ()) -> None:
        """There is always room."""

    return patch.object(Admission, "wait", wait)


class KeepsPagesBesideFlights(Flights):
    """The bound is that of each, and not of both together."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.memory = asyncio.Semaphore(1000)


def holding_pages_beside_flights() -> AbstractContextManager[object]:
    return patch("flusso_core.engine.lane.Flights", KeepsPagesBesideFlights)


def remembering_for_ever() -> AbstractContextManager[object]:
    close = Ledger._close  # pyright: ignore[reportPrivateUsage]

    def keep(self: Ledger, entry: Any, page: Any) -> None:
        touched = dict(entry.touched)
        close(self, entry, page)
        entry.touched.update(touched)

    return patch.object(Ledger, "_close", keep)


def miscounting_failures() -> AbstractContextManager[object]:
    failed = Ledger.failed

    def uncounted(self: Ledger, target: Target, keys: Iterable[Key]) -> None:
        before = self.dirty
        failed(self, target, keys)
        self._dirty = before  # pyright: ignore[reportPrivateUsage]

    return patch.object(Ledger, "failed", uncounted)


def miscounting_batches() -> AbstractContextManager[object]:
    def size(_: ChangeBatch) -> int:
        return 1

    return patch("flusso_core.queue.memory._size", size)


def mutant(change: Wrong, wrong: str) -> Mutant:
    name, caught_by = change.__name__, "test_every_history_converges"
    return Mutant(name, wrong, partial(_itself, change), caught_by)


def _itself(change: Wrong) -> Wrong:
    return change


MUTANTS = {
    made.name: made
    for made in (
        mutant(marking_by_the_newest_schema, "forgets what serves by an older schema"),
        mutant(resolving_one_level, "sees nothing of the second level below"),
        mutant(resolving_no_belongs_to, "sees nothing of what roots belong to"),
        mutant(
            resolving_where_a_grandchild_went_only, "forgets from where a row of two levels moved"
        ),
        mutant(admitting_everything, "marks without a bound"),
        mutant(holding_pages_beside_flights, "holds documents of pages beside those of flights"),
        mutant(remembering_for_ever, "remembers ids that no open page can ask for"),
        mutant(miscounting_failures, "does not count what has failed as waiting"),
        mutant(miscounting_batches, "counts batches, not changes"),
    )
}

KITS = ((Histories, MUTANTS),)


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_shows_in_some_history(name: str) -> None:
    assert_caught(Histories, MUTANTS[name])
