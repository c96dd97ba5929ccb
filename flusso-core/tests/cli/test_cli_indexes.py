"""`flusso indexes` and `flusso prune` over a destination in memory that has a past."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flusso_core.cli import ExitCode
from flusso_core.cli.destinations import Entry, Role, entries, prunable, read, remove
from flusso_core.model import Generation, GenerationRecord, StateRecord
from flusso_core.testing import MemoryDestination, MemorySink

from .conftest import command
from .fake_backend import lay_out

if TYPE_CHECKING:
    from .conftest import Place


@pytest.fixture
def past(place: Place) -> Place:
    """A sink that an older run has written to, beside one that remembers nothing."""
    place.sink["past"] = True
    place.more = '[sinks.plain]\ntype = "fake"\npath = "plain.json"\nforgetful = true\n'
    place.write()
    return place


def test_the_table_says_what_each_generation_is_there_for(past: Place) -> None:
    done = past.run("indexes")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    rows = {tuple(line.split()[2:4]): " ".join(line.split()[4:]) for line in lines(done.stdout)}
    assert rows["5", "newer"] == "filled: 1 of 2 ranges 5 10 bytes 0/7"
    assert rows["4", "older"] == "serves, until 5 is filled 4 8 bytes 0/7"
    assert rows["3", "older"] == "unused 3 6 bytes 0/7"
    assert rows["2", "older"] == "kept 2 4 bytes 0/7"
    assert rows["1", "theirs"] == "of another program 1 2 bytes 0/7"
    assert "plain" in done.stdout
    assert "remembers nothing: every run fills it" in done.stdout


def numbers(there: Sequence[Entry]) -> list[int]:
    return [one.number for one in there]


def lines(table: str) -> Sequence[str]:
    return [line for line in table.splitlines() if line.startswith("out")]


def test_the_json_has_all_of_it(past: Place) -> None:
    done = past.run("indexes", "--format", "json", "--sink", "out")
    answer = json.loads(done.stdout)
    assert answer["version"] == 1
    ((sink,),) = [answer["sinks"]]
    assert (sink["sink"], sink["records"], sink["error"]) == ("out", True, None)
    ((index,),) = [sink["indexes"]]
    assert (index["index"], index["position"]) == ("parents", "0/7")
    assert index["stream"]["stream"] == "flusso"
    newest, serving, *_ = index["generations"]
    assert newest == {
        "generation": 5,
        "schema_hash": "newer",
        "role": "current",
        "exists": True,
        "serves": False,
        "foreign": False,
        "seeded": False,
        "clean": False,
        "ranges": {"done": 1, "all": 2},
        "documents": 5,
        "bytes": 10,
    }
    assert (serving["role"], serving["serves"], serving["ranges"]) == ("serving", True, None)


def test_a_destination_where_nothing_has_run_says_so(place: Place) -> None:
    done = place.run("indexes")
    assert done.returncode == ExitCode.OK
    assert lines(done.stdout) == ["out   parents                      nothing yet"]


def test_a_sink_that_is_away_hides_no_other(past: Place) -> None:
    past.more += '[sinks.away]\ntype = "fake"\npath = "away.json"\ndown = true\n'
    past.write()
    done = past.run("indexes")
    assert done.returncode == ExitCode.FAILURE
    assert "away: nobody listens" in done.stderr
    assert len(lines(done.stdout)) == 5


def test_an_unknown_sink_is_a_usage_error(past: Place) -> None:
    for name in ("indexes", "prune"):
        done = past.run(name, "--sink", "otu")
        assert done.returncode == ExitCode.USAGE
        assert "has no sink 'otu'. It has: " in done.stderr


def test_prune_removes_what_no_run_needs(past: Place) -> None:
    done = past.run("prune", "--yes", "--format", "json")
    assert done.returncode == ExitCode.OK, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["version"], answer["dry_run"], answer["left"]) == (1, False, [])
    removed = [(one["generation"], one["role"], one["bytes"]) for one in answer["removed"]]
    assert removed == [(3, "unused", 6), (1, "foreign", 2)]


def test_what_was_kept_is_removed_when_asked_for(past: Place) -> None:
    done = past.run("prune", "parents", "--kept", "--yes", "--format", "json")
    removed = [one["generation"] for one in json.loads(done.stdout)["removed"]]
    assert removed == [3, 2, 1]


def test_a_dry_run_names_sizes_and_removes_nothing(past: Place) -> None:
    done = past.run("prune", "--dry-run", "--sink", "out")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert [" ".join(line.split()[2:]) for line in lines(done.stdout)] == [
        "3 older unused 3 6 bytes would be removed",
        "1 theirs foreign 1 2 bytes would be removed",
    ]
    assert past.written["generations"] == [1, 2, 3, 4, 5]


def test_without_a_yes_nothing_is_removed(past: Place) -> None:
    done = subprocess.run(
        command("prune"),
        cwd=past.folder,
        env=past.environ(),
        input="n\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert "out: parents 3, unused (3 documents, 6 bytes)" in done.stderr
    assert past.written["generations"] == [1, 2, 3, 4, 5]


def test_nothing_to_remove_is_said(place: Place) -> None:
    done = place.run("prune")
    assert (done.returncode, done.stdout) == (ExitCode.OK, "")
    assert "nothing is there to remove" in done.stderr
    assert place.run("prune", "paernts").returncode == ExitCode.USAGE


def test_what_searches_see_is_never_prunable() -> None:
    """Whatever is remembered of it: the memory may have been deleted."""
    destination = MemoryDestination()
    lay_out(destination)
    existing = asyncio.run(MemorySink(destination).generations("parents"))
    for record in (None, destination.records["parents"]):
        assert 4 not in numbers(prunable(entries(record, existing), kept=True))


def test_what_nothing_is_remembered_of_is_left_to_the_next_run() -> None:
    """The memory may come back, and a run may be filling one of them. Others' need none."""
    destination = MemoryDestination()
    lay_out(destination)
    existing = asyncio.run(MemorySink(destination).generations("parents"))
    theirs = [replace(one, foreign=one.number == 1) for one in existing]
    forgotten = entries(None, theirs)
    assert [one.role for one in forgotten] == [*4 * [Role.UNKNOWN], Role.FOREIGN]
    assert numbers(prunable(forgotten, kept=True)) == [1]


