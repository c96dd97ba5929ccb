"""Compare shapes of the SQL that assembles a document, on the shop's users with their orders.

Each shape is prepared once and read in binary, a thousand keys at a time, by turns, as flusso
does; the best turn counts. All shapes give the same documents, which is checked first. `flusso` is
the statement that flusso makes of the schema below; the others are written by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from flusso_core.schema import parse_schema
from flusso_sandbox import PostgresServer
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import ConnectionTarget
from flusso_source_postgres.sql.compiled import compile_index, table_names
from flusso_source_postgres.statements import Statements, run

SHOP = Path(__file__).parent.parent / "examples" / "shop"
CHUNK = 1000

SCHEMA = """
version: 1
table: users
fields:
  - long: id
  - text: name
    transforms: [trim]
  - enum: tier
  - decimal: balance
  - timestamp: createdAt
    column: created_at
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields:
      - long: id
      - decimal: total
      - timestamp: placedAt
        column: placed_at
      - has_many: items
        table: order_items
        foreign_key: order_id
        fields:
          - integer: quantity
          - decimal: price
            column: unit_price
  - count: orderCount
    table: orders
    foreign_key: user_id
  - sum: spent
    table: orders
    foreign_key: user_id
    column: total
    value_type: decimal
"""

_KEYS = "FROM unnest($1::text[]) WITH ORDINALITY AS k (id, n) JOIN public.users u ON u.id = k.id::"

BUILD_OBJECT = f"""
SELECT k.n, json_build_object(
    'id', u.id, 'name', btrim(u.name), 'tier', u.tier, 'balance', u.balance,
    'createdAt', u.created_at,
    'orders', coalesce((
        SELECT json_agg(json_build_object(
            'id', o.id, 'total', o.total, 'placedAt', o.placed_at,
            'items', coalesce((
                SELECT json_agg(
                    json_build_object('quantity', i.quantity, 'price', i.unit_price) ORDER BY i.id)
                FROM public.order_items i WHERE i.order_id = o.id), '[]')) ORDER BY o.id)
        FROM public.orders o WHERE o.user_id = u.id), '[]'),
    'orderCount', (SELECT count(*) FROM public.orders o WHERE o.user_id = u.id),
    'spent', (SELECT sum(o.total) FROM public.orders o WHERE o.user_id = u.id))::text
{_KEYS}bigint
"""

ROW_TO_JSON = f"""
SELECT k.n, (SELECT row_to_json(d) FROM (SELECT
    u.id, btrim(u.name) AS name, u.tier, u.balance, u.created_at AS "createdAt",
    coalesce((
        SELECT json_agg(row_to_json(r)) FROM (
            SELECT o.id, o.total, o.placed_at AS "placedAt",
                coalesce((
                    SELECT json_agg(row_to_json(s)) FROM (
                        SELECT i.quantity, i.unit_price AS price FROM public.order_items i
                        WHERE i.order_id = o.id ORDER BY i.id) s), '[]') AS items
            FROM public.orders o WHERE o.user_id = u.id ORDER BY o.id) r), '[]') AS orders,
    (SELECT count(*) FROM public.orders o WHERE o.user_id = u.id) AS "orderCount",
    (SELECT sum(o.total) FROM public.orders o WHERE o.user_id = u.id) AS spent) d)::text
{_KEYS}bigint
"""

JOINED = f"""
WITH u AS MATERIALIZED (SELECT k.n, u.* {_KEYS}bigint),
i AS (
    SELECT i.order_id, string_agg('{{"quantity":' || i.quantity || ',"price":' || i.unit_price
        || '}}', ',' ORDER BY i.id) AS items
    FROM u JOIN public.orders o ON o.user_id = u.id
    JOIN public.order_items i ON i.order_id = o.id GROUP BY i.order_id),
o AS (
    SELECT o.user_id, count(*) AS orders_, sum(o.total) AS spent,
        string_agg('{{"id":' || o.id || ',"total":' || o.total || ',"placedAt":'
        || to_json(o.placed_at)::text || ',"items":[' || coalesce(i.items, '') || ']}}', ','
        ORDER BY o.id) AS orders
    FROM u JOIN public.orders o ON o.user_id = u.id LEFT JOIN i ON i.order_id = o.id
    GROUP BY o.user_id)
