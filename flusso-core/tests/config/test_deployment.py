"""A `flusso.toml` and its schema files make a deployment, or an error that lists everything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from flusso_core.config import (
    Deployment,
    OptionsTable,
    Secret,
    SecretUrl,
    load_deployment,
    validate_options,
)
from flusso_core.errors import ConfigError
from flusso_core.settings import (
    BatchPolicy,
    Bounds,
    FailurePolicy,
    GapPolicy,
    RetryPolicy,
)

FIXTURES = Path(__file__).parents[1] / "schema" / "fixtures" / "format-v1"

SCHEMA = "version: 1\ntable: t\nprimary_key: id\nfields: [long: id]\n"

FULL = """
prefix = "acme_"
on_error = "skip"
on_gap = "stop"
[source]
type = "postgres"
builder = "other"
slot = "s"
[source.connection_url]
host = "db"
password = { env = "PW" }
[sinks.Search]
type = "opensearch"
detach_after = "1h30m"
url = "http://localhost"
[sinks.out]
type = "stdout"
[queue]
type = "durable"
path = "q"
[batch]
max_changes = 5
max_delay_ms = 250
[engine]
max_documents = 1
max_bytes = 2
max_dirty = 3
[retry]
initial = "50ms"
maximum = "2m"
[server]
public_address = "0.0.0.0:80"
private_address = "[::1]:81"
[[index]]
name = "A"
schema = "a.schema.yml"
on_error = "stop"
on_gap = "reseed"
sweep_interval = "7d"
settings = { "mapping.nested_objects.limit" = 20000 }
[[index]]
name = "b"
schema = "a.schema.yml"
enabled = false
"""


def load(folder: Path, text: str) -> Deployment:
    (folder / "flusso.toml").write_text(text)
    (folder / "a.schema.yml").write_text(SCHEMA)
    return load_deployment(folder / "flusso.toml")


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_every_key_arrives(tmp_path: Path) -> None:
    made = load(tmp_path, FULL)
    assert made.prefix == "acme_"
    assert (made.source.type, made.source.builder) == ("postgres", "other")
    assert made.source.options.values == {
        "slot": "s",
        "connection_url": {"host": "db", "password": {"env": "PW"}},
    }
    assert list(made.sinks) == ["search", "out"]
    assert made.sinks["search"].detach_after == 5400
    assert made.sinks["search"].options.values == {"url": "http://localhost"}
    assert (made.queue.type, made.queue.options.values) == ("durable", {"path": "q"})
    assert made.batch == BatchPolicy(5, 0.25)
    assert made.bounds == Bounds(1, 2, 3)
    assert made.retries == RetryPolicy(0.05, 120)
    assert made.server.public_address == "0.0.0.0:80"
    assert made.server.private_address == "[::1]:81"
    assert made.failures.of("a") is FailurePolicy.STOP
    assert made.failures.of("b") is FailurePolicy.SKIP
    assert made.gaps.of("a") is GapPolicy.RESEED
    assert made.gaps.of("b") is GapPolicy.STOP
    first, second = made.indexes
    assert (first.name, first.enabled, first.sweep_interval) == ("a", True, 604800)
    assert first.settings == {"mapping.nested_objects.limit": 20000}
    assert (second.name, second.enabled) == ("b", False)
    assert made.schemas == (first.schema,)
    assert first.schema.index == "a"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    made = load(tmp_path, '[source]\ntype = "p"\n')
    assert (made.prefix, made.batch, made.bounds) == ("", BatchPolicy(), Bounds())
    assert made.retries == RetryPolicy()
    assert made.failures.default is FailurePolicy.STOP
    assert made.gaps.default is GapPolicy.RESEED
    assert made.queue.type == "memory"
    assert made.server.public_address == "127.0.0.1:9464"
    assert made.server.private_address == "127.0.0.1:9465"
    assert made.indexes == ()


@pytest.mark.parametrize("sinks", ["", "[sinks]\n"])
def test_without_a_sink_there_is_one_on_stdout(tmp_path: Path, sinks: str) -> None:
    made = load(tmp_path, f'[source]\ntype = "p"\n{sinks}')
    assert {name: sink.type for name, sink in made.sinks.items()} == {"stdout": "stdout"}


def test_files_of_an_existing_deployment_run_unchanged() -> None:
    made = load_deployment(FIXTURES / "flusso.toml")
    assert [index.name for index in made.indexes] == ["everything", "small"]
    assert made.failures.of("everything") is FailurePolicy.SKIP
    assert made.failures.of("small") is FailurePolicy.STOP


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("version: 1\ntabel: t\nfields: [keyword: a]\n")
    text = """\
