"""The few statistics that reports are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The middle value; of an even number, the mean of both.

    Raises:
        ValueError: there are none.
    """
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many per cent do not exceed (nearest rank).

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values have no percentile")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def pairwise_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of `ours / theirs`, each pair measured one after the other.

    What slows the machine down for a while slows both of a pair, so their ratio says more than
    the ratio of two medians.

    Raises:
        ValueError: there are none, or not as many of both.
    """
    return median([one / other for one, other in zip(ours, theirs, strict=True)])
