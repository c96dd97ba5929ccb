"""The ledger against a model of sets that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flusso_core.engine.ledger import Debtor, Ledger, OpenPage
from flusso_core.model import Key

INDEXES = ("one", "two")
KEYS = tuple((text,) for text in "abcde")
MAX_TOUCHED = 4

indexes = st.sampled_from(INDEXES)
keys = st.lists(st.sampled_from(KEYS), max_size=4)
unique = st.lists(st.sampled_from(KEYS), max_size=4, unique=True)


@dataclass
class Page:
    """An open page and what was marked or landed since it was opened."""

    page: OpenPage
    touched: set[Key] = field(default_factory=set[Key])


class Model(RuleBasedStateMachine):
    """Every rule does the same to the ledger and to the sets, and every step compares them."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(epoch=1, max_touched=MAX_TOUCHED)
        # (index, key) to the debtors of the waiting state, and of the flying one.
        self.waiting: dict[tuple[str, Key], set[Debtor]] = {}
        self.flying: dict[tuple[str, Key], set[Debtor]] = {}
        self.open: list[Debtor] = []
        self.sealed: set[Debtor] = set()
        self.unsettled: set[Debtor] = set()
        self.pages: list[Page] = []
        self.held: set[str] = set()
        self.version = 0

    @initialize()
    def begin(self) -> None:
        """Nothing is owed."""
        assert self.ledger.take(10) is None

    # Batches

    @rule()
    def open_batch(self) -> None:
        debtor = self.ledger.open_debtor()
        self.open.append(debtor)
        self.unsettled.add(debtor)

    @precondition(lambda self: self.open)
    @rule(index=indexes, marked=keys, data=st.data())
    def mark(self, index: str, marked: list[Key], data: st.DataObject) -> None:
        debtor = data.draw(st.sampled_from(self.open))
        new = self.ledger.mark(index, marked, debtor)
        before = len(self.waiting)
        self._mark(index, marked, debtor)
        assert new == len(self.waiting) - before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def seal(self, data: st.DataObject) -> None:
        debtor = data.draw(st.sampled_from(self.open))
        self.open.remove(debtor)
        self.sealed.add(debtor)
        self.ledger.seal(debtor)

    # Flights

    @rule(limit=st.integers(1, 4))
    def take(self, limit: int) -> None:
        due = {
            (index, key)
            for index, key in self.waiting
            if (index, key) not in self.flying and index not in self.held
        }
        flight = self.ledger.take(limit)
        if flight is None:
            assert not due
            return
        taken = {(flight.index, key) for key in flight.keys}
        assert taken <= due
        due_there = sum(index == flight.index for index, _ in due)
        assert len(taken) == len(flight.keys) == min(limit, due_there)
        self._newer(flight.version)
        for identity in taken:
            self.flying[identity] = self.waiting.pop(identity)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), lands=st.booleans())
    def end_flights(self, data: st.DataObject, lands: bool) -> None:
        index = data.draw(st.sampled_from(sorted({index for index, _ in self.flying})))
        flying = sorted(key for name, key in self.flying if name == index)
        ended = data.draw(st.lists(st.sampled_from(flying), unique=True, min_size=1))
        if lands:
            self.ledger.landed(index, ended)
            self._touch(index, ended)
        else:
            self.ledger.failed(index, ended)
        for key in ended:
            debts = self.flying.pop((index, key))
            if not lands:
                self.waiting.setdefault((index, key), set()).update(debts)

    # Pages

    @rule(index=indexes)
    def open_page(self, index: str) -> None:
        if index in self.held:
            return
        page = self.ledger.open_page(index)
        self._newer(page.version)
        self.pages.append(Page(page))
        self.unsettled.add(page.debtor)

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), rows=unique)
    def fill_page(self, data: st.DataObject, rows: list[Key]) -> None:
        number = data.draw(st.integers(0, len(self.pages) - 1))
        entry = self.pages.pop(number)
        page, index = entry.page, entry.page.index
        if page.abandoned:
            self.ledger.drop_page(page)
            self.unsettled.discard(page.debtor)
            return
        direct = set(self.ledger.fill_page(page, rows))
        for key in rows:
            identity = (index, key)
            clean = (
                identity not in self.waiting
                and identity not in self.flying
                and key not in entry.touched
            )
            if key in direct:
                assert clean, "an untouched row only is written from a page"
                self.flying[identity] = {page.debtor}
            else:
                assert not clean, "what nothing touched is written from the page"
        self._mark(index, [key for key in rows if key not in direct], page.debtor)
        self.sealed.add(page.debtor)

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def drop_page(self, data: st.DataObject) -> None:
        entry = self.pages.pop(data.draw(st.integers(0, len(self.pages) - 1)))
        self.ledger.drop_page(entry.page)
        self.unsettled.discard(entry.page.debtor)

    # Emptying

    @rule(index=indexes)
    def hold(self, index: str) -> None:
        self.ledger.hold(index)
        self.held.add(index)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.held)))
        if any(name == index for name, _ in self.flying):
            return
        self.ledger.void(index)
        self.held.discard(index)
        for identity in [found for found in self.waiting if found[0] == index]:
            del self.waiting[identity]
        for entry in self.pages:
            if entry.page.index == index:
                assert entry.page.abandoned

    # What always holds

    @invariant()
    def the_counts_agree(self) -> None:
        owed: dict[Debtor, int] = {}
        for debts in (*self.waiting.values(), *self.flying.values()):
            for debtor in debts:
                owed[debtor] = owed.get(debtor, 0) + 1
        assert self.ledger.dirty == len(self.waiting)
        assert self.ledger.in_flight == len(self.flying)
        assert self.ledger.debts == sum(owed.values())
        assert self.ledger.ready() == sum(
            identity not in self.flying and identity[0] not in self.held
            for identity in self.waiting
        )
        for debtor in self.unsettled:
            assert self.ledger.owed(debtor) == owed.get(debtor, 0)

    @invariant()
    def exactly_the_paid_are_settled(self) -> None:
        owing = set[Debtor]().union(*self.waiting.values(), *self.flying.values())
        settled = list(self.ledger.settled())
        assert len(settled) == len(set(settled))
        assert set(settled) == {
            debtor for debtor in self.unsettled if debtor in self.sealed and debtor not in owing
        }
        self.unsettled -= set(settled)

    @invariant()
    def what_is_remembered_is_bounded(self) -> None:
        for entry in self.ledger._indexes.values():  # pyright: ignore[reportPrivateUsage]
            assert len(entry.touched) <= MAX_TOUCHED
            assert entry.pages or not entry.touched

    def teardown(self) -> None:
        """Everything that is left can be taken and landed, and pays all."""
        for index in self.held:
            self.ledger.landed(index, [key for name, key in self.flying if name == index])
            self.flying = {
                identity: debts for identity, debts in self.flying.items() if identity[0] != index
            }
            self.ledger.void(index)
        for index, key in self.flying:
            self.ledger.failed(index, [key])
        for debtor in self.open:
            self.ledger.seal(debtor)
        for entry in self.pages:
            self.ledger.drop_page(entry.page)
        while flight := self.ledger.take(2):
            self.ledger.landed(flight.index, flight.keys)
        assert (self.ledger.dirty, self.ledger.in_flight, self.ledger.debts) == (0, 0, 0)

    def _mark(self, index: str, marked: list[Key], debtor: Debtor) -> None:
        for key in marked:
            self.waiting.setdefault((index, key), set()).add(debtor)
        self._touch(index, marked)

    def _touch(self, index: str, touched: list[Key]) -> None:
        for entry in self.pages:
            if entry.page.index == index:
                entry.touched.update(touched)

    def _newer(self, version: int) -> None:
        assert version > self.version
        self.version = version


TestLedger = Model.TestCase
TestLedger.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
