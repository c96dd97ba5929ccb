"""The demo's servers: those that run already, or throw-away ones; nothing of it stays behind."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from flusso_sandbox.demo.ending import Ending
from flusso_sandbox.demo.shop import Connection, create_tables, drop_tables, refuse_existing
from flusso_sandbox.endpoints import OpenSearchEndpoint, PostgresEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.opensearch import OpenSearchServer
from flusso_sandbox.opensearch_files import OPENSEARCH_VERSIONS, find_programs
from flusso_sandbox.postgres import PostgresServer
from flusso_sandbox.progress import DownloadProgress, ProgressCallback, progress_reporter

_DATABASE = "shop"
_POSTGRES = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
# A node that lives for a minute pays for what the second compiler does and never gets it back: on
# two processors the backfill takes twice as long with it.
_JAVA = ("-XX:TieredStopAtLevel=1",)
_SLOT_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the demo uses.

    Attributes:
        name: product and version.
        url: how to reach it, secrets included.
        shown: the same for the screen; the password of a throw-away server is no secret.
        seconds: what its start took; None: it ran already.
    """

    name: str
    url: str = field(repr=False)
    shown: str = field(repr=False)
    seconds: float | None = None


@contextmanager
def postgres_database(given: str | None, ending: Ending) -> Generator[Server]:
    """A database: that of a URL, or one of a server of the demo's own.

    Raises:
        SandboxError: the URL is no such URL, or the server does not start.
    """
    if given is not None:
        endpoint = PostgresEndpoint.from_url(given)
        shown = f"postgresql://{endpoint.host}:{endpoint.port}/{endpoint.maintenance}"
        yield Server("Postgres", given, shown)
        return
    began = time.monotonic()
    with (
        _progress(ending) as progress,
        PostgresServer(settings=_POSTGRES, progress=progress) as server,
    ):
        url = server.create_database(_DATABASE)
        yield Server(f"Postgres {server.version}", url, url, time.monotonic() - began)


@contextmanager
def opensearch_cluster(given: str | None, ending: Ending) -> Generator[Future[Server]]:
    """A cluster: that of a URL, or a node of the demo's own, which starts in the background.

    Raises:
        DownloadUnavailable: the files of OpenSearch cannot be had.
        SandboxError: the URL is no such URL.
    """
    if given is not None:
        ready: Future[Server] = Future()
        endpoint = OpenSearchEndpoint.from_url(given)
        ready.set_result(Server("OpenSearch", endpoint.url, endpoint.shown))
        yield ready
        return
    version = OPENSEARCH_VERSIONS[0]
    # Here and not in the background: without these files, documents go somewhere else.
    with _progress(ending) as progress:
        find_programs(version, progress)
    server = OpenSearchServer(version, java_options=_JAVA)

    def start() -> Server:
        began = time.monotonic()
        server.start()
        seconds = time.monotonic() - began
        return Server(f"OpenSearch {version}", server.url, server.url, seconds)

    try:
        with ThreadPoolExecutor(1, "flusso-opensearch") as pool:
            yield pool.submit(start)
    finally:
        server.close()


@contextmanager
def shop_tables(server: Server, names: str) -> Generator[Connection]:
    """A connection to a database with the shop's tables, empty, which it has for so long.

    Args:
        server: where the database is.
        names: name of the slot and the publication, which go as well.

    Raises:
        SandboxError: the database cannot be reached, has such tables, or no logical replication.
    """
    with _connect(server) as connection:
        refuse_existing(connection)
        _refuse_unfit(connection)
        create_tables(connection)
        try:
            yield connection
        finally:
            if server.seconds is None:
                _clean(server, names)


@contextmanager
def own_indexes(server: Server, prefix: str) -> Generator[None]:
    """Deletes the indexes with a prefix at the end, if the cluster outlives the demo."""
    try:
        yield
    finally:
        if server.seconds is None:
            OpenSearchEndpoint(server.url).delete_indexes(prefix)


@contextmanager
def _progress(ending: Ending) -> Generator[ProgressCallback]:
    """Tells the user how a download gets on, and ends it after a signal."""
    with progress_reporter(None) as report:

        def go_on(state: DownloadProgress) -> None:
            ending.check()
            report(state)

        yield go_on


def fresh_name() -> str:
    """A name that nothing at a running server has."""
    return f"flusso_demo_{secrets.token_hex(4)}"


def _connect(server: Server) -> Connection:
    try:
        return psycopg.connect(server.url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        msg = f"{server.shown} does not let the demo in: {error}"
        raise SandboxError(msg) from error
    except psycopg.ProgrammingError:
        # libpq quotes pieces of a malformed connection string, which may be the password.
        msg = f"{server.shown} is not a URL that Postgres understands"
        raise SandboxError(msg) from None


def _refuse_unfit(connection: Connection) -> None:
    row = connection.execute("SELECT current_setting('wal_level')").fetchone()
    level = row[0] if row else ""
    if level != "logical":
        msg = (
            f"the server has wal_level = {level}, and changes can only be followed with logical: "
            "set it in postgresql.conf and restart the server"
        )
        raise SandboxError(msg)


def _clean(server: Server, names: str) -> None:
    """Take away what the demo made in a database that goes on without it."""
    with _connect(server) as connection:
        _drop_slot(connection, names)
        connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(names)))
        drop_tables(connection)


def _drop_slot(connection: Connection, name: str) -> None:
    """Drop a replication slot, whose reader may just be leaving."""
    deadline = time.monotonic() + _SLOT_SECONDS
    query = "SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = %s"
    while (row := connection.execute(query, [name]).fetchone()) is not None:
        if not row[0]:
            connection.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [name])
        elif time.monotonic() > deadline:
            msg = f"the replication slot {name} stays in use: drop it"
            raise SandboxError(msg)
        else:
            time.sleep(_POLL_SECONDS)
