"""Plots as SVG, the same bytes for the same figures."""

# matplotlib's signatures are typed only in part.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.goals import MIB, PROGRAM
from benchmarks.results import FILLING, Results

_SIZE = (8.0, 4.0)


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the plots for which there are figures; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    plots: dict[str, tuple[bool, Callable[[Results, Axes], None]]] = {
        "throughput.svg": (bool(results.measurements), throughput),
        "latency.svg": (bool(results.latencies), latency),
        "memory.svg": (bool(results.curves), memory),
    }
    with mpl.rc_context(
        {"svg.hashsalt": "flusso", "axes.spines.top": False, "axes.spines.right": False}
    ):
        for name, (wanted, plot) in plots.items():
            if wanted:
                figure = Figure(figsize=_SIZE, layout="constrained")
                plot(results, figure.add_subplot())
                figure.savefig(folder / name, metadata={"Date": None})
                drawn.append(folder / name)
    return drawn


def throughput(results: Results, axes: Axes) -> None:
    """Documents a second over the size of the shop, and the floor's."""
    for program in dict.fromkeys(one.program for one in results.measurements):
        found = results.find(program, "shop", FILLING)
        rows = [one.rows for one in found]
        axes.plot(rows, [one.documents_per_second for one in found], marker="o", label=program)
        if program == PROGRAM:
            floors = [one.documents_per_second / (one.to_floor or 1.0) for one in found]
            axes.plot(rows, floors, marker="o", linestyle="--", color="grey", label="the floor")
    axes.set_xlabel("users")
    axes.set_ylabel("documents a second")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()


def latency(results: Results, axes: Axes) -> None:
    """Which part of the commits was found within a time."""
    for program in dict.fromkeys(one.program for one in results.latencies):
        own = [one for one in results.latencies if one.program == program]
        for rate in sorted({one.rate for one in own}):
            times = [time for one in own if one.rate == rate for time in one.milliseconds]
            what = f"{rate:,} changes/s" if rate else "one at a time"
            axes.ecdf(times, label=f"{program}, {what}")
        floors = [time for one in own for time in one.floor]
        if floors and program == PROGRAM:
            axes.ecdf(floors, linestyle="--", color="grey", label="the floor")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds from the commit")
    axes.set_ylabel("part of the commits that is found")
    axes.legend(loc="best")


def memory(results: Results, axes: Axes) -> None:
    """Resident memory over the longest session of each program."""
    for program in dict.fromkeys(one.program for one in results.curves):
        curve = max(
            (one for one in results.curves if one.program == program),
            key=lambda one: (one.world == "shop", one.points[-1].seconds if one.points else 0.0),
        )
        seconds = [point.seconds for point in curve.points]
        axes.plot(seconds, [point.bytes / MIB for point in curve.points], label=program)
        if program == PROGRAM:
            for at, what in curve.marks:
                axes.axvline(at, color="lightgrey", linewidth=0.8)
                axes.text(at, 2, f" {what}", rotation=90, fontsize=6, color="grey")
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident memory, MiB")
    axes.set_ylim(bottom=0)
    axes.legend()
