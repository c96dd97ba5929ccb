"""What `open` refuses and `check` finds: tables, columns, privileges, indexes, filters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from flusso_core.errors import SchemaMismatch, SourceFatal, SourceUnavailable
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, FieldType, IndexKeys, Operation, Severity, TableName
from flusso_core.schema import load_schema, parse_schema
from flusso_core.schema.model import IndexSchema, ScalarField
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.options import PostgresOptions

if TYPE_CHECKING:
    from .conftest import Lab

pytestmark = pytest.mark.integration

ORDERS = """
version: 1
table: orders
fields:
  - long: id
  - has_many: items
    table: items
    foreign_key: order_id
    primary_key: id
    fields:
      - keyword: sku
"""
HEALTHY = """
version: 1
table: healthy
fields:
  - long: id
"""
PARTS = """
      - has_many: parts
        table: parts
        foreign_key: item_id
        primary_key: id
        fields:
          - long: id
"""
TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric);
CREATE TABLE items (id bigint PRIMARY KEY, order_id bigint, sku text);
CREATE INDEX ON items (order_id);
"""


def _orders(text: str = ORDERS) -> IndexSchema:
    return parse_schema(text, "orders", "orders.schema.yml")


async def test_a_schema_that_fits_has_no_findings(lab: Lab) -> None:
    lab.execute(TABLES)
    assert await lab.closed_builder(_orders()).check() == []


@pytest.mark.parametrize(
    ("ruin", "said"),
    [
        ("DROP TABLE items", ["table public.items", "does not exist"]),
        ("ALTER TABLE items DROP sku", ["public.items", "no column 'sku'", "orders.schema.yml"]),
        ("ALTER TABLE items DROP order_id", ["public.items", "'order_id'", "orders.schema.yml"]),
        ("ALTER TABLE orders DROP CONSTRAINT orders_pkey", ["public.orders", "primary key"]),
    ],
)
async def test_what_is_missing_is_named(lab: Lab, ruin: str, said: list[str]) -> None:
    """C14: index, file, table and column."""
    lab.execute(TABLES + ruin + "; CREATE TABLE healthy (id int PRIMARY KEY)")
    healthy = parse_schema(HEALTHY, "healthy", "healthy.schema.yml")
    async with lab.builder(_orders(), healthy) as builder:
        (unfit,) = builder.unfit()
        assert unfit.index == "orders"
        changes = [Change(healthy.table, Operation.UPSERT, None, {"id": "1"})]
        assert [one async for one in builder.resolve(changes)] == [IndexKeys("healthy", [("1",)])]
    assert [one for one in [*said, "orders.schema.yml"] if one not in unfit.reason] == []
    (finding,) = await lab.closed_builder(_orders()).check()
    assert finding.severity is Severity.ERROR
    text = f"{finding.subject} {finding.message}"
    assert [one for one in said if one not in text] == []


@pytest.mark.parametrize(
    ("ruin", "line"),
    [
        ("ALTER TABLE items DROP sku", 10),
        ("ALTER TABLE items DROP order_id", 5),
        ("DROP TABLE items", 5),
        ("ALTER TABLE items ALTER sku TYPE int USING 1", 10),
        ("ALTER TABLE orders RENAME id TO key", 4),
    ],
)
async def test_what_is_missing_is_named_with_its_line(
    lab: Lab, tmp_path: Path, ruin: str, line: int
) -> None:
    """C14: file and line of what a table lacks, when the index starts and when it is checked."""
    file = tmp_path / "orders.schema.yml"
    file.write_text(ORDERS.replace("keyword: sku", "boolean: sku").lstrip(), encoding="utf-8")
    lab.execute(f"{TABLES}ALTER TABLE items ALTER sku TYPE boolean USING true; {ruin}")
    schema = load_schema(file, "orders")
    (finding,) = await lab.closed_builder(schema).check()
    assert f"{file}:{line}" in finding.message
    if finding.severity is Severity.ERROR:
        async with lab.builder(schema) as builder:
            (unfit,) = builder.unfit()
        assert f"{file}:{line}: " in unfit.reason


async def test_a_column_dropped_while_running_is_an_error_that_names_the_schema(lab: Lab) -> None:
    """C14: never a document without the field, never a delete."""
    lab.execute(TABLES + "; INSERT INTO orders VALUES (1)")
    async with lab.builder(_orders()) as builder:
        assert await lab.build(builder, "orders", [("1",)])
        lab.execute("ALTER TABLE items DROP sku")
        with pytest.raises(SchemaMismatch, match=r"index orders: orders.schema.yml: .*sku"):
            await lab.build(builder, "orders", [("1",)])


