"""Tables of what was measured: for the terminal, and the page `docs/performance.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.figures import median, pairwise_ratio
from benchmarks.goals import MIB, PROGRAM, verdicts
from benchmarks.results import FILLING, Latency, Measurement, Results
from benchmarks.usage import Cpu

_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; the first column is words, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """For the page."""
        lines = [
            f"| {' | '.join(self.columns)} |",
            f"|---|{'---:|' * (len(self.columns) - 1)}",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        return "\n".join(lines)

    def show(self, console: Console) -> None:
        """On a terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*(cell.replace("*", "").replace("`", "") for cell in row))
        console.print(table)


def tables(results: Results, base: str | None = None) -> Sequence[Table]:
    """All that there is to show.

    Args:
        results: of a run.
        base: the program that the others are compared with; `None`: they are not.
    """
    found = [goals_table(results), filling_table(results), changes_table(results)]
    if results.latencies:
        found.append(latency_table(results))
    found.append(usage_table(results))
    if base is not None:
        found.append(comparison_table(results, base))
    return found


def goals_table(results: Results) -> Table:
    """Each goal, its figure, and whether it was met."""
    rows = [(one.goal.name, one.bound_text, one.value_text, one.word) for one in verdicts(results)]
    return Table("Goals", ("", "goal", "measured", ""), rows)


def filling_table(results: Results) -> Table:
    """Filling empty indexes."""
    rows = [
        (
            _who(one),
            f"{one.documents:,}",
            f"{one.seconds:.1f} s",
            f"{one.documents_per_second:,.0f}",
            _floor(one.to_floor),
            _NOTHING if one.whole_seconds is None else f"{one.whole_seconds:.1f} s",
            _NOTHING if one.start_cpu is None else f"{one.start_cpu:.1f} s",
            f"{one.peak_memory / MIB:,.0f} MiB",
        )
        for one in _sorted(results)
        if one.name == FILLING
    ]
    columns = (
        *("", "documents", "time", "documents/s", "of the floor"),
        *("time from its start", "CPU of its start", "memory"),
    )
    return Table("Filling empty indexes", columns, rows)


def changes_table(results: Results) -> Table:
    """Following changes."""
    rows = [
        (
            f"{_who(one)}: {one.name}",
            f"{one.changes:,}",
            f"{one.documents:,}",
            f"{one.seconds:.2f} s",
            f"{one.changes_per_second or 0:,.0f}",
            f"{one.documents_per_second:,.0f}",
            _floor(one.to_floor),
            f"{one.writes_per_document:.2f}",
        )
        for one in _sorted(results)
        if one.name != FILLING
    ]
    columns = (
        *("", "changes", "documents", "time", "changes/s", "documents/s"),
        *("of the floor", "writes a document"),
    )
    return Table("From the commit until all of it is found", columns, rows)


def latency_table(results: Results) -> Table:
    """From a commit to the search that finds it."""
    rows: list[Sequence[str]] = []
    for program in dict.fromkeys(one.program for one in results.latencies):
        own = [one for one in results.latencies if one.program == program]
        for rate in sorted({one.rate for one in own}):
            rounds = [one for one in own if one.rate == rate]
            what = f"at {rate:,} changes/s" if rate else "one change at a time"
            rows.append((f"{program}, {what}", *_percentiles(rounds), _to_floor(rounds)))
        floors = [one.floor for one in own if one.floor]
        if floors:
            bare = [Latency(program, 0, 0.0, floor) for floor in floors]
            rows.append(("the floor beside it", *_percentiles(bare), "1.00"))
    return Table(
        "From a commit to the search that finds it (milliseconds)",
        ("", "p50", "p95", "p99", "p50, in floors"),
        rows,
    )


def _percentiles(rounds: Sequence[Latency]) -> list[str]:
    return [
        f"{median([one.percentile(percent) for one in rounds]):,.0f}" for percent in (50, 95, 99)
    ]


def _to_floor(rounds: Sequence[Latency]) -> str:
    found = [ratio for one in rounds if (ratio := one.to_floor(50)) is not None]
    return f"{median(found):.2f}" if found else _NOTHING


