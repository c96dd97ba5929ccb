from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import click
import pytest

from flusso_core import plugins
from flusso_core.errors import (
    PluginConflict,
    PluginError,
    PluginFailed,
    PluginIncompatible,
    PluginNotFound,
)
from flusso_core.hookspecs import PLUGIN_API
from flusso_core.model import Document, DocumentId, Rejection
from flusso_core.plugins import Kind, Origin, PluginLoader, discover

HOOKIMPL = "from flusso_core.hookspecs import hookimpl\n"

SINK = """
from pydantic import BaseModel
from flusso_core.hookspecs import SinkPlugin, hookimpl

class Options(BaseModel):
    pass

def create(context):
    raise NotImplementedError

@hookimpl
def flusso_sink():
    return SinkPlugin(name={name!r}, options={options}, create=create, api={api})
"""

WHEEL = ("WHEEL", "Wheel-Version: 1.0\n")

Install: TypeAlias = Callable[..., Path]


def sink(name: str, *, api: int = PLUGIN_API, options: str = "Options") -> str:
    return SINK.format(name=name, api=api, options=options)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make distributions that consist of metadata and one module each, first on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    modules: list[str] = []

    def make(
        distribution: str,
        entry_points: str,
        code: str = "",
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
        files: Sequence[tuple[str, str]] = (WHEEL,),
    ) -> Path:
        stem = distribution.replace("-", "_")
        info = site / f"{stem}-{version}.dist-info"
        info.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {distribution}",
            f"Version: {version}",
            f"Summary: The summary of {distribution}",
            *(f"Requires-Dist: {requirement}" for requirement in requires),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, text in files:
            (info / name).write_text(text)
        (site / f"{stem}.py").write_text(code)
        modules.append(stem)
        importlib.invalidate_caches()
        return info

    yield make
    for module in modules:
        sys.modules.pop(module, None)


def of(distribution: str) -> list[plugins.PluginInfo]:
    return [info for info in discover() if info.distribution == distribution]


def test_every_kind_is_found_without_importing_anything(install: Install) -> None:
    groups = "\n".join(f"[{kind.group}]\nfancy = fancy_all\n" for kind in Kind)
    install("fancy-all", groups, "raise RuntimeError('imported')", requires=["flusso-core>=0.1"])
    found = of("fancy-all")
    assert [info.kind for info in found] == list(Kind)
    assert "fancy_all" not in sys.modules
    first = found[0]
    assert (first.name, first.version, first.summary) == (
        "fancy",
        "1.0",
        "The summary of fancy-all",
    )
    assert (first.requires, first.in_range, first.origin) == (">=0.1", True, Origin.WHEEL)


def test_what_flusso_itself_brings_is_found() -> None:
    [queue] = [info for info in discover(Kind.QUEUE) if info.name == "memory"]
    assert (queue.distribution, queue.in_range) == ("flusso-core", True)
    assert plugins.load_queue("memory").name == "memory"


@pytest.mark.parametrize(
    ("files", "origin"),
    [
        ([WHEEL, ("direct_url.json", '{"url": "x", "dir_info": {"editable": true}}')], "editable"),
        ([WHEEL, ("direct_url.json", '{"url": "x", "dir_info": {}}')], "wheel"),
        ([WHEEL], "wheel"),
        ([], "unknown"),
    ],
)
def test_the_origin_is_told(
    install: Install, files: Sequence[tuple[str, str]], origin: str
) -> None:
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", files=files)
    assert [info.origin for info in of("fancy-sink")] == [origin]


@pytest.mark.parametrize(
    ("requires", "shown", "in_range"),
    [
        ([], "", True),
        (["flusso_core"], "", True),
        (["Flusso.Core >=0.1,<1000"], "<1000,>=0.1", True),
        (["flusso-core>=99"], ">=99", False),
        (["flusso-core>=99; extra == 'dev'"], "", True),
        (["flusso-core>=0.1", "flusso-core<0.1"], "<0.1,>=0.1", False),
        (["!!! nonsense", "flusso-core>=99"], ">=99", False),
    ],
)
def test_the_range_of_the_core_is_read_from_the_requirements(
    install: Install, requires: Sequence[str], shown: str, in_range: bool
) -> None:
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", requires=requires)
    [info] = of("fancy-sink")
    assert (info.requires, info.in_range) == (shown, in_range)


