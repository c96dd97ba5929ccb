"""Shows how a download gets on: a bar on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_logger = logging.getLogger(__name__)
_LOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far one download is.

    Attributes:
        name: What is downloaded, for people, such as `OpenSearch 3.8.0`.
        done_bytes: What has arrived.
        total_bytes: What there is to fetch.
    """

    name: str
    done_bytes: int
    total_bytes: int


ProgressCallback = Callable[[DownloadProgress], None]
"""Called now and then while a download runs, from any thread."""


@contextmanager
def progress_reporter(given: ProgressCallback | None) -> Generator[ProgressCallback]:
    """Gives the callback that tells the user about a download.

    Args:
        given: The caller's own, which is then used as it is; None for the usual one: a progress
            bar if standard error is a terminal (and this is not CI), else log lines at level INFO.
    """
    if given is not None:
        yield given
    elif sys.stderr.isatty() and not os.environ.get("CI"):
        with _bar() as report:
            yield report
    else:
        yield _log_lines()


@contextmanager
def _bar() -> Generator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("Downloading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)

        def report(state: DownloadProgress) -> None:
            progress.update(
                task,
                description=state.name,
                completed=state.done_bytes,
                total=state.total_bytes,
            )

        yield report


def _log_lines() -> ProgressCallback:
    due = time.monotonic()

    def report(state: DownloadProgress) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or state.done_bytes == state.total_bytes:
            due = now + _LOG_SECONDS
            _logger.info(
                "downloading %s: %.1f of %.1f MB",
                state.name,
                state.done_bytes / 1e6,
                state.total_bytes / 1e6,
            )

    return report
