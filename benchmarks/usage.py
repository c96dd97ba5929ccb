"""What processes use: seconds of CPU, and memory over time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from benchmarks.watching import Watch

_EVERY = 0.1
"""Seconds between two looks at a program's memory."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU; `None`: the server runs elsewhere."""

    program: float
    postgres: float | None
    opensearch: float | None

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(
            self.program - before.program,
            _less(self.postgres, before.postgres),
            _less(self.opensearch, before.opensearch),
        )

    @property
    def share(self) -> float | None:
        """The program's part of what all three used."""
        if self.postgres is None or self.opensearch is None:
            return None
        whole = self.program + self.postgres + self.opensearch
        return self.program / whole if whole else 0.0


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def cpu_seconds(pid: int | None) -> float | None:
    """What a process and all of its descendants have used so far, those that ended included.

    Descendants that ended count from the moment their parent has waited for them.
    """
    if pid is None:
        return None
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """A process's resident memory, so many seconds after it began to be watched."""

    seconds: float
    bytes: int


class MemoryWatch(Watch):
    """A context manager that writes down a process's memory until the end.

    Args:
        pid: the process; its descendants count as well.
    """

    def __init__(self, pid: int) -> None:
        super().__init__("memory watch", _EVERY)
        self._pid = pid
        self._began = time.monotonic()
        self._points: list[MemoryPoint] = []
        self._highest = 0

    @property
    def points(self) -> tuple[MemoryPoint, ...]:
        """What was seen so far."""
        return tuple(self._points)

    @property
    def peak(self) -> int:
        """The highest resident memory so far, in bytes.

        Of a single process it is what the kernel has kept (`VmHWM`, proc(5)), so that no peak
        falls between two looks.
        """
        return self._highest

    def __enter__(self) -> Self:
        self._look()
        return super().__enter__()

    def _look(self) -> None:
        try:
            root = psutil.Process(self._pid)
            family = [root, *root.children(recursive=True)]
            resident = sum(process.memory_info().rss for process in family)
            kept = _high_water(self._pid) if len(family) == 1 else 0
        except (psutil.Error, OSError):
            return  # it has just ended
        self._points.append(MemoryPoint(time.monotonic() - self._began, resident))
        self._highest = max(self._highest, resident, kept)


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
