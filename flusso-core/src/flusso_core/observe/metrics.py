"""Prometheus metrics of a run.

Names follow the conventions of Prometheus ("Metric and label naming"): base units, `_total` for
counters, a bounded number of labels. They are this package's public interface: dashboards and
alerts are built on them (`docs/reference/http.md`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flusso_core.model import DocumentId, Position, Rejection
from flusso_core.observe.observer import BatchStats, FlushStats, NoopObserver, Phase

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets from the time of one small query to that of a request that is about to time out."""

_PREFIX = "flusso_"
_PLACE = ("sink", "index")


class MetricsObserver(NoopObserver):
    """Counts and measures what it hears, in a registry of its own; `text` gives them all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._phase = self._gauge("phase", "1 for the phase of the run.", "phase")
        self._changes = self._counter("changes_captured", "Row events that the source delivered.")
        self._batches = self._counter("batches", "Batches resolved.", "sink")
        self._touched = self._counter(
            "documents_touched",
            "Documents that batches touched and that were not already waiting.",
            "sink",
        )
        self._gate = self._durations(
            "gate_seconds", "Time that batches waited for their commits to be visible.", "sink"
        )
        self._resolve = self._durations(
            "resolve_seconds", "Time to find a batch's documents.", "sink"
        )
        self._documents = self._counter(
            "documents_written",
            "Documents that are durable at the sink, by what was done (upsert, delete).",
            *_PLACE,
            "operation",
        )
        self._bytes = self._counter("written_bytes", "Bytes of document bodies.", *_PLACE)
        self._build = self._durations("build_seconds", "Time to read a flush's documents.", *_PLACE)
        self._flush = self._durations(
            "flush_seconds", "Time that the sink took for a flush.", *_PLACE
        )
        self._rejected = self._counter(
            "documents_rejected", "Documents that the sink refused.", *_PLACE
        )
        self._seed_rows = self._gauge("seed_rows", "Rows read by the seed of this run.", *_PLACE)
        self._retries = self._counter("retries", "Failures that were tried again.")
        self._lag = self._gauge(
            "source_lag_bytes",
            "How far confirmation is behind the source's head, in the source's unit (Postgres: "
            "bytes of WAL that the slot retains).",
        )
        self._gauge("start_time_seconds", "When the run began (Unix time).").set(time.time())

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)

    def lag(self, amount: int) -> None:
        """Take note of the source's lag, which is polled."""
        self._lag.set(amount)

    def phase(self, phase: Phase) -> None:
        """Set the gauge of that phase alone."""
        for each in Phase:
            self._phase.labels(each).set(each is phase)

    def captured(self, changes: int, position: Position | None) -> None:
        """Count them."""
        del position
        self._changes.inc(changes)

    def batch(self, stats: BatchStats) -> None:
        """Count it and what it took."""
        self._batches.labels(stats.lane).inc()
        self._touched.labels(stats.lane).inc(stats.documents)
        self._gate.labels(stats.lane).observe(stats.gate_seconds)
        self._resolve.labels(stats.lane).observe(stats.resolve_seconds)

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Count what landed and what it took."""
        del documents
        self._documents.labels(stats.lane, stats.index, "upsert").inc(stats.upserts)
        self._documents.labels(stats.lane, stats.index, "delete").inc(stats.tombstones)
        self._bytes.labels(stats.lane, stats.index).inc(stats.bytes)
        self._build.labels(stats.lane, stats.index).observe(stats.build_seconds)
        self._flush.labels(stats.lane, stats.index).observe(stats.flush_seconds)

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Count it."""
        self._rejected.labels(lane, rejection.document.id.index).inc()

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Take note of how far it is."""
        del estimate
        self._seed_rows.labels(lane, index).set(rows)

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Count it."""
        del what, error, seconds
        self._retries.inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def _durations(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, text, labels, buckets=_SECONDS, registry=self._registry)
