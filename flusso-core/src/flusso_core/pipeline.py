"""From a deployment to a running engine: loads the plugins, checks their options, makes the edges.

```python
deployment = load_deployment(Path("flusso.toml"))
engine = assemble(deployment, observer=observer)
await engine.run()
```

`flusso run` and `flusso demo` do just that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel

from flusso_core.config import Deployment, OptionsTable, validate_options
from flusso_core.config.format import ConfigModel
from flusso_core.config.lock import OptionsModels
from flusso_core.errors import ConfigError
from flusso_core.files import ParsedFile, validate
from flusso_core.hookspecs import (
    BuilderPlugin,
    CapturePlugin,
    QueueContext,
    QueuePlugin,
    SinkContext,
    SinkPlugin,
    SourceContext,
)
from flusso_core.interfaces import (
    ChangeCapture,
    DocumentBuilder,
    DocumentTransform,
    Queue,
    Sink,
)
from flusso_core.model import IndexMapping, JsonValue
from flusso_core.observe.guarded import GuardedObserver
from flusso_core.observe.observer import FanOut, NoopObserver, Observer
from flusso_core.plugins import (
    LoadedHooks,
    load_builder,
    load_capture,
    load_hooks,
    load_queue,
    load_sink,
)

if TYPE_CHECKING:
    from flusso_core.engine import Engine

WORKERS = 2
"""Readers of a backfill, and of live changes, where the source has no such option."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a command line says on top of the files. `None` leaves a value as the files have it.

    Attributes:
        prefix: of every name at the destinations.
        source: options of the source by key, such as `slot`.
        sinks: options by key, for every sink that has an option of that name.
        queue: options of the queue by key.
        skip_backfill: take every index for filled without reading its rows.
        variables: by key, the environment variables that values come from; any other value is
            that of a flag. Messages name one or the other.
    """

    prefix: str | None = None
    source: Mapping[str, JsonValue] | None = None
    sinks: Mapping[str, JsonValue] | None = None
    queue: Mapping[str, JsonValue] | None = None
    skip_backfill: bool = False
    variables: Mapping[str, str] = field(default_factory=dict[str, str])

    def origin(self, key: str, option: str | None = None) -> str:
        """Where the value of a key comes from: `--slot`, or `environment variable FLUSSO_SLOT`.

        Args:
            key: as the files have it.
            option: the flag's parameter, where it is called otherwise.
        """
        name = option or key
        if name in self.variables:
            return f"environment variable {self.variables[name]}"
        return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class PlannedSink:
    """A sink of the deployment: its plugin, and its options as the plugin wants them."""

    plugin: SinkPlugin
    options: BaseModel


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment whose plugins are loaded and whose options are checked. Nothing is open yet.

    Attributes:
        deployment: what was planned.
        capture: the capture's plugin.
        capture_options: the `[source]` table as the capture wants it.
        builder: the builder's plugin.
        builder_options: the `[source]` table as the builder wants it.
        sinks: by their names in the configuration.
        queue: the queue's plugin.
        queue_options: the `[queue]` table.
        prefix: of every name at the destinations.
        skip_backfill: take every index for filled without reading its rows.
    """

    deployment: Deployment
    capture: CapturePlugin
    capture_options: BaseModel
    builder: BuilderPlugin
    builder_options: BaseModel
    sinks: Mapping[str, PlannedSink]
    queue: QueuePlugin
    queue_options: BaseModel
    prefix: str
    skip_backfill: bool

    @property
    def models(self) -> OptionsModels:
        """The options models of the plugins, by which a lock file leaves secrets out."""
        return OptionsModels(
            source=(self.capture.options, self.builder.options),
            sinks={name: sink.plugin.options for name, sink in self.sinks.items()},
            queue=self.queue.options,
        )

    def make_capture(self) -> ChangeCapture:
        """The capture, not yet open."""
        return self.capture.create(SourceContext(self.capture_options, self.deployment.schemas))

    def make_builder(self) -> DocumentBuilder:
        """The builder, not yet open."""
        return self.builder.create(SourceContext(self.builder_options, self.deployment.schemas))

    def make_sink(self, name: str) -> Sink:
        """The sink of that name, not yet open."""
        return self.sinks[name].plugin.create(self._sink_context(name))

    def describe(self, name: str, mapping: IndexMapping) -> Mapping[str, JsonValue] | None:
        """What the sink of that name would create for an index, in the destination's own words.

        Connects to nothing. `None`: that kind of sink creates nothing that could be described.
        """
        describe = self.sinks[name].plugin.describe
        return None if describe is None else describe(self._sink_context(name), mapping)

    def make_queue(self, lane: str) -> Queue:
        """A queue that leads to the sink of that name."""
        return self.queue.create(QueueContext(lane, self.queue_options))

    def make_engine(self, observer: Observer | None = None) -> Engine:
        """The engine over all of these; `Engine.run` opens them.

        Args:
            observer: hears everything, beside the observers of installed user hooks.

        Raises:
            ConfigError: a secret's variable is not set.
            PluginError: a user hook cannot be used.
        """
        from flusso_core.engine import Engine

        hooks = _hooks(self.deployment)
        return Engine(
            self.make_capture(),
            self.make_builder(),
            {name: self.make_sink(name) for name in self.sinks},
            batching=self.deployment.batch,
            bounds=self.deployment.bounds,
            failures=self.deployment.failures,
            gaps=self.deployment.gaps,
            queue=self.make_queue,
            retries=self.deployment.retries,
            detach_after={
                name: sink.detach_after
                for name, sink in self.deployment.sinks.items()
                if sink.detach_after is not None
            },
            sweep_intervals={
                index.name: index.sweep_interval
                for index in self.deployment.indexes
                if index.enabled and index.sweep_interval is not None
            },
            transforms=hooks.transforms,
            observer=_observers(observer or NoopObserver(), hooks),
            backfill_workers=self.backfill_workers,
            build_workers=self._workers("build_workers"),
            skip_backfill=self.skip_backfill,
        )

    def transforms(self) -> Mapping[str, Sequence[DocumentTransform]]:
        """What changes the documents of an index before they are written, by index.

        Raises:
            PluginError: a user hook cannot be used.
        """
        return _hooks(self.deployment).transforms

    @property
    def backfill_workers(self) -> int:
        """How many readers of all rows the source is for."""
        return self._workers("backfill_workers")

    def _sink_context(self, name: str) -> SinkContext[BaseModel]:
        settings = {
            index.name: index.settings for index in self.deployment.indexes if index.enabled
        }
        return SinkContext(name, self.sinks[name].options, self.prefix, settings)

    def _workers(self, option: str) -> int:
        """How many readers the builder's options allow: it has connections for as many."""
        value: object = getattr(self.builder_options, option, None)
        return value if isinstance(value, int) else WORKERS


