"""A deployment: what `flusso.toml` and the schema files that it names say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flusso_core.config.options import OptionsTable
from flusso_core.files import ParsedFile
from flusso_core.model import JsonValue
from flusso_core.schema.model import IndexSchema
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies, RetryPolicy


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """`[source]`.

    Attributes:
        type: the name of an installed capture.
        builder: the name of an installed builder; `None`: the capture's own.
        options: of the capture and the builder.
    """

    type: str
    builder: str | None
    options: OptionsTable


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """`[sinks.NAME]`.

    Attributes:
        type: the name of an installed sink.
        options: of the sink.
        detach_after: seconds that the sink may be dead before it stops holding the source;
            `None`: it holds it for ever.
    """

    type: str
    options: OptionsTable
    detach_after: float | None = None


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """`[queue]`.

    Attributes:
        type: the name of an installed queue.
        options: of the queue.
    """

    type: str
    options: OptionsTable


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """`[[index]]`.

    Attributes:
        name: its logical name.
        schema: what its documents look like.
        enabled: whether this run keeps it right.
        sweep_interval: seconds between sweeps; `None`: none but those that something calls for.
        settings: of the index at the destination, on top of those of the sink.
    """

    name: str
    schema: IndexSchema
    enabled: bool = True
    sweep_interval: float | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`[server]`: where the HTTP surfaces listen, as `host:port`."""

    public_address: str
    private_address: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that the files say; options of backends are not validated yet.

    Attributes:
        prefix: literal prefix of every name that flusso owns at the destinations.
        source: where rows come from.
        sinks: by name, where documents go.
        indexes: in the file's order, disabled ones included.
        queue: what carries batches to each sink's lane.
        failures: what follows when a destination refuses a document.
        gaps: what follows when the stream no longer holds what an index has missed.
        batch: when a batch closes.
        bounds: what a lane holds in memory.
        retries: bounds of the back-off.
        server: the HTTP surfaces.
        file: the configuration as it was read; it may hold secrets.
        schema_files: by their paths in the configuration, the schema files as they were read.
    """

    prefix: str
    source: SourceConfig
    sinks: Mapping[str, SinkConfig]
    indexes: tuple[IndexConfig, ...]
    queue: QueueConfig
    failures: FailurePolicies
    gaps: GapPolicies
    batch: BatchPolicy
    bounds: Bounds
    retries: RetryPolicy
    server: ServerConfig
    file: ParsedFile = field(repr=False)
    schema_files: Mapping[str, ParsedFile] = field(repr=False)

    @property
    def schemas(self) -> tuple[IndexSchema, ...]:
        """The schemas of the enabled indexes."""
        return tuple(index.schema for index in self.indexes if index.enabled)
