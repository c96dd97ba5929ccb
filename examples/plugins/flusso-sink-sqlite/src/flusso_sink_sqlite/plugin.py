"""The entry point: registers the sink."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flusso_core import Sink, hookimpl
from flusso_core.hookspecs import SinkContext, SinkPlugin


class SqliteOptions(BaseModel):
    """A `[sinks.NAME]` table with `type = "sqlite"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="The file; it is created where it is missing.")


@hookimpl
def flusso_sink() -> SinkPlugin:
    """Register the type `sqlite`."""
    return SinkPlugin(name="sqlite", options=SqliteOptions, create=create)


def create(context: SinkContext[SqliteOptions]) -> Sink:
    """Make the sink; it connects when it is opened."""
    from flusso_sink_sqlite.sink import SqliteSink

    return SqliteSink(Path(context.options.path))
