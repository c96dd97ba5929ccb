"""The schema hash moves when, and only when, the documents would."""

from __future__ import annotations

from pathlib import Path

import pytest

from flusso_core.schema import load_schema, parse_schema

FIXTURES = Path(__file__).parent / "fixtures" / "format-v1"

BASE = """
version: 1
table: t
primary_key: id
fields:
  - keyword: a
    options: {x: 1, y: 2}
  - has_many: b
    table: u
    foreign_key: t_id
    fields:
      - long: c
      - constant: d
        value: false
"""


def hash_of(text: str, index: str = "i", origin: str = "o") -> str:
    return parse_schema(text, index, origin).schema_hash


def test_the_hash_of_a_file_stays_what_it_is() -> None:
    """An index is named after it: a new version of flusso must not seed every index again."""
    assert load_schema(FIXTURES / "everything.schema.yml", "x").schema_hash == "07458bd485f2"
    assert load_schema(FIXTURES / "small.schema.yml", "x").schema_hash == "e450a000cf9b"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nversion: 1", "\n# a comment\nversion:   1"),
        ("table: t\nprimary_key: id\n", "primary_key: id\nschema: public\ntable: T\n"),
        ("{x: 1, y: 2}", "{y: 2, x: 1}"),
        ("  - keyword: a\n", "  - keyword: a\n    column: A\n    required: false\n"),
        ("table: u", "table: public.u"),
        ("- keyword: a\n", "- keyword: a\n    required: true\n"),
        (
            "      - long: c\n      - constant: d\n        value: false\n",
            "      - constant: d\n        value: false\n      - long: c\n",
        ),
    ],
)
def test_how_it_is_written_does_not_move_the_hash(old: str, new: str) -> None:
    assert old in BASE
    assert hash_of(BASE.replace(old, new)) == hash_of(BASE)


def test_the_index_and_the_file_do_not_move_the_hash() -> None:
    assert hash_of(BASE, "other", "elsewhere") == hash_of(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("table: t\n", "table: t2\n"),
        ("primary_key: id", "primary_key: [id]\nfilters: [{raw: x}]"),
        ("primary_key: id", "primary_key: id\nsoft_delete: {column: gone}"),
        ("keyword: a\n", "text: a\n"),
        ("keyword: a\n", "keyword: a\n    default: x\n"),
        ("{x: 1, y: 2}", "{x: 1, y: true}"),
        ("value: false", "value: 0"),
        ("value: false", "value: null"),
        ("long: c", "long: c\n        column: e"),
        ("foreign_key: t_id", "foreign_key: t_id\n    limit: 3"),
        ("has_many: b", "has_one: b"),
    ],
)
def test_what_it_means_moves_the_hash(old: str, new: str) -> None:
    assert old in BASE
    assert hash_of(BASE.replace(old, new)) != hash_of(BASE)
