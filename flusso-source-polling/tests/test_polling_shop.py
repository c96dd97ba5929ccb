"""The example shop on a real Postgres: what this builder makes equals its hand-written SQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, ChangeBatch, Key, Operation, Severity, TableName
from flusso_core.schema import load_schema
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

if TYPE_CHECKING:
    import psycopg

SHOP = Path(__file__).parents[2] / "examples" / "shop"
INDEXES = ("users", "products", "orders")


def fill(connection: psycopg.Connection[Any], *, users: int) -> None:
    """Make the shop's tables, with so many users and what belongs to them."""
    connection.execute((SHOP / "sql" / "tables.sql").read_bytes())
    connection.execute(f"SET shop.users = '{users}'".encode())
    connection.execute((SHOP / "sql" / "seed.sql").read_bytes())


@pytest.mark.integration
async def test_the_shop_is_what_its_own_sql_says(postgres_database: str) -> None:
    """Every document of the three indexes, by pages and by key, and nothing stands in the way."""
    # Here, as neither is there where the package's unit tests run without servers.
    import psycopg

    from flusso_sandbox.compare import compare, expected_documents, parse_document

    schemas = tuple(load_schema(SHOP / f"{index}.schema.yml", index) for index in INDEXES)
    options = PollingOptions.model_validate({"connection_url": postgres_database})
    context = SourceContext(options, schemas)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        fill(connection, users=50)
        findings = await PollingCapture(context).check()
        assert {finding.severity for finding in findings} == {Severity.INFO}
        assert await PollingBuilder(context).check() == []
        async with PollingBuilder(context) as builder:
            for index in INDEXES:
                found: dict[str, bytes] = {}
                (span,) = await builder.ranges(index, 4)
                after: Key | None = None
                while True:
                    page = await builder.page(index, span, after, 37)
                    found.update({key[0]: body for key, body in page.documents if body is not None})
                    after = page.cursor
                    if after is None:
                        break
                keys = [(key,) for key in found]
                built = [one async for chunk in builder.build(index, keys) for one in chunk]
                assert {one.key[0]: one.body for one in built} == found
                documents = {key: parse_document(body) for key, body in found.items()}
                query = (SHOP / "expected" / f"{index}.sql").read_text()
                comparison = compare(expected_documents(connection, query), documents)
                assert comparison.differences == 0, str(comparison)
                assert comparison.checked > 0


@pytest.mark.integration
async def test_a_truncate_of_postgres_is_seen_as_deletes_and_does_not_wait_for_ever(
    postgres_database: str,
) -> None:
    """C7."""
    import psycopg

    schemas = (load_schema(SHOP / "orders.schema.yml", "orders"),)
    options = PollingOptions.model_validate({"connection_url": postgres_database, "interval": 0.05})
    batches: asyncio.Queue[ChangeBatch] = asyncio.Queue()
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        fill(connection, users=5)
        items = connection.execute("SELECT count(*) FROM order_items").fetchone()
        async with PollingCapture(SourceContext(options, schemas)) as capture:
            await capture.provision(temporary=True)
            live = asyncio.create_task(capture.live(await capture.confirmed(), batches.put))
            # In a thread: it waits for the snapshot, which ends when the next poll begins.
            await asyncio.to_thread(connection.execute, "TRUNCATE order_items")
            head = await capture.head()
            found: list[Change] = []
            async with asyncio.timeout(30):
                while True:
                    batch = await batches.get()
                    found += batch.changes
                    if batch.position is not None and batch.position >= head:
                        break
            live.cancel()
            await asyncio.wait({live})
    assert items is not None
    assert len(found) == items[0]
    assert {one.operation for one in found} == {Operation.DELETE}
    assert {one.table for one in found} == {TableName("public", "order_items")}
