"""What flusso is to reach, and whether it did in this run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.results import FILLING, Latency, Measurement, Results
from benchmarks.startup import BASE, HELP

PROGRAM = "flusso"
MIB = 1024 * 1024

Value = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class LowerBound:
    """A lower bound."""

    figure: float
    sign: ClassVar[str] = "≥"

    def holds(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return value >= self.figure


@dataclass(frozen=True, slots=True)
class UpperBound:
    """An upper bound."""

    figure: float
    sign: ClassVar[str] = "≤"

    def holds(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return value <= self.figure


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound.

    Attributes:
        name: what is measured.
        bound: that it keeps to.
        unit: of both.
        value: finds it; `None`: this run did not measure it.
        digits: after the point.
    """

    name: str
    bound: LowerBound | UpperBound
    unit: str
    value: Value
    digits: int = 2

    def judge(self, results: Results) -> Verdict:
        """Whether a run reached it."""
        value = self.value(results)
        met = None
        if value is not None:
            met = self.bound.holds(value)
        return Verdict(self, value, met)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what became of it; `None`: it was not measured."""

    goal: Goal
    value: float | None
    met: bool | None

    @property
    def bound_text(self) -> str:
        """The bound, for people."""
        bound = self.goal.bound
        return f"{bound.sign} {bound.figure:,g} {self.goal.unit}".rstrip()

    @property
    def value_text(self) -> str:
        """The figure, for people."""
        if self.value is None:
            return "not measured"
        return f"{self.value:,.{self.goal.digits}f} {self.goal.unit}".rstrip()

    @property
    def word(self) -> str:
        """Met, missed, or nothing."""
        return {True: "met", False: "**missed**", None: "-"}[self.met]


def verdicts(results: Results) -> Sequence[Verdict]:
    """Each goal, judged."""
    return [goal.judge(results) for goal in GOALS]


def _shop(name: str, of: Callable[[Measurement], float | None]) -> Value:
    def value(results: Results) -> float | None:
        found = results.find(PROGRAM, "shop", name)
        return of(found[-1]) if found else None

    return value


def _latency(rate: int, of: Callable[[Latency], float | None]) -> Value:
    def value(results: Results) -> float | None:
        found = [
            of(one) for one in results.latencies if one.program == PROGRAM and one.rate == rate
        ]
        known = sorted(one for one in found if one is not None)
        # The median round.
        return known[len(known) // 2] if known else None

    return value


def _peak_memory(results: Results) -> float | None:
    peaks = [one.peak_memory for one in results.measurements if one.program == PROGRAM]
    return max(peaks) / 1e6 if peaks else None


def _growth(of: Callable[[Measurement], float]) -> Value:
    """How much more of something ten times as many rows take."""

    def value(results: Results) -> float | None:
        by_rows = {one.rows: one for one in results.find(PROGRAM, "shop", FILLING)}
        pairs = [(one, one) for rows, one in by_rows.items() if rows * 10 in by_rows]
        if not pairs:
            return None
        small = pairs[0][0]
        return of(by_rows[small.rows * 10]) / of(small)

    return value


def _idle_cpu(results: Results) -> float | None:
    found = [one.cpu_share * 100 for one in results.idle if one.program == PROGRAM]
    return max(found) if found else None


def _idle_connections(results: Results) -> float | None:
    found = [
        abs(one.connections[1] - one.connections[0])
        for one in results.idle
        if one.program == PROGRAM
    ]
    return max(found) if found else None


def _idle_wal(results: Results) -> float | None:
    found = [one.wal_retained / MIB for one in results.idle if one.program == PROGRAM]
    return max(found) if found else None


def _startup(results: Results) -> float | None:
    times = results.startup
    return (times[HELP] - times[BASE]) * 1000 if HELP in times else None


ONE_COMMIT = "one commit, ten child rows a document"

GOALS: Sequence[Goal] = (
    Goal("backfill, of the floor", LowerBound(0.9), "", _shop(FILLING, lambda one: one.to_floor)),
    Goal(
        "child rows that change, one a document, of the floor",
        LowerBound(0.6),
        "",
        _shop("child rows, one a document", lambda one: one.to_floor),
    ),
    Goal(
        "root rows that change, of the floor",
        LowerBound(0.6),
        "",
        _shop("root rows", lambda one: one.to_floor),
    ),
    Goal(
        "one commit that changes ten child rows of each document: writes a document",
        UpperBound(2),
        "",
        _shop(ONE_COMMIT, lambda one: one.writes_per_document),
    ),
    Goal(
        "the same commit: changes a second",
        LowerBound(8000),
        "changes/s",
        _shop(ONE_COMMIT, lambda one: one.changes_per_second),
        digits=0,
    ),
    Goal(
        "commit to searchable, idle: p50, in latency floors",
        UpperBound(1.7),
        "x",
        _latency(0, lambda one: one.to_floor(50)),
    ),
    Goal(
        "commit to searchable, idle: p99, in latency floors",
        UpperBound(6),
        "x",
        _latency(0, lambda one: one.to_floor(99)),
    ),
    Goal(
        "commit to searchable at 1,000 changes/s: p99",
        UpperBound(1000),
        "ms",
        _latency(1000, lambda one: one.percentile(99)),
        digits=0,
    ),
    Goal("process memory, everywhere", UpperBound(120), "MB", _peak_memory, digits=0),
    Goal(
        "flusso's part of the CPU of a backfill, from its first page",
        UpperBound(12),
        "%",
        _shop(FILLING, lambda one: None if one.cpu_share is None else one.cpu_share * 100),
        digits=1,
    ),
    Goal(
        "ten times as many rows: time of a backfill",
        UpperBound(11),
        "x",
        _growth(lambda one: one.seconds),
    ),
    Goal(
        "ten times as many rows: memory of a backfill",
        UpperBound(1.1),
        "x",
        _growth(lambda one: float(one.peak_memory)),
    ),
    Goal("`flusso --help` beyond `python -c pass`", UpperBound(150), "ms", _startup, digits=0),
    Goal("idle: CPU", UpperBound(1), "%", _idle_cpu),
    Goal("idle: connections that come or go", UpperBound(0), "", _idle_connections, digits=0),
    Goal("idle: WAL retained", UpperBound(16), "MiB", _idle_wal, digits=1),
)
