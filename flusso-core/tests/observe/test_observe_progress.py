from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from flusso_core.model import DocumentId
from flusso_core.observe.observer import FlushStats, Phase
from flusso_core.observe.progress import ProgressBars, ProgressLines, progress_observer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(*, interactive: bool = True) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=interactive, width=120, _environ={}), file


@pytest.mark.parametrize(
    ("interactive", "environ", "bars", "drawn"),
    [
        (True, {}, True, True),
        (True, {"CI": "false"}, True, True),
        (True, {"CI": "true"}, True, False),
        (True, {}, False, False),
        (False, {}, True, False),
    ],
)
def test_bars_are_drawn_only_where_someone_watches(
    interactive: bool, environ: dict[str, str], bars: bool, drawn: bool
) -> None:
    console, _ = terminal(interactive=interactive)
    observer = progress_observer(console, environ=environ, bars=bars)
    assert isinstance(observer, ProgressBars if drawn else ProgressLines)


def test_a_line_every_few_seconds_says_share_rate_and_time_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    lines = ProgressLines(interval=5, clock=clock)
    with caplog.at_level(logging.INFO):
        lines.seeding("search", "users", 0, 20_000)
        for second in range(1, 12):
            clock.now = 100.0 + second
            lines.seeding("search", "users", second * 1000, 20_000)
    assert [record.getMessage() for record in caplog.records] == [
        "search: filling index users, about 20,000 rows",
        "search: filling index users: 25% (5,000 of about 20,000 rows), 1,000 rows/s, 15 s left",
        "search: filling index users: 50% (10,000 of about 20,000 rows), 1,000 rows/s, 10 s left",
    ]


def test_lines_of_several_indexes_do_not_silence_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    lines = ProgressLines(interval=5, clock=clock)
    with caplog.at_level(logging.INFO):
        for second in (0, 6):
            clock.now = 100.0 + second
            lines.seeding("search", "users", second, None)
            lines.seeding("search", "orders", second, None)
    assert len(caplog.records) == 4


def test_an_estimate_that_was_too_low_never_shows_more_than_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    lines = ProgressLines(interval=5, clock=clock)
    with caplog.at_level(logging.INFO):
        lines.seeding("search", "users", 0, 100)
        clock.now += 4000
        lines.seeding("search", "users", 400_000, 100)
    assert "99% (400,000 of about 100 rows), 100 rows/s" in caplog.messages[-1]
    assert "left" not in caplog.messages[-1]


@pytest.mark.parametrize(
    ("rows", "estimate", "left"),
    [(1, 6001, "1 h 40 min left"), (50, 6000, "1 min 59 s left"), (100, 300, "2 s left")],
)
def test_time_left_is_in_words(
    caplog: pytest.LogCaptureFixture, rows: int, estimate: int, left: str
) -> None:
    clock = Clock()
    lines = ProgressLines(interval=1, clock=clock)
    with caplog.at_level(logging.INFO):
        lines.seeding("search", "users", 0, estimate)
        clock.now += 1
        lines.seeding("search", "users", rows, estimate)
    assert caplog.messages[-1].endswith(left)


def test_bars_show_rows_share_and_documents_a_second_and_go_away() -> None:
    console, file = terminal()
    bars = ProgressBars(console)
    bars.phase(Phase.BACKFILLING)
    bars.seeding("search", "users", 500, 1000)
    stats = FlushStats("search", "users", 1, 0, 10, 0.1, 0.1, seed=True)
    bars.flushed(stats, [DocumentId("users", 1, ("1",))])
    bars.seeded("search", "users", 1000, 2.0)
    bars.phase(Phase.LIVE)
    drawn = file.getvalue()
    assert "search users" in drawn
    assert "1000/1000" in drawn
    assert "100%" in drawn
    assert "500 rows/s" in drawn


def test_bars_without_an_estimate_are_drawn_too() -> None:
    console, file = terminal()
    bars = ProgressBars(console)
    bars.seeding("search", "users", 500, None)
    bars.seeding("search", "users", 700, 600)
    bars.phase(Phase.STOPPED)
    assert "700/700" in file.getvalue()
