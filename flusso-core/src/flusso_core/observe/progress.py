"""Progress through an index: a bar on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flusso_core.model import DocumentId
from flusso_core.observe.observer import FlushStats, NoopObserver, Observer, Phase

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

# It is the engine that speaks.
logger = logging.getLogger("flusso_core.engine")

INTERVAL = 5.0
"""Seconds between two log lines of one index."""


def progress_observer(
    console: Console,
    *,
    environ: Mapping[str, str] | None = None,
    bars: bool = True,
    doing: str = "filling",
) -> Observer:
    """What shows progress best: bars where someone watches, log lines elsewhere and in CI.

    Args:
        console: on stderr, the one that the log goes to.
        environ: where `CI` is looked up; the process's environment by default.
        bars: `False`: log lines even on a terminal.
        doing: what goes on with an index, for log lines.
    """
    in_ci = (os.environ if environ is None else environ).get("CI", "") not in ("", "0", "false")
    if bars and console.is_terminal and not console.is_dumb_terminal and not in_ci:
        return ProgressBars(console)
    return ProgressLines(doing=doing)


@dataclass(slots=True)
class _Seed:
    """What is known of one index's seed in this run."""

    began: float
    began_rows: int
    rows: int
    estimate: int | None
    told: float

    def rate(self, now: float) -> float:
        """Rows a second since it was first heard of."""
        elapsed = now - self.began
        return (self.rows - self.began_rows) / elapsed if elapsed > 0 else 0.0


class ProgressLines(NoopObserver):
    """Logs a line for each index that is being filled, every few seconds.

    Args:
        interval: seconds between two lines of one index.
        clock: seconds from some fixed moment.
        doing: what goes on with an index.
    """

    def __init__(
        self,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        *,
        doing: str = "filling",
    ) -> None:
        self._doing = doing
        self._interval = interval
        self._clock = clock
        self._seeds: dict[tuple[str, str], _Seed] = {}

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Count, and log if the last line of this index is long enough ago."""
        now = self._clock()
        seed = self._seeds.get((lane, index))
        if seed is None:
            self._seeds[lane, index] = _Seed(now, rows, rows, estimate, now)
            logger.info("%s: %s index %s%s", lane, self._doing, index, _about(estimate))
            return
        seed.rows = rows
        seed.estimate = estimate
        if now - seed.told >= self._interval:
            seed.told = now
            logger.info("%s: %s index %s: %s", lane, self._doing, index, _line(seed, now))

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Forget the index."""
        del rows, seconds
        self._seeds.pop((lane, index), None)

    def seed_given_up(self, lane: str, index: str) -> None:
        """Forget the index."""
        self._seeds.pop((lane, index), None)


def _about(estimate: int | None) -> str:
    return "" if estimate is None else f", about {estimate:,} rows"


def _line(seed: _Seed, now: float) -> str:
    rate = seed.rate(now)
    text = f"{seed.rows:,} rows, {rate:,.0f} rows/s"
    if seed.estimate:
        # An estimate may be too low; a share of more than all there is would say nothing.
        text = (
            f"{min(seed.rows / seed.estimate, 0.99):.0%} ({seed.rows:,} of about "
            f"{seed.estimate:,} rows), {rate:,.0f} rows/s"
        )
        left = seed.estimate - seed.rows
        if left > 0 and rate > 0:
            text += f", {_duration(left / rate)} left"
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class ProgressBars(NoopObserver):
    """Draws a bar for each index that is being filled: rows, share, documents a second, time left.

    Args:
        console: where to draw; log records should go to the same one.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        # stdout stays untouched: documents may be written there.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._documents: dict[tuple[str, str], int] = {}

    def phase(self, phase: Phase) -> None:
        """Take the bars away when the backfill is over, or the run."""
        if phase in (Phase.LIVE, Phase.STOPPED):
            self._progress.stop()

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        """Move the index's bar."""
        task = self._task(lane, index)
        total = None if estimate is None else max(estimate, rows)
        self._progress.update(task, completed=rows, total=total)

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Count the documents of a seed."""
        key = (stats.lane, stats.index)
        task_id = self._tasks.get(key)
        if not stats.seed or task_id is None:
            return
        self._documents[key] = self._documents.get(key, 0) + len(documents)
        elapsed = self._elapsed(task_id)
        if elapsed > 0:
            self._progress.update(task_id, rate=f"{self._documents[key] / elapsed:,.0f} docs/s")

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Fill the index's bar."""
        task = self._task(lane, index)
        rate = f"{rows / seconds:,.0f} rows/s" if seconds > 0 else ""
        self._progress.update(task, completed=rows, total=rows, rate=rate)
        self._progress.refresh()

    def seed_given_up(self, lane: str, index: str) -> None:
        """Take the index's bar away."""
        self._documents.pop((lane, index), None)
        task = self._tasks.pop((lane, index), None)
        if task is not None:
            self._progress.remove_task(task)

    def _elapsed(self, task_id: TaskID) -> float:
        task = next(task for task in self._progress.tasks if task.id == task_id)
        return task.elapsed or 0.0

    def _task(self, lane: str, index: str) -> TaskID:
        key = (lane, index)
        if key not in self._tasks:
            self._progress.start()
            self._tasks[key] = self._progress.add_task(f"{lane} {index}", total=None, rate="")
        return self._tasks[key]
