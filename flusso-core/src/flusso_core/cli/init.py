"""`flusso init`: reads a database and a root table, and writes a first deployment."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from flusso_core.cli.catalogues import connection_variable_option, read_catalogue
from flusso_core.cli.console import log_to_stderr
from flusso_core.cli.deployment import config_option
from flusso_core.cli.options import option, session_of, verbosity
from flusso_core.cli.writing import refuse_existing, write_new

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from flusso_core.catalogue import CatalogueTable
    from flusso_core.model import TableName

CONFIG_TEMPLATE = """\
# A deployment of flusso: where rows come from, where documents go, and what they look like.
# `flusso check` looks it over, `flusso run` fills the indexes and keeps them in step.

[source]
type = "{source}"
connection_url = {{ env = "{variable}" }}

{sink}
[[index]]
name = "{index}"
schema = "{schema}"
"""

STDOUT_TEMPLATE = """\
# Documents go to standard output, as lines of JSON. To write them into OpenSearch instead:
#
# [sinks.search]
# type = "opensearch"
# url = { env = "OPENSEARCH_URL" }

[sinks.lines]
type = "stdout"
"""


class InitArguments(TypedDict):
    """What the flags of `flusso init` say."""

    table: str
    config: Path
    index: str | None
    source_type: str
    connection_variable: str
    sink_type: str


@click.command()
@click.argument("table", metavar="TABLE")
@config_option
@option("--index", metavar="NAME", help="Name of the index; the table's, where left out.")
@option(
    "--source-type",
    metavar="TYPE",
    default="postgres",
    show_default=True,
    help="An installed source that can be read for this.",
)
@connection_variable_option
@option(
    "--sink-type",
    metavar="TYPE",
    default="stdout",
    show_default=True,
    help="An installed sink to write documents to.",
)
@verbosity
@click.pass_context
def command(context: click.Context, **given: Unpack[InitArguments]) -> None:
    """Write a first deployment from a database.

    TABLE is the root table, or schema.table: each of its rows becomes a document. What its foreign
    keys lead to, and what points at it, is folded in, one step far. The configuration and a schema
    file beside it are commented, and pass `flusso check`. Nothing is ever overwritten.
    """
    from flusso_core.drafting import draft_schema, schema_text
    from flusso_core.plugins import load_builder, load_capture, load_sink

    console = log_to_stderr(context)
    config = given["config"]
    refuse_existing(config)
    capture = load_capture(given["source_type"])
    builder = load_builder(capture.default_builder or capture.name)
    sink = _sink_text(given["sink_type"], load_sink(given["sink_type"]).options.model_fields)
    tables = asyncio.run(read_catalogue(builder, given["connection_variable"]))
    root = _root(given["table"], tables)
    index = _index_name(given["index"] or root.name.name)
    schema = config.with_name(f"{index}.schema.yml")
    refuse_existing(schema)
    text = CONFIG_TEMPLATE.format(
        source=capture.name,
        variable=given["connection_variable"],
        sink=sink,
        index=index,
        schema=schema.name,
    )
    draft = draft_schema(root, {table.name: table for table in tables})
    write_new(schema, schema_text(draft))
    write_new(config, text)
    if session_of(context).verbosity >= 0:
        console.print(f"{config} and {schema} are written. Next: flusso check --config {config}")


def _root(name: str, tables: Sequence[CatalogueTable]) -> CatalogueTable:
    """The table that is meant.

    Raises:
        click.UsageError: none is, several are, or it has no primary key.
    """
    from flusso_core.drafting import nearest_tables

    found: Sequence[TableName] = nearest_tables(name, [table.name for table in tables])
    if len(found) > 1:
        listed = " or ".join(str(table) for table in found)
        raise click.UsageError(f"several tables are named {name}: write {listed}")
    if not found:
        known = {table.name.name for table in tables} | {str(table.name) for table in tables}
        nearest = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise click.UsageError(f"there is no table {name} that this role may read.{hint}")
    [root] = [table for table in tables if table.name == found[0]]
    if not root.primary_key:
        raise click.UsageError(
            f"{root.name} has no primary key, by which documents would be told apart"
        )
    return root


def _index_name(name: str) -> str:
    """A name that an index may have, from that of a table."""
    valid = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return (valid if re.match(r"[a-z_]", valid) else f"_{valid}")[:63]


def _sink_text(kind: str, options: Mapping[str, FieldInfo]) -> str:
    """The table of a sink, with what it cannot do without.

    What may be a secret is read from a variable; anything else is left to whoever edits the file.
    """
    from flusso_core.cli.plugin_options import REFERENCE, type_text

    if kind == "stdout":
        return STDOUT_TEMPLATE
    lines = ["[sinks.target]", f'type = "{kind}"']
    for name, field in options.items():
        if not field.is_required():
            continue
        if REFERENCE in type_text(field.annotation):
            variable = f"{kind}_{name}".upper().replace("-", "_")
            lines.append(f'{name} = {{ env = "{variable}" }}')
        else:
            lines.append(f"# {name} = (required) {field.description or ''}".rstrip())
    return "\n".join(lines) + "\n"
