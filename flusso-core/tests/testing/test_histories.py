"""Every history converges, a bounded number of them, or for as long as told."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .histories import play

STEPS = (10, 40, 120, 400)


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a smaller seed is no smaller history
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    runs=st.integers(0, 5),
    steps=st.sampled_from(STEPS[:3]),
)
def test_every_history_converges(seed: int, runs: int, steps: int) -> None:
    """C1, C2, C3, C4, C7, C10, C16, D2, D3, D4, D6, H1, H4, H6, H8, R1, R2, R3."""
    play(seed, runs=runs, steps=steps)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_histories_converge_for_as_long_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, for `SOAK_SECONDS` (300), from the seed `SOAK_SEED` (0) on.

    It prints what happened; where one fails, the seed to play it again with.
    """
    seconds = float(os.environ.get("SOAK_SECONDS", "300"))
    first = int(os.environ.get("SOAK_SEED", "0"))
    total: Counter[str] = Counter()
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        try:
            total += play(number, runs=number % 7, steps=STEPS[number % len(STEPS)])
        except BaseException as error:
            error.add_note(f"play it again: SOAK_SEED={number} SOAK_SECONDS=1 make soak")
            raise
        total["histories"] += 1
        number += 1
    with capsys.disabled():
        figures = ", ".join(f"{count} {what}" for what, count in sorted(total.items()))
        print(f"\nsoak: {figures} (seeds {first} to {number - 1})")  # noqa: T201
