"""Pytest fixtures that give tests a real Postgres, a real MariaDB and a real OpenSearch.

The plugin loads with the distribution. A server starts when the first test asks for it and lives as
long as the run. A server that cannot be had is an error, never a skip.

- `FLUSSO_TEST_POSTGRES_URL`, `FLUSSO_TEST_MARIADB_URL`, `FLUSSO_TEST_OPENSEARCH_URL` name servers
  that run already.
- `FLUSSO_TEST_POSTGRES_VERSION`, `FLUSSO_TEST_OPENSEARCH_VERSION` choose the version to start.

Under pytest-xdist each worker starts its own servers: run tests that need OpenSearch (some 900 MB
of memory a server) with `-n0`, or start one and name it with the variable.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flusso_sandbox.endpoints import (
        DatabaseEndpoint,
        MariaDBEndpoint,
        OpenSearchEndpoint,
        PostgresEndpoint,
    )
    from flusso_sandbox.server import EndpointT, ThrowAwayServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresEndpoint]:
    """A Postgres with `wal_level=logical`, shared by the whole run."""
    from flusso_sandbox.endpoints import PostgresEndpoint
    from flusso_sandbox.postgres import PostgresServer
    from flusso_sandbox.postgres_files import POSTGRES_VERSIONS

    version = os.environ.get("FLUSSO_TEST_POSTGRES_VERSION") or POSTGRES_VERSIONS[0]
    yield from _running(
        "FLUSSO_TEST_POSTGRES_URL", PostgresEndpoint.from_url, PostgresServer(version)
    )


@pytest.fixture
def postgres_database(postgres_server: PostgresEndpoint) -> Iterator[str]:
    """The URL of an empty database for this test alone; dropped afterwards with its slots."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBEndpoint]:
    """A MariaDB, shared by the whole run."""
    from flusso_sandbox.endpoints import MariaDBEndpoint
    from flusso_sandbox.mariadb import MariaDBServer

    yield from _running("FLUSSO_TEST_MARIADB_URL", MariaDBEndpoint.from_url, MariaDBServer())


@pytest.fixture
def mariadb_database(mariadb_server: MariaDBEndpoint) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database for this test alone; dropped afterwards."""
    yield from _database(mariadb_server)


@pytest.fixture(scope="session")
def opensearch_server() -> Iterator[OpenSearchEndpoint]:
    """An OpenSearch node, shared by the whole run."""
    from flusso_sandbox.endpoints import OpenSearchEndpoint
    from flusso_sandbox.opensearch import OpenSearchServer
    from flusso_sandbox.opensearch_files import OPENSEARCH_VERSIONS

    version = os.environ.get("FLUSSO_TEST_OPENSEARCH_VERSION") or OPENSEARCH_VERSIONS[0]
    yield from _running(
        "FLUSSO_TEST_OPENSEARCH_URL", OpenSearchEndpoint.from_url, OpenSearchServer(version)
    )


@pytest.fixture
def opensearch_prefix(opensearch_server: OpenSearchEndpoint) -> Iterator[str]:
    """A prefix for the names of this test's indexes, which are deleted afterwards."""
    prefix = f"test-{secrets.token_hex(6)}-"
    try:
        yield prefix
    finally:
        opensearch_server.delete_indexes(prefix)


def _running(
    variable: str, from_url: Callable[[str], EndpointT], throw_away: ThrowAwayServer[EndpointT]
) -> Iterator[EndpointT]:
    """The server that the variable names, else the throw-away one, which is started for it."""
    url = os.environ.get(variable)
    if url:
        yield from_url(url)
        return
    with throw_away:
        yield throw_away.endpoint


def _database(server: DatabaseEndpoint) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    url = server.create_database(name)
    try:
        yield url
    finally:
        server.drop_database(name)
