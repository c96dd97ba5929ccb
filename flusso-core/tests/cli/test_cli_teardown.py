"""`flusso teardown` over a backend in memory."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from flusso_core.cli import ExitCode

from .conftest import command

if TYPE_CHECKING:
    from .conftest import Place


def test_it_says_what_is_removed_and_what_is_left(place: Place) -> None:
    done = place.run("teardown", "--yes", "--format", "json")
    assert done.returncode == ExitCode.OK
    kept = "indexes and records are the destination's: delete them there"
    assert json.loads(done.stdout) == {
        "version": 1,
        "dry_run": False,
        "removed": ["stream flusso"],
        "left": [
            {"subject": "table public.parents", "reason": "others use it: DROP x"},
            {"subject": "sink out", "reason": kept},
        ],
    }
    assert (place.folder / "torn-down").exists()


def test_a_dry_run_asks_nothing_and_removes_nothing(place: Place) -> None:
    done = place.run("teardown", "--dry-run")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert "stream flusso         would be removed" in done.stdout
    assert "table public.parents  left" in done.stdout
    assert not (place.folder / "torn-down").exists()


def test_without_a_yes_nothing_is_removed(place: Place) -> None:
    for answer, removed in (("n\n", False), ("", False), ("y\n", True)):
        done = subprocess.run(
            command("teardown"),
            cwd=place.folder,
            env=place.environ(),
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Remove what runs have made" in done.stderr
        assert (done.returncode == ExitCode.OK) is removed
        assert (place.folder / "torn-down").exists() is removed
