"""What the engine tells: observers, progress, logging, counts."""

from flusso_core.observe.guarded import GuardedObserver
from flusso_core.observe.logging import LoggingObserver, configure_logging
from flusso_core.observe.observer import (
    BatchStats,
    FanOut,
    FlushStats,
    NoopObserver,
    Observer,
    Phase,
)
from flusso_core.observe.progress import ProgressBars, ProgressLines, progress_observer
from flusso_core.observe.stats import Durations, RunSummary, StatsObserver
from flusso_core.observe.status import IndexState, RunStatus

__all__ = [
    "BatchStats",
    "Durations",
    "FanOut",
    "FlushStats",
    "GuardedObserver",
    "IndexState",
    "LoggingObserver",
    "NoopObserver",
    "Observer",
    "Phase",
    "ProgressBars",
    "ProgressLines",
    "RunStatus",
    "RunSummary",
    "StatsObserver",
    "configure_logging",
    "progress_observer",
]