prefix = "Acme"
on_eror = "skip"
sorce = 1
[sinks.a-b]
type = "x"
[sinks.c]
typ = "x"
detach_after = "soon"
[[index]]
name = "a"
schema = "none.yml"
[[index]]
nam = "a"
schema = "a.txt"
on_gap = "reseeed"
enabled = "yes"
[[index]]
name = "A"
schema = "bad.yml"
[batch]
max_changes = 0
max_delay_ms = 1.5
[engine]
max_byte = 1
[server]
public_address = "localhost"
[queue]
type = 4
"""
    assert problems(tmp_path, text) == [
        (
            "flusso.toml:1:1: prefix: expected lower-case letters, digits, _, - and ., beginning "
            "with a letter or digit"
        ),
        "flusso.toml:1:1: source: required, but missing",
        "flusso.toml:2:1: on_eror: unknown key; did you mean on_error?",
        "flusso.toml:3:1: sorce: unknown key; did you mean source?",
        "flusso.toml:4:8: sinks.a-b: a name has letters, digits and _, and begins with no digit",
        "flusso.toml:6:8: sinks.c.type: required, but missing",
        (
            'flusso.toml:8:1: sinks.c.detach_after: expected a duration, such as "90s", "1h30m" or '
            '"7d"'
        ),
        "flusso.toml:11:1: index[0].schema: none.yml: no such file",
        "flusso.toml:12:1: index[1].name: required, but missing",
        "flusso.toml:13:1: index[1].nam: unknown key; did you mean name?",
        "flusso.toml:14:1: index[1].schema: expected the path of a .yml or .yaml file",
        "flusso.toml:15:1: index[1].on_gap: expected reseed or stop; did you mean reseed?",
        "flusso.toml:16:1: index[1].enabled: expected true or false, not a string; write true",
        "flusso.toml:18:1: index[2].name: the index a comes twice, first in line 10",
        "flusso.toml:21:1: batch.max_changes: expected a number of at least 1",
        "flusso.toml:22:1: batch.max_delay_ms: expected an integer, not a number with decimals",
        "flusso.toml:24:1: engine.max_byte: unknown key; did you mean max_bytes?",
        "flusso.toml:26:1: server.public_address: expected host:port, such as 127.0.0.1:9464",
        "flusso.toml:28:1: queue.type: expected a string, not an integer",
        "bad.yml:1:1: table: required, but missing",
        "bad.yml:2:1: tabel: unknown key; did you mean table?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source = 1", "flusso.toml:1:1: source: expected a table of keys and values"),
        ("sinks = 1", "flusso.toml:1:1: sinks: expected a table for each sink: [sinks.NAME]"),
        ("sinks = {a = 1}", "flusso.toml:1:10: sinks.a: expected a table of keys and values"),
        ("index = 1", "flusso.toml:1:1: index: expected a table for each index: [[index]]"),
        (
            "index = [1]",
            "flusso.toml:1:10: index[0]: expected a table of keys and values, not an integer",
        ),
        (
            "batch = 1",
            "flusso.toml:1:1: batch: expected a table of keys and values, not an integer",
        ),
        ("on_error = 1", "flusso.toml:1:1: on_error: expected stop or skip"),
    ],
)
def test_a_value_in_place_of_a_table_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in problems(tmp_path, text))


class Parts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    password: Secret | None = None
    database: str


class Options(BaseModel):
    connection_url: SecretUrl | Parts
    batch_size: int = Field(1000, ge=1)
    headers: dict[str, Secret] = {}
    mode: FailurePolicy = FailurePolicy.STOP
    slot: str = Field("s", pattern="^[a-z]+$", max_length=3)


def options_problems(folder: Path, table: str) -> list[str]:
    made = load(folder, f'[source]\ntype = "p"\nbuilder = "b"\n{table}')
    with pytest.raises(ConfigError) as caught:
        validate_options(made.source.options, Options)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            'connection_url = "x"\nbatchsize = 1\nbatch_size = 0\nbulder = "x"\n',
            [
                "flusso.toml:5:1: source.batchsize: unknown key; did you mean batch_size?",
                "flusso.toml:6:1: source.batch_size: expected a number of at least 1",
                "flusso.toml:7:1: source.bulder: unknown key; did you mean builder?",
            ],
        ),
        ("", ["flusso.toml:1:2: source.connection_url: required, but missing"]),
        (
            'connection_url = "x"\nslot = "A"\n',
            ["flusso.toml:5:1: source.slot: expected a string that matches ^[a-z]+$"],
        ),
        (
            'connection_url = "x"\nslot = "abcd"\n',
            ["flusso.toml:5:1: source.slot: expected at most 3 characters"],
        ),
        (
            'connection_url = { hots = "h", database = 3 }\n',
            [
                "flusso.toml:4:20: source.connection_url.hots: unknown key; did you mean host?",
                (
                    "flusso.toml:4:32: source.connection_url.database: expected a string, "
                    "not an integer"
                ),
            ],
        ),
        (
            'connection_url = "x"\nheaders.Auth = 1\nmode = "skp"\n',
            [
                'flusso.toml:5:9: source.headers.Auth: expected a string or { env = "VARIABLE" }',
                "flusso.toml:6:1: source.mode: expected stop or skip; did you mean skip?",
            ],
        ),
    ],
)
def test_options_are_told_with_their_place(tmp_path: Path, table: str, expected: list[str]) -> None:
    assert options_problems(tmp_path, table) == expected


def test_a_table_without_a_file_validates_too() -> None:
    made = validate_options(OptionsTable({"connection_url": {"database": "d"}}), Options)
    assert isinstance(made.connection_url, Parts)


def test_neither_a_deployment_nor_an_error_shows_a_secret(tmp_path: Path) -> None:
    text = '[source]\ntype = "p"\npassword = "hunter2"\nconnection_url = 5\n'
    made = load(tmp_path, text)
    assert "hunter2" not in repr(made)
    with pytest.raises(ConfigError) as caught:
        validate_options(made.source.options, Options)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_schema_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    shutil.copytree(FIXTURES, folder)
    assert len(load_deployment(folder / "flusso.toml").schemas) == 2
