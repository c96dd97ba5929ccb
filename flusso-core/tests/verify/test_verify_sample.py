"""How much is compared."""

from __future__ import annotations

import random

import pytest

from flusso_core.model import KeyRange
from flusso_core.verify.sample import Sample

SPANS = [KeyRange((str(number),), (str(number + 1),)) for number in range(200)]


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        ("5%", Sample(share=0.05)),
        (" 0.5% ", Sample(share=0.005)),
        ("100%", Sample(share=1)),
        ("10000", Sample(documents=10000)),
    ],
)
def test_it_is_a_share_or_a_number(text: str, sample: Sample) -> None:
    assert Sample.parse(text) == sample


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "5 %", "%", "1e3", "five"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a percentage such as 5% nor a number"):
        Sample.parse(text)


@pytest.mark.parametrize(
    ("sample", "estimate", "ranges"),
    [
        (Sample(share=0.05), None, 10),
        (Sample(share=0.0001), None, 1),
        (Sample(share=1), 1000, 200),
        (Sample(documents=1000), 100_000, 2),
        (Sample(documents=1000), 10, 200),
        (Sample(documents=1000), None, 200),
        (Sample(documents=1000), 0, 200),
    ],
)
def test_different_ranges_are_drawn(sample: Sample, estimate: int | None, ranges: int) -> None:
    drawn = sample.draw(SPANS, estimate, random.Random(1))
    assert len(set(drawn)) == len(drawn) == ranges
    assert set(drawn) <= set(SPANS)
