"""The ledger: one record of each document that is not yet right at the destination.

A document is *dirty* (something changed since its last flight began), *in flight*, or both. A
plain state machine: no clock, no I/O. Three rules make everything converge:

- a document is in flight at most once, so a newer build never races an older one;
- a flight's version is drawn before its build reads anything, so a request that lands late
  loses against every newer one;
- a row of a page is written from the page only if nothing touched its document since the page
  was opened; otherwise the document is marked and built anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeAlias

from flusso_core.model import Key

Debtor: TypeAlias = int
"""A batch, a page or the end of a sweep, to which documents are owed; later ones are higher."""

Debts: TypeAlias = tuple[Debtor, ...]
"""To whom a document is owed: the oldest batch first (0: to none), then pages and sweeps.

Of batches the oldest is enough. They are done in order only (`Watermark`), and the flight that
pays the oldest is taken after all that marked the document while it waited. So a document that
changes for ever while the destination is down owes no more than one that changed once.
"""

_NO_BATCH: Debtor = 0

_NUMBER_BITS = 40
"""A version is the epoch above 40 bits of flight number: a trillion flights in each of eight
million runs, within the 63 bits of an external version (OpenSearch index API, `version`)."""


class Target(NamedTuple):
    """Where documents go: a generation of an index."""

    # Hides `tuple.index`, which nobody needs.
    index: str  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]
    generation: int


@dataclass(frozen=True, slots=True)
class Flight:
    """Documents of one target that are about to be built, with their version."""

    target: Target
    keys: Sequence[Key]
    version: int


@dataclass(slots=True, eq=False)
class OpenPage:
    """A page of a seed or a sweep that is being read or written.

    Attributes:
        target: what is filled.
        debtor: to whom the page's documents are owed.
        version: of the documents that are written from the page.
        opened: the ledger's sequence when reading began.
        abandoned: too much was touched since; the page has to be read again.
        filled: its rows are in the ledger.
    """

    target: Target
    debtor: Debtor
    version: int
    opened: int
    abandoned: bool = False
    filled: bool = False


@dataclass(slots=True)
class _Documents:
    """The documents of one target: waiting, waiting for their own flight to end, in flight."""

    ready: dict[Key, Debts] = field(default_factory=dict[Key, Debts])
    blocked: dict[Key, Debts] = field(default_factory=dict[Key, Debts])
    flying: dict[Key, Debts] = field(default_factory=dict[Key, Debts])
    touched: dict[Key, int] = field(default_factory=dict[Key, int])
    pages: list[OpenPage] = field(default_factory=list[OpenPage])
    held: bool = False
    retired: bool = False


class Ledger:
    """What is owed to whom, and what may be built next.

    Args:
        epoch: this run's epoch at the destination, the high part of every version.
        max_touched: ids that are remembered for open pages before the oldest is abandoned.
    """

    def __init__(self, *, epoch: int, max_touched: int = 200_000) -> None:
        self._epoch = epoch
        self._max_touched = max_touched
        self._number = 0
        self._sequence = 0
        self._debtors = 0
        self._owed: dict[Debtor, int] = {}
        self._batches: set[Debtor] = set()
        self._sealed: set[Debtor] = set()
        self._settled: list[Debtor] = []
        self._targets: dict[Target, _Documents] = {}
        self._dirty = 0
        self._flying = 0

    @property
    def dirty(self) -> int:
        """Documents that wait for a flight."""
        return self._dirty

    @property
    def in_flight(self) -> int:
        """Documents whose flight has not ended."""
        return self._flying

    def in_flight_of(self, target: Target) -> int:
        """Documents of that target whose flight has not ended."""
        return len(self._of(target).flying)

    def ready(self) -> int:
        """Documents that could be taken now."""
        return sum(len(entry.ready) for entry in self._targets.values() if not entry.held)

    def ready_of(self, target: Target) -> int:
        """Documents of that target that could be taken now."""
        return len(self._of(target).ready)

    def owed(self, debtor: Debtor) -> int:
        """How many debts that debtor still has."""
        return self._owed.get(debtor, 0)

    # Debtors

    def open_batch(self) -> Debtor:
        """A new batch, to mark documents for; `seal` it when all are marked.

        A document that is owed to an older batch already is not owed to this one too: no batch
        is done before those before it.
        """
        batch = self.open_debtor()
        self._batches.add(batch)
        return batch

    def open_debtor(self) -> Debtor:
        """A new debtor that is no batch; `seal` it when all documents are marked."""
        self._debtors += 1
        self._owed[self._debtors] = 0
        return self._debtors

    def seal(self, debtor: Debtor) -> None:
        """No more documents will be marked for that debtor: without debts it is settled."""
        self._sealed.add(debtor)
        if self._owed[debtor] == 0:
            self._settle(debtor)

    def settled(self) -> Sequence[Debtor]:
        """Debtors that have been sealed and paid since the last call."""
        settled, self._settled = self._settled, []
        return settled

    # Live changes

    def mark(self, target: Target, keys: Iterable[Key], debtor: Debtor) -> int:
        """Each document becomes dirty and owed to `debtor`; returns how many were not dirty.

        A document that waits already is built once, and that pays both.
        """
        entry = self._of(target)
        if entry.retired:
            return 0
        ready, blocked, flying = entry.ready, entry.blocked, entry.flying
        batch = debtor in self._batches
        alone = (debtor,) if batch else (_NO_BATCH, debtor)
        new = owed = 0
        if entry.pages:
            keys = list(keys)
            self._touch(entry, keys)
        for key in keys:
            waiting = blocked if key in flying else ready
            debts = waiting.get(key)
            if debts is None:
                waiting[key] = alone
                new += 1
                owed += 1
            elif batch:
                if debts[0] == _NO_BATCH:
                    waiting[key] = (debtor, *debts[1:])
                    owed += 1
            elif debtor not in debts:
                waiting[key] = (*debts, debtor)
                owed += 1
        self._owed[debtor] += owed
        self._dirty += new
        return new

    def take(self, limit: int) -> Flight | None:
        """Up to `limit` documents of one target that wait and are not in flight go in flight."""
        due = (target for target, entry in self._targets.items() if entry.ready and not entry.held)
        target = next(due, None)
        if target is None:
            return None
        # The next flight begins with another target, so that none starves the others.
        entry = self._targets[target] = self._targets.pop(target)
        keys = list(islice(entry.ready, limit))
        for key in keys:
            entry.flying[key] = entry.ready.pop(key)
        self._dirty -= len(keys)
        self._flying += len(keys)
        return Flight(target, keys, self._draw_version())

    def landed(self, target: Target, keys: Iterable[Key]) -> None:
        """The destination has them, or something newer: their debts are paid."""
        entry = self._of(target)
        if entry.pages:
            keys = list(keys)
            self._touch(entry, keys)
        for key in keys:
            self._pay(entry.flying.pop(key))
            self._flying -= 1
            blocked = entry.blocked.pop(key, None)
            if blocked is not None:
                entry.ready[key] = blocked

    def failed(self, target: Target, keys: Iterable[Key]) -> None:
        """Their flight failed: dirty again with the same debts, united with later ones."""
        entry = self._of(target)
        for key in keys:
            debts = entry.flying.pop(key)
            self._flying -= 1
            if entry.retired:
                self._pay(debts)
                continue
            later = entry.blocked.pop(key, None)
            if later is None:
                self._dirty += 1
            else:
                debts = self._united(debts, later)
            entry.ready[key] = debts

    def owe_all(self, target: Target, debtor: Debtor) -> None:
        """Everything of that target that waits or is in flight is owed to the debtor too."""
        entry = self._of(target)
        for documents in (entry.ready, entry.blocked, entry.flying):
            for key, debts in documents.items():
                documents[key] = (*debts, debtor)
            self._owed[debtor] += len(documents)

    # Pages

    def open_page(self, target: Target) -> OpenPage:
        """A page is about to be read: from now on what touches its target is remembered."""
        entry = self._of(target)
        page = OpenPage(target, self.open_debtor(), self._draw_version(), self._sequence)
        entry.pages.append(page)
        return page

    def fill_page(self, page: OpenPage, keys: Sequence[Key]) -> Sequence[Key]:
        """The page's rows are here: returns the keys to write from it, which go in flight.

        The others wait, or are in flight, or were touched since the page was opened: they are
        marked, owed to the page. The page is sealed: it is settled when all of it has landed.
        """
        if page.abandoned:
            message = f"a page of {page.target.index} is filled though it was abandoned"
            raise AssertionError(message)
        entry = self._of(page.target)
        ready, flying, touched = entry.ready, entry.flying, entry.touched
        debts = (_NO_BATCH, page.debtor)
        direct: list[Key] = []
        stale: list[Key] = []
        for key in keys:
            if key in flying or key in ready or touched.get(key, -1) > page.opened:
                stale.append(key)
            else:
                direct.append(key)
        for key in direct:
            flying[key] = debts
        self._flying += len(direct)
        self._owed[page.debtor] += len(direct)
        self.mark(page.target, stale, page.debtor)
        self._close(entry, page)
        page.filled = True
        self.seal(page.debtor)
        return direct

    def drop_page(self, page: OpenPage) -> None:
        """The page will not be filled (it was abandoned, or its read failed). Idempotent, and
        without effect on one that has been filled.
        """
        if page.filled:
            return
        self._close(self._of(page.target), page)
        self._owed.pop(page.debtor, None)

    # The end of a generation

    def hold(self, target: Target) -> None:
        """Let no flight of that target begin any more, until `release` or `void`."""
        self._of(target).held = True

    def release(self, target: Target) -> None:
        """Let flights of that target begin again."""
        self._of(target).held = False

    def void(self, target: Target) -> None:
        """Forget what waits for a generation that gets no more changes.

        Debts are paid: another generation has the rows, or will read them. Nothing of the target
        may be in flight.
        """
        entry = self._of(target)
        del self._targets[target]
        if entry.flying:
            message = f"{len(entry.flying)} documents of {target.index} are in flight"
            raise AssertionError(message)
        self._forget(entry)

    def retire(self, target: Target) -> None:
        """Build nothing more of that target: its index has stopped, and its record was left behind.

        What waits of it is owed to nobody any more, and neither is what is marked or fails from
        now on; what is in flight may still land.
        """
        entry = self._of(target)
        entry.retired = True
        self._forget(entry)

    # Inside

    def _forget(self, entry: _Documents) -> None:
        """Pay the debts of all that waits, and abandon the open pages."""
        for waiting in (entry.ready, entry.blocked):
            self._dirty -= len(waiting)
            for debts in waiting.values():
                self._pay(debts)
            waiting.clear()
        for page in entry.pages:
            page.abandoned = True

    def _of(self, target: Target) -> _Documents:
        entry = self._targets.get(target)
        if entry is None:
            entry = self._targets[target] = _Documents()
        return entry

    def _draw_version(self) -> int:
        self._number += 1
        return self._epoch << _NUMBER_BITS | self._number

    def _united(self, debts: Debts, later: Debts) -> Debts:
        """The debts of a flight that failed, and those that came while it flew."""
        if debts[0] == _NO_BATCH:
            debts = (later[0], *debts[1:])
        else:
            self._pay(later[:1])
        for debtor in later[1:]:
            if debtor in debts:
                self._pay((debtor,))
            else:
                debts = (*debts, debtor)
        return debts

    def _pay(self, debts: Debts) -> None:
        for debtor in debts:
            if debtor == _NO_BATCH:
                continue
            self._owed[debtor] -= 1
            if self._owed[debtor] == 0 and debtor in self._sealed:
                self._settle(debtor)

    def _settle(self, debtor: Debtor) -> None:
        del self._owed[debtor]
        self._sealed.discard(debtor)
        self._batches.discard(debtor)
        self._settled.append(debtor)

    def _touch(self, entry: _Documents, keys: Sequence[Key]) -> None:
        """Remember that these were marked or landed, newest last, within the bound."""
        self._sequence += 1
        touched = entry.touched
        for key in keys:
            touched.pop(key, None)
            touched[key] = self._sequence
        while len(touched) > self._max_touched and entry.pages:
            oldest = entry.pages[0]
            oldest.abandoned = True
            self._close(entry, oldest)

    def _close(self, entry: _Documents, page: OpenPage) -> None:
        """Forget what no page that is still open can ask for."""
        if page not in entry.pages:
            return
        entry.pages.remove(page)
        if not entry.pages:
            entry.touched.clear()
            return
        oldest = min(other.opened for other in entry.pages)
        outdated: list[Key] = []
        for key, sequence in entry.touched.items():
            if sequence > oldest:
                break
            outdated.append(key)
        for key in outdated:
            del entry.touched[key]