def test_another_program_that_still_serves_is_left_alone() -> None:
    """It may be filling a generation of its own."""
    theirs = [Generation("parents", one, "theirs", one == 1, foreign=True) for one in (1, 2)]
    assert prunable(entries(None, theirs), kept=True) == []
    ours = Generation("parents", 3, "ours", serves=True)
    taken_over = [replace(one, serves=False) for one in theirs]
    assert numbers(prunable(entries(None, [ours, *taken_over]), kept=True)) == [2, 1]


def test_what_is_kept_but_gone_is_not_told() -> None:
    destination = MemoryDestination()
    lay_out(destination)
    record = destination.records["parents"]
    here = [Generation("parents", 4, "older", serves=True)]
    assert [(one.number, one.role) for one in entries(record, here)] == [
        (5, Role.CURRENT),
        (4, Role.SERVING),
    ]


def test_a_generation_that_is_made_while_it_is_read_is_never_taken_for_unused() -> None:
    """A run stores the record before it makes the generation."""
    destination = MemoryDestination()
    lay_out(destination)

    def begin() -> None:
        record = destination.records["parents"]
        newest = GenerationRecord(record.current.number + 1, "newest")
        destination.records["parents"] = replace(record, current=newest)
        where = ("parents", newest.number)
        destination.generations[where] = {}
        destination.schemas[where], destination.made[where] = "newest", ""

    class Racing(MemorySink):
        async def generations(self, index: str) -> Sequence[Generation]:
            found = await super().generations(index)
            begin()
            return found

        async def load_records(self) -> Mapping[str, StateRecord]:
            found = await super().load_records()
            begin()
            return found

    async def main() -> None:
        record, there = (await read(Racing(destination), ["parents"]))["parents"]
        assert record is not None
        assert max(numbers(prunable(there, kept=True))) < record.current.number

    asyncio.run(main())


def test_what_has_come_to_be_needed_meanwhile_is_left() -> None:
    """While somebody thought about the question, a run has gone back to it."""
    destination = MemoryDestination()
    lay_out(destination)

    async def main() -> None:
        sink = MemorySink(destination)
        _, there = (await read(sink, ["parents"]))["parents"]
        unused, kept = prunable(there, kept=True)[:2]
        record = destination.records["parents"]
        destination.records["parents"] = replace(record, serving=kept.record, kept=())
        assert not await remove(sink, "parents", kept, kept=True)
        assert ("parents", kept.number) in destination.generations
        for _ in range(2):
            assert await remove(sink, "parents", unused, kept=True)
            assert ("parents", unused.number) not in destination.generations

    asyncio.run(main())
