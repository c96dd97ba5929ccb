"""`flusso verify` over a backend in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.cli import ExitCode

if TYPE_CHECKING:
    from .conftest import Place

RIGHT: dict[str, Any] = {
    str(key): {"name": "flusso flusso True", "children": []} for key in range(5)
}
WRONG: dict[str, Any] = {
    **{key: RIGHT[key] for key in "012"},
    "3": {"name": "flusso", "children": ["c"]},
    "9": {},
}


def holding(place: Place, documents: dict[str, Any], **options: object) -> None:
    """Have the sink serve these documents."""
    place.sink |= {"holds": json.dumps(documents), **options}
    place.write()


def test_an_index_that_is_right_ends_with_0(place: Place) -> None:
    holding(place, RIGHT)
    done = place.run("verify", "parents")
    assert done.returncode == ExitCode.OK
    assert done.stdout.splitlines() == [
        "SINK  GENERATION  EXPECTED  STORED  COMPARED  MISSING  STALE  EXTRA  UNDECIDED  REPAIRED",
        "out   1           5         5       5         0        0      0      0          0",
    ]
    assert "out: comparing index parents, about 5 rows" in done.stderr
    assert "all are right" in done.stderr
    assert place.run("verify", "parents", "-q").stderr == ""


def test_drift_ends_with_5_and_says_where(place: Place) -> None:
    holding(place, WRONG)
    done = place.run("verify", "parents")
    assert done.returncode == ExitCode.FINDINGS
    table = [line.split() for line in done.stdout.splitlines()]
    assert table[1] == ["out", "1", "5", "5", "5", "1", "1", "1", "0", "0"]
    assert sorted(table[4:]) == [
        ["out", "3", "stale", "name,", "children[0]"],
        ["out", "4", "missing"],
        ["out", "9", "extra"],
    ]
    assert "3 differ; --repair builds anew what differs" in done.stderr


def test_json_says_all_of_it(place: Place) -> None:
    holding(place, WRONG)
    done = place.run("verify", "parents", "--format", "json", "-q")
    assert (done.returncode, done.stderr) == (ExitCode.FINDINGS, "")
    answer = json.loads(done.stdout)
    [sink] = answer["sinks"]
    assert sink.pop("seconds") >= 0
    differences = sorted(sink.pop("differences"), key=lambda one: str(one["id"]))
    same = {"verdict": "drift", "quarantined": False}
    assert differences == [
        {"id": "3", "kind": "stale", "paths": ["name", "children[0]"], **same},
        {"id": "4", "kind": "missing", "paths": [], **same},
        {"id": "9", "kind": "extra", "paths": [], **same},
    ]
    assert answer == {"version": 1, "index": "parents", "ok": False, "sinks": [sink]}
    assert sink == {
        "sink": "out",
        "generation": 1,
        "sampled": False,
        "seed": None,
        "expected": 5,
        "stored": 5,
        "documents": 5,
        "missing": 1,
        "stale": 1,
        "extra": 1,
        "repaired": 0,
        "quarantined": 0,
        "undecided": {"behind": 0, "changing": 0},
        "behind": None,
    }


def test_all_ids_are_compared_and_the_content_of_a_sample(place: Place) -> None:
    """Its seed is told, and draws it again."""
    holding(place, RIGHT)
    done = place.run("verify", "parents", "--sample", "1")
    assert done.returncode == ExitCode.OK
    assert "out: a sample of " in done.stderr
    assert "and the ids of all, in " in done.stderr
    holding(place, WRONG)
    sample = ("verify", "parents", "--sample", "0.001%", "--format", "json")
    done = place.run(*sample)
    assert done.returncode == ExitCode.FINDINGS
    [sink] = json.loads(done.stdout)["sinks"]
    assert (sink["expected"], sink["stored"], sink["documents"]) == (5, 5, 0)
    assert (sink["sampled"], sink["missing"], sink["stale"], sink["extra"]) == (True, 1, 0, 1)
    [again] = json.loads(place.run(*sample, "--seed", "12").stdout)["sinks"]
    assert again["seed"] == 12 != sink["seed"]
    assert "(--seed 12)" in place.run("verify", "parents", "--sample", "9%", "--seed=12").stderr
    for wrong in ("0", "0%", "101%", "1.5", "some", ""):
        assert place.run("verify", "parents", f"--sample={wrong}").returncode == ExitCode.USAGE


def test_what_changes_that_are_not_applied_may_explain_ends_with_1(place: Place) -> None:
    holding(place, WRONG, behind=1)
    done = place.run("verify", "parents", "--patience", "0")
    assert done.returncode == ExitCode.FAILURE
    assert "or a change that is not applied yet" in done.stdout
    assert "3 may differ: the index gets no further, 1 behind the source" in done.stderr


def test_repair_builds_what_differs_and_ends_with_0(place: Place) -> None:
    """Without a run that could do it, by a run of its own."""
    holding(place, WRONG)
    done = place.run("verify", "parents", "--repair")
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stdout.splitlines()[1].split()[-1] == "3"
    assert place.written["documents"] == RIGHT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"forgetful": True}, "the sink out cannot be verified: it remembers nothing"),
        ({}, "out has no index parents: no run has filled it"),
        ({"past": True}, "the source is flusso of test at memory"),
        ({"down": True}, "nobody listens"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    place: Place, options: dict[str, object], said: str
) -> None:
    place.sink |= options
    place.write()
    done = place.run("verify", "parents")
    assert (done.returncode, done.stdout) == (ExitCode.FAILURE, "")
    assert said in done.stderr


def test_a_sink_that_cannot_be_verified_does_not_keep_others_from_it(place: Place) -> None:
    holding(place, RIGHT)
    config = place.folder / "flusso.toml"
    other = '[sinks.other]\ntype = "fake"\npath = "other.json"\nforgetful = true\n'
    config.write_text(other + config.read_text())
    done = place.run("verify", "parents")
    assert done.returncode == ExitCode.OK
    assert "the sink other cannot be verified: it remembers nothing" in done.stderr
    assert place.run("verify", "parents", "--sink", "other").returncode == ExitCode.FAILURE
    unknown = place.run("verify", "parents", "--sink", "others")
    assert unknown.returncode == ExitCode.USAGE
    assert "no sink 'others'. It has: other, out" in unknown.stderr
