"""`flusso schema`: the JSON Schemas of the file formats, for editors and other tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flusso_core.cli.options import verbosity

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flusso_core.config.json_schema import PluginModels


@click.group()
def command() -> None:
    r"""Print the JSON Schemas of the file formats.

    \b
    flusso schema config > flusso.schema.json
    flusso schema index > index.schema.json

    An editor finds them by the first line of a file:

    \b
    #:schema ./flusso.schema.json                          (flusso.toml)
    # yaml-language-server: $schema=./index.schema.json    (*.schema.yml)
    """


@command.command()
@verbosity
def config() -> None:
    """Print the JSON Schema of flusso.toml, with the options of installed plugins."""
    from flusso_core.config.json_schema import config_json_schema

    _print(config_json_schema(installed_models()))


@command.command()
@verbosity
def index() -> None:
    """Print the JSON Schema of *.schema.yml."""
    from flusso_core.schema.json_schema import index_json_schema

    _print(index_json_schema())


def installed_models(only: frozenset[str] | None = None) -> PluginModels:
    """The options models of installed plugins. One that cannot be loaded is told and left out.

    Args:
        only: the distributions whose plugins count; `None`: all.
    """
    from flusso_core.config.json_schema import PluginModels
    from flusso_core.errors import PluginError
    from flusso_core.hookspecs import CapturePlugin
    from flusso_core.plugins import Kind, PluginLoader, discover

    loader = PluginLoader()
    found: dict[Kind, dict[str, type[BaseModel]]] = {
        kind: {} for kind in (Kind.CAPTURE, Kind.BUILDER, Kind.SINK, Kind.QUEUE)
    }
    defaults: dict[str, str] = {}
    for info in discover():
        if info.kind not in found or (only is not None and info.distribution not in only):
            continue
        try:
            plugin = loader.configured(info.kind, info.name)
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        found[info.kind][info.name] = plugin.options
        if isinstance(plugin, CapturePlugin) and plugin.default_builder:
            defaults[info.name] = plugin.default_builder
    return PluginModels(
        captures=found[Kind.CAPTURE],
        builders=found[Kind.BUILDER],
        default_builders=defaults,
        sinks=found[Kind.SINK],
        queues=found[Kind.QUEUE],
    )


def _print(schema: dict[str, object]) -> None:
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
