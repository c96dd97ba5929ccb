"""Whether a raw filter depends on its own row alone (R5)."""

from __future__ import annotations

import psycopg
from psycopg import errors

from flusso_core.errors import SourceUnavailable
from flusso_source_postgres.catalogue import Table
from flusso_source_postgres.connection import Connection, source_error
from flusso_source_postgres.sql.text import identifier, table_name
from flusso_source_postgres.statements import run


async def impurity(connection: Connection, table: Table, condition: str) -> str | None:
    """What a condition depends on besides the columns of its row; `None`: nothing, or unknown.

    An index takes such conditions only (CREATE INDEX, `predicate`), so Postgres itself is asked:
    by an index on an empty temporary table of the same columns and name, in a transaction that is
    rolled back. A role that may not create temporary tables gets no answer.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    name = identifier(table.name.name)
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute("SET TRANSACTION READ WRITE")
            await run(
                connection, f"CREATE TEMPORARY TABLE {name} (LIKE {table_name(table.name)})", []
            )
            # Prepared, as every statement with a raw condition: one statement, whatever it says.
            await run(connection, f"CREATE INDEX ON pg_temp.{name} ((1)) WHERE ({condition}\n)", [])
    except errors.InvalidObjectDefinition:
        return "uses a function or operator that is not immutable"
    except errors.FeatureNotSupported:
        return "reads more than its own row"
    except psycopg.Error as error:
        mapped = source_error(error, "look into a raw filter")
        if isinstance(mapped, SourceUnavailable):
            raise mapped from error
    return None
