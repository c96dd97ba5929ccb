"""Wrong ledgers, each caught by the test of the ledger that is there for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from flusso_core.engine.ledger import Debtor, Flight, Ledger, OpenPage, Target
from flusso_core.model import Key

from .mutants import Mutant, assert_caught, failing

TESTS = Path(__file__).parent.parent / "engine" / "test_engine_ledger.py"


def _tests() -> ModuleType:
    spec = spec_from_file_location("flusso_tests_of_the_ledger", TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = _tests()


class LedgerTests:
    """The tests of the ledger, as checks that are given the class of the ledger."""


def _as_check(test: Callable[[], None]) -> Callable[..., Any]:
    async def check(self: LedgerTests, bench: type[Ledger]) -> None:
        del self
        vars(MODULE)["Ledger"] = bench
        try:
            test()
        finally:
            vars(MODULE)["Ledger"] = Ledger

    return check


_names: dict[str, object] = dict(vars(MODULE))
for _name, _test in _names.items():
    if _name.startswith("test_") and isinstance(_test, FunctionType):
        setattr(LedgerTests, _name, _as_check(_test))


class ForgetsADebt(Ledger):
    """The debts of what is marked while it waits are not merged."""

    def mark(self, target: Target, keys: Iterable[Key], debtor: Debtor) -> int:
        entry = self._of(target)
        fresh = [key for key in keys if key not in entry.ready and key not in entry.blocked]
        return super().mark(target, fresh, debtor)


class PaysForFailures(Ledger):
    def failed(self, target: Target, keys: Iterable[Key]) -> None:
        keys = list(keys)
        entry = self._of(target)
        debts = {key: entry.flying[key] for key in keys}
        super().failed(target, keys)
        for key in keys:
            self._pay(debts[key])
            entry.ready[key] = (0,)


class FliesTwice(Ledger):
    """What is marked in flight can be taken at once."""

    def mark(self, target: Target, keys: Iterable[Key], debtor: Debtor) -> int:
        new = super().mark(target, keys, debtor)
        entry = self._of(target)
        for key in list(entry.blocked):
            entry.ready[key] = entry.blocked.pop(key)
        return new


class SettlesBeforeTheResolveEnded(Ledger):
    def _pay(self, debts: Any) -> None:
        open_debtors = [debtor for debtor in debts if self._owed.get(debtor)]
        self._sealed.update(open_debtors)
        super()._pay(debts)


class LandingSettlesLaterMarksToo(Ledger):
    """What was marked again in flight is taken for written."""

    def landed(self, target: Target, keys: Iterable[Key]) -> None:
        keys = list(keys)
        entry = self._of(target)
        super().landed(target, keys)
        for key in keys:
            later = entry.ready.pop(key, None)
            if later is not None:
                self._dirty -= 1
                self._pay(later)


class VersionsOfTheirOwnRun(Ledger):
    """The epoch is no part of a version."""

    def _draw_version(self) -> int:
        super()._draw_version()
        return self._number


class OneVersionForAll(Ledger):
    def _draw_version(self) -> int:
        return self._epoch << 40


class DrawsThePagesVersionLate(Ledger):
    """When its rows are here, instead of before they are read."""

    def fill_page(self, page: OpenPage, keys: Sequence[Key]) -> Sequence[Key]:
        page.version = self._draw_version()
        return super().fill_page(page, keys)

    def take(self, limit: int) -> Flight | None:
        flight = super().take(limit)
        for entry in self._targets.values():
            for page in entry.pages:
                page.version = self._draw_version()
        return flight


class DropsThePageRule(Ledger):
    def _touch(self, entry: Any, keys: Sequence[Key]) -> None:
        """What is marked or lands while a page is open is not remembered."""


class RemembersMarksOnly(Ledger):
    """Not what lands."""

    _landing = False

    def landed(self, target: Target, keys: Iterable[Key]) -> None:
        self._landing = True
        super().landed(target, keys)
        self._landing = False

    def _touch(self, entry: Any, keys: Sequence[Key]) -> None:
        if not self._landing:
            super()._touch(entry, keys)


class WritesWaitingRowsFromPages(Ledger):
    def fill_page(self, page: OpenPage, keys: Sequence[Key]) -> Sequence[Key]:
        entry = self._of(page.target)
        waiting = {key: entry.ready.pop(key) for key in keys if key in entry.ready}
        direct = super().fill_page(page, keys)
        entry.ready.update(waiting)
        return direct


class RemembersWithoutABound(Ledger):
    def __init__(self, *, epoch: int, max_touched: int = 0) -> None:
        super().__init__(epoch=epoch, max_touched=10**9)


class FillsAbandonedPages(Ledger):
    def fill_page(self, page: OpenPage, keys: Sequence[Key]) -> Sequence[Key]:
        page.abandoned = False
        return super().fill_page(page, keys)


class StarvesAnIndex(Ledger):
    def take(self, limit: int) -> Flight | None:
        order = list(self._targets)
        flight = super().take(limit)
        self._targets = {target: self._targets[target] for target in order}
        return flight


class TakesWhatIsHeld(Ledger):
    def hold(self, target: Target) -> None:
        self._of(target)


def mutant(make: type[Ledger], wrong: str, caught_by: str, *also: str) -> Mutant:
    return Mutant(make.__name__, wrong, partial(_itself, make), caught_by, frozenset(also))


def _itself(make: type[Ledger]) -> type[Ledger]:
    return make


MUTANTS: Mapping[str, Mutant] = {
    made.name: made
    for made in (
        mutant(
            ForgetsADebt,
            "forgets a debt",
            "test_a_row_that_is_dirty_is_not_written_from_a_page",
        ),
        mutant(
            PaysForFailures,
            "takes a failed flight for a landed one",
            "test_a_failure_settles_nothing",
            "test_a_flight_that_failed_is_owed_to_old_and_new",
            "test_a_flight_that_failed_merges_debts_to_the_same_batch",
            "test_a_page_whose_write_failed_is_owed_until_a_flight_lands",
            "test_what_was_in_flight_when_its_index_stopped_lands_or_is_let_go",
            "test_a_document_that_changes_for_ever_owes_no_more_than_one_that_changed_once",
            "test_all_that_is_owed_by_now_can_be_waited_for",
        ),
        mutant(
            FliesTwice,
            "has a document in flight twice",
            "test_a_document_is_never_in_flight_twice",
            "test_a_change_behind_a_page_in_flight_is_a_flight_of_its_own",
            "test_a_flight_that_failed_is_owed_to_old_and_new",
            "test_a_flight_that_failed_merges_debts_to_the_same_batch",
            "test_a_document_that_changes_for_ever_owes_no_more_than_one_that_changed_once",
            "test_all_that_is_owed_by_now_can_be_waited_for",
        ),
        mutant(
            SettlesBeforeTheResolveEnded,
            "takes a batch for done before its resolve has ended",
            "test_a_batch_is_not_done_before_its_resolve_has_ended",
            "test_a_batch_that_straddles_a_truncate_is_owed_what_came_behind_it",
        ),
        mutant(
            LandingSettlesLaterMarksToo,
            "takes what changed in flight for written",
            "test_a_document_is_never_in_flight_twice",
            "test_a_change_behind_a_page_in_flight_is_a_flight_of_its_own",
            "test_a_row_that_is_in_flight_is_not_written_from_a_page",
        ),
        mutant(
            VersionsOfTheirOwnRun,
            "leaves the epoch out of versions",
            "test_versions_rise_with_every_flight_and_page_and_with_the_epoch",
        ),
        mutant(
            OneVersionForAll,
            "gives all flights of a run one version",
            "test_versions_rise_with_every_flight_and_page_and_with_the_epoch",
            "test_a_page_has_the_version_of_when_it_was_opened",
        ),
        mutant(
            DrawsThePagesVersionLate,
            "draws the version late",
            "test_a_page_has_the_version_of_when_it_was_opened",
        ),
        mutant(
            DropsThePageRule,
            "drops the page rule",
            "test_a_row_that_was_marked_and_landed_while_the_page_was_open_is_built_anew",
            "test_a_row_that_only_landed_while_the_page_was_open_is_built_anew",
            "test_an_abandoned_page_cannot_be_filled",
            "test_too_much_touched_abandons_the_oldest_page_only",
            "test_what_a_newer_open_page_needs_is_remembered_when_an_older_one_closes",
            "test_what_an_older_open_page_needs_is_remembered_when_a_newer_one_closes",
            "test_what_is_remembered_is_bounded_and_forgotten",
        ),
        mutant(
            RemembersMarksOnly,
            "does not remember what lands while a page is open",
            "test_a_row_that_only_landed_while_the_page_was_open_is_built_anew",
        ),
        mutant(
            WritesWaitingRowsFromPages,
            "writes rows from a page that wait for a build",
            "test_a_row_that_is_dirty_is_not_written_from_a_page",
            "test_too_much_touched_abandons_the_oldest_page_only",
        ),
        mutant(
            RemembersWithoutABound,
            "remembers without a bound",
            "test_what_is_remembered_is_bounded_and_forgotten",
            "test_an_abandoned_page_cannot_be_filled",
            "test_too_much_touched_abandons_the_oldest_page_only",
        ),
        mutant(
            FillsAbandonedPages,
            "writes from an abandoned page",
            "test_an_abandoned_page_cannot_be_filled",
        ),
        mutant(StarvesAnIndex, "takes from one index for ever", "test_no_index_starves_another"),
        mutant(
            TakesWhatIsHeld,
            "builds what a TRUNCATE holds",
            "test_a_held_index_takes_off_no_more_and_the_others_do",
            "test_what_is_released_can_be_taken_again",
        ),
    )
}

KITS = ((LedgerTests, MUTANTS),)


def test_the_honest_ledger_passes() -> None:
    assert failing(LedgerTests, partial(_itself, Ledger)) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_ledger_is_caught(name: str) -> None:
    assert_caught(LedgerTests, MUTANTS[name])