@pytest.mark.parametrize(
    "ruin",
    [
        "ALTER TABLE items DROP order_id",
        "ALTER TABLE items RENAME TO other",
        "ALTER TABLE items ALTER id TYPE uuid USING gen_random_uuid()",
    ],
)
async def test_an_index_that_can_no_longer_be_resolved_is_named(lab: Lab, ruin: str) -> None:
    """C14: once it is excluded, the others are resolved without it."""
    lab.execute(TABLES + "CREATE TABLE parts (id bigint PRIMARY KEY, item_id bigint)")
    change = Change(
        TableName("public", "parts"), Operation.UPSERT, None, {"id": "1", "item_id": "1"}
    )
    async with lab.builder(_orders(ORDERS + PARTS)) as builder:
        lab.execute(ruin)
        with pytest.raises(SchemaMismatch, match=r"index orders: orders.schema.yml: "):
            _ = [one async for one in builder.resolve([change])]
        builder.exclude("orders")
        assert [one async for one in builder.resolve([change])] == []


async def test_a_raw_filter_must_read_its_own_table(lab: Lab) -> None:
    """R5: a column that only the row above has would be taken from there."""
    lab.execute(TABLES)
    schema = _orders(ORDERS + "    filters: [{ raw: 'total > 0' }]\n")
    async with lab.builder(schema) as builder:
        (unfit,) = builder.unfit()
    assert re.search(r"raw filter on public.items.*total", unfit.reason)


async def test_a_missing_index_comes_with_its_sql(lab: Lab) -> None:
    lab.execute(TABLES + "DROP INDEX items_order_id_idx")
    (finding,) = await lab.closed_builder(_orders()).check()
    assert finding.severity is Severity.WARNING
    assert finding.cure == 'CREATE INDEX CONCURRENTLY ON "public"."items" ("order_id")'


async def test_an_index_of_a_partitioned_table_is_asked_for_as_it_can_be_had(lab: Lab) -> None:
    lab.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY);"
        "CREATE TABLE items (id bigint, order_id bigint, sku text, PRIMARY KEY (id))"
        " PARTITION BY HASH (id)"
    )
    (finding,) = await lab.closed_builder(_orders()).check()
    assert finding.cure == 'CREATE INDEX ON "public"."items" ("order_id")'
    lab.execute(finding.cure)
    assert await lab.closed_builder(_orders()).check() == []


IMPURE = {
    "total > 0 -- a comment": None,
    "orders.total > 0 OR upper('a') = 'A'": None,
    "total > extract(epoch FROM now())": "not immutable",
    "random() < 0.5": "not immutable",
    "EXISTS (SELECT FROM public.items i WHERE i.order_id = id)": "more than its own row",
    "(SELECT max(total) FROM public.orders) > total": "more than its own row",
}


@pytest.mark.parametrize("raw", IMPURE)
async def test_a_raw_filter_that_depends_on_more_than_its_row_is_named(lab: Lab, raw: str) -> None:
    """R5: and nothing is left behind of the look into it."""
    lab.execute(TABLES)
    schema = _orders(f"{ORDERS}filters: [{{ raw: {json.dumps(raw)} }}]\n")
    found = await lab.closed_builder(schema).check()
    said = IMPURE[raw]
    if said is None:
        assert found == []
    else:
        (finding,) = found
        assert finding.severity is Severity.WARNING
        assert said in finding.message
        assert repr(raw) in finding.message
    assert lab.rows("SELECT FROM pg_class WHERE relpersistence = 't'") == []


async def test_a_raw_filter_is_one_statement_also_where_it_is_looked_into(lab: Lab) -> None:
    """R5: the transaction that asks may write, and what the filter says must not."""
    lab.execute(TABLES + "; INSERT INTO orders VALUES (1)")
    schema = _orders(ORDERS + 'filters: [{ raw: "true); COMMIT; DELETE FROM orders; --" }]\n')
    (finding,) = await lab.closed_builder(schema).check()
    assert finding.severity is Severity.ERROR
    assert lab.rows("SELECT id FROM orders") == [(1,)]


async def test_values_of_an_enum_that_have_no_rank_are_named(lab: Lab) -> None:
    lab.execute(
        "CREATE TYPE mood AS ENUM ('bad', 'good', 'odd'); CREATE DOMAIN d AS mood;"
        "CREATE TABLE things (id int PRIMARY KEY, a d, b mood, c mood)"
    )
    fields = (
        ScalarField("a", FieldType.ENUM, "a", variants=("bad", "good")),
        ScalarField("b", FieldType.ENUM, "b", variants=("odd", "good", "bad", "worse")),
        ScalarField("c", FieldType.ENUM, "c"),
    )
    schema = IndexSchema("things", TableName("public", "things"), fields, "h")
    (finding,) = await lab.closed_builder(schema).check()
    assert finding.severity is Severity.WARNING
    assert "field 'a'" in finding.message
    assert "'odd'" in finding.message


