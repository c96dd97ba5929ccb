from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from flusso_core.errors import SinkUnavailable
from flusso_core.model import Document, DocumentId, Position, Rejection
from flusso_core.observe.guarded import GuardedObserver
from flusso_core.observe.logging import LoggingObserver, configure_logging
from flusso_core.observe.observer import NoopObserver, Phase


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(verbosity: int, *, interactive: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=interactive, width=120, _environ={})
    # basicConfig closes the handlers that it replaces; those of pytest are not ours to close.
    logging.getLogger().handlers[:] = []
    configure_logging(console, verbosity)
    for name in ("flusso_sink_fancy", "opensearch"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s of %s", logging.getLevelName(level), name)
    return file.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "ours", "others"),
    [
        (-2, "ERROR", "ERROR"),
        (-1, "WARNING ERROR", "WARNING ERROR"),
        (0, "INFO WARNING ERROR", "WARNING ERROR"),
        (1, "DEBUG INFO WARNING ERROR", "WARNING ERROR"),
        (2, "DEBUG INFO WARNING ERROR", "INFO WARNING ERROR"),
    ],
)
def test_verbosity_decides_how_much_is_logged(verbosity: int, ours: str, others: str) -> None:
    text = written(verbosity)
    assert re.findall(r"(\w+) of flusso_sink_fancy", text) == ours.split()
    assert re.findall(r"(\w+) of opensearch", text) == others.split()


def test_off_a_terminal_a_record_is_one_plain_line_with_time_and_logger() -> None:
    line = written(-2).splitlines()[0]
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR flusso_sink_fancy: ERROR of .*"
    assert re.fullmatch(pattern, line)


def test_on_a_terminal_records_are_coloured() -> None:
    assert "\x1b[" in written(0, interactive=True)


def test_the_engines_events_become_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    observer = LoggingObserver()
    document = Document(DocumentId("users", 1, ("7",)), b'{"name": "Ada"}', 1)
    with caplog.at_level(logging.INFO):
        observer.phase(Phase.LIVE)
        observer.seeded("search", "users", 20_000, 4.0)
        observer.rejected("search", Rejection(document, "mapper_parsing_exception"))
        observer.retrying("search", SinkUnavailable("connection refused"), 0.5)
        observer.recovered("search")
    assert caplog.messages == [
        "live",
        "search: index users is filled: 20,000 rows in 4.0 s (5,000 rows/s)",
        "search: index users refused document 7: mapper_parsing_exception",
        "search failed: connection refused; trying again in 0.5 s",
        "search works again",
    ]


def test_what_fails_alike_again_and_again_is_told_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    observer = LoggingObserver(lambda: now)
    full, away = SinkUnavailable("the disk is full"), SinkUnavailable("nobody answers")
    with caplog.at_level(logging.WARNING):
        for second in range(25):
            now = float(second)
            observer.retrying("search: writing", full, 0.5)
        assert len(caplog.messages) == 3
        observer.retrying("search: storing its state", full, 0.5)
        observer.retrying("search: writing", away, 0.5)
        assert len(caplog.messages) == 5
        observer.recovered("search: writing")
        observer.retrying("search: writing", away, 0.5)
    assert len(caplog.messages) == 6


def test_an_observer_that_raises_is_dropped_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(NoopObserver):
        calls = 0

        def captured(self, changes: int, position: Position | None) -> None:
            self.calls += 1
            raise RuntimeError("kaputt")

    broken = Broken()
    guarded = GuardedObserver(broken, "mine")
    guarded.phase(Phase.LIVE)
    guarded.captured(1, None)
    guarded.captured(1, None)
    assert broken.calls == 1
    assert "the observer mine failed" in caplog.text
