"""Every problem of a schema file is told, at its place, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from flusso_core.errors import ConfigError
from flusso_core.schema import load_schema, parse_schema

TOP = "version: 1\ntable: t\n"
FIELDS = "fields:\n- keyword: a\n"
START = TOP + "fields:\n"

CASES: dict[str, tuple[str, list[str]]] = {
    "empty file": ("# nothing\n", ["1:1: the file is empty"]),
    "not a mapping": ("- a\n", ["1:1: expected a table of keys and values"]),
    "tab": (
        "version: 1\nfields:\n\t- a\n",
        ["3:1: a tab cannot indent; use spaces"],
    ),
    "broken flow": (
        "version: {1\n",
        [
            (
                "2:1: not valid YAML: expected ',' or '}', but got '<stream end>' while parsing "
                "a flow mapping"
            )
        ],
    ),
    "two documents": (
        "a: 1\n---\nb: 1\n",
        [
            (
                "2:1: not valid YAML: but found another document expected a single document in "
                "the stream"
            )
        ],
    ),
    "duplicate key": (
        TOP + FIELDS + "table: u\n",
        ["5:1: table: the key comes twice, first in line 2"],
    ),
    "merge key": (
        TOP + FIELDS + "<<: {schema: x}\n",
        ["5:1: merge keys are not supported"],
    ),
    "tag": (
        TOP + FIELDS + "schema: !!binary aGk=\n",
        ["5:9: schema: YAML tags are not supported"],
    ),
    "wrong version": ("version: 2\ntable: t\n" + FIELDS, ["1:1: version: expected 1"]),
    "missing keys, all of them": (
        "schema: s\n",
        [
            "1:1: version: required, but missing",
            "1:1: table: required, but missing",
            "1:1: fields: required, but missing",
        ],
    ),
    "misspelt key": (
        TOP + FIELDS + "primarykey: id\n",
        ["5:1: primarykey: unknown key; did you mean primary_key?"],
    ),
    "doc_id": (
        TOP + FIELDS + "doc_id: id\n",
        ["5:1: doc_id: not supported: the primary_key is the document's id"],
    ),
    "no fields": (TOP + "fields: []\n", ["3:1: fields: expected at least 1 of them"]),
    "shorthand field": (
        START + "- id\n",
        ["4:3: fields[0]: expected a field, such as `keyword: name`"],
    ),
    "misspelt type": (
        START + "- keywrd: a\n",
        ["4:3: fields[0].keywrd: unknown type of field; did you mean keyword?"],
    ),
    "no type": (
        START + "- column: a\n",
        ["4:3: fields[0]: a field needs a type key, as in `keyword: name`"],
    ),
    "two types": (
        START + "- keyword: a\n  text: b\n",
        ["4:3: fields[0]: a field has one type key, but keyword and text are here"],
    ),
    "bad document key": (
        START + "- keyword: a-b\n",
        [
            (
                "4:3: fields[0].keyword: a document key has letters, digits and _, and begins "
                "with no digit"
            )
        ],
    ),
    "document key twice": (
        START + "- keyword: a\n- text: a\n",
        ["5:3: fields[1]: the document key a comes twice"],
    ),
    "bad column": (
        START + "- keyword: a\n  column: a b\n",
        [
            (
                "5:3: fields[0].column: a name has letters, digits and _, and begins with no "
                "digit; write any other in double quotes: '\"the name\"'"
            )
        ],
    ),
    "required is no boolean": (
        START + "- keyword: a\n  required: no\n",
        ["5:3: fields[0].required: expected true or false"],
    ),
    "sibling of another type": (
        START + "- keyword: a\n  limit: 3\n",
        ["5:3: fields[0].limit: keyword takes no limit"],
    ),
    "default is no scalar": (
        START + "- keyword: a\n  default: [x]\n",
        ["5:3: fields[0].default: expected a string, a number, true or false"],
    ),
    "unknown transform": (
        START + "- keyword: a\n  transforms: [trimm]\n",
        ["5:16: fields[0].transforms[0]: expected lowercase or trim; did you mean trim?"],
    ),
    "key of another verb": (
        START + "- belongs_to: a\n  table: b\n  foreign_key: c\n  fields: [keyword: d]\n",
        [
            (
                "6:3: fields[0].foreign_key: belongs_to takes no foreign_key; it finds its rows "
                "by column"
            )
        ],
    ),
    "no key": (
        START + "- has_many: a\n  table: b\n  fields: [keyword: d]\n",
        ["4:3: fields[0].foreign_key: required, but missing"],
    ),
    "limit of a to-one join, required of a to-many": (
        START
        + "- has_one: a\n  table: b\n  foreign_key: c\n  limit: 1\n  fields: [keyword: d]\n"
        + "- has_many: e\n  table: b\n  foreign_key: c\n  required: true\n  fields: [keyword: d]\n",
        [
            "7:3: fields[0].limit: has_one takes no limit",
            "12:3: fields[1].required: has_many takes no required",
        ],
    ),
    "order of a belongs_to": (
        START + "- belongs_to: a\n  table: b\n  order_by: []\n  fields: [keyword: d]\n",
        ["6:3: fields[0].order_by: belongs_to takes no order_by"],
    ),
    "limit of nothing": (
        START + "- has_many: a\n  table: b\n  foreign_key: c\n  limit: 0\n  fields: [keyword: d]\n",
        ["7:3: fields[0].limit: expected a number of at least 1"],
    ),
    "deep inside": (
        START
        + "- has_many: a\n  table: b\n  foreign_key: c\n  fields:\n"
        + "  - belongs_to: d\n    table: e\n    fields:\n    - lnog: f\n",
        [("11:7: fields[0].fields[0].fields[0].lnog: unknown type of field; did you mean long?")],
    ),
    "aggregate with two keys": (
        START
        + "- count: a\n  table: b\n  foreign_key: c\n"
        + "  through: {table: d, left_key: e, right_key: f}\n",
        ["4:3: fields[0]: count takes either foreign_key or through"],
    ),
    "aggregate without its type": (
        START + "- sum: a\n  table: b\n  foreign_key: c\n  column: d\n",
        ["4:3: fields[0].value_type: required, but missing"],
    ),
    "count of a column": (
        START + "- count: a\n  table: b\n  foreign_key: c\n  column: d\n",
        ["7:3: fields[0].column: count takes no column"],
    ),
    "half a point": (
        START + "- geo: a\n  lat: b\n",
        ["4:3: fields[0]: geo takes lat and lon, or one column"],
    ),
    "relation from a composite key": (
        TOP + "primary_key: [a, b]\nfields:\n- count: c\n  table: d\n  foreign_key: e\n",
        ["5:3: fields[0]: count needs a root table whose primary_key is a single column"],
    ),
    "filters": (
        TOP
        + FIELDS
        + "filters:\n"
        + "- {column: a, op: equals, value: 1}\n"
        + "- {raw: x, op: eq}\n"
        + "- {column: a, op: eq}\n"
        + "- {column: a, op: is_null, value: 1}\n"
        + "- {column: a, op: in, value: x}\n"
        + "- {column: a, op: between, value: [1, 2, 3]}\n"
        + "- {column: a, op: eq, value: null}\n"
        + "- {op: eq, value: 1}\n",
        [
            (
                "6:15: filters[0].op: expected is_null, is_not_null, eq, neq, lt, lte, gt, gte, "
                "like, ilike, in, not_in or between"
            ),
            "7:3: filters[1]: raw stands alone in a filter",
            "8:3: filters[2].value: required, but missing",
            "9:28: filters[3].value: is_null takes no value",
            "10:23: filters[4].value: in takes a list of one value or more",
            "11:28: filters[5].value: between takes a list of exactly two values",
            "12:23: filters[6].value: eq takes one value, not null and no list",
            "13:3: filters[7].column: required, but missing",
        ],
    ),
    "soft delete by nothing": (
        TOP + FIELDS + "soft_delete: {}\n",
        ["5:1: soft_delete: expected either column or field"],
    ),
    "soft delete by an unknown field": (
        TOP + FIELDS + "soft_delete: {field: aa}\n",
        ["5:15: soft_delete.field: unknown field with a column of its own; did you mean a?"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_a_wrong_schema_is_told_in_full(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schema(text, "x", "x.yml")
    assert str(caught.value).splitlines() == [f"x.yml:{line}" for line in expected]


def test_a_file_that_is_missing_a_folder_or_not_utf8_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_bytes(b"version: 1\ntable: \xff\n")
    for path, message in (
        (tmp_path / "none.yml", f"{tmp_path}/none.yml: no such file"),
        (tmp_path, f"{tmp_path}: Is a directory"),
        (bad, f"{bad}:2:8: not UTF-8 text"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_schema(path, "x")
        assert str(caught.value) == message


def test_a_file_of_any_length_or_depth_ends() -> None:
    """Aliases of aliases grow exponentially; brackets nest for ever."""
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20)
    )
    for text, words in (
        (laughs, "too many values"),
        ("a: " + "[" * 5000, "maximum depth"),
        ("a: &a [*a]", "too many levels"),
        ("#" * 2_000_000, "too long"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_schema(text, "x", "x.yml")


def test_an_alias_within_bounds_is_what_it_stands_for() -> None:
    text = (
        "version: 1\ntable: t\nprimary_key: id\nfields:\n"
        "- belongs_to: a\n  table: users\n  fields: &user [keyword: email]\n"
        "- belongs_to: b\n  table: users\n  fields: *user\n"
    )
    first, second = parse_schema(text, "x", "x.yml").fields
    assert getattr(first, "fields", 1) == getattr(second, "fields", 2)
