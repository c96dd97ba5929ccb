"""From `flusso.toml` to a `Deployment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import TypeAlias, TypeVar

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from flusso_core.config.deployment import (
    Deployment,
    IndexConfig,
    QueueConfig,
    ServerConfig,
    SinkConfig,
    SourceConfig,
)
from flusso_core.config.format import (
    BatchModel,
    ConfigModel,
    EngineModel,
    IndexModel,
    QueueModel,
    RetryModel,
    ServerModel,
    SinkModel,
    SourceModel,
)
from flusso_core.config.options import OptionsTable
from flusso_core.errors import ConfigError
from flusso_core.files import (
    ParsedFile,
    Path,
    Problems,
    check,
    parse_toml,
    parse_yaml,
    read_text,
)
from flusso_core.model import JsonValue
from flusso_core.schema import lower_schema
from flusso_core.schema.model import IndexSchema
from flusso_core.schema.names import logical_name
from flusso_core.settings import (
    BatchPolicy,
    Bounds,
    FailurePolicies,
    GapPolicies,
    RetryPolicy,
)

ModelT = TypeVar("ModelT", bound=BaseModel)

SchemaReader: TypeAlias = Callable[[str], ParsedFile]
"""Gives a schema file by its path in the configuration."""


def load_deployment(path: FilePath) -> Deployment:
    """Read a configuration and every schema that it names.

    Secrets stay what they are: a variable is looked up when the pipeline runs. Options of
    backends are read, and validated by `validate_options` once the backend's model is known.

    Args:
        path: of `flusso.toml`. Schema files are relative to its folder.

    Raises:
        ConfigError: with a line for every problem of every file.
    """
    file = parse_toml(read_text(path), str(path))
    folder = path.parent

    def read(name: str) -> ParsedFile:
        schema = folder / name
        return parse_yaml(read_text(schema), str(schema))

    return lower_deployment(file, read)


def lower_deployment(
    file: ParsedFile, read_schema: SchemaReader, *, locked: bool = False
) -> Deployment:
    """The deployment that a parsed configuration describes.

    Args:
        file: the configuration.
        read_schema: gives the schema files; raises `ConfigError` for what cannot be read.
        locked: the file comes from a lock file.

    Raises:
        ConfigError: with a line for every problem of every file.
    """
    return _Reader(file, read_schema, locked=locked).read()


class _Reader:
    """Reads one configuration; goes on after a problem, to tell all of them."""

    def __init__(self, file: ParsedFile, read_schema: SchemaReader, *, locked: bool) -> None:
        self._file = file
        self._read_schema = read_schema
        self._locked = locked
        self._problems = Problems(file)
        self._elsewhere: list[str] = []
        self._schema_files: dict[str, ParsedFile] = {}

    def read(self) -> Deployment:
        data = self._file.data
        top = check(ConfigModel, data, self._problems, ())
        source = self._source(data.get("source"))
        sinks = self._sinks(data.get("sinks"))
        queue = self._queue(data.get("queue"))
        batch = self._table("batch", BatchModel)
        engine = self._table("engine", EngineModel)
        retry = self._table("retry", RetryModel)
        server = self._table("server", ServerModel)
        entries = self._indexes(data.get("index"))
        self._raise_any()
        if not (top and source and queue and batch and engine and retry and server):
            raise AssertionError("what is missing has a problem")  # pragma: no cover
        return Deployment(
            prefix=top.prefix,
            source=source,
            sinks=sinks,
            indexes=tuple(
                IndexConfig(
                    name=entry.name,
                    schema=schema,
                    enabled=entry.enabled,
                    sweep_interval=entry.sweep_interval,
                    settings=entry.settings,
                )
                for entry, schema in entries
            ),
            queue=queue,
            failures=FailurePolicies(
                top.on_error,
                {entry.name: entry.on_error for entry, _ in entries if entry.on_error},
            ),
            gaps=GapPolicies(
                top.on_gap, {entry.name: entry.on_gap for entry, _ in entries if entry.on_gap}
            ),
            batch=BatchPolicy(batch.max_changes, batch.max_delay_ms / 1000),
            bounds=Bounds(engine.max_documents, engine.max_bytes, engine.max_dirty),
            retries=RetryPolicy(retry.initial, retry.maximum),
            server=ServerConfig(server.public_address, server.private_address),
            file=self._file,
            schema_files=self._schema_files,
        )

    def _raise_any(self) -> None:
        try:
            self._problems.raise_any()
        except ConfigError as error:
            if not self._elsewhere:
                raise
            raise ConfigError("\n".join([str(error), *self._elsewhere])) from error
        if self._elsewhere:
            raise ConfigError("\n".join(self._elsewhere))

    def _source(self, value: JsonValue) -> SourceConfig | None:
        if value is None:
            return None  # the model of the top level has said so
        model, options = self._backend(SourceModel, value, ("source",))
        return SourceConfig(model.type, model.builder, options) if model else None

    def _queue(self, value: JsonValue) -> QueueConfig | None:
        model, options = self._backend(QueueModel, {} if value is None else value, ("queue",))
        return QueueConfig(model.type, options) if model else None

    def _sinks(self, value: JsonValue) -> dict[str, SinkConfig]:
        if not value and (value is None or isinstance(value, Mapping)):
            return {"stdout": SinkConfig("stdout", self._options({}, ("sinks", "stdout"), ()))}
        if not isinstance(value, Mapping):
            self._problems.add(("sinks",), "expected a table for each sink: [sinks.NAME]")
            return {}
        sinks: dict[str, SinkConfig] = {}
        first: dict[str, Path] = {}
        for key, table in value.items():
            path = ("sinks", key)
            model, options = self._backend(SinkModel, table, path)
            name = self._sink_name(key, path)
            if name in first:
                self._problems.twice(path, f"the sink {name}", first[name])
            elif name is not None:
                first[name] = path
            if name is not None and model is not None:
                sinks[name] = SinkConfig(model.type, options, model.detach_after)
        return sinks

    def _sink_name(self, key: str, path: Path) -> str | None:
        try:
            return logical_name(key)
        except PydanticCustomError as error:
            self._problems.add(path, error.message())
            return None

    def _indexes(self, value: JsonValue) -> list[tuple[IndexModel, IndexSchema]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._problems.add(("index",), "expected a table for each index: [[index]]")
            return []
        found: list[tuple[IndexModel, IndexSchema]] = []
        names: dict[str, Path] = {}
        for number, table in enumerate(value):
            path = ("index", number)
            model = check(IndexModel, table, self._problems, path)
            if model is None:
                continue
            place = (*path, "name")
            if model.name in names:
                self._problems.twice(place, f"the index {model.name}", names[model.name])
            names.setdefault(model.name, place)
            schema = self._schema(model, (*path, "schema"))
            if schema is not None:
                found.append((model, schema))
        return found

    def _schema(self, model: IndexModel, place: Path) -> IndexSchema | None:
        path = model.schema_
        try:
            if path not in self._schema_files:
                self._schema_files[path] = self._read_schema(path)
            return lower_schema(self._schema_files[path], model.name)
        except ConfigError as error:
            if isinstance(error.__cause__, OSError):  # the name is wrong, not the file
                self._problems.add(place, str(error))
            else:
                self._elsewhere.append(str(error))
            return None

    def _table(self, key: str, model: type[ModelT]) -> ModelT | None:
        value = self._file.data.get(key)
        return check(model, {} if value is None else value, self._problems, (key,))

    def _backend(
        self, model: type[ModelT], value: JsonValue, path: Path
    ) -> tuple[ModelT | None, OptionsTable]:
        """Divide a backend's table into what flusso itself reads and the backend's options."""
        general = tuple(model.model_fields)
        if not isinstance(value, Mapping):
            self._problems.add(path, "expected a table of keys and values")
            return None, self._options({}, path, general)
        ours = {key: inner for key, inner in value.items() if key in general}
        theirs = {key: inner for key, inner in value.items() if key not in general}
        found = check(model, ours, self._problems, path)
        return found, self._options(theirs, path, general)

    def _options(
        self, values: Mapping[str, JsonValue], path: Path, general: tuple[str, ...]
    ) -> OptionsTable:
        return OptionsTable(values, path, self._file, general, self._locked)
