"""Engines without one of their rules, each caught by the shortest history that needs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from flusso_core.engine.ledger import Ledger
from flusso_core.engine.watermark import Watermark
from flusso_core.interfaces import Resolved
from flusso_core.model import Change, ChangeBatch, IndexKeys, RootTruncated
from flusso_core.testing import MemoryBuilder, MemoryCapture

from . import rules
from .mutants import Mutant, assert_caught, failing
from .rules import Rules
from .test_mutants_ledger import DropsThePageRule, OneVersionForAll

_LEDGER = "flusso_core.engine.lane.Ledger"


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
                yield IndexKeys(rules.INDEX, [(key,) for key in "abc"])
            else:
                yield found

    return patch.object(MemoryBuilder, "resolve", deleting)


CHANGES: Mapping[str, rules.Change] = {
    change.__name__: change
    for change in (
        without_gate,
        without_versions,
        without_epoch,
        without_page_rule,
        confirming_early,
        without_gaps,
        emptying_in_place,
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
            "confirming_early", "confirms early", "test_nothing_is_confirmed_before_it_has_landed"
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
    )
}

KITS = ((Rules, MUTANTS),)


def test_the_honest_engine_passes() -> None:
    assert failing(Rules, partial(_itself, nullcontext)) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_an_engine_without_one_of_its_rules_is_caught(name: str) -> None:
    assert_caught(Rules, MUTANTS[name])
