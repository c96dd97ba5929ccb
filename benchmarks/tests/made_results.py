"""Results as a run would give them, made by hand."""

from __future__ import annotations

from benchmarks.results import FILLING, Curve, Idle, Latency, Measurement, Results, Round
from benchmarks.usage import Cpu, MemoryPoint

MIB = 1024 * 1024


def a_round(seconds: float = 1.0, floor: float | None = 0.5, writes: int = 1000) -> Round:
    """A round on 1,000 documents."""
    return Round(
        seconds=seconds,
        floor_seconds=floor,
        cpu=Cpu(1.0, 3.0, 6.0),
        peak_memory=90 * MIB,
        wal_retained=2 * MIB,
        writes=writes,
        whole_seconds=seconds + 1,
        start_cpu=1.5,
    )


def measured(
    *rounds: Round,
    name: str = FILLING,
    program: str = "flusso",
    rows: int = 1000,
    changes: int = 0,
) -> Measurement:
    """A measurement on the shop."""
    return Measurement("shop", rows, name, program, 1000, changes, rounds or (a_round(),))


def results(*measurements: Measurement) -> Results:
    """All of a run, with these measurements."""
    return Results(
        machine={"cores": "2"},
        measurements=measurements,
        latencies=[
            Latency("flusso", 0, 30.0, (15.0, 16.0, 40.0), (10.0, 10.0, 12.0)),
            Latency("flusso", 1000, 998.0, (100.0, 200.0, 900.0)),
        ],
        idle=[Idle("flusso", 0.004, (4, 4), 56, 10.0)],
        curves=[Curve("flusso", "shop", 1000, (MemoryPoint(0.1, 50 * MIB),), ((0.0, FILLING),))],
        startup={"python -c pass": 0.010, "flusso --help": 0.130},
    )
