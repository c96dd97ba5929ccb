"""Whatever a file holds: a result, or a `ConfigError`. Never another exception."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flusso_core.config import load_deployment
from flusso_core.config.loading import lower_deployment
from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, Path, parse_toml, parse_yaml
from flusso_core.model import JsonValue
from flusso_core.schema import (
    complete_keys,
    lower_schema,
    parse_schema,
    project_mapping,
    routing_columns,
)
from flusso_core.schema.fields import MODELS

FIXTURES = FilePath(__file__).parents[1] / "schema" / "fixtures" / "format-v1"
EVERYTHING = (FIXTURES / "everything.schema.yml").read_text()
CONFIG = (FIXTURES / "flusso.toml").read_text()

NAMES = sorted({*MODELS, *(key for model in MODELS.values() for key in model.model_fields)})
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
) | st.sampled_from(["id", "a", "eq", "in", "between", "long", '"A b"', "x.y", "desc", "trim"])
KEYS = st.sampled_from(
    [*NAMES, "raw", "op", "left_key", "right_key", "direction", "<<", "when", "name", "type"]
)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
FIELDS: st.SearchStrategy[list[JsonValue]] = st.lists(
    st.dictionaries(KEYS, VALUES, max_size=6), max_size=4
)
TABLES = "a.b = [{c = 1}] # x\nt = {u = 1} # y\n[[d.e]] # z\n'f' = 2\n[[d.e]]\n[d.e.g]\nh = 1"


def damaged(text: str) -> st.SearchStrategy[str]:
    """The text with a piece cut out and another put in."""
    places = st.integers(0, len(text))
    pieces = st.text(max_size=5) | st.sampled_from(
        ["\t", "&a ", "*a", "!!set", "\n- ", ": ", "[[", "}", "'''", '"', "\r", "\x85", "%YAML 1.1"]
    )

    def cut(start: int, length: int, piece: str) -> str:
        return text[:start] + piece + text[start + length :]

    return st.builds(cut, places, st.integers(0, 40), pieces)


@given(st.text() | damaged(EVERYTHING))
@example("? a\n")
@example("\x85")
@example("&a &b c")
@example("%TAG ! x\n--- !<y> z")
@example("a: 0o9\nb: 0x\nc: -._\nd: 1e")
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_schema_or_an_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        schema = parse_schema(text, "x", "x.yml")
        project_mapping(schema)
        routing_columns([complete_keys(schema, lambda table: ("id",))])


@given(FIELDS, VALUES, VALUES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_values_are_a_schema_or_an_error(
    fields: list[JsonValue], one: JsonValue, two: JsonValue
) -> None:
    data: dict[str, JsonValue] = {
        "version": 1,
        "table": "t",
        "fields": fields,
        "filters": one,
        "soft_delete": two,
    }
    file = ParsedFile("x.yml", data)
    with contextlib.suppress(ConfigError):
        lower_schema(file, "x")


@given(st.text() | damaged(CONFIG))
@example("a = 1979-05-27T07:32:00-99:99")
@example("a = 9999-12-31T23:59:60Z")
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    def schema(name: str) -> ParsedFile:
        return parse_yaml(EVERYTHING, name)

    with contextlib.suppress(ConfigError):
        lower_deployment(parse_toml(text, "x.toml"), schema)


@given(st.binary())
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_a_configuration_or_an_error(tmp_path: FilePath, data: bytes) -> None:
    path = tmp_path / "flusso.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):  # nothing random has a [source]
        load_deployment(path)


@given(damaged(CONFIG) | damaged(TABLES))
@settings(max_examples=200, deadline=None)
def test_every_key_of_any_valid_file_has_a_position(text: str) -> None:
    try:
        file = parse_toml(text, "x.toml")
    except ConfigError:
        return
    assert set(paths(file.data)) == set(file.marks)


def paths(value: JsonValue, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))
