"""`flusso mapping`: what an index is made of, from the schema alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

import click

from flusso_core.cli.console import log_to_stderr, print_json, print_line, print_table
from flusso_core.cli.deployment import DeploymentArguments, deployment_options, overrides_of
from flusso_core.cli.named_index import index_argument, only
from flusso_core.cli.options import format_option, option, verbosity

if TYPE_CHECKING:
    from flusso_core.model import JsonValue, MappedField
    from flusso_core.pipeline import Plan


class MappingArguments(DeploymentArguments):
    """What the flags of `flusso mapping` say."""

    index: str
    sink: str | None
    output: str


@click.command(
    epilog=(
        "\b\nJSON: {version: 1, index, schema_hash, fields: [{path, type, options}],\n"
        "       sinks: {NAME: {type, definition or null}}}"
    )
)
@index_argument
@option("--sink", metavar="NAME", help="Only as this sink creates it.")
@deployment_options
@format_option
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[MappingArguments]) -> None:
    """Print the fields of an index and what sinks make of them.

    Reads files only: neither the source nor a sink has to be there.
    """
    from flusso_core.cli.compiling import read
    from flusso_core.pipeline import plan

    log_to_stderr(context)
    planned = plan(only(read(given), given["index"]), overrides_of(given))
    mapping = planned.make_builder().mappings()[given["index"]]
    definitions = {
        name: planned.describe(name, mapping) for name in _wanted(planned, given["sink"])
    }
    fields = list(_every(mapping.fields))
    if given["output"] == "json":
        print_json(
            {
                "index": mapping.index,
                "schema_hash": mapping.schema_hash,
                "fields": [
                    {"path": field.json_path, "type": field.type.value, "options": field.options}
                    for field in fields
                ],
                "sinks": {
                    name: {"type": planned.sinks[name].plugin.name, "definition": definition}
                    for name, definition in definitions.items()
                },
            }
        )
        return
    print_table(
        ("FIELD", "TYPE", "OPTIONS"),
        [(field.json_path, field.type.value, _text(field.options)) for field in fields],
    )
    for name, definition in definitions.items():
        if definition is not None:
            click.echo()
            print_line((f"{name} ({planned.sinks[name].plugin.name})", "bold"))
            click.echo(json.dumps(definition, indent=2, ensure_ascii=False))


def _wanted(planned: Plan, sink: str | None) -> Sequence[str]:
    if sink is None:
        return list(planned.sinks)
    if sink not in planned.sinks:
        raise click.UsageError(
            f"the deployment has no sink {sink!r}. It has: {', '.join(planned.sinks)}"
        )
    return [sink]


def _every(fields: Sequence[MappedField]) -> Iterator[MappedField]:
    """Every field, each object before the fields that it holds."""
    for field in fields:
        yield field
        yield from _every(field.fields)


def _text(options: Mapping[str, JsonValue]) -> str:
    return json.dumps(options, ensure_ascii=False) if options else ""
