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

__all__ = [
    "BatchStats",
    "Durations",
    "FanOut",
    "FlushStats",
    "GuardedObserver",
    "LoggingObserver",
    "NoopObserver",
    "Observer",
    "Phase",
    "ProgressBars",
    "ProgressLines",
    "RunSummary",
    "StatsObserver",
    "configure_logging",
    "progress_observer",
]
