"""Finding and loading backends: `discover` reads metadata only, `load_*` imports just one.

Everything that goes wrong is a `flusso_core.errors.PluginError` whose message names the
distribution and the cure. What loads is imported when it is first used: `flusso --help` only
discovers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from flusso_core.plugins.discovery import Kind, Origin, PluginInfo, core_version, discover

if TYPE_CHECKING:
    import click

    from flusso_core.hookspecs import BuilderPlugin, CapturePlugin, QueuePlugin, SinkPlugin
    from flusso_core.plugins.loading import LoadedHooks, PluginCheck, PluginLoader

__all__ = [
    "Kind",
    "LoadedHooks",
    "Origin",
    "PluginCheck",
    "PluginInfo",
    "PluginLoader",
    "core_version",
    "discover",
    "load_builder",
    "load_capture",
    "load_command",
    "load_hooks",
    "load_queue",
    "load_sink",
]

if not TYPE_CHECKING:  # or a misspelt name would pass for an object

    def __getattr__(name: str) -> object:
        if name not in {"LoadedHooks", "PluginCheck", "PluginLoader"}:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from flusso_core.plugins import loading

        return getattr(loading, name)


@cache
def _loader() -> PluginLoader:
    from flusso_core.plugins.loading import PluginLoader

    return PluginLoader()


def load_capture(name: str) -> CapturePlugin:
    """Import the capture of that type and return what it registers."""
    return _loader().capture(name)


def load_builder(name: str) -> BuilderPlugin:
    """Import the builder of that type and return what it registers."""
    return _loader().builder(name)


def load_sink(name: str) -> SinkPlugin:
    """Import the sink of that type and return what it registers."""
    return _loader().sink(name)


def load_queue(name: str) -> QueuePlugin:
    """Import the queue of that type and return what it registers."""
    return _loader().queue(name)


def load_command(name: str) -> click.Command:
    """Import the subcommand of that name."""
    return _loader().command(name)


def load_hooks(indexes: Iterable[str] = ()) -> LoadedHooks:
    """Import every installed user hook; those that fail are reported, not raised.

    Args:
        indexes: those whose documents may be transformed.
    """
    return _loader().hooks(indexes)
