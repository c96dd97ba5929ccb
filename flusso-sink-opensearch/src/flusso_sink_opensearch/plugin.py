"""The entry point: registers the sink; the driver is imported when one is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flusso_core.hookspecs import SinkContext, SinkPlugin, hookimpl
from flusso_core.interfaces import Sink
from flusso_core.model import IndexMapping, JsonValue
from flusso_sink_opensearch.options import OpenSearchOptions

if TYPE_CHECKING:
    from flusso_sink_opensearch.definition import Definition


@hookimpl
def flusso_sink() -> SinkPlugin:
    """Register the type `opensearch`."""
    return SinkPlugin(
        name="opensearch", options=OpenSearchOptions, create=create, describe=describe
    )


def create(context: SinkContext[OpenSearchOptions]) -> Sink:
    """Make the sink. Secrets are resolved here; nothing connects yet.

    Raises:
        ConfigError: a secret's variable is not set, the URL is not one, or the settings of a single
            index are not for it to make.
    """
    from flusso_sink_opensearch.connection import resolve_connection
    from flusso_sink_opensearch.sink import OpenSearchSink

    connection = resolve_connection(context.options, context.name)
    return OpenSearchSink(connection, _definition(context), prefix=context.prefix)


def describe(
    context: SinkContext[OpenSearchOptions], mapping: IndexMapping
) -> Mapping[str, JsonValue]:
    """The index, its aliases, mappings and settings, as they are when it serves."""
    return _definition(context).describe(mapping, context.prefix)


def _definition(context: SinkContext[OpenSearchOptions]) -> Definition:
    from flusso_sink_opensearch.definition import Definition
    from flusso_sink_opensearch.settings import SettingsOf

    return Definition(context.options, SettingsOf(context.options, context.settings))
