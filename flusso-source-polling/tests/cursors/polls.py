"""A stream over the conformance kit's tables, one poll at a time."""

from __future__ import annotations

from flusso_core.model import Change
from flusso_core.testing.conformance import SCHEMA
from flusso_source_polling.database import Database
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.poller import Poller
from flusso_source_polling.snapshots import Shared
from flusso_source_polling.state import StateFile


class Polls:
    """One run, and what its polls find.

    Args:
        options: how the tables are followed.
        state: where the stream is.
    """

    def __init__(self, options: PollingOptions, state: StateFile) -> None:
        self._state = state
        self._poller = Poller(Database(options.url()), (SCHEMA,), options, state, Shared())

    @property
    def statements(self) -> int:
        """How many statements polls have sent."""
        return self._poller.throttle.statements

    def begin(self) -> list[Change]:
        """Begin the run; what its first poll finds."""
        return self._found(self._poller.begin().position)

    def poll(self, *, thorough: bool = False) -> list[Change]:
        """What another poll finds."""
        polled = self._poller.poll(0, thorough=thorough)
        assert polled is not None
        return self._found(polled.position)

    def close(self) -> None:
        """End the run."""
        self._poller.close(0)

    def _found(self, position: int) -> list[Change]:
        entries = self._state.read(position - 1, 2**62, 10_000)
        return [entry.change for entry in entries if entry.position == position]
