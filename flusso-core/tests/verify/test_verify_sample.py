"""How much is compared."""

from __future__ import annotations

import pytest

from flusso_core.verify.sample import Sample


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


IDS = [str(number) for number in range(20_000)]


@pytest.mark.parametrize(
    ("sample", "estimate", "share"),
    [
        (Sample(share=0.05), None, 0.05),
        (Sample(share=0.05), 7, 0.05),
        (Sample(share=1), 1000, 1),
        (Sample(documents=1000), 20_000, 0.05),
        (Sample(documents=1000), 10, 1),
        (Sample(documents=1000), None, 1),
        (Sample(documents=1000), 0, 1),
    ],
)
def test_about_that_share_is_drawn(sample: Sample, estimate: int | None, share: float) -> None:
    draw = sample.draw(estimate)
    taken = sum(draw.takes(identity) for identity in IDS)
    assert taken == pytest.approx(share * len(IDS), rel=0.1 if share < 1 else 0)


def test_a_document_is_drawn_by_its_id_and_the_seed_alone() -> None:
    """Whatever came before it, on any machine; a larger sample has all of a smaller one."""
    draw = Sample(share=0.3, seed=7).draw(None)
    taken = [identity for identity in IDS if draw.takes(identity)]
    assert [one for one in reversed(IDS) if draw.takes(one)] == taken[::-1]
    assert taken[:6] == ["2", "4", "5", "10", "11", "15"]
    larger = Sample(share=0.4, seed=7).draw(None)
    assert all(larger.takes(identity) for identity in taken)
    other = Sample(share=0.3, seed=8).draw(None)
    assert not all(other.takes(identity) for identity in taken)
