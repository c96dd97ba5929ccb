"""The file format of `flusso.toml`, as pydantic models. Options of backends are not in here."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError

from flusso_core.config.durations import duration
from flusso_core.schema.names import LogicalName
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicy, GapPolicy, RetryPolicy

_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9_.-]*)?")
_BATCH = BatchPolicy()
_BOUNDS = Bounds()
_RETRY = RetryPolicy()

MAX_PREFIX = 100
"""Longest prefix in bytes; index names have 255 at most (OpenSearch, create index API)."""


def _prefix(text: str) -> str:
    if len(text) > MAX_PREFIX:
        raise PydanticCustomError(
            "prefix", "expected {most} characters at most", {"most": MAX_PREFIX}
        )
    if not _PREFIX.fullmatch(text):
        raise PydanticCustomError(
            "prefix",
            "expected lower-case letters, digits, _, - and ., beginning with a letter or digit",
        )
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        raise PydanticCustomError("address", "expected host:port, such as 127.0.0.1:9464")
    return text


def _schema_path(text: str) -> str:
    if not text.endswith((".yml", ".yaml")):
        raise PydanticCustomError("path", "expected the path of a .yml or .yaml file")
    return text


Duration: TypeAlias = Annotated[
    float,
    PlainValidator(duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {
                    "type": "string",
                    "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*([mM]?[sS]|[mMhHdD])\s*)+$",
                },
            ],
            "examples": ["90s", "1h30m", "7d"],
        }
    ),
]
Prefix: TypeAlias = Annotated[
    str,
    AfterValidator(_prefix),
    WithJsonSchema({"type": "string", "pattern": f"^{_PREFIX.pattern}$", "maxLength": MAX_PREFIX}),
]
Address: TypeAlias = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "pattern": "^.+:[0-9]{1,5}$"}),
]
SchemaPath: TypeAlias = Annotated[
    str,
    AfterValidator(_schema_path),
    WithJsonSchema({"type": "string", "pattern": r"\.ya?ml$"}),
]
Positive: TypeAlias = Annotated[int, Field(ge=1)]


def _table(name: str) -> WithJsonSchema:
    """What stands for a table that is read by itself."""
    return WithJsonSchema({"allOf": [{"$ref": f"#/$defs/{name}"}]})


_SINKS: JsonSchemaValue = {
    "type": "object",
    "propertyNames": {"pattern": r"^\s*[A-Za-z_][A-Za-z0-9_]{0,62}\s*$"},
    "additionalProperties": {"$ref": "#/$defs/Sink"},
}
_INDEXES: JsonSchemaValue = {"type": "array", "items": {"$ref": "#/$defs/IndexModel"}}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigModel(_Model):
    """A deployment: a source, its sinks, its indexes.

    The tables are read one by one, so that no problem hides another.
    """

    model_config = ConfigDict(title="flusso.toml")

    prefix: Prefix = Field(
        "",
        description="Put before the name of every index and alias that flusso owns.",
        examples=["shop_"],
    )
    on_error: FailurePolicy = Field(
        FailurePolicy.STOP,
        description="A document that a sink refuses ends the run (stop), or is quarantined (skip).",
    )
    on_gap: GapPolicy = Field(
        GapPolicy.RESEED,
        description="An index that has missed changes is filled afresh, or ends the run.",
    )
    source: Annotated[Any, _table("Source")] = Field(description="Where rows come from.")
    sinks: Annotated[Any, WithJsonSchema(_SINKS)] = Field(
        None, description="Where documents go, by name. None: to standard output."
    )
    index: Annotated[Any, WithJsonSchema(_INDEXES)] = Field(
        None, description="The indexes, each from its schema file."
    )
    batch: Annotated[Any, _table("BatchModel")] = Field(
        None, description="When a batch of changes closes."
    )
    engine: Annotated[Any, _table("EngineModel")] = Field(
        None, description="Bounds of what each sink's lane holds in memory."
    )
    retry: Annotated[Any, _table("RetryModel")] = Field(
        None, description="Bounds of the waits between attempts at what passes by itself."
    )
    server: Annotated[Any, _table("ServerModel")] = Field(
        None, description="Where the HTTP surfaces listen."
    )
    queue: Annotated[Any, _table("Queue")] = Field(
        None, description="What carries changes to each sink's lane."
    )


class SourceModel(_Model):
    """What flusso itself reads in `[source]`."""

    model_config = ConfigDict(title="Source")

    type: str = Field(description="An installed capture.", examples=["postgres"])
    builder: str | None = Field(
        None, description="An installed document builder. Left out: the capture's own."
    )


class SinkModel(_Model):
    """What flusso itself reads in `[sinks.NAME]`."""

    model_config = ConfigDict(title="Sink")

    type: str = Field(description="An installed sink.", examples=["opensearch", "stdout"])
    detach_after: Duration | None = Field(
        None, description="How long a dead sink may hold the source. Left out: for ever."
    )


class QueueModel(_Model):
    """What flusso itself reads in `[queue]`."""

    model_config = ConfigDict(title="Queue")

    type: str = Field("memory", description="An installed queue.")


class IndexModel(_Model):
    """An index: `[[index]]`."""

    model_config = ConfigDict(title="Index")

    name: LogicalName = Field(description="The index's name.", examples=["users"])
    schema_: SchemaPath = Field(
        alias="schema",
        description="Its schema file, relative to this file.",
        examples=["users.schema.yml"],
    )
    enabled: bool = Field(
        default=True,
        description="A disabled index keeps what it has, gets no changes and holds no source.",
    )
    on_error: FailurePolicy | None = Field(
        None, description="Overrides on_error of the top for this index."
    )
    on_gap: GapPolicy | None = Field(
        None, description="Overrides on_gap of the top for this index."
    )
    sweep_interval: Duration | None = Field(
        None, description="Compares the index with its source this often. Left out: never."
    )
    settings: dict[str, Any] = Field(
        {},
        description="Settings of the index at its destination, on top of those of the sink.",
        examples=[{"mapping.nested_objects.limit": 20000}],
    )


class BatchModel(_Model):
    """When a batch of changes closes: `[batch]`."""

    model_config = ConfigDict(title="Batch")

    max_changes: Positive = Field(_BATCH.max_changes, description="Row events in a batch.")
    max_delay_ms: Annotated[int, Field(ge=0)] = Field(
        round(_BATCH.max_delay * 1000),
        description="Milliseconds that a change waits for others while the next stage is busy.",
    )


class EngineModel(_Model):
    """Bounds of what each sink's lane holds in memory: `[engine]`."""

    model_config = ConfigDict(title="Engine")

    max_documents: Positive = Field(_BOUNDS.max_documents, description="Built documents.")
    max_bytes: Positive = Field(_BOUNDS.max_bytes, description="Bytes of their bodies.")
    max_dirty: Positive = Field(
        _BOUNDS.max_dirty, description="Ids of documents that are not yet right at the sink."
    )


class RetryModel(_Model):
    """Bounds of the waits between attempts at what passes by itself: `[retry]`.

    Each wait is drawn at random, from none to a bound that doubles with each attempt.
    """

    model_config = ConfigDict(title="Retry")

    initial: Duration = Field(
        _RETRY.initial, description="Bound of the first wait.", examples=["200ms"]
    )
    maximum: Duration = Field(_RETRY.maximum, description="Bound of every wait.", examples=["30s"])


class ServerModel(_Model):
    """Where the HTTP surfaces listen: `[server]`."""

    model_config = ConfigDict(title="Server")

    public_address: Address = Field(
        "127.0.0.1:9464", description="Health, status and metrics, for everybody."
    )
    private_address: Address = Field(
        "127.0.0.1:9465", description="Control, for whoever has the password."
    )
