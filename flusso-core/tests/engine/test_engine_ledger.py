"""The ledger: the rules of the design's table, each as the shortest history that needs it."""

from __future__ import annotations

import pytest

from flusso_core.engine.ledger import Debtor, Flight, Ledger, Target
from flusso_core.model import Key

A: Key = ("a",)
B: Key = ("b",)
C: Key = ("c",)
PARENTS = Target("parents", 1)
OTHERS = Target("others", 1)


def ledger(epoch: int = 1, max_touched: int = 100) -> Ledger:
    return Ledger(epoch=epoch, max_touched=max_touched)


def mark(book: Ledger, *keys: Key, target: Target = PARENTS) -> Debtor:
    """A whole batch: opened, marked, sealed."""
    debtor = book.open_batch()
    book.mark(target, keys, debtor)
    book.seal(debtor)
    return debtor


def debts(book: Ledger) -> int:
    """All of them together."""
    return sum(book._owed.values())  # pyright: ignore[reportPrivateUsage]


def take(book: Ledger, limit: int = 100) -> Flight:
    flight = book.take(limit)
    assert flight is not None
    return flight


# Debts


def test_a_batch_is_done_when_its_documents_have_landed() -> None:
    book = ledger()
    batch = mark(book, A, B)
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == []
    assert book.owed(batch) == 1
    book.landed(PARENTS, [B])
    assert book.settled() == [batch]
    assert book.settled() == [], "it is told once"
    assert (debts(book), book.dirty, book.in_flight) == (0, 0, 0)


def test_a_batch_is_not_done_before_its_resolve_has_ended() -> None:
    """A piece of a resolve may land while the rest is still being found."""
    book = ledger()
    batch = book.open_batch()
    book.mark(PARENTS, [A], batch)
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == []
    book.mark(PARENTS, [B], batch)
    book.seal(batch)
    assert book.settled() == []
    take(book)
    book.landed(PARENTS, [B])
    assert book.settled() == [batch]


def test_a_batch_that_touches_nothing_is_done_when_it_is_sealed() -> None:
    book = ledger()
    batch = book.open_batch()
    assert book.settled() == []
    book.seal(batch)
    assert book.settled() == [batch]


def test_a_document_that_many_batches_touch_is_built_once_and_pays_them_all() -> None:
    """One build a document. It is owed to the oldest: no batch is done before those before it."""
    book = ledger()
    batches = [mark(book, A) for _ in range(5)]
    assert book.dirty == 1
    assert debts(book) == 1
    assert book.owed(batches[0]) == 1
    assert book.settled() == batches[1:]
    assert take(book).keys == [A]
    assert book.take(100) is None
    book.landed(PARENTS, [A])
    assert book.settled() == batches[:1]
    assert debts(book) == 0


def test_a_document_that_changes_for_ever_owes_no_more_than_one_that_changed_once() -> None:
    """C10, R3: while the destination is down a hot row is marked by every batch."""
    book = ledger()
    page = book.open_debtor()
    book.mark(PARENTS, [A], page)
    book.seal(page)
    for _ in range(1000):
        mark(book, A)
        take(book)
        mark(book, A)
        book.failed(PARENTS, [A])
    assert debts(book) == 2, "the page and the oldest batch"
    take(book)
    book.landed(PARENTS, [A])
    assert debts(book) == 0
    assert book.dirty == book.in_flight == 0


def test_a_key_that_a_resolve_finds_twice_is_owed_once() -> None:
    book = ledger()
    batch = mark(book, A, A)
    assert book.owed(batch) == 1
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == [batch]


def test_mark_says_how_many_were_not_dirty() -> None:
    book = ledger()
    batch = book.open_batch()
    assert book.mark(PARENTS, [A, B, A], batch) == 2
    assert book.mark(PARENTS, [B, C], batch) == 1


def test_all_that_is_owed_by_now_can_be_waited_for() -> None:
    """D4: what waits, what is in flight, and what was marked again meanwhile; not what comes."""
    book = ledger()
    mark(book, A, B)
    book.take(1)
    mark(book, A, C)
    everything = book.open_debtor()
    book.owe_all(PARENTS, everything)
    book.seal(everything)
    assert book.owed(everything) == 4
    mark(book, ("d",))
    book.failed(PARENTS, [A])
    assert book.owed(everything) == 3, "one flight pays both"
    assert take(book).keys == [B, C, ("d",), A]
    book.landed(PARENTS, [A, B, C])
    assert everything in book.settled()
    assert book.in_flight == 1