def plan(deployment: Deployment, overrides: Overrides | None = None) -> Plan:
    """Load the plugins that the deployment names and check their options.

    Raises:
        PluginError: one of them cannot be used.
        ConfigError: an option is wrong, or no index is enabled.
    """
    over = overrides or Overrides()
    if not deployment.schemas:
        raise ConfigError("no [[index]] is enabled, so that there is nothing to do")
    source = deployment.source
    capture = load_capture(source.type)
    builder = load_builder(source.builder or capture.default_builder or source.type)
    queue = load_queue(deployment.queue.type)
    models = list(dict.fromkeys((capture.options, builder.options)))
    table = _overridden(source.options, over, over.source, models, f"the source {source.type!r}")
    capture_table, builder_table = _divided(table, capture.options, builder.options)
    sinks: dict[str, PlannedSink] = {}
    for name, sink in deployment.sinks.items():
        plugin = load_sink(sink.type)
        theirs = {
            key: value for key, value in (over.sinks or {}).items() if key in _keys(plugin.options)
        }
        options = _overridden(sink.options, over, theirs, [plugin.options], f"the sink {name!r}")
        sinks[name] = PlannedSink(plugin, validate_options(options, plugin.options))
    queue_table = _overridden(
        deployment.queue.options,
        over,
        over.queue,
        [queue.options],
        f"the queue {queue.name!r}",
        prefix="queue_",
    )
    return Plan(
        deployment=deployment,
        capture=capture,
        capture_options=validate_options(capture_table, capture.options),
        builder=builder,
        builder_options=validate_options(builder_table, builder.options),
        sinks=sinks,
        queue=queue,
        queue_options=validate_options(queue_table, queue.options),
        prefix=deployment.prefix if over.prefix is None else _valid_prefix(over.prefix, over),
        skip_backfill=over.skip_backfill,
    )


