"""PGSync schemas become deployments that load, and what has no counterpart is listed by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flusso_core.catalogue import CatalogueColumn, CatalogueForeignKey, CatalogueTable
from flusso_core.cli import ExitCode
from flusso_core.cli.app import app
from flusso_core.config import Deployment, load_deployment
from flusso_core.drafting import Migrated, migrate_pgsync, parse_pgsync, schema_text
from flusso_core.errors import ConfigError
from flusso_core.model import FieldType, TableName
from flusso_core.schema import parse_schema
from flusso_core.schema.model import Field, IndexSchema, JoinField, JoinKind, ScalarField

LIBRARY = {
    "database": "library",
    "index": "Novels",
    "setting": {
        "number_of_shards": 2,
        "analysis": {"analyzer": {"grams": {"type": "custom", "tokenizer": "ngram"}}},
    },
    "routing": "author_id",
    "plugins": ["Shorten"],
    "nodes": {
        "table": "novel",
        "columns": ["id", "title", "isbn", "published", "first price", "meta->cover->url"],
        "transform": {
            "rename": {"title": "name", "writer": "author"},
            "mapping": {
                "name": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
                "isbn": {"type": "text", "analyzer": "grams"},
                "published": {"type": "date"},
                "first price": {"type": "scaled_float", "scaling_factor": 100},
            },
            "concat": {"columns": ["title", "isbn"], "destination": "label"},
        },
        "children": [
            {
                "table": "writer",
                "columns": ["id", "name"],
                "relationship": {
                    "type": "one_to_one",
                    "variant": "object",
                    "foreign_key": {"parent": ["writer_id"], "child": ["id"]},
                },
                "children": [
                    {
                        "table": "award",
                        "schema": "Fame",
                        "label": "awards",
                        "columns": ["year"],
                        "relationship": {
                            "type": "one_to_many",
                            "variant": "object",
                            "foreign_key": {"parent": ["id"], "child": ["winner_id"]},
                        },
                    }
                ],
            },
            {
                "table": "genre",
                "label": "genres",
                "columns": ["name"],
                "relationship": {
                    "type": "one_to_many",
                    "variant": "scalar",
                    "through_tables": ["novel_genre"],
                },
            },
        ],
    },
}

# Version 1 had a list of one node, and whatever is left out is the database's to know.
VERSION_1 = {
    "database": "CRM",
    "nodes": [
        {
            "table": "Account",
            "children": [
                {
                    "table": "contact",
                    "relationship": {"type": "one_to_many", "variant": "object"},
                },
                {
                    "table": "address",
                    "columns": ["street"],
                    "relationship": {"type": "one_to_one", "variant": "object"},
                },
            ],
        }
    ],
}

VIEW = {
    "database": "crm",
    "index": "activity",
    "nodes": {
        "table": "activity_view",
        "base_tables": ["activity"],
        "primary_key": ["day", "user"],
        "columns": ["day", "user", "count"],
        "children": [{"table": "stray"}],
    },
}

FLIGHTS = {
    "database": "demo",
    "index": "flights",
    "pipeline": "clean",
    "nodes": {
        "table": "bookings",
        "schema": "Air",
        "columns": ["code"],
        "children": [
            {
                "table": "tickets",
                "schema": "Air",
                "columns": ["data->>email", "data#>>{phone,home}"],
                "relationship": {"type": "one_to_many", "variant": "object"},
            },
            {
                "table": "seats",
                "schema": "Air",
                "label": "seat no.",
                "columns": ["row", "row"],
                "relationship": {
                    "type": "one_to_one",
                    "variant": "object",
                    "through_tables": ["ticket_seats", "more"],
                    "tomorrow": 1,
                },
            },
        ],
    },
}

RELATION = """
[{"database": "a", "nodes": {"table": "a", "children": [
    {"table": "b", "relationship": {"type": "many", "variant": "object"}}
]}}]
"""

ALL = {"library": LIBRARY, "version 1": VERSION_1, "view": VIEW, "flights": FLIGHTS}


def migrate(*documents: Any, tables: Any = None) -> list[Migrated]:
    return migrate_pgsync(parse_pgsync(json.dumps(documents), "schema.json"), tables)


def loaded(migrated: Migrated) -> IndexSchema:
    text = schema_text(migrated.schema)
    return parse_schema(text, index=migrated.index, origin=f"{migrated.index}.schema.yml")


def by_name(fields: tuple[Field, ...]) -> dict[str, Field]:
    return {field.name: field for field in fields}


def test_fields_relations_and_settings_are_carried_over() -> None:
    [migrated] = migrate(LIBRARY)
    schema = loaded(migrated)
    assert (schema.index, schema.table) == ("novels", TableName("public", "novel"))
    assert migrated.settings == {"number_of_shards": 2}
    fields = by_name(schema.fields)
    assert list(fields) == ["id", "name", "isbn", "published", "first_price", "author", "genres"]
    name, price, author = fields["name"], fields["first_price"], fields["author"]
    assert isinstance(name, ScalarField)
    assert (name.type, name.column) == (FieldType.TEXT, "title")
    assert name.options == {"fields": {"raw": {"type": "keyword"}}}
    assert isinstance(price, ScalarField)
    assert (price.custom, price.options) == ("scaled_float", {"scaling_factor": 100})
    assert isinstance(author, JoinField)
    assert (author.kind, author.column, author.primary_key) == (
        JoinKind.BELONGS_TO,
        "writer_id",
        "id",
    )
    awards = by_name(author.fields)["awards"]
    assert isinstance(awards, JoinField)
    assert (awards.kind, awards.table, awards.foreign_key) == (
        JoinKind.HAS_MANY,
        TableName("Fame", "award"),
        "winner_id",
    )
    genres = fields["genres"]
    assert isinstance(genres, JoinField)
    assert genres.through is not None
    assert genres.through.table == TableName("public", "novel_genre")


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        (
            LIBRARY,
            {
                "$[0].routing": "not routed",
                "$[0].plugins": "hook",
                "$[0].setting.analysis": "analyzers",
                "$[0].nodes.transform.concat": "generated column",
                "$[0].nodes.transform.mapping.isbn": "analyzer grams",
                "$[0].nodes.columns[4]": "no document key; it is written as first_price",
                "$[0].nodes.columns[5]": "index all of meta",
                "$[0].nodes.children[1].relationship.variant": "objects",
                "$[0].nodes.children[1].relationship.through_tables[0]": "novel_id and genre_id",
            },
        ),
        (
            VERSION_1,
            {
                "$[0].nodes.columns": "only the database says",
                "$[0].nodes.children[0].relationship": "contact.Account_id is taken",
                "$[0].nodes.children[0].columns": "only the database says",
                "$[0].nodes.children[1].relationship": "Account.address_id is taken",
            },
        ),
        (
            VIEW,
            {
                "$[0].nodes.base_tables": "view",
                "$[0].nodes.children[0]": "without a relationship",
            },
        ),
        (
            FLIGHTS,
            {
                "$[0].pipeline": "table of the sink",
                "$[0].nodes.children[0].relationship": "tickets.bookings_id is taken",
                "$[0].nodes.children[0].columns[0]": "json column",
                "$[0].nodes.children[0].columns[1]": "json column",
                "$[0].nodes.children[0]": "commented out",
                "$[0].nodes.children[1].relationship.tomorrow": "not carried over",
                "$[0].nodes.children[1].relationship.type": "array",
                "$[0].nodes.children[1].relationship.through_tables[0]": "bookings_id and seats_id",
                "$[0].nodes.children[1].relationship.through_tables[1]": "one junction",
                "$[0].nodes.children[1].columns[1]": "written as row_2",
            },
        ),
    ],
    ids=list(ALL),
)
def test_what_has_no_counterpart_is_listed_by_its_path(
    document: Any, paths: dict[str, str]
) -> None:
    [migrated] = migrate(document)
    found = {one.path: one.message for one in migrated.unmatched}
    assert found.keys() == paths.keys()
    for path, words in paths.items():
        assert words in found[path]
    notes = schema_text(migrated.schema)
    for path in paths:
        assert f"# Without counterpart: {path}: " in notes
    loaded(migrated)


def test_the_catalogue_gives_types_columns_and_the_direction_of_keys() -> None:
    def column(name: str, kind: FieldType, source: str = "x") -> CatalogueColumn:
        return CatalogueColumn(name, source, kind)

    account = TableName("public", "Account")
    address = TableName("public", "address")
    tables = {
        account: CatalogueTable(
            account,
            (column("Id", FieldType.LONG), column("homeId", FieldType.LONG)),
            ("Id",),
            (),
            (CatalogueForeignKey(("homeId",), address, ("id",)),),
        ),
        address: CatalogueTable(
            address, (column("id", FieldType.LONG), column("street", FieldType.TEXT)), ("id",)
        ),
        (contact := TableName("public", "contact")): CatalogueTable(
            contact,
            (column("account", FieldType.LONG), column("number", FieldType.SHORT)),
            ("account", "number"),
            (),
            (CatalogueForeignKey(("account",), account, ("Id",)),),
        ),
    }
    [migrated] = migrate(VERSION_1, tables=tables)
    assert migrated.unmatched == ()
    schema = loaded(migrated)
    fields = by_name(schema.fields)
    assert schema.primary_key == ("Id",)
    assert [(name, fields[name].__class__) for name in ("Id", "homeId")] == [
        ("Id", ScalarField),
        ("homeId", ScalarField),
    ]
    contacts, home = fields["contact"], fields["address"]
    assert isinstance(contacts, JoinField)
    assert (contacts.foreign_key, contacts.primary_key) == ("account", "number")
    assert isinstance(home, JoinField)
    assert (home.kind, home.column, home.primary_key) == (JoinKind.BELONGS_TO, "homeId", "id")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "schema.json: not JSON"),
        ("[" * 100_000, "schema.json: not JSON"),
        ("[1]", "[0]: expected a table"),
        ('[{"nodes": {"table": "a"}}]', "[0].database: required, but missing"),
        ('[{"database": "a", "nodes": {}}]', "[0].nodes.table: required, but missing"),
        (
            RELATION,
            "[0].nodes.children[0].relationship.type: expected one_to_one or one_to_many",
        ),
    ],
)
def test_what_is_no_pgsync_schema_is_told_by_its_path(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_pgsync(text, "schema.json")
    assert complaint in str(caught.value)


def run(folder: Path, *args: str) -> Any:
    return CliRunner().invoke(
        app, ["migrate", "pgsync", str(folder / "schema.json"), "--folder", str(folder), *args]
    )


def test_the_command_writes_a_deployment_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(list(ALL.values())))
    result = run(tmp_path, "--offline", "--format", "json")
    assert result.exit_code == ExitCode.OK, result.output
    content = json.loads(result.stdout)
    assert content["version"] == 1
    assert {one["index"] for one in content["unmatched"]} == {
        "novels",
        "crm",
        "activity",
        "flights",
    }
    deployment: Deployment = load_deployment(tmp_path / "flusso.toml")
    assert [index.name for index in deployment.indexes] == ["novels", "crm", "activity", "flights"]
    assert deployment.indexes[0].settings == {"number_of_shards": 2}
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    again = run(tmp_path, "--offline")
    assert again.exit_code == ExitCode.FAILURE
    assert "is there already, and nothing is overwritten" in again.stderr
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_table_of_what_is_missing_goes_to_stdout(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(VIEW))
    result = run(tmp_path, "--offline")
    heading, first, *_ = result.stdout.splitlines()
    assert heading.split("  ")[0] == "INDEX"
    assert first.split()[:2] == ["activity", "$[0].nodes.base_tables"]
    assert "written:" in result.stderr
