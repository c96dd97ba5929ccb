"""User hooks in whole runs: they hear, change, drop, are told, and never corrupt a batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flusso_core.cli import ExitCode

if TYPE_CHECKING:
    from .conftest import Place

HOOKS = """
import sys
from flusso_core import NoopObserver, hookimpl

class Listener(NoopObserver):
    def flushed(self, stats, documents):
        print("heard of", len(documents), file=sys.stderr)

@hookimpl
def flusso_observer():
    return Listener()

@hookimpl
def flusso_transform(index):
    return change if index == "parents" else None

def change(document):
    document["name"] += "!"
    {body}
    return document

@hookimpl
def flusso_rejected(sink, rejection):
    print("told of", sink, rejection.document.id.key[0], rejection.reason, file=sys.stderr)
"""


def hook(place: Place, body: str = "pass", *, code: str = HOOKS) -> None:
    """Install hooks beside the fake backend, whose own hook always fails."""
    info = place.folder / "site" / "tidy_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tidy-hooks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flusso.hooks]\ntidy = tidy_hooks\n")
    (place.folder / "site" / "tidy_hooks.py").write_text(code.replace("{body}", body))


def test_documents_are_written_as_hooks_leave_them(place: Place) -> None:
    hook(place)
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK, done.stderr
    assert {one["name"] for one in place.written["documents"].values()} == {"flusso flusso True!"}
    assert "heard of" in done.stderr


def test_what_a_hook_drops_is_not_written(place: Place) -> None:
    hook(place, "return None")
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK, done.stderr
    assert place.written["documents"] == {}


def test_a_document_that_a_hook_fails_on_stops_the_run(place: Place) -> None:
    hook(place, "raise ValueError('odd')")
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.FAILURE
    assert "its transform failed: ValueError: odd" in done.stderr.splitlines()[-1]


def test_or_it_is_skipped_and_told(place: Place) -> None:
    place.more = 'on_error = "skip"'
    place.write()
    hook(place, "if next(calls) == 2: raise ValueError('odd')")
    path = place.folder / "site" / "tidy_hooks.py"
    path.write_text("import itertools\ncalls = itertools.count()\n" + path.read_text())
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK, done.stderr
    assert len(place.written["documents"]) == 4
    [line] = [line for line in done.stderr.splitlines() if line.startswith("told of")]
    assert line.startswith("told of out ")
    assert line.endswith("its transform failed: ValueError: odd")


@pytest.mark.parametrize("command", [("run", "--once"), ("sample", "parents")])
def test_hooks_that_cannot_be_used_stop_it(place: Place, command: tuple[str, ...]) -> None:
    """They may be those that take out what nobody is to see."""
    hook(place, code="raise RuntimeError('kaputt')")
    done = place.run(*command)
    assert done.returncode == ExitCode.PLUGIN
    assert "tidy-hooks 1.0 cannot be used" in done.stderr
    assert not (place.folder / "out.json").exists()
    assert done.stdout == ""


def test_a_sample_shows_documents_as_hooks_leave_them(place: Place) -> None:
    hook(place)
    done = place.run("sample", "parents", "3", "--format", "json")
    assert done.returncode == ExitCode.OK, done.stderr
    [document] = json.loads(done.stdout)["documents"]
    assert document["document"]["name"] == "flusso flusso True!"
