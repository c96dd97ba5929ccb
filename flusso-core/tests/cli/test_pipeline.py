from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flusso_core.config import Deployment, load_deployment
from flusso_core.errors import ConfigError, PluginFailed
from flusso_core.hookspecs import (
    BuilderPlugin,
    CapturePlugin,
    QueuePlugin,
    SinkContext,
    SinkPlugin,
    SourceContext,
)
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Sink
from flusso_core.observe import Observer, Phase, StatsObserver
from flusso_core.pipeline import Overrides, assemble, plan
from flusso_core.plugins import LoadedHooks
from flusso_core.queue.memory import MemoryQueue, MemoryQueueOptions
from flusso_core.queue.plugin import flusso_queue
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.sink import unavailable

SCHEMA = "version: 1\ntable: parents\nprimary_key: key\nfields:\n  - keyword: name\n"
INDEX = '[[index]]\nname = "parents"\nschema = "parents.schema.yml"\n'


class CaptureOptions(BaseModel):
    shared: str = "default"
    slot: str = "flusso"


class BuilderOptions(BaseModel):
    shared: str = "default"
    depth: int = 1
    backfill_workers: int = 3


class SinkOptions(BaseModel):
    pretty: bool = False


class PlainOptions(BaseModel):
    pass


class Backend:
    """Plugins that note what they are made from, in place of installed ones."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.destination = MemoryDestination()
        self.source: SourceContext[Any] | None = None
        self.builder: SourceContext[Any] | None = None
        self.sinks: dict[str, SinkContext[Any]] = {}
        self.hooks = LoadedHooks((), ())
        self.fault: Callable[[str], None] | None = None

    def load_capture(self, name: str) -> CapturePlugin:
        def create(context: SourceContext[Any]) -> ChangeCapture:
            self.source = context
            return MemoryCapture(self.database)

        default = "joint" if name == "joint" else None
        return CapturePlugin(name, CaptureOptions, create, default_builder=default)

    def load_builder(self, name: str) -> BuilderPlugin:
        def create(context: SourceContext[Any]) -> DocumentBuilder:
            self.builder = context
            return MemoryBuilder(self.database)

        return BuilderPlugin(name, BuilderOptions, create)

    def load_sink(self, name: str) -> SinkPlugin:
        def create(context: SinkContext[Any]) -> Sink:
            self.sinks[context.name] = context
            return MemorySink(self.destination, fault=self.fault)

        return SinkPlugin(name, PlainOptions if name == "plain" else SinkOptions, create)

    def load_queue(self, name: str) -> QueuePlugin:
        assert name == "memory"
        return flusso_queue()

    def load_hooks(self, indexes: Iterable[str]) -> LoadedHooks:
        del indexes
        return self.hooks


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    made = Backend()
    loaders: Mapping[str, Callable[..., object]] = {
        "load_capture": made.load_capture,
        "load_builder": made.load_builder,
        "load_sink": made.load_sink,
        "load_queue": made.load_queue,
        "load_hooks": made.load_hooks,
    }
    for name, loader in loaders.items():
        monkeypatch.setattr(f"flusso_core.pipeline.{name}", loader)
    return made


def deployment(folder: Path, text: str) -> Deployment:
    (folder / "parents.schema.yml").write_text(SCHEMA)
    (folder / "flusso.toml").write_text(text)
    return load_deployment(folder / "flusso.toml")


@pytest.mark.parametrize(
    ("source", "builder"),
    [
        ('type = "joint"', "joint"),
        ('type = "joint"\nbuilder = "other"', "other"),
        ('type = "alone"', "alone"),
    ],
)
def test_the_builder_is_the_configured_one_or_the_captures_own(
    backend: Backend, tmp_path: Path, source: str, builder: str
) -> None:
    planned = plan(deployment(tmp_path, f"[source]\n{source}\n{INDEX}"))
    assert planned.builder.name == builder


def test_capture_and_builder_each_get_the_keys_that_they_know(
    backend: Backend, tmp_path: Path
) -> None:
    text = f'[source]\ntype = "joint"\nshared = "x"\nslot = "s"\ndepth = 5\n{INDEX}'
    planned = plan(deployment(tmp_path, text))
    assert planned.capture_options == CaptureOptions(shared="x", slot="s")
    assert planned.builder_options == BuilderOptions(shared="x", depth=5)


def test_a_key_that_neither_knows_is_refused_and_both_are_suggested_from(
    backend: Backend, tmp_path: Path
) -> None:
    text = f'[source]\ntype = "joint"\ndeepth = 5\n{INDEX}'
    with pytest.raises(ConfigError, match=r"flusso\.toml:3:1: source\.deepth: .*mean depth\?"):
        plan(deployment(tmp_path, text))


def test_overrides_go_to_the_sinks_that_know_them(backend: Backend, tmp_path: Path) -> None:
    text = (
        f'prefix = "p_"\n[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\n'
        f'[sinks.b]\ntype = "plain"\n{INDEX}'
    )
    overrides = Overrides(
        source={"slot": "mine"}, sinks={"pretty": True}, queue={"capacity": 7}, prefix="q_"
    )
    planned = plan(deployment(tmp_path, text), overrides)
    assert planned.capture_options == CaptureOptions(slot="mine")
    assert planned.sinks["a"].options == SinkOptions(pretty=True)
    assert planned.sinks["b"].options == PlainOptions()
    assert planned.queue_options == MemoryQueueOptions(capacity=7)
    assert isinstance(planned.make_queue("a"), MemoryQueue)
    planned.make_sink("a")
    assert backend.sinks["a"].prefix == "q_"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            Overrides(source={"slot": 3}, variables={"slot": "FLUSSO_SLOT"}),
            "environment variable FLUSSO_SLOT: source.slot: expected a string",
        ),
        (Overrides(source={"slot": 3}), "--slot: source.slot: expected a string"),
        (
            Overrides(queue={"capacity": "x"}),
            "--queue-capacity: queue.capacity: expected an integer",
        ),
        (
            Overrides(sinks={"pretty": 1}, variables={"pretty": "FLUSSO_PRETTY"}),
            "environment variable FLUSSO_PRETTY: sinks.stdout.pretty: expected true or false",
        ),
        (
            Overrides(prefix="Über", variables={"index_prefix": "FLUSSO_INDEX_PREFIX"}),
            "environment variable FLUSSO_INDEX_PREFIX: prefix: expected lower-case letters",
        ),
    ],
)
def test_a_wrong_value_is_told_by_where_it_comes_from(
    backend: Backend, tmp_path: Path, overrides: Overrides, message: str
) -> None:
    made = deployment(tmp_path, f'[source]\ntype = "joint"\nshared = "x"\n{INDEX}')
    with pytest.raises(ConfigError) as caught:
        plan(made, overrides)
    assert str(caught.value).startswith(message)


def test_a_sink_hears_the_settings_of_each_enabled_index(backend: Backend, tmp_path: Path) -> None:
    off = INDEX.replace('"parents"', '"off"') + "enabled = false\nsettings = { a = 1 }\n"
    text = (
        f'[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\n{INDEX}'
        f'settings = {{ "mapping.nested_objects.limit" = 20000 }}\n{off}'
    )
    plan(deployment(tmp_path, text)).make_sink("a")
    assert backend.sinks["a"].settings == {"parents": {"mapping.nested_objects.limit": 20000}}


def test_the_models_of_the_plugins_are_known_for_the_lock(backend: Backend, tmp_path: Path) -> None:
    planned = plan(deployment(tmp_path, f'[source]\ntype = "joint"\n{INDEX}'))
    assert set(planned.models.source) == {CaptureOptions, BuilderOptions}
    assert planned.models.sinks == {"stdout": SinkOptions}
    assert planned.models.queue is MemoryQueueOptions


def test_a_deployment_without_an_enabled_index_is_refused(backend: Backend, tmp_path: Path) -> None:
    text = f'[source]\ntype = "joint"\n{INDEX}enabled = false\n'
    with pytest.raises(ConfigError, match=r"no .* is enabled"):
        plan(deployment(tmp_path, text))


async def test_an_assembled_engine_runs_and_tells_every_observer(
    backend: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = StatsObserver()
    phases: list[Phase] = []

    class Broken(StatsObserver):
        def phase(self, phase: Phase) -> None:
            phases.append(phase)
            raise RuntimeError("kaputt")

    observers: tuple[Observer, ...] = (Broken(), hook)
    backend.hooks = LoadedHooks(observers, ())
    backend.database.commit(backend.database.put_parent("1", "Ada"))
    mine = StatsObserver()
    text = f'[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\n{INDEX}'
    engine = assemble(deployment(tmp_path, text), observer=mine)
    await engine.run(once=True)
    assert backend.destination.search("parents") == backend.database.documents()
    assert mine.summary().upserts == hook.summary().upserts > 0
    assert phases == [Phase.STARTING]
    assert "Broken" in caplog.text
    assert backend.source is not None
    assert backend.builder is not None
    assert [schema.index for schema in backend.builder.schemas] == ["parents"]


def test_a_hook_that_cannot_be_used_stops_the_run(backend: Backend, tmp_path: Path) -> None:
    """It may be the one that takes out of documents what nobody is to see."""
    backend.hooks = LoadedHooks((), (PluginFailed("the hooks 'x' cannot be used"),))
    text = f'[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\n{INDEX}'
    with pytest.raises(PluginFailed, match="'x' cannot be used"):
        assemble(deployment(tmp_path, text))


async def test_transforms_of_hooks_and_times_of_sinks_reach_the_engine(
    backend: Backend, tmp_path: Path
) -> None:
    """The documents are written as the hooks make them."""
    backend.hooks = LoadedHooks((), (), {"parents": [lambda document: {"name": "hidden"}]})
    backend.database.commit(backend.database.put_parent("1", "Ada"))
    text = f'[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\ndetach_after = "1h"\n{INDEX}'
    engine = assemble(deployment(tmp_path, text))
    await engine.run(once=True)
    assert backend.destination.search("parents") == {"1": b'{"name":"hidden"}'}


async def test_the_waits_of_the_file_reach_the_engine(backend: Backend, tmp_path: Path) -> None:
    """R1: the back-off is bounded as the deployment says."""
    waits: list[float] = []

    class Waits(StatsObserver):
        def retrying(self, what: str, error: BaseException, seconds: float) -> None:
            waits.append(seconds)

    backend.fault = unavailable(every=3)
    backend.database.commit(*(backend.database.put_parent(key, "Ada") for key in "abcdefgh"))
    text = (
        '[source]\ntype = "joint"\n[sinks.a]\ntype = "fine"\n'
        f'[retry]\ninitial = "3ms"\nmaximum = "1ms"\n{INDEX}'
    )
    engine = assemble(deployment(tmp_path, text), observer=Waits())
    await engine.run(once=True)
    assert backend.destination.search("parents") == backend.database.documents()
    assert waits
    assert max(waits) <= 0.001
