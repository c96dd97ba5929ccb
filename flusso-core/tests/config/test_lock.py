"""A lock file holds a whole deployment, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from flusso_core.config import (
    Deployment,
    Secret,
    SecretUrl,
    load_deployment,
    validate_options,
)
from flusso_core.config.lock import OptionsModels, compile_lock, load_lock, write_lock
from flusso_core.errors import ConfigError

TEXT = """
prefix = "acme_"
on_error = "skip"
[source]
type = "postgres"
builder = "b"
slot = "s"
dsn = "postgres://me:hunter2@db/x"
[source.connection_url]
host = "db"
user = { env = "DB_USER" }
password = "hunter2"
[sinks.search]
type = "opensearch"
detach_after = "2m"
url = "http://search:9200"
other_url = "http://u:hunter2@search:9200"
username = "hunter2"
password = { env = "PW" }
headers = { Authorization = "hunter2", Other = { env = "H" } }
tokens = ["hunter2", { env = "T" }]
unknown = "hunter2"
[queue]
type = "memory"
capacity = 3
[[index]]
name = "a"
schema = "a.schema.yml"
on_error = "stop"
sweep_interval = 60
[[index]]
name = "b"
schema = "a.schema.yml"
enabled = false
"""


class Parts(BaseModel):
    host: str
    user: Secret
    password: Secret | None = None


class SourceOptions(BaseModel):
    slot: str
    dsn: SecretStr | None = None
    connection_url: SecretUrl | Parts


class SinkOptions(BaseModel):
    url: SecretUrl
    other_url: SecretUrl
    username: Secret | None = None
    password: Secret | None = None
    headers: dict[str, Secret] = {}
    tokens: list[Secret] = []


class QueueOptions(BaseModel):
    capacity: int = 1


MODELS = OptionsModels((SourceOptions,), {"search": SinkOptions}, QueueOptions)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    (tmp_path / "flusso.toml").write_text(TEXT)
    (tmp_path / "a.schema.yml").write_text(
        "version: 1\ntable: t # here\nfields: [{keyword: a, default: no}]\n"
    )
    return load_deployment(tmp_path / "flusso.toml")


def test_a_lock_file_gives_the_deployment_back(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "flusso.lock"
    path.parent.mkdir()
    assert write_lock(deployment, path, MODELS)
    found = load_lock(path)
    for name in ("prefix", "batch", "bounds", "server", "failures", "gaps"):
        assert getattr(found, name) == getattr(deployment, name), name
    assert (found.source.type, found.source.builder) == ("postgres", "b")
    assert found.sinks["search"].detach_after == 120
    assert validate_options(found.queue.options, QueueOptions).capacity == 3
    ours, theirs = found.indexes, deployment.indexes
    assert [(i.name, i.enabled, i.sweep_interval) for i in ours] == [
        (i.name, i.enabled, i.sweep_interval) for i in theirs
    ]
    assert [i.schema.fields for i in ours] == [i.schema.fields for i in theirs]
    assert [i.schema.schema_hash for i in ours] == [i.schema.schema_hash for i in theirs]


def test_no_literal_secret_is_in_a_lock_file(deployment: Deployment) -> None:
    text = compile_lock(deployment, MODELS)
    assert "hunter2" not in text
    config = json.loads(text)["config"]
    omitted = {"omitted": True}
    assert config["source"] == {
        "type": "postgres",
        "builder": "b",
        "slot": "s",
        "connection_url": {"host": "db", "user": {"env": "DB_USER"}, "password": omitted},
    }
    assert config["sinks"]["search"] == {
        "type": "opensearch",
        "detach_after": 120,
        "url": "http://search:9200",
        "other_url": omitted,
        "username": omitted,
        "password": {"env": "PW"},
        "headers": {"Authorization": omitted, "Other": {"env": "H"}},
        "tokens": [omitted, {"env": "T"}],
    }


def test_without_a_model_no_option_is_in_a_lock_file(deployment: Deployment) -> None:
    text = compile_lock(deployment, OptionsModels(()))
    assert "hunter2" not in text


def test_what_a_lock_file_left_out_comes_from_the_reserved_variable(
    deployment: Deployment, tmp_path: Path
) -> None:
    write_lock(deployment, tmp_path / "flusso.lock", MODELS)
    found = load_lock(tmp_path / "flusso.lock")
    options = validate_options(found.sinks["search"].options, SinkOptions)
    secret = options.username
    assert secret is not None
    assert secret.resolve(what="x", reserved="R", environ={"R": "me"}) == "me"
    with pytest.raises(ConfigError) as caught:
        secret.resolve(what="sinks.search.username", reserved="R", environ={})
    assert str(caught.value) == (
        "sinks.search.username: the lock file holds no secrets; set R, or write "
        '{ env = "VAR" } in flusso.toml and build the lock file again'
    )


def test_only_a_lock_file_may_leave_a_secret_out(tmp_path: Path) -> None:
    (tmp_path / "flusso.toml").write_text(
        '[source]\ntype = "p"\nslot = "s"\nconnection_url = { omitted = true }\n'
    )
    made = load_deployment(tmp_path / "flusso.toml")
    with pytest.raises(ConfigError):
        validate_options(made.source.options, SourceOptions)


def test_the_same_files_give_the_same_bytes_and_are_written_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "flusso.lock"
    assert write_lock(deployment, path, MODELS)
    data = path.read_bytes()
    assert not write_lock(load_deployment(tmp_path / "flusso.toml"), path, MODELS)
    assert path.read_bytes() == data
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.schema.yml",
        "flusso.lock",
        "flusso.toml",
    ]


def test_a_lock_file_of_a_lock_file_is_the_same(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "flusso.lock"
    write_lock(deployment, path, MODELS)
    assert not write_lock(load_lock(path), path, MODELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a lock file; build it again"),
        ("[]", "not a lock file; build it again"),
        ("{}", "not a lock file; build it again"),
        ("[" * 100_000, "not a lock file; build it again"),
        ('{"flusso_lock": 2}', "of another version of flusso; build it again"),
        (
            '{"flusso_lock": 1, "config": {}, "schemas": {}}',
            "source: required, but missing",
        ),
        (
            '{"flusso_lock": 1, "schemas": {"a": 1}}',
            "config: required, but missing",
        ),
        (
            (
                '{"flusso_lock": 1, "schemas": {}, "config": {"source": {"type": "p"}, '
                '"index": [{"name": "a", "schema": "a.yml"}]}}'
            ),
            "the schema a.yml is missing; build the lock file again",
        ),
        (
            (
                '{"flusso_lock": 1, "schemas": {"a.yml": {"version": 1, "table": "t", '
                '"fields": [{"keyword": "a"}]}}, "hashes": {"a": "0"}, "config": '
                '{"source": {"type": "p"}, "index": [{"name": "a", "schema": "a.yml"}]}}'
            ),
            (
                "the index a was compiled from another schema, or by a version of flusso that "
                "reads it differently; build the lock file again"
            ),
        ),
    ],
)
def test_a_wrong_lock_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "flusso.lock"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_lock(path)
    assert str(caught.value).splitlines()[0] == f"{path}: {message}"


def test_a_missing_lock_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; flusso build writes it"):
        load_lock(tmp_path / "flusso.lock")
