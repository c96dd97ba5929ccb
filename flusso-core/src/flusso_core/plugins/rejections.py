"""Tells a user's hook of rejections, as an observer."""

from __future__ import annotations

from collections.abc import Callable

from flusso_core.model import Rejection
from flusso_core.observe.observer import NoopObserver


class RejectionObserver(NoopObserver):
    """Calls `flusso_rejected` of one plugin for each refused document.

    Args:
        tell: calls that hook with its arguments.
    """

    def __init__(self, tell: Callable[..., object]) -> None:
        self._tell = tell

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Call the hook."""
        self._tell(sink=lane, rejection=rejection)
