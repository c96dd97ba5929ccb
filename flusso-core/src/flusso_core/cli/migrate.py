"""`flusso migrate`: from another tool's files to flusso's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from flusso_core.cli.catalogues import connection_variable_option, read_catalogue
from flusso_core.cli.console import log_to_stderr, print_json, print_table
from flusso_core.cli.options import format_option, option, session_of, verbosity
from flusso_core.cli.writing import refuse_existing, write_new

if TYPE_CHECKING:
    from flusso_core.catalogue import CatalogueTable
    from flusso_core.drafting import Migrated
    from flusso_core.model import JsonValue, TableName


class PgsyncArguments(TypedDict):
    """What the flags of `flusso migrate pgsync` say."""

    schema: Path
    folder: Path
    offline: bool
    connection_variable: str
    output: str


@click.group()
def command() -> None:
    """Turn another tool's files into flusso's."""


@command.command(
    epilog="\b\nJSON: {version: 1, files: [PATH], unmatched: [{index, path, message}]}"
)
@click.argument("schema", metavar="SCHEMA.json", type=click.Path(path_type=Path))
@option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="the current one",
    help="Where to write; it is made where it is missing.",
)
@option("--offline", is_flag=True, help="Do not read the database; guess types and keys.")
@connection_variable_option
@format_option
@verbosity
@click.pass_context
def pgsync(context: click.Context, **given: Unpack[PgsyncArguments]) -> None:
    """Turn a PGSync schema into a deployment.

    Writes a flusso.toml and a schema file for each index, and lists what has no counterpart, by its
    JSON path. PGSync reads types and foreign keys from the database when it runs; so they are read
    here. Nothing is ever overwritten.
    """
    from flusso_core.drafting import migrate_pgsync, parse_pgsync, schema_text
    from flusso_core.files import read_text

    console = log_to_stderr(context)
    documents = parse_pgsync(read_text(given["schema"]), str(given["schema"]))
    variable = given["connection_variable"]
    tables = None if given["offline"] else asyncio.run(_tables(variable))
    migrated = migrate_pgsync(documents, tables)
    folder = given["folder"]
    texts = {folder / _file_name(one): schema_text(one.schema) for one in migrated}
    texts[folder / "flusso.toml"] = _config(migrated, variable)
    for path in texts:
        refuse_existing(path)
    for path, text in texts.items():
        write_new(path, text)
    found = [(one.index, each.path, each.message) for one in migrated for each in one.unmatched]
    if given["output"] == "json":
        unmatched: list[JsonValue] = [
            {"index": index, "path": path, "message": message} for index, path, message in found
        ]
        print_json({"files": [str(path) for path in texts], "unmatched": unmatched})
        return
    if found:
        print_table(("INDEX", "PATH", "WITHOUT COUNTERPART"), found)
    if session_of(context).verbosity >= 0:
        console.print(f"written: {', '.join(map(str, texts))}")


async def _tables(variable: str) -> Mapping[TableName, CatalogueTable]:
    from flusso_core.plugins import load_builder

    tables = await read_catalogue(load_builder("postgres"), variable)
    return {table.name: table for table in tables}


def _file_name(migrated: Migrated) -> str:
    return f"{migrated.index}.schema.yml"


def _config(migrated: Sequence[Migrated], variable: str) -> str:
    lines = [
        "# Migrated from a PGSync schema.",
        "",
        "[source]",
        'type = "postgres"',
        f'connection_url = {{ env = "{variable}" }}',
        "",
        "[sinks.search]",
        'type = "opensearch"',
        'url = { env = "OPENSEARCH_URL" }',
    ]
    for one in migrated:
        lines += ["", "[[index]]", f'name = "{one.index}"', f'schema = "{_file_name(one)}"']
        if one.settings:
            lines.append(f"settings = {_toml(one.settings)}")
    return "\n".join(lines) + "\n"


def _toml(value: JsonValue) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return json.dumps(value)
