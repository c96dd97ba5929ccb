"""What the demo prints: plain lines that are easy on the eye, coloured on a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from flusso_sandbox.compare import Comparison
from flusso_sandbox.demo.changes import Outcome
from flusso_sandbox.demo.servers import Server
from flusso_sandbox.demo.target import Answer

if TYPE_CHECKING:
    from rich.console import Console

_IDS = 3
_PLACES = 4
_NAME = 16


@dataclass(frozen=True, slots=True)
class Figures:
    """What the summary is made of.

    Attributes:
        documents: that the backfill wrote.
        backfill_seconds: that it took.
        memory_mb: the most that this process needed for pipeline and changes.
        outcomes: of the changes.
        comparisons: of the indexes.
        seconds: of everything so far.
    """

    documents: int
    backfill_seconds: float
    memory_mb: float
    outcomes: Sequence[Outcome]
    comparisons: Mapping[str, Comparison]
    seconds: float

    @property
    def differences(self) -> int:
        """Documents that are not right."""
        return sum(comparison.differences for comparison in self.comparisons.values())


class Report:
    """Prints the demo's findings, one after another.

    Args:
        console: on stdout.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def note(self, text: str) -> None:
        """Say something that does not belong to a part."""
        self._console.print(Text(text, style="yellow"))

    def server(self, server: Server) -> None:
        """Name a server."""
        how = "runs already" if server.seconds is None else f"started in {server.seconds:.1f} s"
        self._row(server.name, server.shown, how)

    def shop(self, rows: Mapping[str, int], seconds: float) -> None:
        """Say what is in the shop."""
        some = ", ".join(f"{rows[table]:,} {table}" for table in ("users", "products", "orders"))
        what = f"{some}: {sum(rows.values()):,} rows in {len(rows)} tables"
        self._row("the shop", what, f"loaded in {seconds:.1f} s")

    def destination(self, path: Path) -> None:
        """Name the file that the documents go to."""
        self._row("stdout sink", str(path), "")

    def backfill(self, documents: Mapping[str, int], seconds: float, cpu_seconds: float) -> None:
        """Say how the filling went."""
        for index, count in documents.items():
            self._row(index, f"{count:>7,} documents", "")
        total = sum(documents.values())
        self._row(
            "together",
            f"{total:>7,} documents in {seconds:.1f} s",
            f"{total / seconds:,.0f} documents/s, with {cpu_seconds:.1f} s of this process's CPU",
        )

    def outcome(self, number: int, outcome: Outcome, verb: str) -> None:
        """Tell what a change did."""
        self._console.print()
        title = Text.assemble((f"  {number}  ", "dim"), (outcome.change.name, "bold cyan"))
        self._console.print(title)
        self._line(outcome.change.summary, "dim")
        text = Text("     ")
        if outcome.seconds is None:
            text.append("not all there in time", "bold red")
        else:
            text.append(f"{outcome.seconds * 1000:,.0f} ms", "bold green")
            text.append(f" from the commit until {verb}")
        text.append(f": {_count(outcome.documents, 'document')}")
        if outcome.gone:
            text.append(f", {outcome.gone:,} of them gone")
        self._console.print(text, soft_wrap=True)
        for index, ids in outcome.ids.items():
            more = f" … {ids[-1]}" if len(ids) > _IDS else ""
            some = ", ".join(ids[:_IDS])
            self._line(f"{index:<9}{len(ids):>6,}   {some}{more}")
        if outcome.shown is not None:
            self._places(*outcome.shown, outcome.places)

    def answer(self, answer: Answer) -> None:
        """Show what a search found."""
        self._console.print()
        text = Text.assemble("  ", (answer.question, "bold cyan"), f": {answer.total:,}")
        self._console.print(text, soft_wrap=True)
        self._line(answer.where, "dim")
        for hit in answer.hits:
            self._line(hit)

    def comparison(self, index: str, comparison: Comparison) -> None:
        """Say whether an index is right, and if not, where it is not."""
        style = "bold red" if comparison.differences else "green"
        text = Text.assemble(
            f"{comparison.checked:>7,} documents, ",
            (_count(comparison.differences, "difference"), style),
        )
        self._row(index, text, "")
        for line in str(comparison).splitlines()[1:]:
            self._line(line, "red")

    def summary(self, figures: Figures, verb: str) -> None:
        """Sum up."""
        rate = figures.documents / figures.backfill_seconds
        self._row("backfill", f"{rate:,.0f} documents/s", "")
        measured = [each.seconds * 1000 for each in figures.outcomes if each.seconds is not None]
        if measured:
            middle, highest = statistics.median(measured), max(measured)
            spread = f"median {middle:,.0f} ms, highest {highest:,.0f} ms"
            self._row("latency", spread, f"from the commit until {verb}")
        self._row(
            "memory", f"{figures.memory_mb:,.0f} MB", "this process, at its peak until the check"
        )
        checked = sum(each.checked for each in figures.comparisons.values())
        style = "bold red" if figures.differences else "bold green"
        found = Text(f"{figures.differences:,}", style=style).append(
            f" in {checked:,} documents", "default"
        )
        self._row("differences", found, "")
        self._row("time", f"{figures.seconds:.0f} s", "")

    def hints(self, commands: Sequence[str]) -> None:
        """Show commands to try."""
        for command in commands:
            self._console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)

    def _places(self, index: str, identity: str, places: Sequence[str]) -> None:
        self._line(f"{index}/{identity}", "bold")
        for place in places[:_PLACES]:
            path, _, values = place.partition(": ")
            before, _, after = values.partition(" → ")
            text = Text.assemble(
                f"       {path}: ", (before, "red"), " → ", (after, "green"), overflow="fold"
            )
            self._console.print(text, soft_wrap=True)
        if len(places) > _PLACES:
            self._line(f"  … and {_count(len(places) - _PLACES, 'more place')}", "dim")
        if not places:
            self._line("  nothing")

    def _row(self, name: str, what: str | Text, aside: str) -> None:
        text = Text.assemble(f"  {name:<{_NAME}}  ", what)
        if aside:
            text.append(f"   {aside}", "dim")
        self._console.print(text, soft_wrap=True)

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"     {text}", style=style), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
