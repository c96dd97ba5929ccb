"""SQL text: quoting, putting together, sizing; no server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import Key, KeyRange
from flusso_source_postgres.ranges import between, boundaries
from flusso_source_postgres.sizing import CHUNK_BYTES, Sizing
from flusso_source_postgres.sql.text import (
    Expression,
    Text,
    concatenated,
    identifier,
    json_text,
    literal,
)


@pytest.mark.parametrize(
    ("name", "quoted"), [("a", '"a"'), ('a"b', '"a""b"'), ("Sé lect", '"Sé lect"')]
)
def test_identifiers_are_quoted(name: str, quoted: str) -> None:
    assert identifier(name) == quoted


@pytest.mark.parametrize(
    ("text", "quoted"), [("it's", "'it''s'"), ("a\\b", "E'a\\\\b'"), ("%s $1", "'%s $1'")]
)
def test_literals_are_quoted(text: str, quoted: str) -> None:
    assert literal(text) == quoted


def test_neighbouring_texts_become_one() -> None:
    pieces: list[Text | Expression] = [Text("{"), Text('"a":'), Expression("x"), Text("}")]
    assert concatenated(pieces) == "'{\"a\":'::text || x || '}'::text"


@given(st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=300))
def test_concatenation_keeps_order_and_stays_shallow(names: list[str]) -> None:
    """A chain as deep as a document is wide would meet the server's max_stack_depth."""
    text = concatenated([Expression(name) for name in names])
    assert [one for one in text if one in "xy"] == names
    depth = deepest = 0
    for one in text:
        depth += (one == "(") - (one == ")")
        deepest = max(deepest, depth)
    assert deepest <= 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("é\n", '"é\\n"'),
        (float("nan"), '"NaN"'),
        (float("-inf"), '"-Infinity"'),
        ({"a": [1, 2.5]}, '{"a":[1,2.5]}'),
    ],
)
def test_constants_are_compact_json(value: object, text: str) -> None:
    assert json_text(value) == text  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_sizing_starts_small_and_follows_the_documents() -> None:
    sizing = Sizing()
    assert sizing.documents(1000) == 250
    sizing.note(250, 250 * 1000)
    for _ in range(10):
        sizing.note(250, 250 * 1000)
    assert sizing.documents(1000) == 1000
    sizing.note(1, CHUNK_BYTES)
    assert sizing.documents(1000) == 1
    sizing.note(0, 0)
    assert sizing.documents(0) == 0


@given(st.integers(0, 200), st.integers(2, 20))
def test_ranges_cover_all_keys_without_overlap(size: int, count: int) -> None:
    sample: list[Key] = [(str(number),) for number in range(size)]
    spans = between(boundaries(sample, count))
    assert 1 <= len(spans) <= count
    assert spans[0].lower is None
    assert spans[-1].upper is None
    assert [one.upper for one in spans[:-1]] == [one.lower for one in spans[1:]]
    assert len(set(spans)) == len(spans)
    assert (spans == [KeyRange()]) == (size == 0)
