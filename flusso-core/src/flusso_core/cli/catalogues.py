"""Reading a database's catalogue through the plugin of its builder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flusso_core.cli.options import option
from flusso_core.errors import PluginError

if TYPE_CHECKING:
    from flusso_core.catalogue import CatalogueTable
    from flusso_core.hookspecs import BuilderPlugin

connection_variable_option = option(
    "--connection-variable",
    metavar="NAME",
    default="DATABASE_URL",
    show_default=True,
    help="The environment variable that holds the database's URL; its name is written, not it.",
)


async def read_catalogue(builder: BuilderPlugin, variable: str) -> Sequence[CatalogueTable]:
    """Every table of the database whose URL is in an environment variable.

    Raises:
        PluginError: builders of this type cannot read a catalogue.
        ConfigError: the variable is not set.
        SourceError: the database cannot be read.
    """
    from flusso_core.hookspecs import SourceContext

    if builder.introspect is None:
        raise PluginError(f"the builder {builder.name!r} cannot read a catalogue")
    options = builder.options.model_validate({"connection_url": {"env": variable}})
    return await builder.introspect(SourceContext(options, ()))
