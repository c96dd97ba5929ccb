"""A connection for short questions that opens itself again after it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from flusso_core.errors import SourceUnavailable
from flusso_source_postgres.connection import (
    Connection,
    ConnectionTarget,
    connect,
    source_error,
)


class Session:
    """An autocommit connection, opened when it is first needed and after each loss.

    Several tasks may ask at once; their questions take turns.
    """

    def __init__(self, target: ConnectionTarget, *, application_name: str) -> None:
        self._target = target
        self._application_name = application_name
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    async def connection(self) -> Connection:
        """The open connection.

        Raises:
            SourceUnavailable: the server cannot be reached for now.
            SourceFatal: it refuses.
        """
        async with self._opening:
            if self._connection is None or self._connection.broken or self._connection.closed:
                await self._drop()
                self._connection = await connect(
                    self._target, application_name=self._application_name
                )
            return self._connection

    async def rows(
        self, sql: LiteralString, parameters: Sequence[Any] = (), *, doing: str
    ) -> list[TupleRow]:
        """Ask one question.

        Args:
            sql: with `%s` for each parameter.
            parameters: their values.
            doing: for the message of an error, as in "cannot …".

        Raises:
            SourceUnavailable: the connection was lost; the next question opens another.
            SourceFatal: the server refuses the question.
        """
        connection = await self.connection()
        try:
            cursor = await connection.execute(sql, parameters)
            return await cursor.fetchall()
        except psycopg.Error as error:
            raise source_error(error, doing) from error

    async def row(
        self, sql: LiteralString, parameters: Sequence[Any] = (), *, doing: str
    ) -> TupleRow:
        """Ask a question that has exactly one row for an answer; errors as for `rows`."""
        rows = await self.rows(sql, parameters, doing=doing)
        if len(rows) != 1:
            raise SourceUnavailable(f"cannot {doing}: the server answered {len(rows)} rows")
        return rows[0]

    async def close(self) -> None:
        """Close the connection. The session may be used again afterwards."""
        async with self._opening:
            await self._drop()

    async def _drop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