def test_what_is_released_can_be_taken_again() -> None:
    book = ledger()
    mark(book, A)
    book.hold(PARENTS)
    assert book.take(1) is None
    book.release(PARENTS)
    assert take(book).keys == [A]


# Flights


def test_a_document_is_never_in_flight_twice() -> None:
    """A newer build that races an older one could lose against it."""
    book = ledger()
    first = mark(book, A)
    take(book)
    second = mark(book, A)
    assert book.take(100) is None, "its flight has not ended"
    assert (book.dirty, book.in_flight, book.ready()) == (1, 1, 0)
    book.landed(PARENTS, [A])
    assert book.settled() == [first], "the flight began before the second change"
    assert take(book).keys == [A]
    book.landed(PARENTS, [A])
    assert book.settled() == [second]


def test_a_flight_that_failed_is_owed_to_old_and_new() -> None:
    book = ledger()
    first = mark(book, A)
    take(book)
    second = mark(book, A)
    book.failed(PARENTS, [A])
    assert (book.dirty, book.in_flight, debts(book)) == (1, 0, 1)
    assert book.settled() == [second], "it is not done before the first one"
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == [first]


def test_a_flight_that_failed_merges_debts_to_the_same_batch() -> None:
    """One batch that marks before and after the flight began is owed one landing."""
    book = ledger()
    batch = book.open_batch()
    book.mark(PARENTS, [A], batch)
    take(book)
    book.mark(PARENTS, [A], batch)
    book.seal(batch)
    assert book.owed(batch) == 2
    book.failed(PARENTS, [A])
    assert (book.owed(batch), debts(book)) == (1, 1)
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == [batch]


def test_a_failure_settles_nothing() -> None:
    book = ledger()
    batch = mark(book, A)
    take(book)
    book.failed(PARENTS, [A])
    assert book.settled() == []
    assert book.owed(batch) == 1


def test_versions_rise_with_every_flight_and_page_and_with_the_epoch() -> None:
    """A late request loses against every newer one, of this run and of the next."""
    book = ledger(epoch=3)
    mark(book, A)
    first = take(book).version
    book.failed(PARENTS, [A])
    page = book.open_page(PARENTS).version
    again = take(book).version
    assert first < page < again
    later = ledger(epoch=4)
    assert again < later.open_page(PARENTS).version
    assert again.bit_length() <= 63


def test_a_page_has_the_version_of_when_it_was_opened() -> None:
    """Drawn before its rows are read: a flight that begins meanwhile is newer."""
    book = ledger()
    page = book.open_page(PARENTS)
    mark(book, B)
    flight = take(book)
    assert page.version < flight.version


def test_no_index_starves_another() -> None:
    book = ledger()
    mark(book, *((f"{number}",) for number in range(10)), target=Target("busy", 1))
    mark(book, A, target=Target("quiet", 1))
    indexes = [take(book, 2).target.index for _ in range(2)]
    assert indexes == ["busy", "quiet"]


def test_take_keeps_its_limit_and_the_order_of_the_waiting() -> None:
    book = ledger()
    mark(book, A, B, C)
    assert take(book, 2).keys == [A, B]
    assert take(book, 2).keys == [C]


# The page rule


def test_a_page_that_nothing_touched_is_written_from_its_rows() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    assert book.fill_page(page, [A, B]) == [A, B]
    assert book.in_flight == 2
    assert book.settled() == []
    book.landed(PARENTS, [A, B])
    assert book.settled() == [page.debtor]


def test_an_empty_page_has_landed_at_once() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    assert book.fill_page(page, []) == []
    assert book.settled() == [page.debtor]


