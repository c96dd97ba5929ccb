"""The file format of `flusso.toml`, as pydantic models. Options of backends are not in here."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from flusso_core.config.durations import duration
from flusso_core.schema.names import LogicalName
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicy, GapPolicy

_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9_.-]*)?")
_BATCH = BatchPolicy()
_BOUNDS = Bounds()

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


Duration: TypeAlias = Annotated[float, PlainValidator(duration)]
Address: TypeAlias = Annotated[str, AfterValidator(_address)]
Positive: TypeAlias = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigModel(_Model):
    """The top level. Its tables are read one by one, so that no problem hides another."""

    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    on_error: FailurePolicy = FailurePolicy.STOP
    on_gap: GapPolicy = GapPolicy.RESEED
    source: Any
    sinks: Any = None
    index: Any = None
    batch: Any = None
    engine: Any = None
    server: Any = None
    queue: Any = None


class SourceModel(_Model):
    """What flusso itself reads in `[source]`."""

    type: str
    builder: str | None = None


class SinkModel(_Model):
    """What flusso itself reads in `[sinks.NAME]`."""

    type: str
    detach_after: Duration | None = None


class QueueModel(_Model):
    """What flusso itself reads in `[queue]`."""

    type: str = "memory"


class IndexModel(_Model):
    """`[[index]]`."""

    name: LogicalName
    schema_: Annotated[str, AfterValidator(_schema_path)] = Field(alias="schema")
    enabled: bool = True
    on_error: FailurePolicy | None = None
    on_gap: GapPolicy | None = None
    sweep_interval: Duration | None = None
    settings: dict[str, Any] = {}


class BatchModel(_Model):
    """`[batch]`."""

    max_changes: Positive = _BATCH.max_changes
    max_delay_ms: Annotated[int, Field(ge=0)] = round(_BATCH.max_delay * 1000)


class EngineModel(_Model):
    """`[engine]`."""

    max_documents: Positive = _BOUNDS.max_documents
    max_bytes: Positive = _BOUNDS.max_bytes
    max_dirty: Positive = _BOUNDS.max_dirty


class ServerModel(_Model):
    """`[server]`."""

    public_address: Address = "127.0.0.1:9464"
    private_address: Address = "127.0.0.1:9465"
