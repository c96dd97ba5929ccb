"""Until when everything is final: the state machine, without a database."""

from __future__ import annotations

import math

from flusso_source_polling.horizon import Horizon
from flusso_source_polling.witness import Moment


def moment(clock: float, running: str = "", prepared: str = "") -> Moment:
    return Moment(clock, frozenset(running.split()), frozenset(prepared.split()))


def test_nothing_is_final_at_first() -> None:
    horizon = Horizon()
    horizon.look(moment(1))
    assert horizon.settled == -math.inf
    horizon.look(moment(2))
    assert horizon.settled == 1


def test_a_long_transaction_holds_what_came_after_it() -> None:
    """However many others come and go."""
    horizon = Horizon()
    horizon.look(moment(1))
    for clock in range(2, 200):
        horizon.look(moment(clock, f"long {clock}"))
        assert horizon.settled == 1
    horizon.look(moment(200, "other"))
    assert horizon.settled == 199
    horizon.look(moment(201))
    assert horizon.settled == 200


def test_busy_writers_hold_nothing() -> None:
    """There is never a moment without a transaction, but each one ends."""
    horizon = Horizon()
    for clock in range(1, 20):
        horizon.look(moment(clock, f"{clock} {clock + 1}"))
        if clock > 2:
            assert horizon.settled == clock - 2


def test_a_transaction_that_is_prepared_is_still_open() -> None:
    """It gives its virtual id up, and has a transaction id from then on."""
    horizon = Horizon()
    horizon.look(moment(1, "mine"))
    horizon.look(moment(2, "", "17"))
    horizon.look(moment(3, "", "17 18"))
    assert horizon.settled == -math.inf
    horizon.look(moment(4, "", "18"))
    assert horizon.settled == 1


def test_what_is_prepared_already_is_waited_for() -> None:
    horizon = Horizon()
    horizon.look(moment(1, "", "17"))
    horizon.look(moment(2, "", "17"))
    assert horizon.settled == -math.inf
    horizon.look(moment(3))
    assert horizon.settled == 2


def test_a_clock_that_goes_back_is_told_until_a_poll_came_through() -> None:
    horizon = Horizon()
    horizon.look(moment(100))
    horizon.look(moment(101))
    seen: list[tuple[bool, float]] = []
    for clock in (50, 51):
        horizon.look(moment(clock))
        seen.append((horizon.back, horizon.settled))
    horizon.polled()
    horizon.look(moment(52))
    seen.append((horizon.back, horizon.settled))
    assert seen == [(True, -math.inf), (True, 50), (False, 51)]
