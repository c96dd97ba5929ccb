"""`flusso init` on a real database: what it writes passes the check and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flusso_core.cli import ExitCode

from .processes import Workplace
from .shop_deployment import Connection

TABLES = """
CREATE SCHEMA "Sales";
CREATE TYPE tier AS ENUM ('bronze', 'silver', 'gold');
CREATE TABLE regions (id smallint PRIMARY KEY, name text NOT NULL);
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    "fullName" text NOT NULL,
    "2nd mail" varchar(80),
    tier tier NOT NULL DEFAULT 'bronze',
    password_hash text,
    position point,
    born date,
    balance numeric(10, 2),
    labels text[],
    region_id smallint REFERENCES regions,
    referrer_id bigint REFERENCES customers
);
CREATE TABLE profiles (
    id int PRIMARY KEY, customer_id bigint NOT NULL UNIQUE REFERENCES customers, bio text
);
CREATE TABLE "Sales"."Orders" (
    "Id" uuid PRIMARY KEY, customer_id bigint REFERENCES customers, total numeric NOT NULL
);
CREATE TABLE notes (
    customer_id bigint REFERENCES customers, number int, text text,
    PRIMARY KEY (customer_id, number)
);
CREATE TABLE tags (id int PRIMARY KEY, word text NOT NULL);
CREATE TABLE customer_tags (
    customer_id bigint REFERENCES customers, tag_id int REFERENCES tags,
    PRIMARY KEY (customer_id, tag_id)
);
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE loose (word text);
INSERT INTO regions VALUES (1, 'North');
INSERT INTO customers VALUES
    (1, 'Ada', 'ada@example.com', 'gold', 'x', '(1,2)', '1815-12-10', 0.10, '{a,b}', 1, NULL),
    (2, 'Bob', NULL, 'bronze', 'x', NULL, NULL, NULL, NULL, NULL, 1);
