"""A SQLite file whose clock is set by hand, and runs that follow it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from flusso_core.model import Change
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.state import StateFile

from .polls import Polls

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE parents (key TEXT PRIMARY KEY, name TEXT, changed DATETIME);
CREATE TABLE children (key TEXT PRIMARY KEY, parent TEXT, changed INTEGER);
CREATE INDEX parents_changed ON parents (changed);
CREATE TABLE clock (now REAL, time TEXT);
INSERT INTO clock VALUES (0, '2024-01-01 00:00:00');
"""


class Following:
    """A database file whose clock is set by hand, and runs that follow it.

    Parents are followed by a time and children by a number, with a lag of 60 seconds. No pass over
    the keys is due by itself, unless the options say otherwise.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "followed.db"
        self.now = 1000.0
        self.connection = sqlite3.connect(self.path, check_same_thread=False)
        self.connection.executescript(TABLES)
        self._given: dict[str, Any] = {
            "connection_url": f"sqlite:///{self.path}",
            "tables": {"parents": {"cursor": "changed"}, "children": {"cursor": "changed"}},
            "page_size": 3,
            "diff_interval": 10**6,
            **options,
        }
        self._state = folder / "followed.state"
        self._polls: Polls | None = None

    def write(self, *statements: str) -> None:
        with self.connection:
            for statement in statements:
                self.connection.execute(statement)

    def at(self, seconds: float) -> None:
        """Set the clock: so many seconds after midnight."""
        self.now = seconds
        self.write(
            f"UPDATE clock SET now = {seconds}, "
            f"time = strftime('%Y-%m-%d %H:%M:%f', '2024-01-01', '{seconds} seconds')"
        )

    def put(self, key: str, name: str, seconds: float, table: str = "parents") -> None:
        """Insert or update a row whose cursor says that time."""
        changed = f"strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', '{seconds} seconds')"
        if table == "children":
            changed = str(int(seconds))
        self.write(f"INSERT OR REPLACE INTO {table} VALUES ('{key}', '{name}', {changed})")

    def restart(self, **options: Any) -> list[Change]:
        """End the run, and begin another one, with other options."""
        self.stop()
        self._given |= options
        given = PollingOptions.model_validate(self._given)
        self._polls = Polls(given, StateFile(self._state))
        return self._polls.begin()

    def begin(self) -> None:
        """Begin a run, and let everything settle."""
        self.restart()
        assert self.settle() == []

    def poll(self, *, thorough: bool = False) -> list[Change]:
        """What another poll finds."""
        assert self._polls is not None
        return self._polls.poll(thorough=thorough)

    def settle(self) -> list[Change]:
        """Polls until everything that was open at the beginning is final."""
        found = self.poll()
        self.at(self.now + 61)
        found += self.poll()
        self.at(self.now + 61)
        return found + self.poll()

    def stop(self) -> None:
        """End the run, if there is one."""
        polls, self._polls = self._polls, None
        if polls is not None:
            polls.close()
