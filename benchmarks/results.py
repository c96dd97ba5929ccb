"""What was measured, as values; `as_json` is the documented shape of `make bench`'s JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.figures import median, pairwise_ratio, percentile
from benchmarks.usage import Cpu, MemoryPoint

VERSION = 1
"""Of the shape of the JSON."""

FILLING = "filling"
"""The name of the measurement in which a program fills the empty indexes."""


@dataclass(frozen=True, slots=True)
class Round:
    """A measurement, taken once.

    Attributes:
        seconds: from the beginning (the commit; the first page of an index that is filled) until
            searches find all of it.
        floor_seconds: what the floor took for the same documents just after; `None`: there is
            no floor for it.
        cpu: used meanwhile.
        peak_memory: highest resident memory of the program so far, in bytes.
        wal_retained: the most that the database's slots held back meanwhile, in bytes.
        writes: documents that the indexes were given.
        whole_seconds: of a program that fills indexes, from its start.
        start_cpu: seconds of CPU that such a program had used before its first page.
    """

    seconds: float
    floor_seconds: float | None
    cpu: Cpu
    peak_memory: int
    wal_retained: int
    writes: int
    whole_seconds: float | None = None
    start_cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Work that a program did, in several rounds.

    Attributes:
        world: its name.
        rows: of its root table.
        name: what happened.
        program: which did it.
        documents: that it touches.
        changes: rows that changed; 0: none did, the indexes were filled.
    """

    world: str
    rows: int
    name: str
    program: str
    documents: int
    changes: int
    rounds: tuple[Round, ...]

    @property
    def seconds(self) -> float:
        """The median round."""
        return median([one.seconds for one in self.rounds])

    @property
    def documents_per_second(self) -> float:
        """Of the median round."""
        return self.documents / self.seconds

    @property
    def changes_per_second(self) -> float | None:
        """Of the median round."""
        return self.changes / self.seconds if self.changes else None

    @property
    def whole_seconds(self) -> float | None:
        """From the start of the program, in the median round."""
        found = [one.whole_seconds for one in self.rounds if one.whole_seconds is not None]
        return median(found) if found else None

    @property
    def start_cpu(self) -> float | None:
        """Seconds of CPU that a program used before its first page, in the median round."""
        found = [one.start_cpu for one in self.rounds if one.start_cpu is not None]
        return median(found) if found else None

    @property
    def to_floor(self) -> float | None:
        """Its speed as a part of the floor's: the median over the rounds."""
        floors = [one.floor_seconds for one in self.rounds if one.floor_seconds is not None]
        if len(floors) != len(self.rounds):
            return None
        return pairwise_ratio(floors, [one.seconds for one in self.rounds])

    @property
    def cpu_share(self) -> float | None:
        """The program's part of all CPU used: the median over the rounds."""
        shares = [one.cpu.share for one in self.rounds]
        known = [share for share in shares if share is not None]
        return median(known) if known else None

    @property
    def cpu_seconds(self) -> Cpu:
        """Of the median round, each by itself."""
        postgres = [one.cpu.postgres for one in self.rounds if one.cpu.postgres is not None]
        opensearch = [one.cpu.opensearch for one in self.rounds if one.cpu.opensearch is not None]
        return Cpu(
            median([one.cpu.program for one in self.rounds]),
            median(postgres) if postgres else None,
            median(opensearch) if opensearch else None,
        )

    @property
    def peak_memory(self) -> int:
        """Over all rounds, in bytes."""
        return max(one.peak_memory for one in self.rounds)

    @property
    def wal_retained(self) -> int:
        """Over all rounds, in bytes."""
        return max(one.wal_retained for one in self.rounds)

    @property
    def writes_per_document(self) -> float:
        """How often a document was written: the worst round's mean."""
        return max(one.writes for one in self.rounds) / self.documents


@dataclass(frozen=True, slots=True)
class Latency:
    """Times from a commit until a search finds it.

    Attributes:
        program: which did it.
        rate: changes a second that were committed meanwhile; 0: one at a time, nothing else.
        achieved: how many a second it came to.
        milliseconds: of each commit that was looked for.
        floor: reading the document, writing it with a refresh and finding it, each by turns with
            one of the former; empty: there is no floor for it.
    """

    program: str
    rate: int
    achieved: float
    milliseconds: tuple[float, ...]
    floor: tuple[float, ...] = ()

    def percentile(self, percent: float) -> float:
        """Of the program's, in milliseconds."""
        return percentile(self.milliseconds, percent)

    def to_floor(self, percent: float) -> float | None:
        """The percentile as a multiple of the floor's median."""
        return self.percentile(percent) / median(self.floor) if self.floor else None


@dataclass(frozen=True, slots=True)
class Idle:
    """What a program costs while nothing happens.

    Attributes:
        program: which.
        cpu_share: of one processor, 0 to 1.
        connections: to the database, at the beginning and at the end.
        wal_retained: by the database's slots at the end, in bytes.
        seconds: for how long it was watched.
    """

    program: str
    cpu_share: float
    connections: tuple[int, int]
    wal_retained: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A program's memory over a session.

    Attributes:
        marks: when what began, in seconds.
    """

    program: str
    world: str
    rows: int
    points: tuple[MemoryPoint, ...]
    marks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Results:
    """All that a run of the benchmarks has measured.

    Attributes:
        startup: seconds of processes that do nothing yet, by command.
        failures: rounds that came to nothing, each with its program, its world and the reason.
    """

    machine: Mapping[str, str]
    measurements: Sequence[Measurement]
    latencies: Sequence[Latency] = ()
    idle: Sequence[Idle] = ()
    curves: Sequence[Curve] = ()
    startup: Mapping[str, float] = field(default_factory=dict[str, float])
    failures: Sequence[str] = ()

    def find(self, program: str, world: str, name: str) -> list[Measurement]:
        """The measurements of that name, by growing rows."""
        found = [
            one
            for one in self.measurements
            if (one.program, one.world, one.name) == (program, world, name)
        ]
        return sorted(found, key=lambda one: one.rows)

    def as_json(self) -> dict[str, Any]:
        """Every field, and what is derived of it, under the names of this module."""
        return {
            "version": VERSION,
            "machine": dict(self.machine),
            "measurements": [
                {
                    **asdict(one),
                    "documents_per_second": one.documents_per_second,
                    "changes_per_second": one.changes_per_second,
                    "to_floor": one.to_floor,
                    "cpu_share": one.cpu_share,
                    "peak_memory": one.peak_memory,
                    "wal_retained": one.wal_retained,
                    "writes_per_document": one.writes_per_document,
                }
                for one in self.measurements
            ],
            "latencies": [
                {
                    **asdict(one),
                    **{f"p{percent}": one.percentile(percent) for percent in (50, 95, 99)},
                }
                for one in self.latencies
            ],
            "idle": [asdict(one) for one in self.idle],
            "curves": [asdict(one) for one in self.curves],
            "startup_seconds": dict(self.startup),
            "failures": list(self.failures),
        }
