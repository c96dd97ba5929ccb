"""How many requests are in flight, decided without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_sink_opensearch.concurrency import Concurrency, Gate

SIZE = 1_000_000
Server = Callable[[int], float]
"""Seconds that a request takes with so many in flight."""


def serves(slots: int, seconds: float = 0.1) -> Server:
    """Works on so many requests at once; the others wait."""
    return lambda flying: seconds * max(1.0, flying / slots)


def drive(control: Concurrency, server: Server, requests: int, at: float = 0.0) -> list[int]:
    """Send requests, always as many at once as allowed; the limits on the way."""
    limits: list[int] = []
    while len(limits) < requests:
        flying = control.limit
        took = server(flying)
        for number in range(flying):
            # They come back one after the other, the last one when its time is over.
            ended = at + took * (number + 1) / flying
            control.landed(SIZE, ended - took, ended, full=True)
            limits.append(control.limit)
        at += took
    return limits


def usual(limits: list[int]) -> int:
    """The limit that held longest, once it had settled."""
    settled = limits[len(limits) // 2 :]
    return max(set(settled), key=settled.count)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("start", [1, 4])
def test_it_finds_how_many_the_server_works_on(slots: int, start: int) -> None:
    control = Concurrency(8, start)
    limits = drive(control, serves(slots), 4000)
    assert usual(limits) == slots
    assert max(abs(limit - slots) for limit in limits[2000:]) <= 1


def test_a_server_that_gets_faster_is_found_out() -> None:
    control = Concurrency(8, 1)
    assert usual(drive(control, serves(2), 2000)) == 2
    assert usual(drive(control, serves(6), 2000, at=1e6)) == 6


def test_a_server_that_queues_all_of_a_sudden_gets_less_without_a_rest() -> None:
    control = Concurrency(8, 5)
    drive(control, serves(5), 20)
    limits = drive(control, serves(1), 100, at=2.0)
    assert limits[-1] < 4


def test_a_refusal_halves_it_once_for_all_that_were_under_way() -> None:
    control = Concurrency(8, 8)
    for _ in range(8):
        control.overloaded(1.0, 2.0)
    assert control.limit == 4
    control.overloaded(2.5, 3.0)
    control.overloaded(3.5, 4.0)
    control.overloaded(4.5, 5.0)
    assert control.limit == 1


def test_it_recovers_after_a_storm_of_refusals() -> None:
    control = Concurrency(8, 4)
    for at in range(10):
        control.overloaded(float(at), at + 0.5)
    assert control.limit == 1
    assert usual(drive(control, serves(4), 1000, at=100.0)) == 4


def test_what_was_sent_while_there_was_room_says_nothing() -> None:
    control = Concurrency(8, 2)
    for at in range(1000):
        control.landed(SIZE, at, at + 0.1, full=False)
    assert control.limit == 2


events = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.floats(0, 1), st.integers(0, 10**8)), max_size=300
)


@given(events, st.integers(1, 10), st.integers(1, 10))
def test_it_never_leaves_its_bounds(
    happened: list[tuple[bool, bool, float, int]], most: int, start: int
) -> None:
    control = Concurrency(most, start)
    at = 0.0
    for refused, full, took, size in happened:
        began, at = at, at + took
        if refused:
            control.overloaded(began, at)
        else:
            control.landed(size, began, at, full=full)
        assert 1 <= control.limit <= most


async def test_the_gate_follows_the_limit() -> None:
    control = Concurrency(4, 2)
    gate = Gate(control)
    inside = 0
    most = 0
    leave = asyncio.Event()

    async def pass_through() -> None:
        nonlocal inside, most
        async with gate:
            inside += 1
            most = max(most, inside)
            await leave.wait()
            inside -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(pass_through())
        cancelled = tasks.create_task(pass_through())
        await asyncio.sleep(0)
        assert (inside, gate.full) == (2, True)
        cancelled.cancel()
        leave.set()
    assert (inside, most, gate.full) == (0, 2, False)
