"""Measure what a command costs before it does anything: processes, next to `python -c pass`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

FLUSSO = str(Path(sys.executable).with_name("flusso"))
BASE = "python -c pass"
HELP = "flusso --help"
COMMANDS: Mapping[str, Sequence[str]] = {
    BASE: (sys.executable, "-c", "pass"),
    "flusso --version": (FLUSSO, "--version"),
    HELP: (FLUSSO, "--help"),
    "flusso run --help": (FLUSSO, "run", "--help"),
    "flusso plugins list": (FLUSSO, "plugins", "list"),
    "flusso plugins show opensearch": (FLUSSO, "plugins", "show", "opensearch"),
}


def seconds(command: Sequence[str]) -> float:
    """How long the process takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(turns: int) -> dict[str, float]:
    """The median of each command in seconds; they take turns, so that a busy moment hits all."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(turns + 1):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    # The first turn fills the caches.
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="runs of each command")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args()
    medians = measure(options.turns)
    if options.format == "json":
        sys.stdout.write(json.dumps({"seconds": medians}, indent=2) + "\n")
        return
    base = medians[BASE]
    for name, median in medians.items():
        more = "" if name == BASE else f"  +{(median - base) * 1000:4.0f} ms"
        sys.stdout.write(f"{name:<32}{median * 1000:6.0f} ms{more}\n")


if __name__ == "__main__":
    main()
