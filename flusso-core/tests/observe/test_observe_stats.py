from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import Document, DocumentId, Rejection
from flusso_core.observe.observer import BatchStats, FlushStats
from flusso_core.observe.stats import WINDOW, Durations, StatsObserver, durations

ID = DocumentId("users", 1, ("1",))


def test_the_summary_counts_what_was_heard() -> None:
    stats = StatsObserver()
    stats.captured(3, None)
    stats.captured(2, None)
    stats.batch(BatchStats("search", changes=5, documents=4, gate_seconds=1, resolve_seconds=2))
    stats.flushed(FlushStats("search", "users", 7, 0, 100, 0.5, 0.25, seed=True), [ID] * 7)
    stats.flushed(FlushStats("search", "users", 2, 1, 50, 1.5, 0.75, seed=False), [ID] * 3)
    stats.rejected("search", Rejection(Document(ID, b"{}", 1), "too long"))
    stats.retrying("flush", RuntimeError(), 1.0)
    summary = stats.summary()
    assert (summary.changes, summary.batches, summary.flushes) == (5, 1, 2)
    assert (summary.documents, summary.upserts, summary.tombstones) == (10, 9, 1)
    assert (summary.seeded, summary.bytes) == (7, 150)
    assert (summary.rejected, summary.retries) == (1, 1)
    assert summary.gate == Durations(1, 1, 1)
    assert summary.resolve == Durations(2, 2, 2)
    assert summary.build == Durations(median=0.5, p95=1.5, highest=1.5)
    assert summary.flush == Durations(median=0.25, p95=0.75, highest=0.75)


def test_without_measurements_durations_are_zero() -> None:
    assert StatsObserver().summary().flush == Durations(0, 0, 0)


def test_only_the_latest_durations_count() -> None:
    stats = StatsObserver()
    for seconds in (100.0, *([1.0] * WINDOW)):
        stats.flushed(FlushStats("search", "users", 1, 0, 1, 0.0, seconds, seed=False), [ID])
    assert stats.summary().flush.highest == 1.0
    assert stats.summary().flushes == WINDOW + 1


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_ranks_are_measurements_and_in_order(measured: list[float]) -> None:
    found = durations(measured)
    assert {found.median, found.p95, found.highest} <= set(measured)
    assert found.median <= found.p95 <= found.highest == max(measured)


def test_ranks_are_nearest_ranks() -> None:
    assert durations([float(n) for n in range(1, 101)]) == Durations(50, 95, 100)
