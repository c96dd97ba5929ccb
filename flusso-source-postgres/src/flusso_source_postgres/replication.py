"""The replication connection: frames in, status replies out, on the event loop.

It is an ordinary psycopg connection with `replication=database`, so TLS, several hosts and every
other libpq option work; once the stream has begun, only its `pgconn` is used.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import psycopg
from psycopg import errors, pq, sql

from flusso_core.errors import SourceError, SourceFatal, SourceUnavailable
from flusso_source_postgres.connection import (
    Connection,
    ConnectionTarget,
    dial,
    source_error,
)
from flusso_source_postgres.wire import format_lsn, standby_status

logger = logging.getLogger(__name__)

_ENDED = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COMMAND_OK)


class ReplicationConnection:
    """A connection to a WAL sender. Leaving its context closes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._writing = False

    @classmethod
    async def open(cls, target: ConnectionTarget) -> ReplicationConnection:
        """Connect.

        Raises:
            SourceUnavailable: the server is not there, or has no WAL sender to spare.
            SourceFatal: it refuses; the role may lack REPLICATION.
        """
        conninfo = target.with_parameters(
            replication="database", fallback_application_name="flusso replication"
        )
        return cls(await dial(target, conninfo))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """The WAL sender's process id."""
        return self._pgconn.backend_pid

    @property
    def is_open(self) -> bool:
        """Whether the connection is still there."""
        return not self._connection.closed

    async def close(self) -> None:
        """Close the connection; a temporary slot goes with it."""
        self._stop_writing()
        await self._connection.close()

    async def identify(self) -> tuple[str, str]:
        """The server's system identifier and timeline.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        try:
            cursor = await self._connection.execute("IDENTIFY_SYSTEM")
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise source_error(error, "identify the server") from error
        if row is None:
            raise SourceUnavailable("cannot identify the server: it gave no answer")
        return str(row[0]), str(row[1])

    async def history(self, timeline: str) -> bytes | None:
        """The history file of a timeline; `None`: the server has none.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        command = sql.SQL("TIMELINE_HISTORY {}").format(sql.Literal(int(timeline)))
        try:
            cursor = await self._connection.execute(command)
        except errors.UndefinedFile:
            return None
        except psycopg.Error as error:
            raise source_error(error, f"read the history of timeline {timeline}") from error
        # As it was sent: the reasons in it have no known encoding.
        return None if cursor.pgresult is None else cursor.pgresult.get_value(0, 1)

    async def sender_timeout(self) -> float | None:
        """`wal_sender_timeout` in seconds; `None`: the server never gives up.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        try:
            cursor = await self._connection.execute(
                "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'"
            )
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise source_error(error, "read wal_sender_timeout") from error
        milliseconds = int(row[0]) if row else 0
        return milliseconds / 1000 if milliseconds else None

    async def create_slot(self, slot: str, *, temporary: bool, failover: bool) -> None:
        """Create a logical slot; waits for every transaction that is writing at the time.

        Args:
            slot: its name.
            temporary: it ends with the connection.
            failover: standbys keep it too; Postgres 17 and later.

        Raises:
            SourceUnavailable: no room for one more, for now.
            SourceFatal: the server refuses.
        """
        command = sql.SQL(
            "CREATE_REPLICATION_SLOT {}{} LOGICAL pgoutput (SNAPSHOT 'nothing'{})"
        ).format(
            sql.Identifier(slot),
            sql.SQL(" TEMPORARY" if temporary else ""),
            sql.SQL(", FAILOVER true" if failover else ""),
        )
        try:
            await self._connection.execute(command)
        except errors.DuplicateObject:
            logger.info("replication slot %s has been created by another process", slot)
        except psycopg.Error as error:
            raise source_error(error, f"create the replication slot {slot}") from error

    async def keep_on_standbys(self, slot: str) -> None:
        """Have standbys keep a slot that exists; Postgres 17 and later.

        Raises:
            SourceUnavailable: another process uses the slot.
            SourceFatal: the server refuses.
        """
        command = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER true)").format(sql.Identifier(slot))
        try:
            await self._connection.execute(command)
        except psycopg.Error as error:
            raise source_error(error, f"have standbys keep the slot {slot}") from error

    async def start(self, slot: str, publication: str, start: int) -> None:
        """Begin to stream from `start`, or from what the slot has confirmed where that is later.

        Raises:
            SourceUnavailable: another process uses the slot.
            SourceFatal: the slot or the publication is gone.
        """
        # The option takes a list of identifiers within a string.
        names = '"' + publication.replace('"', '""') + '"'
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {})"
        ).format(sql.Identifier(slot), sql.SQL(format_lsn(start)), sql.Literal(names))  # pyright: ignore[reportArgumentType]
        try:
            self._pgconn.send_query(command.as_bytes(self._connection))
            await self._flushed()
            while self._pgconn.is_busy():
                await self.readable()
            result = self._pgconn.get_result()
        except psycopg.Error as error:
            raise source_error(error, "start replication") from error
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refused(result, slot)

    def read(self, slot: str) -> bytes | None:
        """The next frame that has arrived, or `None`: wait until `readable`.

        Raises:
            SourceUnavailable: the stream ended.
            SourceFatal: the server ended it for good.
        """
        try:
            size, view = self._pgconn.get_copy_data(1)
        except psycopg.Error as error:
            raise source_error(error, "read the change stream") from error
        if size > 0:
            return bytes(view)
        if size == 0:
            return None
        result = self._pgconn.get_result()
        if result is not None and result.status in _ENDED:
            # The server ended its half, or the whole command, without an error: it shuts down.
            raise SourceUnavailable("the server ended the change stream: it is shutting down")
        raise self._refused(result, slot)

    async def readable(self, timeout: float | None = None) -> bool:
        """Wait until more has arrived, or the time is over, and take it in.

        Returns:
            Whether something arrived.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        socket = self._socket()
        loop.add_reader(socket, _settle, ready)
        try:
            async with asyncio.timeout(timeout):
                await ready
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(socket)
        self.poll()
        return True

    def poll(self) -> None:
        """Take in what has arrived, without waiting.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise source_error(error, "read the change stream") from error

    def reply(self, confirmed: int) -> bool:
        """Tell the server what is confirmed, without waiting.

        Returns:
            Whether the reply is on its way; `False`: the connection is congested, try again.

        Raises:
            SourceUnavailable: the connection was lost.
        """
        try:
            if self._pgconn.put_copy_data(standby_status(confirmed)) == 0:
                return False
            self._flush_soon()
        except psycopg.Error as error:
            raise source_error(error, "confirm a position") from error
        return True

    def _flush_soon(self) -> None:
        """Write what the socket takes, and the rest when it takes more."""
        pending = self._pgconn.flush()
        if pending and not self._writing:
            asyncio.get_running_loop().add_writer(self._socket(), self._go_on_writing)
            self._writing = True
        elif not pending:
            self._stop_writing()

    def _go_on_writing(self) -> None:
        try:
            self._flush_soon()
        except psycopg.Error:
            # The next read or reply reports that the connection is gone.
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            asyncio.get_running_loop().remove_writer(self._socket())

    async def _flushed(self) -> None:
        """Wait until all that was written is on its way."""
        while self._pgconn.flush():
            loop = asyncio.get_running_loop()
            ready: asyncio.Future[None] = loop.create_future()
            socket = self._socket()
            loop.add_writer(socket, _settle, ready)
            try:
                await ready
            finally:
                loop.remove_writer(socket)

    def _socket(self) -> int:
        try:
            return self._pgconn.socket
        except psycopg.Error as error:
            raise source_error(error, "use the replication connection") from error

    def _refused(self, result: pq.abc.PGresult | None, slot: str) -> SourceError:
        """What the end of the stream means."""
        if result is None:
            return SourceUnavailable("the server ended the change stream")
        error = errors.error_from_result(result)
        text = " ".join(str(error).split())
        if isinstance(error, errors.ObjectInUse):
            return SourceUnavailable(
                f"cannot start replication: {text}; another flusso may be running, "
                "or the server has not noticed the end of the last one"
            )
        if isinstance(error, errors.UndefinedObject) and "publication" in text:
            return SourceFatal(
                f"{text}: it was dropped, or created after the replication slot {slot}, which can "
                "then never be read; drop the slot, and every index is filled afresh"
            )
        if isinstance(error, errors.UndefinedObject):
            return SourceFatal(f"{text}: it was dropped while flusso needs it")
        if isinstance(error, errors.ObjectNotInPrerequisiteState):
            return SourceFatal(
                f"replication slot {slot} cannot be used: {text}; if it is lost, start flusso "
                "again: it makes a new one, and each index then has a gap"
            )
        return source_error(error, "read the change stream")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
