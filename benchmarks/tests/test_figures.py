"""The statistics that reports are made of."""

from __future__ import annotations

import pytest

from benchmarks.figures import median, pairwise_ratio, percentile


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, percent) for percent in (0, 20, 21, 50, 99, 100)] == [
        *(1.0, 1.0, 2.0, 3.0, 5.0, 5.0)
    ]


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_round_in_which_all_was_slow_does_not_move_the_ratio() -> None:
    ours, theirs = [1.0, 10.0, 1.0], [2.0, 20.0, 2.0]
    assert pairwise_ratio(ours, theirs) == 0.5
    assert median(ours) / median(theirs) == 0.5
    # The slow round hit one of the pair only: it is one vote of three.
    assert pairwise_ratio([1.0, 10.0, 1.0], [2.0, 2.0, 2.0]) == 0.5


def test_a_round_without_its_other_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        pairwise_ratio([1.0, 2.0], [1.0])
