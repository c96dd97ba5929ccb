"""How much memory a process has, over time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Curve:
    """Resident memory of a process over time."""

    process: int
    points: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def note(self) -> None:
        """Add what it is now."""
        self.points.append((time.monotonic(), self._read("VmRSS")))

    @property
    def highest(self) -> int:
        """What it was at most since the process began, in bytes; the kernel kept it."""
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        for line in Path(f"/proc/{self.process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)

    def __str__(self) -> str:
        began = self.points[0][0]
        shown = self.points[:: max(1, len(self.points) // 20)]
        return ", ".join(f"{at - began:.0f} s: {size >> 20} MB" for at, size in shown)