INSERT INTO profiles VALUES (7, 1, 'counts');
INSERT INTO "Sales"."Orders" VALUES ('7d5d2f5e-0000-4000-8000-000000000001', 1, 9.90);
INSERT INTO notes VALUES (1, 2, 'second'), (1, 1, 'first');
INSERT INTO tags VALUES (5, 'early');
INSERT INTO customer_tags VALUES (1, 5);
"""

ADA = {
    "id": 1,
    "fullName": "Ada",
    "_2nd_mail": "ada@example.com",
    "tier": "gold",
    "born": "1815-12-10",
    "balance": 0.1,
    "labels": ["a", "b"],
    "region_id": 1,
    "referrer_id": None,
    "region": {"id": 1, "name": "North"},
    "referrer": None,
    "customers": [
        {
            "id": 2,
            "fullName": "Bob",
            "_2nd_mail": None,
            "tier": "bronze",
            "born": None,
            "balance": None,
            "labels": None,
            "region_id": None,
        }
    ],
    "Orders": [{"Id": "7d5d2f5e-0000-4000-8000-000000000001", "total": 9.9}],
    "tags": [{"id": 5, "word": "early"}],
    "notes": [{"number": 1, "text": "first"}, {"number": 2, "text": "second"}],
    "profiles": {"id": 7, "bio": "counts"},
}


@pytest.fixture
def newcomer(tmp_path: Path, postgres_database: str, connection: Connection) -> Workplace:
    """Someone with a database and an empty folder."""
    connection.execute(TABLES)
    return Workplace(tmp_path, {"DATABASE_URL": postgres_database})


@pytest.mark.integration
def test_what_init_writes_passes_the_check_and_fills_an_index(newcomer: Workplace) -> None:
    done = newcomer.run("init", "customers")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "flusso.toml and customers.schema.yml are written" in done.stderr
    assert newcomer.environment["DATABASE_URL"] not in (newcomer.folder / "flusso.toml").read_text()
    schema = (newcomer.folder / "customers.schema.yml").read_text()
    assert "# - text: password_hash" in schema
    assert "#   postgres: [point]" in schema

    checked = newcomer.run("check", "--format", "json")
    assert checked.returncode == ExitCode.OK, checked.stdout + checked.stderr

    sampled = newcomer.run("sample", "customers", "1", "--format", "json")
    assert json.loads(sampled.stdout)["documents"] == [{"id": "1", "document": ADA}]

    run = newcomer.run("run", "--once")
    assert run.returncode == ExitCode.OK, run.stderr
    lines: list[Any] = [json.loads(line) for line in run.stdout.splitlines()]
    written = {line["id"]: line["document"] for line in lines}
    assert written["1"] == ADA
    assert written["2"]["referrer"]["fullName"] == "Ada"
    assert written.keys() == {"1", "2"}


@pytest.mark.integration
def test_init_never_overwrites(newcomer: Workplace) -> None:
    (newcomer.folder / "customers.schema.yml").write_text("mine")
    done = newcomer.run("init", "customers")
    assert done.returncode == ExitCode.FAILURE
    assert "customers.schema.yml is there already" in done.stderr
    assert not (newcomer.folder / "flusso.toml").exists()
    (newcomer.folder / "flusso.toml").write_text("mine too")
    done = newcomer.run("init", "tags")
    assert done.returncode == ExitCode.FAILURE
    assert "flusso.toml is there already" in done.stderr
    assert sorted(path.read_text() for path in newcomer.folder.iterdir()) == ["mine", "mine too"]


@pytest.mark.integration
def test_init_takes_any_table_that_has_a_key(newcomer: Workplace) -> None:
    """Another schema, odd names, composite keys; what cannot be is told."""
    for table, index in (("Sales.Orders", "orders"), ("public.pairs", "pairs"), ("notes", "notes")):
        folder = newcomer.folder / index
        config = folder / "flusso.toml"
        done = newcomer.run("init", table, "--config", str(config))
        assert done.returncode == ExitCode.OK, done.stderr
        checked = newcomer.run("check", "--config", str(config))
        assert checked.returncode == ExitCode.OK, checked.stdout + checked.stderr
    for table, complaint in (
        ("custmers", "there is no table custmers that this role may read. Did you mean customers?"),
        ("loose", "public.loose has no primary key"),
    ):
        done = newcomer.run("init", table, "--config", "new.toml")
        assert done.returncode == ExitCode.USAGE
        assert complaint in " ".join(done.stderr.split())


@pytest.mark.integration
def test_init_names_the_variable_that_is_not_set(newcomer: Workplace) -> None:
    done = newcomer.run("init", "customers", "--connection-variable", "NOT_SET")
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "NOT_SET" in done.stderr
    assert list(newcomer.folder.iterdir()) == []


PGSYNC = {
    "database": "shop",
    "index": "customers",
    "nodes": {
        "table": "customers",
        "columns": ["id", "fullName", "born"],
        "transform": {"rename": {"fullName": "name"}},
        "children": [
            {
                "table": "regions",
                "label": "region",
                "relationship": {"variant": "object", "type": "one_to_one"},
            },
            {
                "table": "notes",
                "columns": ["text"],
                "relationship": {"variant": "object", "type": "one_to_many"},
            },
            {
                "table": "tags",
                "columns": ["word"],
                "relationship": {
                    "variant": "scalar",
                    "type": "one_to_many",
                    "through_tables": ["customer_tags"],
                },
            },
        ],
    },
}


@pytest.mark.integration
def test_a_pgsync_schema_becomes_the_same_documents(newcomer: Workplace) -> None:
    (newcomer.folder / "schema.json").write_text(json.dumps([PGSYNC]))
    done = newcomer.run("migrate", "pgsync", "schema.json", "--format", "json")
    assert done.returncode == ExitCode.OK, done.stderr
    [near] = json.loads(done.stdout)["unmatched"]
    assert near["path"] == "$[0].nodes.children[2].relationship.variant"
    sampled = newcomer.run(
        "sample", "customers", "1", "--format", "json", OPENSEARCH_URL="http://127.0.0.1:9"
    )
    assert sampled.returncode == ExitCode.OK, sampled.stderr
    assert json.loads(sampled.stdout)["documents"] == [
        {
            "id": "1",
            "document": {
                "id": 1,
                "name": "Ada",
                "born": "1815-12-10",
                "region": {"id": 1, "name": "North"},
                "notes": [{"text": "first"}, {"text": "second"}],
                "tags": [{"word": "early"}],
            },
        }
    ]
