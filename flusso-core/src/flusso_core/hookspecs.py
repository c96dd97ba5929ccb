"""What a plugin package registers: pluggy specifications and the descriptors they return.

A plugin is a module named by an entry point in one of the groups `flusso.captures`,
`flusso.builders`, `flusso.sinks`, `flusso.queues` or `flusso.hooks`. The entry point's name is
the `type` in the configuration; the module holds functions marked with `hookimpl`:

```python
from flusso_core.hookspecs import SinkContext, SinkPlugin, hookimpl


@hookimpl
def flusso_sink() -> SinkPlugin:
    return SinkPlugin(name="mysink", options=MyOptions, create=create)


def create(context: SinkContext[MyOptions]) -> Sink:
    from mysink.sink import MySink  # drivers are imported here, not above

    return MySink(context.options)
```

pluggy serves for registration and events; nothing calls a hook once a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pluggy
from pydantic import BaseModel

from flusso_core.catalogue import CatalogueTable
from flusso_core.interfaces import (
    ChangeCapture,
    DocumentBuilder,
    DocumentTransform,
    Queue,
    Sink,
)
from flusso_core.model import IndexMapping, JsonValue, Rejection
from flusso_core.observe.observer import Observer
from flusso_core.schema.model import IndexSchema

PLUGIN_API = 1
"""Version of the descriptors and edges. A plugin built for another one is not loaded."""

hookspec = pluggy.HookspecMarker("flusso")
hookimpl = pluggy.HookimplMarker("flusso")

OptionsT = TypeVar("OptionsT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class SourceContext(Generic[OptionsT]):
    """What a capture or a builder is made from.

    Attributes:
        options: the `[source]` table, validated by the plugin's own model.
        schemas: the enabled indexes' schemas.
    """

    options: OptionsT
    schemas: tuple[IndexSchema, ...]


@dataclass(frozen=True, slots=True)
class SinkContext(Generic[OptionsT]):
    """What a sink is made from.

    Attributes:
        name: the sink's name in the configuration.
        options: its table, validated by the plugin's own model.
        prefix: literal prefix of every name that flusso owns at the destination.
        settings: by the logical name of an index, the settings that the configuration gives for
            it alone. They are the destination's own (`mapping.nested_objects.limit`), not yet
            checked, and win over those that the options give for all indexes. A sink whose
            destination has no such thing ignores them.
    """

    name: str
    options: OptionsT
    prefix: str
    settings: Mapping[str, Mapping[str, JsonValue]] = field(
        default_factory=dict[str, Mapping[str, JsonValue]]
    )


@dataclass(frozen=True, slots=True)
class QueueContext(Generic[OptionsT]):
    """What a lane's queue is made from.

    Attributes:
        lane: the name of the sink that the queue leads to.
        options: the `[queue]` table, validated by the plugin's own model.
    """

    lane: str
    options: OptionsT


@dataclass(frozen=True, slots=True)
class CapturePlugin:
    """Registers a change capture: its name (the `type` in the config), options and factory."""

    name: str
    options: type[BaseModel]
    create: Callable[[SourceContext[Any]], ChangeCapture]
    default_builder: str | None = None
    api: int = PLUGIN_API


@dataclass(frozen=True, slots=True)
class BuilderPlugin:
    """Registers a document builder: its name (the `type` in the config), options and factory.

    Attributes:
        introspect: reads the source's catalogue, for `flusso init`: every table that the options'
            role may read. The context has no schemas yet.
    """

    name: str
    options: type[BaseModel]
    create: Callable[[SourceContext[Any]], DocumentBuilder]
    introspect: Callable[[SourceContext[Any]], Awaitable[Sequence[CatalogueTable]]] | None = None
    api: int = PLUGIN_API


@dataclass(frozen=True, slots=True)
class SinkPlugin:
    """Registers a sink: its name (the `type` in the config), options and factory.

    Attributes:
        describe: what the sink would create for an index, in the destination's own words, for
            `flusso mapping`. It connects to nothing and reads no secret.
    """

    name: str
    options: type[BaseModel]
    create: Callable[[SinkContext[Any]], Sink]
    describe: Callable[[SinkContext[Any], IndexMapping], Mapping[str, JsonValue]] | None = None
    api: int = PLUGIN_API


@dataclass(frozen=True, slots=True)
class QueuePlugin:
    """Registers a queue: its name (the `type` in the config), options and factory."""

    name: str
    options: type[BaseModel]
    create: Callable[[QueueContext[Any]], Queue]
    api: int = PLUGIN_API


class CaptureSpec:
    """Hooks of the group `flusso.captures`."""

    @hookspec(firstresult=True)
    def flusso_capture(self) -> CapturePlugin:  # type: ignore[empty-body]
        """Return the capture's descriptor."""


class BuilderSpec:
    """Hooks of the group `flusso.builders`."""

    @hookspec(firstresult=True)
    def flusso_builder(self) -> BuilderPlugin:  # type: ignore[empty-body]
        """Return the builder's descriptor."""


class SinkSpec:
    """Hooks of the group `flusso.sinks`."""

    @hookspec(firstresult=True)
    def flusso_sink(self) -> SinkPlugin:  # type: ignore[empty-body]
        """Return the sink's descriptor."""


class QueueSpec:
    """Hooks of the group `flusso.queues`."""

    @hookspec(firstresult=True)
    def flusso_queue(self) -> QueuePlugin:  # type: ignore[empty-body]
        """Return the queue's descriptor."""


class UserHooksSpec:
    """Hooks of the group `flusso.hooks`: every installed one is called."""

    @hookspec
    def flusso_observer(self) -> Observer | None:
        """Return an observer that is told what the engine does, or `None`."""

    @hookspec
    def flusso_transform(self, index: str) -> DocumentTransform | None:
        """Return a function that changes the documents of an index before they are written.

        It is called once for each document that is built, with the document as a `dict`; what it
        returns is written instead, and `None` drops the document, also where an earlier state of
        it was written. The same document must give the same result. One that it fails on follows
        the index's `on_error`. What the mapping has no field for is refused by the destination.

        Args:
            index: the logical name; every enabled index is asked for once a run.

        Returns:
            `None`: documents of this index stay as they are, and are not even parsed.
        """

    @hookspec
    def flusso_rejected(self, sink: str, rejection: Rejection) -> None:
        """A document was refused by a sink or by a transform; called for each one, at once.

        Args:
            sink: the sink's name.
            rejection: the document as it was, and the reason.
        """