SELECT u.n, '{{"id":' || u.id || ',"name":' || to_json(btrim(u.name))::text || ',"tier":'
    || to_json(u.tier)::text || ',"balance":' || u.balance || ',"createdAt":'
    || to_json(u.created_at)::text || ',"orders":[' || coalesce(o.orders, '')
    || '],"orderCount":' || coalesce(o.orders_, 0) || ',"spent":'
    || coalesce(o.spent::text, 'null') || '}}'
FROM u LEFT JOIN o ON o.user_id = u.id
"""


async def flussos(connection: psycopg.AsyncConnection[TupleRow], schema: str) -> str:
    """The statement that flusso makes of a schema."""
    parsed = parse_schema(schema, "users", "users.schema.yml")
    return compile_index(parsed, await read_tables(connection, table_names(parsed))).build


def apart(schema: str) -> str:
    """The schema with a field between those that would share a sub-select."""
    fence = "  - constant: fence\n    value: 1\n"
    return schema.replace("  - count:", f"{fence}  - count:").replace(
        "  - sum:", f"{fence.replace('fence', 'other')}  - sum:"
    )


async def read(
    connection: psycopg.AsyncConnection[TupleRow], statement: str, keys: Sequence[str]
) -> dict[int, bytes]:
    """The documents of these keys, as the server sends them."""
    result = await run(connection, statement, [keys])
    return {
        int.from_bytes(result.get_value(row, 0) or b""): result.get_value(row, 1) or b""
        for row in range(result.ntuples)
    }


async def measure(url: str, users: int, turns: int) -> dict[str, dict[str, int]]:
    """Documents and bytes a second by shape."""
    statements = Statements(ConnectionTarget.from_url(url), 1)
    async with await statements.connect() as connection:
        shapes: Mapping[str, str] = {
            "flusso": await flussos(connection, SCHEMA),
            "flusso, nothing shared": await flussos(connection, apart(SCHEMA)),
            "text, joined and grouped": JOINED,
            "row_to_json": ROW_TO_JSON,
            "json_build_object": BUILD_OBJECT,
        }
        keys = [str(key) for key in range(1, users + 1)]
        await compare(connection, shapes, keys[:CHUNK])
        best = dict.fromkeys(shapes, float("inf"))
        size = dict.fromkeys(shapes, 0)
        for _ in range(turns):
            for name, statement in shapes.items():
                begun = time.perf_counter()
                size[name] = 0
                for start in range(0, users, CHUNK):
                    found = await read(connection, statement, keys[start : start + CHUNK])
                    size[name] += sum(map(len, found.values()))
                best[name] = min(best[name], time.perf_counter() - begun)
    return {
        name: {
            "documents_per_second": round(users / seconds),
            "bytes_per_document": round(size[name] / users),
        }
        for name, seconds in best.items()
    }


async def compare(
    connection: psycopg.AsyncConnection[TupleRow], shapes: Mapping[str, str], keys: Sequence[str]
) -> None:
    """Fail where a shape does not give the documents that the first one gives."""
    first: Mapping[int, Any] | None = None
    for name, statement in shapes.items():
        found = {place: json.loads(body) for place, body in (
            await read(connection, statement, keys)).items()}  # fmt: skip
        for document in found.values():
            document.pop("fence", None)
            document.pop("other", None)
        first = found if first is None else first
        if found != first:
            raise SystemExit(f"{name} gives other documents")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000, help="size of the shop")
    parser.add_argument("--turns", type=int, default=5, help="how often each shape is read")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    # `make bench` hands the same arguments to every script.
    arguments, _of_others = parser.parse_known_args()
    with PostgresServer() as server:
        url = server.create_database("shop")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT set_config('shop.users', %s, false)", [str(arguments.users)])
            for name in ("tables.sql", "seed.sql"):
                connection.execute((SHOP / "sql" / name).read_bytes())
            connection.execute("VACUUM ANALYZE")
        figures = asyncio.run(measure(url, arguments.users, arguments.turns))
    if arguments.format == "json":
        print(json.dumps(figures, indent=2))
        return
    slowest = min(row["documents_per_second"] for row in figures.values())
    for name, row in figures.items():
        rate, size = row["documents_per_second"], row["bytes_per_document"]
        print(f"{name:<26}{rate:>8} documents/s {rate / slowest:>6.2f} x {size:>8} bytes each")


if __name__ == "__main__":
    main()
