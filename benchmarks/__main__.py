"""`make bench`: measure flusso, and what else is named, and report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from benchmarks import profiling, startup
from benchmarks.environments import flusso_of
from benchmarks.goals import verdicts
from benchmarks.programs import Flusso, Peer, Program
from benchmarks.report import page, tables
from benchmarks.results import Results
from benchmarks.servers import servers
from benchmarks.suite import Plan, Suite
from benchmarks.worlds import NAMES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

USERS = {"small": 5_000, "default": 50_000, "large": 200_000}
STARTS = 15
_WIDE = 150


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--size", choices=USERS, default="default", help="how large the worlds are")
    parser.add_argument("--users", type=int, help="users of the shop, instead of a size")
    parser.add_argument("--worlds", nargs="+", choices=NAMES, default=NAMES, help="what to measure")
    parser.add_argument("--rounds", type=int, default=3, help="of the shop; half of it elsewhere")
    parser.add_argument("--samples", type=int, default=100, help="changes one at a time, a round")
    parser.add_argument(
        "--rates", type=int, nargs="*", default=[100, 1000], help="steady rates, in changes/s"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate, and idle")
    parser.add_argument("--postgres", metavar="URL", help="a server with wal_level=logical")
    parser.add_argument("--opensearch", metavar="URL", help="a cluster")
    parser.add_argument("--base", metavar="REF", help="a commit to compare with, round by round")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="NAME=COMMAND",
        help="another program; {postgres}, {opensearch}, {index} and {folder} are filled in",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the plots there")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and plots")
    parser.add_argument("--strict", action="store_true", help="fail where a goal is missed")
    return parser.parse_args(arguments)


def _peer(text: str) -> Peer:
    try:
        return Peer.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def measure(given: argparse.Namespace, console: Console) -> tuple[Results, str]:
    """Start what has to run, measure, stop it; also gives the profile, empty if not wanted."""
    plan = Plan(
        users=given.users or USERS[given.size],
        worlds=given.worlds,
        rounds=given.rounds,
        smaller=not given.base,
        samples=given.samples,
        steady=given.rates,
        seconds=given.seconds,
    )
    with ExitStack() as stack:
        programs: list[Program] = [Flusso(Path(sys.executable).with_name("flusso"))]
        if given.base:
            console.print(f"installing flusso of {given.base}")
            programs.append(stack.enter_context(flusso_of(given.base)))
        programs += given.peer
        started = startup.measure(STARTS)
        running = stack.enter_context(servers(given.postgres, given.opensearch))
        suite = Suite(running, programs, plan, console.print)
        profile = ""
        try:
            suite.run()
            if given.docs:
                console.print("profiles")
                profile = profiling.take(running, plan.users)
        except KeyboardInterrupt:
            console.print("interrupted: this is what was measured so far")
        results = Results(
            machine={
                "processors": str(os.cpu_count()),
                "Python": platform.python_version(),
                "servers": running.versions,
            },
            measurements=suite.measurements,
            latencies=suite.latencies,
            idle=suite.idle,
            curves=suite.curves,
            startup=started,
            failures=suite.failures,
        )
        return results, profile


def main() -> int:
    """Measure and report; the exit code says whether something failed, or, where that was asked,
    a goal was missed.
    """
    given = options()
    console = Console(stderr=True)
    results, profile = measure(given, console)
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    if given.plots or given.docs:
        from benchmarks.plots import draw

        for folder in filter(None, (given.plots, DOCS / "images" if given.docs else None)):
            draw(results, folder)
    if given.docs:
        (DOCS / "performance.md").write_text(page(results, profile), encoding="utf-8")
    output = Console()
    if not output.is_terminal:
        output.width = _WIDE
    for table in tables(results, given.base):
        table.show(output)
    for failure in results.failures:
        console.print(f"failed: {failure}")
    missed = given.strict and any(verdict.met is False for verdict in verdicts(results))
    return 1 if missed or results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
