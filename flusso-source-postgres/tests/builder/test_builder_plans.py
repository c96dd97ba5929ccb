"""Statements go by indexes: what makes a change of one row cheap on a table of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flusso_core.schema import load_schema, parse_schema
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import ConnectionTarget, connect
from flusso_source_postgres.sql.compiled import CompiledIndex, compile_index, table_names
from flusso_source_postgres.statements import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Lab

pytestmark = pytest.mark.integration

SHOP = Path(__file__).parents[3] / "examples" / "shop"
LARGE = ("users", "profiles", "orders", "order_items", "reviews", "addresses")


def _statements(compiled: CompiledIndex) -> Iterator[tuple[str, int]]:
    """The index's statements, each with its number of parameters."""
    yield compiled.build, 1
    yield compiled.page(lower=False, upper=False, limit=500), 0
    yield compiled.page(lower=True, upper=True, limit=500), 2
    yield compiled.keys(lower=True), 1
    for trigger in compiled.triggers:
        if trigger.statement is not None:
            yield trigger.statement, 1


def _plan(lab: Lab, statement: str, parameters: int) -> str:
    lab.execute(f"PREPARE statement AS {statement}")
    given = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    plan = "\n".join(row[0] for row in lab.rows(f"EXPLAIN EXECUTE statement{given}"))
    lab.execute("DEALLOCATE statement")
    return plan


async def _compiled(lab: Lab) -> list[CompiledIndex]:
    lab.execute((SHOP / "sql" / "tables.sql").read_text())
    lab.execute("SET shop.users = '3000'")
    lab.execute((SHOP / "sql" / "seed.sql").read_text())
    lab.execute("ANALYZE")
    for name, value in SETTINGS.items():
        if name != "default_transaction_read_only":
            lab.execute(f"SET {name} = {value}")
    schemas = [
        load_schema(SHOP / f"{index}.schema.yml", index)
        for index in ("users", "products", "orders")
    ]
    target = ConnectionTarget.from_url(lab.url)
    async with await connect(target, application_name="test") as connection:
        names = {name for schema in schemas for name in table_names(schema)}
        tables = await read_tables(connection, names)
    return [compile_index(schema, tables) for schema in schemas]


async def test_documents_and_pages_never_read_a_whole_large_table(lab: Lab) -> None:
    for compiled in await _compiled(lab):
        for statement, parameters in list(_statements(compiled))[:4]:
            plan = _plan(lab, statement, parameters)
            assert [table for table in LARGE if f"Seq Scan on {table} " in plan] == [], plan


LARGE_TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text);
CREATE TABLE products (id bigint PRIMARY KEY, name text);
CREATE TABLE purchases (id bigint PRIMARY KEY, customer_id bigint, total numeric);
CREATE TABLE lines (id bigint PRIMARY KEY, purchase_id bigint, product_id bigint, price numeric);
CREATE TABLE labelled (product_id bigint, label_id bigint, PRIMARY KEY (product_id, label_id));
CREATE TABLE labels (id bigint PRIMARY KEY, name text);
INSERT INTO customers SELECT n, 'c' FROM generate_series(1, 20000) n;
INSERT INTO products SELECT n, 'p' FROM generate_series(1, 20000) n;
INSERT INTO labels SELECT n, 'l' FROM generate_series(1, 20000) n;
INSERT INTO labelled SELECT n, (n * 7919) % 20000 + 1 FROM generate_series(1, 20000) n;
INSERT INTO purchases SELECT n, (n * 7919) % 20000 + 1, n FROM generate_series(1, 60000) n;
INSERT INTO lines SELECT n, (n * 7919) % 60000 + 1, (n * 7919) % 20000 + 1, n
    FROM generate_series(1, 120000) n;
CREATE INDEX ON purchases (customer_id);
CREATE INDEX ON lines (purchase_id);
CREATE INDEX ON lines (product_id);
CREATE INDEX ON labelled (label_id);
ANALYZE;
"""

CUSTOMERS = """
version: 1
table: customers
filters: [{ column: name, op: is_not_null }]
fields:
  - count: purchases
    table: purchases
    foreign_key: customer_id
  - sum: spent
    table: purchases
    foreign_key: customer_id
    column: total
    value_type: decimal
    filters: [{ column: total, op: gt, value: 0 }]
  - max: largest
    table: purchases
    foreign_key: customer_id
    column: total
    value_type: decimal
  - has_one: last
    table: purchases
    foreign_key: customer_id
    order_by: [{ column: id, direction: desc }]
    fields:
      - has_many: lines
        table: lines
        foreign_key: purchase_id
        fields:
          - belongs_to: product
            table: products
            column: product_id
            fields:
              - many_to_many: labels
                table: labels
                through: { table: labelled, left_key: product_id, right_key: label_id }
                fields: [{ text: name }]
              - count: labelCount
                table: labels
                through: { table: labelled, left_key: product_id, right_key: label_id }
"""


async def test_nothing_reads_a_whole_large_table(lab: Lab) -> None:
    """Documents, pages, aggregates, and the ways up to the root from each of the tables."""
    lab.execute(LARGE_TABLES)
    for name, value in SETTINGS.items():
        if name != "default_transaction_read_only":
            lab.execute(f"SET {name} = {value}")
    schema = parse_schema(CUSTOMERS, "customers", "customers.schema.yml")
    target = ConnectionTarget.from_url(lab.url)
    async with await connect(target, application_name="test") as connection:
        compiled = compile_index(schema, await read_tables(connection, table_names(schema)))
    statements = list(_statements(compiled))
    assert len({trigger.table for trigger in compiled.triggers}) == 6
    assert len(statements) > 7
    for statement, parameters in statements:
        plan = _plan(lab, statement, parameters)
        assert "Seq Scan" not in plan, f"{statement}\n{plan}"


async def test_every_look_up_can_go_by_an_index(lab: Lab) -> None:
    """No cast, sub-select or comparison stands between a condition and its index."""
    compiled = await _compiled(lab)
    lab.execute("SET enable_seqscan = off")
    for one in compiled:
        for statement, parameters in _statements(one):
            plan = _plan(lab, statement, parameters)
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"


async def test_pages_are_read_in_key_order_without_sorting_the_table(lab: Lab) -> None:
    """H4: a page costs what it holds, wherever it is."""
    for compiled in await _compiled(lab):
        plan = _plan(lab, compiled.keys(lower=True), 1)
        assert "Sort" not in plan, plan
        assert "Index" in plan, plan
