"""Two documents side by side."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.verify.comparison import differing_paths, same

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expected", "stored"),
    [
        (b'{"id":9223372036854775807}', b'{"id":9223372036854775806}'),
        (b'{"id":9007199254740993}', b'{"id":9007199254740992}'),
        (b'{"price":0.10}', b'{"price":0.1}'),
        (b'{"price":12345678901234567890.123456789}', b'{"price":12345678901234567890.123456788}'),
        (b'{"id":1}', b'{"id":"1"}'),
        (b'{"id":null}', b"{}"),
        (b'{"tags":["a","b"]}', b'{"tags":["b","a"]}'),
        (b"{}", None),
        (None, b"{}"),
    ],
)
def test_every_digit_counts(expected: bytes | None, stored: bytes | None) -> None:
    """V4: 64-bit integers, decimals, the kind of a value, the order of an array."""
    assert not same(expected, stored)
    assert same(expected, expected)
    assert same(stored, stored)


def test_how_an_object_is_laid_out_does_not_count() -> None:
    assert same(b'{"a":1,"b":[1.0,"\\u00fc"]}', '{ "b": [1.0, "ü"],\n "a": 1 }'.encode())
    assert same(None, None)


def test_paths_lead_to_the_values_that_differ() -> None:
    expected = b'{"a":1,"orders":[{"total":1.10},{"total":2}],"gone":1,"o":{"x":[]}}'
    stored = b'{"a":1,"orders":[{"total":1.1},{"total":2},{}],"new":1,"o":{"x":{}}}'
    paths = ["orders[0].total", "orders[2]", "gone", "o.x", "new"]
    assert differing_paths(expected, stored, 10) == paths
    assert differing_paths(expected, stored, 2) == paths[:2]
    assert differing_paths(b"{}", b"[]", 2) == ["$"]


@given(JSON, JSON)
def test_there_are_paths_exactly_where_two_documents_differ(one: object, other: object) -> None:
    first, second = json.dumps(one).encode(), json.dumps(other).encode()
    assert bool(differing_paths(first, second, 5)) is not same(first, second)
    assert not differing_paths(first, first, 5)