async def test_a_custom_field_reads_the_types_that_it_names(lab: Lab) -> None:
    lab.execute(
        "CREATE EXTENSION citext;"
        "CREATE TABLE things (id int PRIMARY KEY, a inet, b citext, c varchar(5), d point)"
    )
    fields = tuple(
        ScalarField(name, FieldType.CUSTOM, name, postgres_types=types, custom="keyword")
        for name, types in {
            "a": ("cidr", "inet"),
            "b": ("citext",),
            "c": ("varchar",),
            "d": ("box", "no such type"),
        }.items()
    )
    schema = IndexSchema("things", TableName("public", "things"), fields, "h")
    (finding,) = await lab.closed_builder(schema).check()
    assert "column 'd' of public.things is point" in finding.message


async def test_a_column_of_another_type_is_a_warning(lab: Lab) -> None:
    lab.execute("CREATE TABLE things (id int PRIMARY KEY, a text)")
    fields = (ScalarField("a", FieldType.LONG, "a"),)
    schema = IndexSchema("things", TableName("public", "things"), fields, "h")
    (finding,) = await lab.closed_builder(schema).check()
    assert finding.severity is Severity.WARNING
    assert "column 'a' of public.things is text" in finding.message


async def test_a_key_that_nothing_makes_unique_is_an_error(lab: Lab) -> None:
    lab.execute("CREATE TABLE things (id int PRIMARY KEY, a int)")
    fields = (ScalarField("a", FieldType.LONG, "a"),)
    table = TableName("public", "things")
    schema = IndexSchema("things", table, fields, "h", primary_key=("a",))
    (finding,) = await lab.closed_builder(schema).check()
    assert finding.severity is Severity.ERROR
    assert "unique" in finding.message


async def test_a_role_that_may_not_read_is_told_what_to_grant(lab: Lab) -> None:
    """H6: a table that cannot be read is an error that names it."""
    role = f"poor_{urlsplit(lab.url).path[1:]}"
    lab.execute(f"{TABLES}; CREATE ROLE {role} LOGIN PASSWORD 'secret word'")
    lab.execute(f"GRANT SELECT ON orders TO {role}")
    try:
        parts = urlsplit(lab.url)
        url = urlunsplit(
            parts._replace(netloc=f"{role}:secret%20word@{parts.hostname}:{parts.port}")
        )
        options = PostgresOptions.model_validate({"connection_url": url})
        builder = PostgresBuilder(SourceContext(options, (_orders(),)))
        with pytest.raises(SourceFatal, match=r'GRANT SELECT ON "public"."items"') as caught:
            await builder.open()
        assert "secret" not in str(caught.value)
        (finding,) = await builder.check()
        assert finding.subject == "table public.items"
    finally:
        lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1, R4: to be tried again; without the password."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    url = "postgresql://someone:secret@127.0.0.1:1/nothing"
    options = PostgresOptions.model_validate({"connection_url": url})
    builder = PostgresBuilder(SourceContext(options, (_orders(),)))
    with pytest.raises(SourceUnavailable) as caught:
        await builder.open()
    assert "secret" not in str(caught.value)


async def test_lost_connections_are_replaced(lab: Lab) -> None:
    """R1: a call fails as unavailable, and the next ones work."""
    lab.execute(TABLES + "; INSERT INTO orders VALUES (1)")
    async with lab.builder(_orders()) as builder:
        assert (await lab.build(builder, "orders", [("1",)]))["1",]
        lab.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(SourceUnavailable):
            await lab.build(builder, "orders", [("1",)])
        assert (await lab.build(builder, "orders", [("1",)]))["1",]


def test_mappings_need_no_connection() -> None:
    options = PostgresOptions.model_validate({"connection_url": "postgresql://nowhere/x"})
    mappings = PostgresBuilder(SourceContext(options, (_orders(),))).mappings()
    assert [field.name for field in mappings["orders"].fields] == ["id", "items"]


async def test_connections_read_only(lab: Lab) -> None:
    """R5: nothing that a schema holds can write."""
    lab.execute(TABLES)
    lab.execute(
        "CREATE FUNCTION public.w() RETURNS bool LANGUAGE sql AS "
        "'INSERT INTO public.orders VALUES (9) RETURNING true'; INSERT INTO orders VALUES (1)"
    )
    schema = _orders(ORDERS + "filters: [{ raw: 'public.w()' }]\n")
    with pytest.raises(SourceFatal, match="read-only"):
        async with lab.builder(schema) as builder:
            await lab.build(builder, "orders", [("1",)])
