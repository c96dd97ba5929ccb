"""The entry point: registers the sink."""

from __future__ import annotations

from flusso_core.hookspecs import SinkContext, SinkPlugin, hookimpl
from flusso_core.interfaces import Sink
from flusso_sink_stdout.options import StdoutOptions


@hookimpl
def flusso_sink() -> SinkPlugin:
    """Register the type `stdout`."""
    return SinkPlugin(name="stdout", options=StdoutOptions, create=create)


def create(context: SinkContext[StdoutOptions]) -> Sink:
    """Make the sink; nothing is opened yet."""
    from flusso_sink_stdout.sink import StdoutSink

    return StdoutSink(context.options, name=context.name)
