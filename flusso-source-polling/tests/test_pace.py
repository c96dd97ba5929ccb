"""How fast polls go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, text

from flusso_core.errors import SourceUnavailable
from flusso_source_polling.pace import Interval, Throttle


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as found:
        yield found
    engine.dispose()


def test_the_wait_grows_while_there_is_nothing_and_ends_with_the_first_change() -> None:
    interval = Interval(1, 5)
    waits = [interval.after(found=False, took=0.1) for _ in range(4)]
    assert waits == [2, 4, 5, 5]
    assert interval.after(found=True, took=0.1) == 1
    assert interval.after(found=False, took=0.1) == 2


def test_a_poll_that_takes_long_is_followed_by_as_long_a_wait() -> None:
    """Polls take half of the time at most."""
    assert Interval(1, 5).after(found=True, took=3) == 3
    assert Interval(10, 5).after(found=False, took=0) == 10


def test_statements_are_held_back(connection: Connection) -> None:
    throttle = Throttle(50)
    throttle.watch(connection)
    began = time.monotonic()
    for _ in range(6):
        connection.execute(text("SELECT 1"))
    assert time.monotonic() - began >= 5 / 50
    assert throttle.statements == 6
    throttle.unwatch(connection)
    connection.execute(text("SELECT 1"))
    assert throttle.statements == 6


def test_a_poll_is_given_up_while_it_waits(connection: Connection) -> None:
    """A run that ends does not wait for a slow poll; the next one is not given up."""
    throttle = Throttle(1 / 3600)
    throttle.watch(connection)
    connection.execute(text("SELECT 1"))
    giving_up = threading.Timer(0.05, throttle.give_up)
    giving_up.start()
    with pytest.raises(SourceUnavailable, match="given up"):
        connection.execute(text("SELECT 1"))
    giving_up.join()
    other = Throttle(None)
    other.give_up()
    other.begin()
    other.watch(connection)
    throttle.unwatch(connection)
    connection.execute(text("SELECT 1"))
