"""Reading a database's catalogue through the plugin of its builder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flusso_core.errors import PluginError
from flusso_core.hookspecs import SourceContext

if TYPE_CHECKING:
    from flusso_core.catalogue import CatalogueTable
    from flusso_core.hookspecs import BuilderPlugin


async def read_catalogue(builder: BuilderPlugin, variable: str) -> Sequence[CatalogueTable]:
    """Every table of the database whose URL is in an environment variable.

    Raises:
        PluginError: builders of this type cannot read a catalogue.
        ConfigError: the variable is not set.
        SourceError: the database cannot be read.
    """
    if builder.introspect is None:
        raise PluginError(f"the builder {builder.name!r} cannot read a catalogue")
    options = builder.options.model_validate({"connection_url": {"env": variable}})
    return await builder.introspect(SourceContext(options, ()))
