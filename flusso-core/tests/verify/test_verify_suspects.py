"""The state machine of suspects, step by step and against a pipeline of random speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import StoredDocument
from flusso_core.verify.suspects import Suspects, Verdict

KEY = ("1",)
OLD, NEW, OTHER = b'{"name":"old"}', b'{"name":"new"}', b'{"name":"other"}'

Look = tuple[bytes | None, bytes | None, int]


def verdicts(*looks: Look, applied: bool = True, most_looks: int = 6) -> list[Verdict | None]:
    """What each look says, given what the source has, what the sink has, and its version."""
    suspects = Suspects([KEY], most_looks=most_looks)
    said: list[Verdict | None] = []
    for expected, stored, version in looks:
        assert suspects.keys == [KEY]
        suspects.look()
        document = StoredDocument("1", stored, version)
        said.append(suspects.saw(KEY, expected, document, applied=applied))
    assert bool(suspects.keys) is (said[-1] is None)
    return said


@pytest.mark.parametrize("looks", [[(NEW, NEW, 5)], [(None, None, 0)]])
def test_what_is_right_when_it_is_looked_at_was_on_its_way(looks: list[Look]) -> None:
    assert verdicts(*looks) == [Verdict.RIGHT]


def test_a_difference_that_lands_after_the_first_look_is_right() -> None:
    assert verdicts((NEW, OLD, 5), (NEW, NEW, 6)) == [None, Verdict.RIGHT]


@pytest.mark.parametrize(
    ("expected", "stored", "version"),
    [(NEW, OLD, 5), (None, OLD, 5), (NEW, None, 0), (NEW, OLD, 0)],
    ids=["stale", "extra", "missing", "without versions"],
)
def test_what_differs_twice_without_a_write_is_drift(
    expected: bytes | None, stored: bytes | None, version: int
) -> None:
    look = (expected, stored, version)
    assert verdicts(look, look) == [None, Verdict.DRIFT]


def test_a_source_that_changes_does_not_hide_that_nothing_is_written() -> None:
    """The version proves it: what was committed before has landed, and did not touch it."""
    assert verdicts((NEW, OLD, 5), (OTHER, OLD, 5)) == [None, Verdict.DRIFT]


def test_what_may_have_gone_and_come_back_is_looked_at_again() -> None:
    """There is no version of what is not there."""
    assert verdicts((NEW, None, 0), (OTHER, None, 0), (OTHER, OTHER, 7)) == [
        None,
        None,
        Verdict.RIGHT,
    ]


def test_a_write_between_two_looks_proves_nothing() -> None:
    """Even one that wrote the same, as a sweep does."""
    assert verdicts((NEW, OLD, 5), (NEW, OLD, 6), (NEW, OLD, 6)) == [None, None, Verdict.DRIFT]


def test_what_is_always_written_anew_is_left_alone_in_the_end() -> None:
    looks = [(NEW, OLD, version) for version in range(1, 4)]
    assert verdicts(*looks, most_looks=3) == [None, None, Verdict.CHANGING]


def test_where_nothing_lands_a_difference_may_be_a_change_that_has_not_been_applied() -> None:
    look = (NEW, OLD, 5)
    assert verdicts(look, look, applied=False) == [None, Verdict.BEHIND]
    assert verdicts(look, (NEW, NEW, 6), applied=False) == [None, Verdict.RIGHT]


@dataclass
class Pipeline:
    """One row, and a sink that gets its commits in order, sooner or later."""

    commits: list[int] = field(default_factory=lambda: [0])
    landed: int = 0
    stored: bytes = b"0"
    version: int = 1

    def commit(self, content: int) -> None:
        """The row changes."""
        self.commits.append(content)

    def land(self, up_to: int) -> None:
        """Commits land: one build, of the newest row."""
        up_to = min(up_to, len(self.commits) - 1)
        if up_to > self.landed:
            self.landed = len(self.commits) - 1
            self.version += 1
            self.stored = str(self.commits[-1]).encode()


@given(st.data())
def test_an_honest_pipeline_is_never_called_drift(data: st.DataObject) -> None:
    """Whatever happens between any two reads, with contents that come again and again."""
    pipeline = Pipeline()
    suspects = Suspects([KEY])

    def meanwhile() -> None:
        for _ in range(data.draw(st.integers(0, 3))):
            if data.draw(st.booleans()):
                pipeline.commit(data.draw(st.integers(0, 1)))
            else:
                pipeline.land(data.draw(st.integers(0, len(pipeline.commits))))

    while suspects.keys:
        suspects.look()
        meanwhile()
        stored = StoredDocument("1", pipeline.stored, pipeline.version)
        meanwhile()
        expected = str(pipeline.commits[-1]).encode()
        verdict = suspects.saw(KEY, expected, stored, applied=True)
        assert verdict is not Verdict.DRIFT
        meanwhile()
        head = len(pipeline.commits) - 1
        meanwhile()
        pipeline.land(head)


@given(st.lists(st.integers(0, 1), max_size=8))
def test_a_document_that_nothing_writes_is_always_found(changes: list[int]) -> None:
    """Once it has been seen to differ: however its row changes meanwhile, unless into that."""
    suspects = Suspects([KEY])
    stored = StoredDocument("1", b"2", 9)
    said: list[Verdict | None] = []
    for content in [*changes, 0, 1]:
        if not suspects.keys:
            break
        suspects.look()
        said.append(suspects.saw(KEY, str(content).encode(), stored, applied=True))
    assert said == [None, Verdict.DRIFT]