def usage_table(results: Results) -> Table:
    """What it took of the machine."""
    rows = [
        (
            f"{_who(one)}: {one.name}",
            *_cpu(one.cpu_seconds),
            _NOTHING if one.cpu_share is None else f"{one.cpu_share:.0%}",
            f"{one.peak_memory / MIB:,.0f} MiB",
            f"{one.wal_retained / MIB:,.0f} MiB",
        )
        for one in _sorted(results)
    ]
    columns = (
        *("", "program", "Postgres", "OpenSearch", "program's part"),
        *("peak memory so far", "WAL retained"),
    )
    return Table("Seconds of CPU, memory and WAL", columns, rows)


def _cpu(cpu: Cpu) -> list[str]:
    return [
        _NOTHING if one is None else f"{one:.1f} s"
        for one in (cpu.program, cpu.postgres, cpu.opensearch)
    ]


def comparison_table(results: Results, base: str) -> Table:
    """How much faster flusso is than another program, round by round."""
    rows: list[Sequence[str]] = []
    for one in _sorted(results):
        if one.program != PROGRAM:
            continue
        other = next(
            (each for each in results.find(base, one.world, one.name) if each.rows == one.rows),
            None,
        )
        if other is not None and len(other.rounds) == len(one.rounds):
            ratio = pairwise_ratio(_seconds(other), _seconds(one))
            memory = one.peak_memory / other.peak_memory
            rows.append(
                (
                    f"{one.world} {one.rows:,}: {one.name}",
                    f"{other.seconds:.2f} s",
                    f"{one.seconds:.2f} s",
                    f"{ratio:.2f} x",
                    f"{memory:.2f} x",
                )
            )
    return Table(
        f"Against {base}: the median of the ratios of each round",
        ("", base, PROGRAM, "speed", "memory"),
        rows,
    )


def _seconds(one: Measurement) -> list[float]:
    return [each.seconds for each in one.rounds]


def _sorted(results: Results) -> Iterable[Measurement]:
    """Worlds in the order in which they were measured, each by its rows, programs side by side."""
    worlds = list(dict.fromkeys(one.world for one in results.measurements))
    names = list(dict.fromkeys(one.name for one in results.measurements))
    return sorted(
        results.measurements,
        key=lambda one: (worlds.index(one.world), names.index(one.name), one.rows),
    )


def _who(one: Measurement) -> str:
    program = "" if one.program == PROGRAM else f" ({one.program})"
    return f"{one.world}{program}, {one.rows:,} rows"


def _floor(ratio: float | None) -> str:
    return _NOTHING if ratio is None else f"{ratio:.2f}"


PAGE = """\
# Performance

What flusso is measured by, and what it reached. The figures are from one run of
`make bench ARGS=--docs`, which writes this page: run it on your machine, for absolute figures say
as much about the machine as about flusso. [benchmarks/README.md](../benchmarks/README.md) tells how
it measures.

**The floor** is what the same work costs with nothing around it: a bare loop that reads the same
documents with the same SQL and sends the same bodies as bulk requests, two readers and two writers
at once, in the same run on the same servers. It follows no changes, remembers nothing and survives
nothing; flusso's speed is given as a part of the floor's.

What it ran on: {machine}.

{goals}

## Filling empty indexes

{filling}

![Documents a second over the size of the shop](images/throughput.svg)

## Following changes

From the commit until a search finds all that it touches. The floor here reads and writes the same
documents again, with a refresh at the end.

{changes}

## From a commit to the search that finds it

In milliseconds. The floor reads the one document, writes it with a refresh, and finds it.

{latencies}

![Distribution of the times](images/latency.svg)

## CPU, memory, WAL

Seconds of CPU while it was measured; filling begins with the first page. WAL
retained is the most that its slot held back meanwhile.

{usage}

![Memory of flusso over a session on the shop](images/memory.svg)

## Where flusso's own time goes

{profile}"""


def page(results: Results, profile: str) -> str:
    """The text of `docs/performance.md`.

    Args:
        results: of a run.
        profile: what is known of flusso's own part, in Markdown.
    """
    return PAGE.format(
        machine="; ".join(f"{name}: {value}" for name, value in results.machine.items()),
        goals=goals_table(results).markdown(),
        filling=filling_table(results).markdown(),
        changes=changes_table(results).markdown(),
        latencies=latency_table(results).markdown(),
        usage=usage_table(results).markdown(),
        profile=profile,
    )
