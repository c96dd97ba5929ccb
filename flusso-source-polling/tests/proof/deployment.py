"""`flusso run` as a process over a `World`, into a SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from .world import SCHEMA, Documents

FLUSSO = Path(sys.executable).with_name("flusso")
SINK = Path(__file__).parents[3] / "examples/plugins/flusso-sink-sqlite/src"

START = 60.0
"""Seconds that a start may take on a machine that has much to do."""


class Deployment:
    """A folder with the files of a deployment, and at most one process that runs on it.

    Args:
        folder: which.
        source: the options of `[source]`, tables apart.
        tables: those of `[source.tables]`.
    """

    def __init__(
        self, folder: Path, source: Mapping[str, object], tables: Mapping[str, Mapping[str, object]]
    ) -> None:
        self._folder = folder
        self._file = folder / "documents.db"
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0  # where in the log the newest process begins
        (folder / "parents.schema.yml").write_text(SCHEMA, encoding="utf-8")
        lines = ["[source]", 'type = "polling"', *_lines(source)]
        for name, options in tables.items():
            lines += [f"[source.tables.{name}]", *_lines(options)]
        lines += ["[sinks.file]", 'type = "sqlite"', *_lines({"path": str(self._file)})]
        lines += ["[[index]]", 'name = "parents"', 'schema = "parents.schema.yml"']
        (folder / "flusso.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # The example's sink as if it were installed: its metadata, and its folder on the path.
        info = folder / "site" / "flusso_sink_sqlite-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Name: flusso-sink-sqlite\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(
            "[flusso.sinks]\nsqlite = flusso_sink_sqlite.plugin\n"
        )

    def start(self) -> None:
        """Run it."""
        inherited = {name: text for name, text in os.environ.items() if name[:7] != "FLUSSO_"}
        path = os.pathsep.join((str(self._folder / "site"), str(SINK)))
        self._began = len(self.log)
        with (self._folder / "flusso.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(FLUSSO), "run"],
                cwd=self._folder,
                env={**inherited, "PYTHONPATH": path, "FLUSSO_PUBLIC_ADDRESS": "127.0.0.1:0"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_live(self) -> None:
        """Return when it follows changes; fail when it does not within the bound."""
        end = time.monotonic() + START
        while ": live\n" not in self.log[self._began :]:
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process where it stands, and let the next one begin at once: this one is known
        not to write any more, for which it would wait until its lease is over.
        """
        process, self._process = self._process, None
        if process is None:
            return
        assert process.poll() is None, self.log
        process.kill()
        process.wait(10)
        if self._file.exists():
            with closing(sqlite3.connect(self._file, timeout=10)) as connection, connection:
                if connection.execute(
                    "SELECT count(*) FROM sqlite_master WHERE name = 'writer'"
                ).fetchone()[0]:
                    connection.execute("UPDATE writer SET until = 0")

    @property
    def log(self) -> str:
        """What it has said."""
        file = self._folder / "flusso.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def documents(self) -> Documents | None:
        """What searches see, read from the file; `None`: nothing yet."""
        if not self._file.exists():
            return None
        with closing(sqlite3.connect(self._file, timeout=10)) as connection:
            views = "SELECT count(*) FROM sqlite_master WHERE name = 'parents'"
            if not connection.execute(views).fetchone()[0]:
                return None
            rows = connection.execute('SELECT id, body FROM "parents"').fetchall()
        found: Documents = {}
        for key, body in rows:
            document = json.loads(body)
            children = [(one["id"], one["label"]) for one in document["children"]]
            found[key] = (document["name"], children)
        return found


def _lines(options: Mapping[str, object]) -> list[str]:
    # What JSON writes of texts, numbers and booleans is TOML.
    return [f"{name} = {json.dumps(value)}" for name, value in options.items()]
