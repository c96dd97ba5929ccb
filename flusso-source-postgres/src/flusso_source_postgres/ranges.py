"""How large a root table is, and where to cut its keys into ranges."""

from __future__ import annotations

from itertools import pairwise

from flusso_core.model import Key, KeyRange
from flusso_source_postgres.sql.compiled import CompiledIndex
from flusso_source_postgres.sql.pages import sample_statement
from flusso_source_postgres.sql.text import table_name
from flusso_source_postgres.statements import Statements

SMALL_PAGES = 64
"""Tables of fewer pages (of 8 kB) are not worth dividing."""

SAMPLE_PAGES = 400
"""About how many pages a sample of keys reads."""

COUNTED_PAGES = 4000
"""Tables of fewer pages are counted, larger ones estimated by what ANALYZE left."""

# A partitioned table's own pages and tuples are in its leaves.
_SIZE = """
SELECT coalesce(sum(pg_catalog.pg_relation_size(c.oid)) / 8192, 0)::bigint::text,
       (CASE WHEN min(c.reltuples) < 0 THEN -1 ELSE sum(c.reltuples) END)::bigint::text
FROM pg_catalog.pg_class c
WHERE c.oid = $1::oid
   OR c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid) t WHERE t.isleaf)
"""


async def divide(statements: Statements, compiled: CompiledIndex, count: int) -> list[KeyRange]:
    """At most `count` ranges that cover every key, of about the same number of rows."""
    pages, _ = await _size(statements, compiled)
    if count < 2 or pages < SMALL_PAGES:
        return [KeyRange()]
    percent = min(100.0, 100.0 * SAMPLE_PAGES / pages)
    sample = await statements.keys(
        sample_statement(compiled.schema, compiled.tables, percent),
        [],
        f"sample the keys of {compiled.schema.table}",
    )
    return between(boundaries(sample, count))


def boundaries(sample: list[Key], count: int) -> list[Key]:
    """Keys that cut an ordered sample into at most `count` parts of about the same size."""
    cuts = [sample[len(sample) * part // count] for part in range(1, count) if sample]
    return list(dict.fromkeys(cuts))


def between(cuts: list[Key]) -> list[KeyRange]:
    """The ranges that the cuts make: all keys up to the first, between two, above the last."""
    bounds: list[Key | None] = [None, *cuts, None]
    return [KeyRange(low, high) for low, high in pairwise(bounds)]


async def estimate(statements: Statements, compiled: CompiledIndex) -> int:
    """How many rows the root table has, about."""
    pages, tuples = await _size(statements, compiled)
    if tuples >= 0 and pages >= COUNTED_PAGES:
        return tuples
    name = compiled.schema.table
    rows = await statements.keys(
        f"SELECT count(*)::text FROM {table_name(name)}", [], f"count the rows of {name}"
    )
    return int(rows[0][0])


async def _size(statements: Statements, compiled: CompiledIndex) -> tuple[int, int]:
    table = compiled.tables[compiled.schema.table]
    rows = await statements.keys(_SIZE, [str(table.oid)], f"look up the size of {table.name}")
    return int(rows[0][0]), int(rows[0][1])