def test_a_row_that_is_dirty_is_not_written_from_a_page() -> None:
    book = ledger()
    batch = mark(book, A)
    page = book.open_page(PARENTS)
    assert book.fill_page(page, [A, B]) == [B]
    book.landed(PARENTS, [B])
    assert book.settled() == [], "A is owed to the page"
    take(book)
    book.landed(PARENTS, [A])
    assert set(book.settled()) == {batch, page.debtor}


def test_a_row_that_is_in_flight_is_not_written_from_a_page() -> None:
    """The flight began before the page: what it builds may be older than the page's row."""
    book = ledger()
    mark(book, A)
    take(book)
    page = book.open_page(PARENTS)
    assert book.fill_page(page, [A]) == []
    book.landed(PARENTS, [A])
    assert page.debtor not in book.settled(), "the page is owed a build of its own"
    assert take(book).keys == [A]
    book.landed(PARENTS, [A])
    assert book.settled() == [page.debtor]


def test_a_row_that_was_marked_and_landed_while_the_page_was_open_is_built_anew() -> None:
    """The page's row may be from before the change, and nothing would come after it."""
    book = ledger()
    page = book.open_page(PARENTS)
    mark(book, A)
    take(book)
    book.landed(PARENTS, [A])
    assert book.fill_page(page, [A, B]) == [B]


def test_a_row_that_only_landed_while_the_page_was_open_is_built_anew() -> None:
    """Marked and taken before the page was opened, landed while it was read.

    The page may have been read before the commit that the flight's build saw: without versions
    at the destination the old row would replace it, and with them the page would say that it had
    landed though nothing of it was written.
    """
    book = ledger()
    mark(book, A)
    take(book)
    page = book.open_page(PARENTS)
    book.landed(PARENTS, [A])
    assert book.fill_page(page, [A]) == []
    assert take(book).keys == [A]
    book.landed(PARENTS, [A])
    assert page.debtor in book.settled()


def test_a_row_that_landed_before_the_page_was_opened_is_written_from_it() -> None:
    book = ledger()
    other = book.open_page(PARENTS)
    mark(book, A)
    take(book)
    book.landed(PARENTS, [A])
    page = book.open_page(PARENTS)
    assert book.fill_page(page, [A]) == [A]
    assert book.fill_page(other, [B]) == [B]


def test_what_an_older_open_page_needs_is_remembered_when_a_newer_one_closes() -> None:
    book = ledger()
    old = book.open_page(PARENTS)
    mark(book, A)
    take(book)
    book.landed(PARENTS, [A])
    book.fill_page(book.open_page(PARENTS), [B])
    assert book.fill_page(old, [A]) == []


def test_what_a_newer_open_page_needs_is_remembered_when_an_older_one_closes() -> None:
    book = ledger()
    old = book.open_page(PARENTS)
    new = book.open_page(PARENTS)
    mark(book, A)
    take(book)
    book.landed(PARENTS, [A])
    book.fill_page(old, [B])
    assert book.fill_page(new, [A]) == []


def test_a_change_to_another_index_touches_no_page() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    mark(book, A, target=OTHERS)
    assert book.fill_page(page, [A]) == [A]


def test_a_change_behind_a_page_in_flight_is_a_flight_of_its_own() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    book.fill_page(page, [A])
    batch = mark(book, A)
    assert book.take(100) is None
    book.landed(PARENTS, [A])
    assert book.settled() == [page.debtor]
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == [batch]


def test_a_page_whose_write_failed_is_owed_until_a_flight_lands() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    book.fill_page(page, [A])
    book.failed(PARENTS, [A])
    assert book.settled() == []
    take(book)
    book.landed(PARENTS, [A])
    assert book.settled() == [page.debtor]


def test_too_much_touched_abandons_the_oldest_page_only() -> None:
    book = ledger(max_touched=2)
    oldest = book.open_page(PARENTS)
    mark(book, A, B)
    newer = book.open_page(PARENTS)
    mark(book, C)
    assert oldest.abandoned
    assert not newer.abandoned
    book.drop_page(oldest)
    assert book.fill_page(newer, [A, B, C]) == []


def test_an_abandoned_page_cannot_be_filled() -> None:
    """What touched its rows is no longer remembered: nothing of it may be written."""
    book = ledger(max_touched=1)
    page = book.open_page(PARENTS)
    mark(book, A, B)
    with pytest.raises(AssertionError, match="abandoned"):
        book.fill_page(page, [A])


