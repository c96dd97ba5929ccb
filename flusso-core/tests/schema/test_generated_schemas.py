"""Any valid schema survives: written in whatever way, locked, and read again."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flusso_core.config import load_deployment
from flusso_core.config.lock import OptionsModels, load_lock, write_lock
from flusso_core.files import ParsedFile
from flusso_core.model import JsonValue
from flusso_core.schema import (
    complete_keys,
    lower_schema,
    parse_schema,
    project_mapping,
    referenced_columns,
    routing_columns,
)
from flusso_core.schema.fields import MODELS
from flusso_core.schema.json_schema import index_json_schema

Table = dict[str, JsonValue]


def table(
    required: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> st.SearchStrategy[Table]:
    """A table with these keys, and any of the optional ones."""
    return st.fixed_dictionaries(dict(required), optional=dict(optional or {}))


def brief(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same, with a short `repr`: Hypothesis prints strategies in full, each in each other."""

    @st.composite
    def value(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return value()


CONFIG = '[source]\ntype = "p"\n[[index]]\nname = "x"\nschema = "x.schema.yml"\n'
VALIDATOR: Any = Draft202012Validator(index_json_schema())

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
PLAIN = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
CHARACTERS = st.characters(codec="utf-8", exclude_characters='\0"', exclude_categories=["Cs"])
QUOTED = st.text(CHARACTERS, min_size=1, max_size=10).map(lambda name: f'"{name}"')
NAMES = brief(PLAIN | QUOTED)
TABLES = brief(NAMES | st.tuples(NAMES, NAMES).map(".".join))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
INTEGERS = st.integers(-(2**15), 2**15 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = brief(TEXTS | INTEGERS | FLOATS | st.booleans())
OPTIONS = brief(st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=2), max_size=2))
VALUE_TYPES = st.sampled_from(["text", "keyword", "long", "decimal", "date", "timestamp"])

DEFAULTS: Mapping[str, st.SearchStrategy[JsonValue]] = {
    "boolean": st.booleans(),
    **dict.fromkeys(("short", "integer", "long"), INTEGERS),
    **dict.fromkeys(("float", "double", "decimal"), INTEGERS | FLOATS),
    **dict.fromkeys(("date", "timestamp"), st.datetimes().map(lambda at: at.isoformat())),
    "binary": st.just("aGk="),
}
COLUMN_TYPES = [
    *("text", "identifier", "keyword", "enum", "uuid", "boolean", "short", "integer", "long"),
    *("float", "double", "decimal", "date", "timestamp", "binary", "json"),
]

FILTERS = brief(
    st.lists(
        st.one_of(
            table({"raw": st.just("a > 0")}),
            table({"column": NAMES, "op": st.sampled_from(["is_null", "is_not_null"])}),
            table(
                {"column": NAMES, "op": st.sampled_from(["eq", "lt", "ilike"]), "value": SCALARS}
            ),
            table(
                {
                    "column": NAMES,
                    "op": st.sampled_from(["in", "not_in"]),
                    "value": st.lists(SCALARS, min_size=1, max_size=3),
                }
            ),
            table(
                {
                    "column": NAMES,
                    "op": st.just("between"),
                    "value": st.lists(SCALARS, min_size=2, max_size=2),
                }
            ),
        ),
        max_size=2,
    )
)
ORDERS = brief(
    st.lists(
        table({"column": NAMES}, {"direction": st.sampled_from(["asc", "desc"])}),
        max_size=2,
    )
)
THROUGH = brief(table({"table": TABLES, "left_key": NAMES, "right_key": NAMES}))


def kind(
    name: str, required: Mapping[str, Any] | None = None, optional: Mapping[str, Any] | None = None
) -> st.SearchStrategy[Table]:
    """A field of that type with its siblings."""
    more = {} if name == "constant" else {"options": OPTIONS}
    return table({name: KEYS, **(required or {})}, {**more, **(optional or {})})


def column(name: str) -> st.SearchStrategy[Table]:
    siblings: dict[str, Any] = {
        "column": NAMES,
        "required": st.booleans(),
        "transforms": st.lists(st.sampled_from(["trim", "lowercase"]), max_size=2),
        "default": DEFAULTS.get(name, SCALARS) | st.none(),
    }
    if name == "enum":
        siblings["variants"] = st.lists(TEXTS, unique=True, max_size=3)
    return kind(name, siblings)


BOTH: dict[str, Any] = {"primary_key": NAMES, "filters": FILTERS}
MANY: dict[str, Any] = {**BOTH, "order_by": ORDERS, "limit": st.integers(1, 100)}
POINTED = table({"foreign_key": NAMES}) | table({"through": THROUGH})


def aggregate(name: str, **required: Any) -> st.SearchStrategy[Table]:
    one = kind(name, {"table": TABLES, **required}, BOTH)
    return st.tuples(one, POINTED).map(lambda parts: {**parts[0], **parts[1]})


