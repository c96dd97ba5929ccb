"""The example of notes in SQLite does what its README says."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .processes import Flusso, Workplace, wait_until

NOTES = Path(__file__).parent.parent / "examples" / "sqlite-notes"


class Example(Workplace):
    """A copy of the example in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})
        for file in NOTES.iterdir():
            if file.suffix in (".py", ".toml", ".yml"):
                shutil.copy(file, folder)

    def write(self, *texts: str) -> None:
        """The README's first command."""
        subprocess.run([sys.executable, "notes.py", *texts], cwd=self.folder, check=True)

    def execute(self, statement: str) -> None:
        """What another program does meanwhile."""
        with closing(sqlite3.connect(self.folder / "notes.db")) as connection, connection:
            connection.execute(statement)


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    example = Example(tmp_path)
    try:
        yield example
    finally:
        example.close()


def lines(running: Flusso) -> list[dict[str, Any]]:
    """The envelopes that were printed; the rest of the output is the log's."""
    found = (line for line in running.output.splitlines() if line.startswith('{"sink"'))
    return [json.loads(line) for line in found]


def state(running: Flusso) -> dict[str, dict[str, Any]]:
    """The newest document of each note."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines(running):
        found.pop(line["id"], None)
        if line["op"] == "upsert":
            found[line["id"]] = line["document"]
    return found


def test_the_readme_shows_what_is_printed(example: Example) -> None:
    example.write()
    once = example.start("run", "--once")
    assert once.wait() == 0, once.output
    (shown,) = re.findall(r"^\{.*\}$", (NOTES / "README.md").read_text("utf-8"), re.MULTILINE)
    told = json.loads(shown)
    (printed,) = [line for line in lines(once) if line["id"] == told["id"]]
    varies = {"ts": told["ts"], "seq": told["seq"]}
    printed["document"]["written"] = told["document"]["written"]
    assert {**printed, **varies} == told
    assert len(state(once)) == 3


def test_what_happens_to_the_notes_is_printed(example: Example) -> None:
    """C1, C4, C5, C6."""
    example.write()
    running = example.start("run")
    wait_until(lambda: len(state(running)) == 3, 30, "the first notes are printed")
    example.write("Buy milk #shopping")
    wait_until(lambda: "4" in state(running), 30, "the new note is printed")
    assert state(running)["4"]["tags"] == [{"label": "shopping"}]
    example.execute("UPDATE folders SET name = 'House' WHERE id = 1")
    example.execute("UPDATE notes SET thrown_away = TRUE WHERE id = 2")
    example.execute("INSERT INTO comments (note_id, text) VALUES (3, 'well done')")
    expected = {"1": ("House", 0), "3": ("Work", 1), "4": ("House", 0)}
    wait_until(
        lambda: (
            {key: (one["folder"]["name"], one["comments"]) for key, one in state(running).items()}
            == expected
        ),
        30,
        "the changes are printed",
    )
    running.stop()