def test_unreadable_metadata_leaves_the_others_alone(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    broken = install("broken-sink", "[flusso.sinks]\nbroken = broken_sink\n")
    (broken / "direct_url.json").write_text("{not json")
    with caplog.at_level(logging.WARNING):
        assert of("broken-sink") == []
    assert "broken-sink cannot be read" in caplog.text
    assert PluginLoader().sink("fancy").name == "fancy"


def test_only_the_first_copy_on_the_path_counts(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that an import would find is the one that is listed and loaded."""
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    newer = tmp_path / "newer" / "fancy_sink-2.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: Fancy.Sink\nVersion: 2.0\n")
    (newer / "entry_points.txt").write_text("[flusso.sinks]\nfancy = fancy_sink\n")
    monkeypatch.setattr(sys, "path", [str(newer.parent), *sys.path])
    found = [info for info in discover(Kind.SINK) if info.name == "fancy"]
    assert [(info.distribution, info.version) for info in found] == [("Fancy.Sink", "2.0")]


def test_a_plugin_is_loaded_once_and_stays_loaded(install: Install) -> None:
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    loader = PluginLoader()
    assert loader.sink("fancy").options is loader.sink("fancy").options


def test_several_plugins_of_a_kind_each_answer_for_themselves(install: Install) -> None:
    install("one-sink", "[flusso.sinks]\none = one_sink\n", sink("one"))
    install("two-sink", "[flusso.sinks]\ntwo = two_sink\n", sink("two"))
    loader = PluginLoader()
    assert [loader.sink(name).name for name in ("one", "two", "one")] == ["one", "two", "one"]


@pytest.mark.parametrize(
    "failure",
    ["raise RuntimeError('kaputt')", "import kaputt_driver", "raise SystemExit('kaputt')"],
)
def test_a_plugin_that_fails_to_import_is_named_and_takes_no_other_down(
    install: Install, failure: str
) -> None:
    install("broken-sink", "[flusso.sinks]\nbroken = broken_sink\n", failure)
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    loader = PluginLoader()
    with pytest.raises(PluginFailed, match=r"broken-sink 1\.0 .*kaputt.*pip install") as caught:
        loader.sink("broken")
    assert caught.value.__cause__ is not None
    assert loader.sink("fancy").name == "fancy"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("", "no hook flusso_sink"),
        (sink("other"), "registers itself as 'other'"),
        (sink("odd", options="dict"), "not a pydantic model"),
        (
            HOOKIMPL + "@hookimpl\ndef flusso_sink():\n    return 'odd'\n",
            "did not return a SinkPlugin",
        ),
        (
            HOOKIMPL + "@hookimpl\ndef flusso_sink(surprise):\n    return None\n",
            "PluginValidationError",
        ),
    ],
)
def test_a_plugin_that_registers_something_else_is_refused(
    install: Install, code: str, complaint: str
) -> None:
    install("odd-sink", "[flusso.sinks]\nodd = odd_sink\n", code)
    loader = PluginLoader()
    for _ in range(2):  # the second time fails in the same way
        with pytest.raises(PluginFailed, match="odd-sink") as caught:
            loader.sink("odd")
        assert complaint in str(caught.value)


@pytest.mark.parametrize(("api", "behind"), [(99, "flusso-core"), (0, "odd-sink")])
def test_another_plugin_api_is_refused_and_the_cure_names_what_is_behind(
    install: Install, api: int, behind: str
) -> None:
    install("odd-sink", "[flusso.sinks]\nodd = odd_sink\n", sink("odd", api=api))
    with pytest.raises(PluginIncompatible, match=rf"odd-sink.*API {api}.*--upgrade {behind}"):
        PluginLoader().sink("odd")


def test_a_plugin_for_another_core_is_refused_before_it_is_imported(install: Install) -> None:
    install(
        "odd-sink", "[flusso.sinks]\nodd = odd_sink\n", sink("odd"), requires=["flusso-core>=99"]
    )
    with pytest.raises(PluginIncompatible, match=r"odd-sink 1\.0 requires flusso-core >=99"):
        PluginLoader().sink("odd")
    assert "odd_sink" not in sys.modules


def test_one_name_from_two_distributions_is_a_conflict_that_names_both(install: Install) -> None:
    install("one-sink", "[flusso.sinks]\nsame = one_sink\n", sink("same"))
    install("two-sink", "[flusso.sinks]\nsame = two_sink\n", sink("same"), version="2.0")
    with pytest.raises(PluginConflict, match=r"one-sink 1\.0 and two-sink 2\.0"):
        PluginLoader().sink("same")
    assert {"one_sink", "two_sink"}.isdisjoint(sys.modules)


def test_one_name_of_two_kinds_is_no_conflict(install: Install) -> None:
    install("fancy-both", "[flusso.sinks]\nmemory = fancy_both\n", sink("memory"))
    assert PluginLoader().sink("memory").name == "memory"
    assert PluginLoader().queue("memory").name == "memory"


@pytest.mark.parametrize(
    ("kind", "name", "cure"),
    [
        (Kind.SINK, "opensearch", 'pip install "flusso-core[opensearch]"'),
        (Kind.CAPTURE, "postgres", 'pip install "flusso-core[postgres]"'),
        (Kind.BUILDER, "postgres", 'pip install "flusso-core[postgres]"'),
        (Kind.SINK, "opensaerch", "Did you mean 'opensearch'?"),
        (Kind.QUEUE, "memmory", "Did you mean 'memory'?"),
        (Kind.QUEUE, "zzz", "Installed: memory"),
        (Kind.COMMAND, "demo", "pip install flusso-sandbox"),
    ],
)
def test_a_missing_plugin_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str, cure: str
) -> None:
    only_core = [info for info in discover() if info.distribution == "flusso-core"]

    def installed(kind: Kind | None = None) -> Sequence[plugins.PluginInfo]:
        return [info for info in only_core if kind is None or info.kind is kind]

    monkeypatch.setattr("flusso_core.plugins.loading.discover", installed)
    loader = PluginLoader()
    load: dict[Kind, Callable[[str], object]] = {
        Kind.SINK: loader.sink,
        Kind.CAPTURE: loader.capture,
        Kind.BUILDER: loader.builder,
        Kind.QUEUE: loader.queue,
        Kind.COMMAND: loader.command,
    }
    with pytest.raises(PluginNotFound, match=f"no {kind.value} '{name}' is installed") as caught:
        load[kind](name)
    assert cure in str(caught.value)


HOOK = """
from flusso_core.hookspecs import hookimpl

class Listener:
    pass

@hookimpl
def flusso_observer():
    {body}
"""


def test_user_hooks_give_their_observers_and_a_broken_one_is_reported(install: Install) -> None:
    install("a-hooks", "[flusso.hooks]\nsame = a_hooks\n", HOOK.format(body="return Listener()"))
    install("b-hooks", "[flusso.hooks]\nsame = b_hooks\n", HOOK.format(body="return Listener()"))
    install("c-hooks", "[flusso.hooks]\nquiet = c_hooks\n", HOOK.format(body="return None"))
    install("d-hooks", "[flusso.hooks]\nbroken = d_hooks\n", HOOK.format(body="1 / 0"))
    loaded = PluginLoader().hooks()
    assert [type(item).__module__ for item in loaded.observers] == ["a_hooks", "b_hooks"]
    [failure] = loaded.failures
    assert isinstance(failure, PluginFailed)
    assert "d-hooks" in str(failure)


TRANSFORM = (
    HOOKIMPL
    + """
@hookimpl
def flusso_transform(index):
    if index == "users":
        return lambda document: {{**document, "by": {name!r}}}

told = []

@hookimpl
def flusso_rejected(sink, rejection):
    told.append((sink, rejection.reason))
"""
)


def test_user_hooks_transform_documents_and_are_told_of_rejections(install: Install) -> None:
    install("b-hooks", "[flusso.hooks]\nother = b_hooks\n", TRANSFORM.format(name="b"))
    install("a-hooks", "[flusso.hooks]\none = a_hooks\n", TRANSFORM.format(name="a"))
    loaded = PluginLoader().hooks(["users", "orders"])
    assert [each({})["by"] for each in loaded.transforms["users"]] == ["a", "b"]  # type: ignore[index]
    assert loaded.transforms["orders"] == []
    refused = Rejection(Document(DocumentId("users", 1, ("1",)), b"{}", 1), "too odd")
    for observer in loaded.observers:
        observer.rejected("search", refused)
    for module in ("a_hooks", "b_hooks"):
        assert import_module(module).told == [("search", "too odd")]


def test_a_transform_that_is_no_function_is_reported(install: Install) -> None:
    body = HOOKIMPL + "@hookimpl\ndef flusso_transform(index):\n    return 1\n"
    install("a-hooks", "[flusso.hooks]\none = a_hooks\n", body)
    [failure] = PluginLoader().hooks(["users"]).failures
    assert "did not return a function" in str(failure)


def test_a_command_is_a_click_command(install: Install) -> None:
    install(
        "fancy-command",
        "[flusso.commands]\nfancy = fancy_command:command\nodd = fancy_command:odd\n",
        "import click\nodd = 1\n@click.command()\ndef command():\n    pass\n",
    )
    loader = PluginLoader()
    assert isinstance(loader.command("fancy"), click.Command)
    with pytest.raises(PluginFailed, match="not a click command"):
        loader.command("odd")


def test_the_check_loads_each_and_tells_what_fails(install: Install) -> None:
    install("broken-sink", "[flusso.sinks]\nbroken = broken_sink\n", "1 / 0")
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    install("one-hooks", "[flusso.hooks]\none = one_hooks\n", HOOK.format(body="1 / 0"))
    infos = [*of("broken-sink"), *of("fancy-sink"), *of("one-hooks")]
    errors: list[PluginError | None] = [check.error for check in PluginLoader().check(infos)]
    assert [type(error) for error in errors] == [PluginFailed, type(None), PluginFailed]


INTERRUPTED = """
import signal
from typing import Annotated
from pydantic import BaseModel
from pydantic_core import core_schema

class Struck:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        signal.raise_signal(signal.{number})
        return core_schema.str_schema()

try:
    class Options(BaseModel):
        url: Struck
except BaseException as error:
    raise {then} from error
"""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises, also where it is ignored, as in what a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("then", ["ValueError('no model')", "SystemExit(0)", "error"])
def test_a_signal_within_an_import_ends_as_the_signal(install: Install, then: str) -> None:
    """Whatever the plugin, or pydantic, makes of the exception on its way out."""
    install(
        "struck-sink",
        "[flusso.sinks]\nstruck = struck_sink\n",
        INTERRUPTED.format(number="SIGINT", then=then),
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        PluginLoader().sink("struck")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("interruptible")
def test_a_signal_that_a_plugin_swallows_ends_as_the_signal_too(install: Install) -> None:
    code = (
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n"
        "except BaseException:\n    pass\n"
    )
    install("struck-sink", "[flusso.sinks]\nstruck = struck_sink\n", code + sink("struck"))
    with pytest.raises(KeyboardInterrupt):
        PluginLoader().sink("struck")


def test_what_a_handler_raises_for_sigterm_is_what_comes_out(install: Install) -> None:
    install(
        "struck-sink",
        "[flusso.sinks]\nstruck = struck_sink\n",
        INTERRUPTED.format(number="SIGTERM", then="ValueError()"),
    )

    def handle(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(SystemExit, match="143"):
            PluginLoader().sink("struck")
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def test_plugins_load_in_any_thread(install: Install) -> None:
    install("fancy-sink", "[flusso.sinks]\nfancy = fancy_sink\n", sink("fancy"))
    with ThreadPoolExecutor() as pool:
        assert pool.submit(PluginLoader().sink, "fancy").result().name == "fancy"