LEAVES = brief(
    st.one_of(
        *(column(name) for name in COLUMN_TYPES),
        kind("custom", {"postgres": st.just(["inet"]), "opensearch": st.just("ip")}),
        kind("geo", {"lat": NAMES, "lon": NAMES}),
        kind("geo", {"column": NAMES, "required": st.booleans()}),
        kind("map", {"values": VALUE_TYPES}, {"column": NAMES}),
        kind("constant", {"value": SCALARS | st.none()}),
        aggregate("count"),
        aggregate("avg", column=NAMES),
        *(aggregate(name, column=NAMES, value_type=VALUE_TYPES) for name in ("sum", "min", "max")),
        aggregate("ids", element_type=VALUE_TYPES),
    )
)


def key_of(field: Table) -> str:
    return next(str(value) for name, value in field.items() if name in MODELS)


def listed(fields: st.SearchStrategy[Table]) -> st.SearchStrategy[list[Table]]:
    return st.lists(fields, min_size=1, max_size=4, unique_by=key_of)


def nested(inner: st.SearchStrategy[Table]) -> st.SearchStrategy[Table]:
    fields = {"fields": listed(inner)}
    to_one = {**BOTH, "required": st.booleans()}
    return st.one_of(
        kind("object", fields),
        kind("belongs_to", {"table": TABLES, **fields}, {**to_one, "column": NAMES}),
        kind(
            "has_one",
            {"table": TABLES, "foreign_key": NAMES, **fields},
            {**to_one, "order_by": ORDERS},
        ),
        kind("has_many", {"table": TABLES, "foreign_key": NAMES, **fields}, MANY),
        kind("many_to_many", {"table": TABLES, "through": THROUGH, **fields}, MANY),
    )


SCHEMAS = table(
    {
        "version": st.just(1),
        "table": NAMES,
        "fields": listed(st.recursive(LEAVES, nested, max_leaves=8)),
    },
    {
        "schema": NAMES,
        "primary_key": NAMES | NAMES.map(lambda name: [name]),
        "filters": FILTERS,
        "soft_delete": table({"column": NAMES}, {"when": FILTERS}),
    },
)

# Names become lower case or not, which makes some of them equal: rare, and never in a list here.
generated = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@given(SCHEMAS)
@generated
def test_a_valid_schema_survives_load_lock_and_load(data: Table) -> None:
    with TemporaryDirectory() as name:
        folder = FilePath(name)
        (folder / "flusso.toml").write_text(CONFIG)
        (folder / "x.schema.yml").write_text(json.dumps(data))
        loaded = load_deployment(folder / "flusso.toml")
        write_lock(loaded, folder / "flusso.lock", OptionsModels(()))
        locked = load_lock(folder / "flusso.lock")
        (ours,), (theirs,) = loaded.schemas, locked.schemas
        assert (ours.fields, ours.schema_hash) == (theirs.fields, theirs.schema_hash)
        assert project_mapping(ours) == project_mapping(theirs)
        write_lock(locked, folder / "again.lock", OptionsModels(()))
        again, first = (folder / "again.lock", folder / "flusso.lock")
        assert again.read_bytes() == first.read_bytes()


@given(SCHEMAS, st.randoms(use_true_random=False))
@generated
def test_how_a_schema_is_written_moves_nothing(data: Table, chance: random.Random) -> None:
    """Comments, lines, the order of keys and of fields."""
    schema = lower_schema(ParsedFile("x.yml", data), "x")
    text = json.dumps(shuffled(data, chance), indent=1).replace("[\n", "[ # why\n")
    written = parse_schema(text, "x", "x.yml")
    assert written.schema_hash == schema.schema_hash
    assert project_mapping(written).schema_hash == project_mapping(schema).schema_hash


@given(SCHEMAS)
@generated
def test_a_valid_schema_fits_its_json_schema_and_gives_all_that_derives_from_it(
    data: Table,
) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []
    schema = lower_schema(ParsedFile("x.yml", data), "x")
    complete = complete_keys(schema, lambda table: ("id",))
    routing = routing_columns([complete])
    named = referenced_columns([complete])
    assert all(columns <= named[table] | {"id"} for table, columns in routing.items())


def shuffled(value: JsonValue, chance: random.Random, key: str = "") -> JsonValue:
    """The same with its keys, and its fields, in another order."""
    if isinstance(value, Mapping):
        items = list(value.items())
        chance.shuffle(items)
        return {name: shuffled(inner, chance, name) for name, inner in items}
    if isinstance(value, Sequence) and not isinstance(value, str):
        found = [shuffled(inner, chance) for inner in value]
        if key == "fields":
            chance.shuffle(found)
        return found
    return value
