"""Files as users write them, and what flusso makes of each; README.md says how to add one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from flusso_core.config import (
    QueueConfig,
    Secret,
    SecretUrl,
    SinkConfig,
    SourceConfig,
    validate_options,
)
from flusso_core.config.json_schema import PluginModels, config_json_schema
from flusso_core.config.loading import lower_deployment
from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, parse_toml, parse_yaml
from flusso_core.files.reading import decode
from flusso_core.model import JsonValue, MappedField, TableName
from flusso_core.queue.memory import MemoryQueueOptions
from flusso_core.schema import parse_schema, project_mapping
from flusso_core.schema.json_schema import index_json_schema

HERE = Path(__file__).parent
WIDTH = 100
SMALL = "version: 1\ntable: t\nprimary_key: id\nfields: [long: id]\n"
BLOCK = re.compile(r"^```(\w+)( escaped)?\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)


class Parts(BaseModel):
    """A connection by parts."""

    host: str = "127.0.0.1"
    port: int = Field(5432, ge=1, le=65535)
    password: Secret | None = None
    database: str


class DatabaseOptions(BaseModel):
    """Of the source `database`."""

    connection_url: SecretUrl | Parts
    slot: str = Field("flusso", pattern="^[a-z0-9_]+$", max_length=63)
    workers: int = Field(2, ge=1, le=64)


class SearchOptions(BaseModel):
    """Of the sink `search`."""

    url: SecretUrl
    password: Secret | None = None
    headers: dict[str, Secret] = {}
    tls_verify: bool = True
    batch_size: int = Field(1000, ge=1)
    timeout_secs: float = Field(30, gt=0)


SOURCES: Mapping[str, type[BaseModel]] = {"database": DatabaseOptions}
SINKS: Mapping[str, type[BaseModel]] = {"search": SearchOptions}
QUEUES: Mapping[str, type[BaseModel]] = {"memory": MemoryQueueOptions}


@dataclass(frozen=True)
class Case:
    """A heading, a file, and what is expected of it."""

    page: Path
    title: str
    text: bytes
    expected: str

    @property
    def valid(self) -> bool:
        return self.page.parent.name == "valid"

    @property
    def is_schema(self) -> bool:
        return self.page.parent.parent.name == "schemas"

    @property
    def data(self) -> JsonValue:
        """What the file holds, if it can be read; positions and types play no part."""
        try:
            text = decode(self.text, "x")
            return (parse_yaml if self.is_schema else parse_toml)(text, "x").data
        except ConfigError:
            return None

    @property
    def outcome(self) -> str:
        """What flusso makes of the file now, as the page shows it."""
        try:
            made = self._schema() if self.is_schema else self._deployment()
        except ConfigError as error:
            return f"{error}\n"
        return laid_out(made) + "\n"

    def _schema(self) -> JsonValue:
        text = decode(self.text, "x.schema.yml")
        schema = parse_schema(text, "x", "x.schema.yml")
        mapping = {key: kind for each in project_mapping(schema).fields for key, kind in flat(each)}
        return {"hash": schema.schema_hash, "schema": shown(schema), "mapping": mapping}

    def _deployment(self) -> JsonValue:
        made = lower_deployment(parse_toml(decode(self.text, "flusso.toml"), "flusso.toml"), read)
        found = cast(dict[str, JsonValue], plain(made))
        found["source"] = with_options(made.source, SOURCES)
        found["sinks"] = {name: with_options(sink, SINKS) for name, sink in made.sinks.items()}
        found["queue"] = with_options(made.queue, QUEUES)
        return {key: value for key, value in found.items() if value not in ({}, [], "")}


def read(name: str) -> ParsedFile:
    """A schema file of a configuration."""
    if name.startswith("missing"):
        raise ConfigError(f"{name}: no such file") from FileNotFoundError(name)
    return parse_yaml(SMALL.replace("table", "tabel") if name.startswith("bad") else SMALL, name)


def with_options(
    given: SourceConfig | SinkConfig | QueueConfig, models: Mapping[str, type[BaseModel]]
) -> JsonValue:
    """A table of a backend with its options, checked by the model if there is one."""
    found = cast(dict[str, JsonValue], plain(given))
    model = models.get(given.type)
    options = given.options
    values = validate_options(options, model).model_dump(mode="json") if model else options.values
    return {**found, "options": cast(JsonValue, values)}


def plain(value: Any) -> JsonValue:
    """`shown`, without the names of classes and with the table of an index for its schema."""
    found = shown(value)

    def bare(inner: JsonValue) -> JsonValue:
        if isinstance(inner, Mapping):
            if set(inner) == {"IndexSchema"}:
                schema = cast(Mapping[str, Mapping[str, JsonValue]], inner)
                return schema["IndexSchema"]["table"]
            if len(inner) == 1 and next(iter(inner))[0].isupper():
                return bare(next(iter(inner.values())))
            return {key: bare(each) for key, each in inner.items() if each is not None}
        return [bare(each) for each in inner] if isinstance(inner, list) else inner

    return bare(found)


def flat(field: MappedField) -> Iterator[tuple[str, JsonValue]]:
    """The types of a mapped field and of those in it, by their paths."""
    more = {
        name: shown(value)
        for name in ("options", "variants", "custom", "values")
        if (value := getattr(field, name))
    }
    yield field.json_path, {"type": field.type.value, **more} if more else field.type.value
    for inner in field.fields:
        yield from flat(inner)


_HIDDEN = (
    "index",
    "stored",
    "schema_hash",
    "origin",
    "file",
    "schema_files",
    "general",
    "path",
    "locked",
)


def shown(value: Any) -> JsonValue:
    """A value as plain data, without what has its default."""
    match value:
        case TableName():
            return str(value)
        case Enum():
            return cast(JsonValue, value.value)
        case Mapping():
            table = cast(Mapping[str, Any], value)
            return {key: shown(inner) for key, inner in table.items()}
        case list() | tuple() | frozenset():
            return [shown(inner) for inner in cast(list[Any], value)]
        case _ if is_dataclass(value):
            kept = {
                item.name: shown(getattr(value, item.name))
                for item in fields(value)
                if item.name not in _HIDDEN and getattr(value, item.name) != default_of(item)
            }
            return {type(value).__name__: kept}
        case _:
            return cast(JsonValue, value)


def default_of(item: dataclasses.Field[Any]) -> object:
    return item.default if item.default_factory is MISSING else item.default_factory()


def laid_out(value: JsonValue, indent: int = 0) -> str:
    """JSON with each table and list on one line where it fits."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= WIDTH - 2 or not isinstance(value, (dict, list)):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [
            f"{pad}{json.dumps(key)}: {laid_out(inner, indent + 2)}" for key, inner in value.items()
        ]
    else:
        items = [pad + laid_out(inner, indent + 2) for inner in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n" + ",\n".join(items) + f"\n{' ' * indent}{end}"


def cases() -> list[Case]:
    """Every case of every page."""
    pages = sorted(HERE.glob("*/*/*.md"))
    return [case for page in pages for case in cases_of(page)]


def cases_of(page: Path) -> Iterator[Case]:
    _, *sections = page.read_text(encoding="utf-8").split("\n## ")
    for section in sections:
        title, _, body = section.partition("\n")
        blocks = list(BLOCK.finditer(body))
        assert blocks, f"{page}: {title}: no file"
        text = blocks[0][3].encode()
        if blocks[0][2]:
            text = raw_bytes(blocks[0][3])
        yield Case(page, title, text, blocks[1][3] if len(blocks) > 1 else "")


def raw_bytes(written: str) -> bytes:
    r"""Python's escapes as bytes: `\xff` is that byte, `\ufeff` the character in UTF-8."""
    made = bytearray()
    for part in re.split(r"(\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\.)", written.removesuffix("\n")):
        if part.startswith("\\x"):
            made += bytes.fromhex(part[2:])
        elif part.startswith("\\"):
            made += part.encode().decode("unicode_escape").encode("utf-8", "surrogatepass")
        else:
            made += part.encode()
    return bytes(made)


CASES = cases()


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.page.stem}: {case.title}") for case in CASES]
)
def test_a_file_gives_what_its_page_says(case: Case) -> None:
    assert case.outcome == case.expected