def test_what_is_remembered_is_bounded_and_forgotten() -> None:
    book = ledger(max_touched=3)
    pages = [book.open_page(PARENTS) for _ in range(3)]
    for number in range(50):
        mark(book, (str(number),))
    assert all(page.abandoned for page in pages)
    entry = book._of(PARENTS)  # pyright: ignore[reportPrivateUsage]
    assert not entry.touched
    assert not entry.pages
    page = book.open_page(PARENTS)
    mark(book, A)
    book.drop_page(page)
    assert not entry.touched


def test_dropping_a_page_leaves_no_debt_and_a_filled_one_alone() -> None:
    book = ledger()
    page = book.open_page(PARENTS)
    book.drop_page(page)
    book.drop_page(page)
    assert book.owed(page.debtor) == 0
    kept = book.open_page(PARENTS)
    book.fill_page(kept, [A])
    book.drop_page(kept)
    assert book.owed(kept.debtor) == 1


# Emptying an index


def test_a_held_index_takes_off_no_more_and_the_others_do() -> None:
    """TRUNCATE's barrier."""
    book = ledger()
    mark(book, A)
    mark(book, A, target=OTHERS)
    book.hold(PARENTS)
    assert book.ready() == 1
    assert take(book).target == OTHERS
    assert book.take(100) is None


def test_void_pays_what_waits_and_abandons_pages() -> None:
    """What waited is void: the new generation's seed reads rows at least as new."""
    book = ledger()
    batch = mark(book, A, B)
    other = mark(book, C, target=OTHERS)
    page = book.open_page(PARENTS)
    book.hold(PARENTS)
    book.void(PARENTS)
    assert book.settled() == [batch]
    assert page.abandoned
    assert (book.dirty, debts(book), book.owed(other)) == (1, 1, 1)
    book.drop_page(page)
    mark(book, A)
    assert take(book).target == OTHERS
    assert take(book).keys == [A], "the index is released"


def test_void_refuses_to_forget_a_flight() -> None:
    """A flight that ended afterwards would pay what it does not know."""
    book = ledger()
    mark(book, A)
    take(book)
    book.hold(PARENTS)
    with pytest.raises(AssertionError, match="in flight"):
        book.void(PARENTS)


def test_a_batch_that_straddles_a_truncate_is_owed_what_came_behind_it() -> None:
    book = ledger()
    batch = book.open_batch()
    book.mark(PARENTS, [A], batch)
    book.hold(PARENTS)
    book.void(PARENTS)
    book.mark(PARENTS, [B], batch)
    book.seal(batch)
    assert book.settled() == []
    take(book)
    book.landed(PARENTS, [B])
    assert book.settled() == [batch]


# An index that stops


def test_an_index_that_stops_owes_nobody_anything() -> None:
    """C14: what waits is paid, what is marked later is not owed, the other index goes on."""
    book = ledger()
    batch = mark(book, A, B)
    other = mark(book, A, target=OTHERS)
    book.retire(PARENTS)
    assert book.settled() == [batch]
    assert (debts(book), book.dirty) == (1, 1)
    later = mark(book, C)
    assert book.settled() == [later]
    assert take(book).target == OTHERS
    book.landed(OTHERS, [A])
    assert book.settled() == [other]
    assert book.take(10) is None


def test_what_was_in_flight_when_its_index_stopped_lands_or_is_let_go() -> None:
    """C14: a flight that fails is not tried again."""
    book = ledger()
    batch = mark(book, A, B)
    take(book)
    again = mark(book, A)
    book.retire(PARENTS)
    assert book.settled() == [again]
    book.landed(PARENTS, [A])
    book.failed(PARENTS, [B])
    assert book.settled() == [batch]
    assert (debts(book), book.dirty, book.in_flight) == (0, 0, 0)
    assert book.take(10) is None


def test_an_index_that_stops_abandons_its_open_pages() -> None:
    """C14."""
    book = ledger()
    page = book.open_page(PARENTS)
    book.retire(PARENTS)
    assert page.abandoned
    book.drop_page(page)
    assert book.settled() == []
