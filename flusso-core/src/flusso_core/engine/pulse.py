"""The pulse of a sink: since when it answers nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flusso_core.errors import SinkUnavailable
from flusso_core.model import DocumentId
from flusso_core.observe.observer import FlushStats, NoopObserver


class Pulse(NoopObserver):
    """Hears of a sink's failures and of what lands; a sink is silent until it is first heard of.

    Args:
        clock: seconds on a clock that does not jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silent_since: float | None = clock()

    @property
    def silence(self) -> float:
        """For how many seconds nothing has succeeded at the sink although something was tried."""
        return 0.0 if self._silent_since is None else self._clock() - self._silent_since

    def beat(self) -> None:
        """The sink has done what was asked."""
        self._silent_since = None

    def miss(self) -> None:
        """The sink is being asked, and has not answered."""
        if self._silent_since is None:
            self._silent_since = self._clock()

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        """Documents have landed."""
        del stats
        if documents:
            self.beat()

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Something has failed; what fails at the source says nothing of the sink."""
        del what, seconds
        if isinstance(error, SinkUnavailable):
            self.miss()
