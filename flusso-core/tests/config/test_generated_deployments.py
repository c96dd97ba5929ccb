"""Any valid configuration survives: read, locked, and read again, without a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flusso_core.config import Secret, SecretUrl, load_deployment, validate_options
from flusso_core.config.lock import OptionsModels, load_lock, write_lock
from flusso_core.model import JsonValue

Table = dict[str, JsonValue]


def table(
    required: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> st.SearchStrategy[Table]:
    """A table with these keys, and any of the optional ones."""
    return st.fixed_dictionaries(dict(required), optional=dict(optional or {}))


SCHEMA = "version: 1\ntable: t\nprimary_key: id\nfields: [long: id]\n"
HIDDEN = "hunter2"


class SourceOptions(BaseModel):
    connection_url: SecretUrl
    slot: str = "flusso"


class SinkOptions(BaseModel):
    url: SecretUrl
    password: Secret | None = None
    headers: dict[str, Secret] = {}


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
POLICIES = st.sampled_from(["stop", "skip"])
GAPS = st.sampled_from(["stop", "reseed"])
DURATIONS = st.integers(1, 10**6) | st.sampled_from(["90s", "1h30m", "7d", "250ms"])
POSITIVE = st.integers(1, 10**9)
SECRETS: st.SearchStrategy[JsonValue] = st.just(HIDDEN) | NAMES.map(lambda name: {"env": name})
URLS: st.SearchStrategy[JsonValue] = st.sampled_from(
    ["http://search:9200", f"https://me:{HIDDEN}@search", {"env": "SEARCH_URL"}]
)

INDEXES: st.SearchStrategy[Any] = st.lists(
    table(
        {"name": NAMES, "schema": st.sampled_from(["a.schema.yml", "b.schema.yml"])},
        {
            "enabled": st.booleans(),
            "on_error": POLICIES,
            "on_gap": GAPS,
            "sweep_interval": DURATIONS,
            "settings": st.dictionaries(NAMES, POSITIVE, max_size=2),
        },
    ),
    max_size=3,
    unique_by=lambda index: str(index["name"]).lower(),
)
SINKS: st.SearchStrategy[Any] = st.lists(
    st.tuples(
        NAMES,
        table(
            {"type": st.just("search"), "url": URLS},
            {
                "password": SECRETS,
                "detach_after": DURATIONS,
                "headers": st.dictionaries(NAMES, SECRETS, max_size=2),
            },
        ),
    ),
    max_size=2,
    unique_by=lambda sink: sink[0].lower(),
).map(dict)
DEPLOYMENTS = table(
    {"source": table({"type": NAMES, "connection_url": URLS}, {"builder": NAMES, "slot": NAMES})},
    {
        "prefix": st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,10}", fullmatch=True),
        "on_error": POLICIES,
        "on_gap": GAPS,
        "sinks": SINKS,
        "index": INDEXES,
        "batch": table({}, {"max_changes": POSITIVE}),
        "engine": table({}, {"max_dirty": POSITIVE}),
        "retry": table({}, {"initial": DURATIONS, "maximum": DURATIONS}),
        "queue": table({}, {"type": NAMES}),
    },
)


@given(DEPLOYMENTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_valid_deployment_survives_load_lock_and_load(data: Table) -> None:
    with TemporaryDirectory() as name:
        folder = FilePath(name)
        for schema in ("a.schema.yml", "b.schema.yml"):
            (folder / schema).write_text(SCHEMA)
        text = "".join(f"{key} = {toml(value)}\n" for key, value in data.items())
        (folder / "flusso.toml").write_text(text)
        loaded = load_deployment(folder / "flusso.toml")
        models = OptionsModels((SourceOptions,), dict.fromkeys(loaded.sinks, SinkOptions))
        write_lock(loaded, folder / "flusso.lock", models)
        assert HIDDEN not in (folder / "flusso.lock").read_text()
        locked = load_lock(folder / "flusso.lock")
    for attribute in ("prefix", "failures", "gaps", "batch", "bounds", "retries", "server"):
        assert getattr(locked, attribute) == getattr(loaded, attribute), attribute
    assert (locked.source.type, locked.source.builder) == (
        loaded.source.type,
        loaded.source.builder,
    )
    validate_options(locked.source.options, SourceOptions)
    assert {name: (sink.type, sink.detach_after) for name, sink in locked.sinks.items()} == {
        name: (sink.type, sink.detach_after) for name, sink in loaded.sinks.items()
    }
    for ours, theirs in zip(loaded.indexes, locked.indexes, strict=True):
        assert (ours.name, ours.enabled, ours.sweep_interval, ours.settings) == (
            theirs.name,
            theirs.enabled,
            theirs.sweep_interval,
            theirs.settings,
        )
        assert ours.schema.schema_hash == theirs.schema.schema_hash


def toml(value: JsonValue) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return json.dumps(value)