def test_the_corpus_is_as_large_as_it_claims_and_no_case_comes_twice() -> None:
    assert sum(case.valid for case in CASES) >= 60
    assert sum(not case.valid for case in CASES) >= 120
    assert len({(case.page, case.title) for case in CASES}) == len(CASES)
    assert len({(case.is_schema, case.text) for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.expected.startswith("{") is case.valid, f"{case.page}: {case.title}"


PLUGINS = PluginModels(
    captures=SOURCES, builders=SOURCES, default_builders={}, sinks=SINKS, queues=QUEUES
)
VALIDATORS: dict[bool, Any] = {
    True: Draft202012Validator(index_json_schema()),
    False: Draft202012Validator(config_json_schema(PLUGINS)),
}

BEYOND_A_SCHEMA = {
    # What comes twice under different names.
    "A document key that comes twice",
    "A document key that comes twice in an object",
    "A primary key that names a column twice",
    "A variant that comes twice",
    "Sinks whose names differ in case only",
    "Two indexes of one name",
    # What depends on another place, or another file.
    "A relation from a key of several columns",
    "A schema file that is not there",
    "A soft delete by a field that is not there",
    "A soft delete by a field without a column",
    # What takes more than a pattern.
    "A default that is no base64",
    "A name longer than Postgres keeps",
    "A name that is too long in bytes",
    "A NUL character that is written as an escape",
    "Half of a surrogate pair",
    "An address whose port is out of range",
    # Options of any plugin that is not installed.
    "A number that is not finite",
}
"""Mistakes that only the loader finds."""


@pytest.mark.parametrize("is_schema", [True, False])
def test_the_json_schemas_are_json_schemas(is_schema: bool) -> None:
    Draft202012Validator.check_schema(VALIDATORS[is_schema].schema)


@pytest.mark.parametrize("is_schema", [True, False])
def test_a_json_schema_takes_every_valid_file_and_refuses_what_is_wrong_by_shape(
    is_schema: bool,
) -> None:
    wrong: dict[str, str] = {}
    for case in CASES:
        if case.is_schema is not is_schema or case.data is None:
            continue
        expected = case.valid or case.title in BEYOND_A_SCHEMA
        errors = list(VALIDATORS[is_schema].iter_errors(case.data))
        if bool(errors) is expected:
            wrong[case.title] = errors[0].message if errors else "is taken"
    assert wrong == {}


def test_what_a_json_schema_cannot_say_is_in_the_corpus() -> None:
    assert {case.title for case in CASES if not case.valid} >= BEYOND_A_SCHEMA


def described(value: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every key that a file may have, and whether its JSON Schema says what it is for."""
    if isinstance(value, dict):
        table = cast(dict[str, Any], value)
        for key, inner in cast(dict[str, Any], table.get("properties", {})).items():
            yield f"{path}/{key}", "description" in inner or "const" in inner
        for key, inner in table.items():
            if key not in ("not", "oneOf") or not path.endswith("FilterModel"):
                yield from described(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(cast(Sequence[Any], value)):
            yield from described(inner, f"{path}/{number}")


def test_every_key_of_a_file_is_described() -> None:
    """Those of flusso's own: a plugin's are the plugin's business."""
    own: Any = Draft202012Validator(
        config_json_schema(PluginModels({}, {}, {}, {}, {"memory": MemoryQueueOptions}))
    )
    for validator in (VALIDATORS[True], own):
        assert [path for path, said in described(validator.schema) if not said] == []


def update(page: Path) -> None:
    """Write what flusso makes of each file into its page."""
    head, *sections = page.read_text(encoding="utf-8").split("\n## ")
    made: list[str] = [head.rstrip() + "\n"]
    for section, case in zip(sections, cases_of(page), strict=True):
        block = next(BLOCK.finditer(section))
        kind = "json" if case.valid else "text"
        start = section[: block.end()].rstrip()
        made.append(f"\n## {start}\n\n```{kind}\n{case.outcome}```\n")
    page.write_text("".join(made), encoding="utf-8")


if __name__ == "__main__":
    for path in sorted(HERE.glob("*/*/*.md")):
        update(path)
