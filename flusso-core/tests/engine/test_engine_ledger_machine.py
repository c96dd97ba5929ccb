"""The ledger against a model of sets that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flusso_core.engine.ledger import Debtor, Ledger, OpenPage, Target
from flusso_core.model import Key

TARGETS = (Target("one", 1), Target("one", 2), Target("two", 1))
KEYS = tuple((text,) for text in "abcde")
MAX_TOUCHED = 4

targets = st.sampled_from(TARGETS)
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
        # (where, key) to the debtors of the waiting state, and of the flying one.
        self.waiting: dict[tuple[Target, Key], set[Debtor]] = {}
        self.flying: dict[tuple[Target, Key], set[Debtor]] = {}
        self.batches: list[Debtor] = []
        self.open: list[Debtor] = []
        self.sealed: set[Debtor] = set()
        self.unsettled: set[Debtor] = set()
        self.pages: list[Page] = []
        self.held: set[Target] = set()
        self.version = 0

    @initialize()
    def begin(self) -> None:
        """Nothing is owed."""
        assert self.ledger.take(10) is None

    # Batches

    @rule()
    def open_batch(self) -> None:
        debtor = self.ledger.open_batch()
        self.batches.append(debtor)
        self.open.append(debtor)
        self.unsettled.add(debtor)

    @rule()
    def open_sweep(self) -> None:
        debtor = self.ledger.open_debtor()
        self.open.append(debtor)
        self.unsettled.add(debtor)

    @precondition(lambda self: self.open)
    @rule(where=targets, marked=keys, data=st.data())
    def mark(self, where: Target, marked: list[Key], data: st.DataObject) -> None:
        # Batches are resolved one after the other: of those that are open the newest one marks.
        marking = [one for one in self.open if one not in self.batches[:-1]]
        if not marking:
            return
        debtor = data.draw(st.sampled_from(marking))
        new = self.ledger.mark(where, marked, debtor)
        before = len(self.waiting)
        self._mark(where, marked, debtor)
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
            (where, key)
            for where, key in self.waiting
            if (where, key) not in self.flying and where not in self.held
        }
        flight = self.ledger.take(limit)
        if flight is None:
            assert not due
            return
        taken = {(flight.target, key) for key in flight.keys}
        assert taken <= due
        due_there = sum(where == flight.target for where, _ in due)
        assert len(taken) == len(flight.keys) == min(limit, due_there)
        self._newer(flight.version)
        for identity in taken:
            self.flying[identity] = self.waiting.pop(identity)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), lands=st.booleans())
    def end_flights(self, data: st.DataObject, lands: bool) -> None:
        where = data.draw(st.sampled_from(sorted({where for where, _ in self.flying})))
        flying = sorted(key for name, key in self.flying if name == where)
        ended = data.draw(st.lists(st.sampled_from(flying), unique=True, min_size=1))
        if lands:
            self.ledger.landed(where, ended)
            self._touch(where, ended)
        else:
            self.ledger.failed(where, ended)
        for key in ended:
            debts = self.flying.pop((where, key))
            if not lands:
                self.waiting.setdefault((where, key), set()).update(debts)

    # Pages

    @rule(where=targets)
    def open_page(self, where: Target) -> None:
        if where in self.held:
            return
        page = self.ledger.open_page(where)
        self._newer(page.version)
        self.pages.append(Page(page))
        self.unsettled.add(page.debtor)

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), rows=unique)
    def fill_page(self, data: st.DataObject, rows: list[Key]) -> None:
        number = data.draw(st.integers(0, len(self.pages) - 1))
        entry = self.pages.pop(number)
        page, where = entry.page, entry.page.target
        if page.abandoned:
            self.ledger.drop_page(page)
            self.unsettled.discard(page.debtor)
            return
        direct = set(self.ledger.fill_page(page, rows))
        for key in rows:
            identity = (where, key)
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
        self._mark(where, [key for key in rows if key not in direct], page.debtor)
        self.sealed.add(page.debtor)

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def drop_page(self, data: st.DataObject) -> None:
        entry = self.pages.pop(data.draw(st.integers(0, len(self.pages) - 1)))
        self.ledger.drop_page(entry.page)
        self.unsettled.discard(entry.page.debtor)

    # Emptying

    @rule(where=targets)
    def hold(self, where: Target) -> None:
        self.ledger.hold(where)
        self.held.add(where)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        where = data.draw(st.sampled_from(sorted(self.held)))
        if any(name == where for name, _ in self.flying):
            return
        self.ledger.void(where)
        self.held.discard(where)
        for identity in [found for found in self.waiting if found[0] == where]:
            del self.waiting[identity]
        for entry in self.pages:
            if entry.page.target == where:
                assert entry.page.abandoned

    # What always holds

    @invariant()
    def the_counts_agree(self) -> None:
        owed: dict[Debtor, int] = {}
        for debts in (*self.waiting.values(), *self.flying.values()):
            for debtor in self._told(debts):
                owed[debtor] = owed.get(debtor, 0) + 1
        assert self.ledger.dirty == len(self.waiting)
        assert self.ledger.in_flight == len(self.flying)
        assert self.ledger.ready() == sum(
            identity not in self.flying and identity[0] not in self.held
            for identity in self.waiting
        )
        for debtor in self.unsettled:
            assert self.ledger.owed(debtor) == owed.get(debtor, 0)

    @invariant()
    def exactly_the_paid_are_settled(self) -> None:
        owing = {
            debtor
            for debts in (*self.waiting.values(), *self.flying.values())
            for debtor in self._told(debts)
        }
        settled = list(self.ledger.settled())
        assert len(settled) == len(set(settled))
        assert set(settled) == {
            debtor for debtor in self.unsettled if debtor in self.sealed and debtor not in owing
        }
        self.unsettled -= set(settled)

    @invariant()
    def all_up_to_a_done_batch_is_right(self) -> None:
        """What the watermark makes of it: batches are done in order."""
        owing = set[Debtor]().union(*self.waiting.values(), *self.flying.values())
        for batch in self.batches:
            if batch in self.unsettled:
                break
            assert batch not in owing

    @invariant()
    def what_is_remembered_is_bounded(self) -> None:
        for entry in self.ledger._targets.values():  # pyright: ignore[reportPrivateUsage]
            assert len(entry.touched) <= MAX_TOUCHED
            assert entry.pages or not entry.touched

    def teardown(self) -> None:
        """Everything that is left can be taken and landed, and pays all."""
        for where in self.held:
            self.ledger.landed(where, [key for name, key in self.flying if name == where])
            self.flying = {
                identity: debts for identity, debts in self.flying.items() if identity[0] != where
            }
            self.ledger.void(where)
        for where, key in self.flying:
            self.ledger.failed(where, [key])
        for debtor in self.open:
            self.ledger.seal(debtor)
        for entry in self.pages:
            self.ledger.drop_page(entry.page)
        while flight := self.ledger.take(2):
            self.ledger.landed(flight.target, flight.keys)
        assert (self.ledger.dirty, self.ledger.in_flight) == (0, 0)

    def _told(self, debts: set[Debtor]) -> set[Debtor]:
        """The debtors to whom the ledger owes a document that all of these have marked."""
        batches = debts.intersection(self.batches)
        return debts - batches | {min(batches)} if batches else debts

    def _mark(self, where: Target, marked: list[Key], debtor: Debtor) -> None:
        for key in marked:
            self.waiting.setdefault((where, key), set()).add(debtor)
        self._touch(where, marked)

    def _touch(self, where: Target, touched: list[Key]) -> None:
        for entry in self.pages:
            if entry.page.target == where:
                entry.touched.update(touched)

    def _newer(self, version: int) -> None:
        assert version > self.version
        self.version = version


TestLedger = Model.TestCase
TestLedger.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
