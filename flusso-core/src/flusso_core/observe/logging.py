"""Logging of a command: where it goes, how much of it, and the engine's events as log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flusso_core.model import Rejection, document_id_text
from flusso_core.observe.observer import NoopObserver, Phase

if TYPE_CHECKING:
    from rich.console import Console

# It is the engine that speaks.
logger = logging.getLogger("flusso_core.engine")

_LEVELS = {
    -2: logging.ERROR,
    -1: logging.WARNING,
    0: logging.INFO,
    1: logging.DEBUG,
    2: logging.DEBUG,
}

OURS = "flusso"
"""Beginning of the names of flusso's own loggers, those of its packages included."""


def configure_logging(console: Console, verbosity: int) -> None:
    """Send log records to a console: in colour on a terminal, as plain lines elsewhere.

    Args:
        console: on stderr; a progress bar on the same one stays below the log.
        verbosity: from -2 (errors only) to 2; libraries' own records below a warning show from 2,
            and never their debug records, which hold requests and documents.
    """
    handler: logging.Handler
    if console.is_terminal:
        from rich.logging import RichHandler

        handler = RichHandler(console=console, show_path=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s", datefmt="[%X]"))
    else:
        handler = logging.StreamHandler(console.file)
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        formatter.converter = time.gmtime
        formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
        formatter.default_msec_format = "%s.%03dZ"
        handler.setFormatter(formatter)
    level = _LEVELS[max(-2, min(2, verbosity))]
    handler.addFilter(_Threshold(level, logging.INFO if verbosity >= 2 else logging.WARNING))
    logging.basicConfig(level=min(level, logging.WARNING), handlers=[handler], force=True)


class _Threshold(logging.Filter):
    """Lets flusso's records through from one level on and those of libraries from another."""

    def __init__(self, ours: int, others: int) -> None:
        super().__init__()
        self._ours = ours
        self._others = max(ours, others)

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.name.startswith(OURS)
        return record.levelno >= (self._ours if ours else self._others)


_SAME_SECONDS = 10.0
"""What fails again and again in the same words is told this often."""


class LoggingObserver(NoopObserver):
    """Writes what matters to an operator into the log: phases, retries, refused documents.

    Args:
        clock: seconds on a clock that does not jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}

    def phase(self, phase: Phase) -> None:
        """Log it."""
        logger.info("%s", phase.value)

    def seeded(self, lane: str, index: str, rows: int, seconds: float) -> None:
        """Log it, with the rate."""
        rate = rows / seconds if seconds > 0 else 0.0
        logger.info(
            "%s: index %s is filled: %s rows in %.1f s (%s rows/s)",
            lane,
            index,
            f"{rows:,}",
            seconds,
            f"{rate:,.0f}",
        )

    def rejected(self, lane: str, rejection: Rejection) -> None:
        """Log the document's id and the reason, not its body."""
        document = rejection.document.id
        logger.warning(
            "%s: index %s refused document %s: %s",
            lane,
            document.index,
            document_id_text(document.key),
            rejection.reason,
        )

    def index_stopped(self, index: str, reason: str) -> None:
        """Log it as an error, with what to do."""
        logger.error(
            "index %s is stopped: %s; the other indexes go on; once the schema and its tables fit, "
            "start again: what the index misses meanwhile is a gap",
            index,
            reason,
        )

    def detached(self, lane: str, reason: str) -> None:
        """Log it, with what follows."""
        logger.warning(
            "%s no longer holds the source: %s; what it misses is a gap when it returns",
            lane,
            reason,
        )

    def attached(self, lane: str) -> None:
        """Log it."""
        logger.info("%s follows the changes", lane)

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        """Log it; at debug level what has just been told: all workers of a lane fail alike."""
        reason, now = str(error), self._clock()
        before, when = self._told.get(what, ("", 0.0))
        repeated = reason == before and now - when < _SAME_SECONDS
        if not repeated:
            self._told[what] = (reason, now)
        level = logging.DEBUG if repeated else logging.WARNING
        logger.log(level, "%s failed: %s; trying again in %.1f s", what, error, seconds)

    def recovered(self, what: str) -> None:
        """Log it."""
        self._told.pop(what, None)
        logger.info("%s works again", what)
