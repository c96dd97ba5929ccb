"""Loads the one plugin that is asked for, inside a guard.

Whatever goes wrong is a `PluginError` that names the distribution and the cure, and no other
plugin is touched by it. `pluggy.load_setuptools_entrypoints` is not used: it aborts on the first
broken plugin and drops duplicates silently.

The descriptors bring pydantic with them, so they are imported when something is loaded: listing
what is installed needs none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import pluggy

from flusso_core.errors import PluginConflict, PluginError, PluginFailed, PluginIncompatible
from flusso_core.plugins.cures import not_found
from flusso_core.plugins.discovery import CORE, Kind, PluginInfo, core_version, discover
from flusso_core.plugins.interrupts import interruptible

if TYPE_CHECKING:
    import click

    from flusso_core.hookspecs import BuilderPlugin, CapturePlugin, QueuePlugin, SinkPlugin
    from flusso_core.interfaces import DocumentTransform
    from flusso_core.observe.observer import Observer

Descriptor: TypeAlias = "CapturePlugin | BuilderPlugin | SinkPlugin | QueuePlugin"
"""What a plugin registers that has options."""

DescriptorT = TypeVar("DescriptorT", bound=Descriptor)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class LoadedHooks:
    """What the installed user hooks gave.

    Attributes:
        observers: the observers that they returned, and one for each that is told of rejections.
        failures: the hooks that could not be used; the others are not touched by that.
        transforms: index to what the hooks returned for its documents, in the order of the
            distributions' names.
    """

    observers: tuple[Observer, ...]
    failures: tuple[PluginError, ...]
    transforms: Mapping[str, Sequence[DocumentTransform]] = field(
        default_factory=dict[str, "Sequence[DocumentTransform]"]
    )


@dataclass(frozen=True, slots=True)
class PluginCheck:
    """Whether an installed plugin loads; `error` says why it does not."""

    info: PluginInfo
    error: PluginError | None


class PluginLoader:
    """Loads plugins by name, with one pluggy manager a kind.

    A process has one of its own behind `load_sink` and its like; tests make theirs.
    """

    def __init__(self) -> None:
        self._managers: dict[Kind, pluggy.PluginManager] = {}
        self._lock = threading.RLock()  # a plugin may load another one while it is imported

    def capture(self, name: str) -> CapturePlugin:
        """The descriptor of an installed capture."""
        from flusso_core.hookspecs import CapturePlugin, CaptureSpec

        return self._descriptor(find(Kind.CAPTURE, name), CaptureSpec, CapturePlugin)

    def builder(self, name: str) -> BuilderPlugin:
        """The descriptor of an installed builder."""
        from flusso_core.hookspecs import BuilderPlugin, BuilderSpec

        return self._descriptor(find(Kind.BUILDER, name), BuilderSpec, BuilderPlugin)

    def sink(self, name: str) -> SinkPlugin:
        """The descriptor of an installed sink."""
        from flusso_core.hookspecs import SinkPlugin, SinkSpec

        return self._descriptor(find(Kind.SINK, name), SinkSpec, SinkPlugin)

    def queue(self, name: str) -> QueuePlugin:
        """The descriptor of an installed queue."""
        from flusso_core.hookspecs import QueuePlugin, QueueSpec

        return self._descriptor(find(Kind.QUEUE, name), QueueSpec, QueuePlugin)

    def configured(self, kind: Kind, name: str) -> Descriptor:
        """The descriptor of an installed plugin of a kind that has options."""
        by_kind: dict[Kind, Callable[[str], Descriptor]] = {
            Kind.CAPTURE: self.capture,
            Kind.BUILDER: self.builder,
            Kind.SINK: self.sink,
            Kind.QUEUE: self.queue,
        }
        return by_kind[kind](name)

    def command(self, name: str) -> click.Command:
        """An installed subcommand of the command line."""
        return _load_command(find(Kind.COMMAND, name))

    def hooks(self, indexes: Iterable[str] = ()) -> LoadedHooks:
        """Call every installed user hook. One that fails is reported, not raised.

        Args:
            indexes: those whose documents may be transformed.
        """
        names = tuple(indexes)
        observers: list[Observer] = []
        failures: list[PluginError] = []
        transforms: dict[str, list[DocumentTransform]] = {}
        for info in sorted(discover(Kind.HOOKS), key=lambda info: (info.distribution, info.name)):
            try:
                observers.extend(self._observers(info))
                for name in names:
                    transforms.setdefault(name, []).extend(self._transforms(info, name))
            except PluginError as error:
                failures.append(error)
        return LoadedHooks(tuple(observers), tuple(failures), transforms)

    def check(self, infos: Sequence[PluginInfo]) -> Sequence[PluginCheck]:
        """Load each of these plugins by itself and say what fails."""
        return [PluginCheck(info, self._error_of(info)) for info in infos]

    def _error_of(self, info: PluginInfo) -> PluginError | None:
        try:
            match info.kind:
                case Kind.HOOKS:
                    self._observers(info)
                case Kind.COMMAND:
                    self.command(info.name)
                case _:
                    self.configured(info.kind, info.name)
        except PluginError as error:
            return error
        return None

    def _descriptor(self, info: PluginInfo, spec: type, expected: type[DescriptorT]) -> DescriptorT:
        from pydantic import BaseModel

        from flusso_core.hookspecs import PLUGIN_API

        returned: object = self._call(info, spec, f"flusso_{info.kind.value}")
        if not isinstance(returned, expected):
            raise _failed(
                info,
                f"its hook flusso_{info.kind.value} did not return a {expected.__name__}"
                if returned is not None
                else f"it has no hook flusso_{info.kind.value} (a function marked with hookimpl)",
            )
        if returned.api != PLUGIN_API:
            behind = info.distribution if returned.api < PLUGIN_API else CORE
            raise PluginIncompatible(
                f"{_label(info)} is made for plugin API {returned.api}, and flusso-core "
                f"{core_version()} has plugin API {PLUGIN_API}. "
                f"Upgrade what is behind: pip install --upgrade {behind}"
            )
        if returned.name != info.name:
            raise _failed(
                info,
                f"it registers itself as {returned.name!r}; name and entry point must agree",
            )
        # A plugin need not keep to the annotations.
        options = cast("object", returned.options)
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise _failed(info, "its options are not a pydantic model")
        return returned

    def _observers(self, info: PluginInfo) -> Sequence[Observer]:
        from flusso_core.hookspecs import UserHooksSpec
        from flusso_core.plugins.rejections import RejectionObserver

        returned: list[Observer] = self._call(info, UserHooksSpec, "flusso_observer") or []
        if self._caller(info, UserHooksSpec, "flusso_rejected").get_hookimpls():
            # Others that are loaded later have the hook too: a caller of now would call them.
            tell = partial(self._call, info, UserHooksSpec, "flusso_rejected")
            returned = [*returned, RejectionObserver(tell)]
        return returned

    def _transforms(self, info: PluginInfo, index: str) -> Sequence[DocumentTransform]:
        from flusso_core.hookspecs import UserHooksSpec

        returned: list[object] = self._call(info, UserHooksSpec, "flusso_transform", index=index)
        for transform in returned or []:
            if not callable(transform):
                raise _failed(info, "its hook flusso_transform did not return a function")
        return cast("list[DocumentTransform]", returned or [])

    def _call(self, info: PluginInfo, spec: type, hook: str, **arguments: object) -> Any:
        """Import and register the plugin, and call one hook of it alone."""
        caller = self._caller(info, spec, hook)
        return _guarded(info, lambda: caller(**arguments))

    def _caller(self, info: PluginInfo, spec: type, hook: str) -> pluggy.HookCaller:
        """Import and register the plugin; what calls one hook of it alone."""
        _require_range(info)
        manager = self._manager(info.kind, spec)
        name = f"{info.distribution}:{info.name}"

        def register() -> pluggy.HookCaller:
            with self._lock:
                if not manager.has_plugin(name):
                    plugin = info.entry_point.load()
                    try:
                        manager.register(plugin, name)
                    except BaseException:
                        if manager.has_plugin(name):  # pluggy keeps some of what it refuses
                            manager.unregister(name=name)
                        raise
            mine = manager.get_plugin(name)
            others = [other for other in manager.get_plugins() if other is not mine]
            return manager.subset_hook_caller(hook, others)

        return _guarded(info, register)

    def _manager(self, kind: Kind, spec: type) -> pluggy.PluginManager:
        with self._lock:
            if kind not in self._managers:
                manager = pluggy.PluginManager("flusso")
                manager.add_hookspecs(spec)
                self._managers[kind] = manager
            return self._managers[kind]


def find(kind: Kind, name: str) -> PluginInfo:
    """The one installed plugin of that kind and name.

    Raises:
        PluginNotFound: there is none; the message says what to install.
        PluginConflict: two distributions provide it.
    """
    installed = discover(kind)
    matches = [info for info in installed if info.name == name]
    if not matches:
        raise not_found(name, [kind], [info.name for info in installed])
    if len(matches) > 1:
        owners = " and ".join(f"{info.distribution} {info.version}" for info in matches)
        cures = " or ".join(f"pip uninstall {info.distribution}" for info in matches)
        raise PluginConflict(
            f"the {kind.value} {name!r} is provided by {owners}. Keep one of them: {cures}"
        )
    return matches[0]


def _load_command(info: PluginInfo) -> click.Command:
    import click

    _require_range(info)
    command: object = _guarded(info, info.entry_point.load)
    if not isinstance(command, click.Command):
        raise _failed(info, f"{info.entry_point.value} is not a click command")
    return command


def _require_range(info: PluginInfo) -> None:
    if not info.in_range:
        raise PluginIncompatible(
            f"{_label(info)} requires flusso-core {info.requires}, and this is flusso-core "
            f"{core_version()}. Install versions that belong together: "
            f"pip install --upgrade {info.distribution} {CORE}"
        )


def _guarded(info: PluginInfo, load: Callable[[], ResultT]) -> ResultT:
    with interruptible():
        try:
            return load()
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise _failed(info, f"{type(error).__name__}: {error}") from error


def _failed(info: PluginInfo, why: str) -> PluginFailed:
    return PluginFailed(
        f"{_label(info)} cannot be used ({info.entry_point.value}): {why}. "
        f"Reinstall or upgrade it: pip install --upgrade --force-reinstall {info.distribution}"
    )


def _label(info: PluginInfo) -> str:
    return f"the {info.kind.value} {info.name!r} of {info.distribution} {info.version}"