def assemble(
    deployment: Deployment,
    *,
    overrides: Overrides | None = None,
    observer: Observer | None = None,
) -> Engine:
    """Make the engine that runs a deployment; `Engine.run` opens what it consists of.

    Args:
        deployment: as `load_deployment` reads it.
        overrides: what a command line says on top of it.
        observer: hears everything, beside the observers of installed user hooks.

    Raises:
        PluginError: a plugin cannot be used.
        ConfigError: an option is wrong, or a secret's variable is not set.
    """
    return plan(deployment, overrides).make_engine(observer)


def _valid_prefix(prefix: str, over: Overrides) -> str:
    """A prefix of the command line, by the rule for those of files."""
    table: JsonValue = {"prefix": prefix, "source": {}}
    origin = over.origin("prefix", "index_prefix")
    return validate(ConfigModel, table, file=ParsedFile(origin, {})).prefix


def _hooks(deployment: Deployment) -> LoadedHooks:
    """The user's hooks.

    Raises:
        PluginError: one of them cannot be used. It may be the one that takes out of documents what
            nobody is to see.
    """
    hooks = load_hooks([schema.index for schema in deployment.schemas])
    for failure in hooks.failures:
        raise failure
    return hooks


def _observers(observer: Observer, hooks: LoadedHooks) -> Observer:
    """The observer, and those of the user's hooks beside it."""
    if not hooks.observers:
        return observer
    guarded = (GuardedObserver(each, type(each).__qualname__) for each in hooks.observers)
    return FanOut((observer, *guarded))


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _overridden(
    table: OptionsTable,
    over: Overrides,
    values: Mapping[str, JsonValue] | None,
    models: Sequence[type[BaseModel]],
    what: str,
    *,
    prefix: str = "",
) -> OptionsTable:
    """The table with the values of a command line on top.

    Args:
        table: as the files have it.
        over: says where the values come from.
        values: by key.
        models: of the plugins that the table belongs to.
        what: the plugin, for messages.
        prefix: of the flags: `--queue-capacity` is `capacity` in the table.
    """
    if not values:
        return table
    known = {key for model in models for key in _keys(model)}
    origins = {key: over.origin(key, prefix + key) for key in values}
    for key, origin in origins.items():
        if key not in known:
            raise ConfigError(f"{origin}: {what} has no option {key}")
    return replace(table, values={**table.values, **values}, origins=origins)


def _divided(
    table: OptionsTable, capture: type[BaseModel], builder: type[BaseModel]
) -> tuple[OptionsTable, OptionsTable]:
    """The `[source]` table for a capture and a builder whose options differ.

    Each gets the keys that it knows. A key that neither knows goes to the capture, which refuses
    it.
    """
    if capture is builder:
        return table, table
    for_builder = {key: value for key, value in table.values.items() if key in _keys(builder)}
    only_builder = _keys(builder) - _keys(capture)
    for_capture = {key: value for key, value in table.values.items() if key not in only_builder}
    return (
        replace(table, values=for_capture, general=(*table.general, *sorted(only_builder))),
        replace(table, values=for_builder),
    )
