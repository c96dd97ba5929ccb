"""Profiles of flusso while it fills the shop's index and while it follows changes, by stage.

py-spy samples the process from outside, so it runs as it always does; only samples in which a
thread is on a processor count. `python -m benchmarks.profiling` prints them.
"""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import Database, loaded
from benchmarks.programs import Flusso, Place, Running
from benchmarks.searches import Searches
from benchmarks.servers import Servers, servers
from benchmarks.worlds import GIANT, World, shop

BIN = Path(sys.executable).parent
RATE = 250
"""Samples a second."""

_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(:\d+)?\)$")
_SHOWN = 12

STARTING = "starting: imports, configuration"
LOOP = "event loop and sockets"
OUTSIDE = "outside of Python: the process starts or ends"

_STREAM = "assembler|capture|events|mark|pgoutput|relation|replication|streaming|visibility|wire"

STAGES: Sequence[tuple[str, str]] = (
    (r"flusso_core/(cli|config|schema|files|plugins|pipeline)", STARTING),
    (rf"flusso_source_postgres/({_STREAM})", "reading the change stream"),
    (r"flusso_source_postgres", "reading keys and documents (psycopg included)"),
    (r"flusso_sink_opensearch", "bulk requests and their answers (HTTP client included)"),
    (r"flusso_core/(engine|queue)", "ledger and engine"),
    (r"flusso_core", "observers, HTTP surfaces, the rest of the core"),
)
"""Which modules make up a stage: the innermost frame of ours says where a sample belongs."""


INTRODUCTION = """\
Samples of flusso's own CPU time on the shop of {users:,} users, by
`python -m benchmarks.profiling`. A sample belongs to the stage of the innermost frame of flusso's
own; what waits for a server is no sample. On a busy machine the times are too long, for what waits
for a processor is one."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples of one process.

    Attributes:
        stages: how many fell into each.
        functions: how many found each function itself at work, not one that it called.
    """

    stages: Mapping[str, int]
    functions: Mapping[str, int]

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(self.stages.values())


def read(lines: Iterable[str]) -> Profile:
    """Read py-spy's `raw` format: frames from the outside in, parted by `;`, and a count."""
    stages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        frames = stack.split(";")
        stages[stage(frames)] += int(count)
        functions[_short(frames[-1])] += int(count)
    return Profile(stages, functions)


def stage(frames: Sequence[str]) -> str:
    """Where a stack belongs."""
    if not any(frames):
        return OUTSIDE
    if any("importlib" in frame for frame in frames):
        return STARTING
    for frame in reversed(frames):
        for pattern, name in STAGES:
            if re.search(pattern, frame):
                return name
    return LOOP


def _short(frame: str) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame or OUTSIDE
    return f"`{found['function']} ({'/'.join(Path(found['file']).parts[-2:])})`"


def text(users: int, profiles: Mapping[str, Profile]) -> str:
    """The profiles as Markdown."""
    names = list(profiles)
    stages = dict.fromkeys(name for each in profiles.values() for name in each.stages)
    order = [name for _, name in STAGES] + [LOOP, OUTSIDE]
    rows = [
        f"| {name} | {' | '.join(_share(profiles[each], name) for each in names)} |"
        for name in sorted(stages, key=order.index)
    ]
    total = " | ".join(f"{profiles[each].samples / RATE:.2f} s" for each in names)
    head = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    parts = [INTRODUCTION.format(users=users), "\n".join([*head, *rows, f"| all | {total} |"])]
    for name, profile in profiles.items():
        most = sorted(profile.functions.items(), key=lambda each: -each[1])[:_SHOWN]
        lines = [f"| {function} | {count / RATE:.2f} s |" for function, count in most]
        head = [f"| {name}: functions by themselves | |", "|---|---:|"]
        parts.append("\n".join([*head, *lines]))
    return "\n\n".join(parts) + "\n"


def _share(profile: Profile, stage_name: str) -> str:
    count = profile.stages.get(stage_name, 0)
    return f"{count / RATE:.2f} s ({count / max(1, profile.samples):.0%})"


def profiled(world: World, place: Place, *arguments: str) -> Profile:
    """Run flusso to its end under the profiler."""
    raw = place.folder / "samples.txt"
    profiler = (
        *(str(BIN / "py-spy"), "record", "--format", "raw", "--rate", str(RATE)),
        *("--nonblocking", "--output", str(raw), "--"),
    )
    flusso = Flusso(BIN / "flusso", arguments=arguments, wrapper=profiler)
    _run(flusso, world, place)
    return read(raw.read_text(encoding="utf-8").splitlines())


def _run(flusso: Flusso, world: World, place: Place) -> None:
    with Running(flusso, world, place) as running:
        code = running.wait()
        if code:
            raise RuntimeError(f"flusso ended with {code}:\n{running.output[-3000:]}")


def take(servers: Servers, users: int) -> str:
    """Profile filling the shop's index and catching up with changes; returns the text."""
    world = shop(users)
    run = f"profile_{secrets.token_hex(3)}"
    searches = Searches(servers.opensearch, [run])
    try:
        with loaded(servers.postgres, run, world) as database:
            return text(users, _take(world, database, servers.opensearch, run))
    finally:
        searches.drop(f"*{run}*")
        searches.close()


def _take(world: World, database: Database, opensearch: str, run: str) -> Mapping[str, Profile]:
    with tempfile.TemporaryDirectory(prefix="flusso-profile-") as folder:
        place = Place(database.url, opensearch, Path(folder), run)
        profiles = {"filling": profiled(world, place, "--backfill-only")}
        for happening in (one for one in world.happenings if one.name != GIANT):
            database.happen(happening, database.next_mark())
        profiles["following changes"] = profiled(world, place, "--once")
        return profiles


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50_000, help="size of the shop")
    given = parser.parse_args()
    with servers(None, None) as running:
        print(take(running, given.users))


if __name__ == "__main__":
    main()
