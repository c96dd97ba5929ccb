"""Fixtures of the tests that cross packages."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flusso_sandbox.compare import exact_client
from flusso_sandbox.endpoints import OpenSearchEndpoint

from .shop_deployment import Connection, Deployment
from .small_deployment import TABLE, SmallDeployment


@pytest.fixture
def connection(postgres_database: str) -> Iterator[Connection]:
    """An autocommit connection to an empty database."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def deployment(
    tmp_path: Path,
    postgres_database: str,
    opensearch_server: OpenSearchEndpoint,
    opensearch_prefix: str,
) -> Iterator[Deployment]:
    """The shop's deployment on the servers of the test run."""
    with exact_client(opensearch_server.url) as client:
        deployment = Deployment(
            tmp_path,
            database=postgres_database,
            client=client,
            opensearch=opensearch_server.url,
            prefix=opensearch_prefix,
            slot=f"shop_{secrets.token_hex(4)}",
        )
        try:
            yield deployment
        finally:
            deployment.close()


@pytest.fixture
def small(
    tmp_path: Path,
    connection: Connection,
    postgres_database: str,
    opensearch_server: OpenSearchEndpoint,
    opensearch_prefix: str,
) -> Iterator[SmallDeployment]:
    """A deployment of one table, which is there and empty, on the servers of the test run."""
    connection.execute(TABLE)
    slot = opensearch_prefix.replace("-", "_")
    environment = {
        "DATABASE_URL": postgres_database,
        "OPENSEARCH_URL": opensearch_server.url,
        "FLUSSO_INDEX_PREFIX": opensearch_prefix,
        "FLUSSO_SLOT": slot,
        "FLUSSO_PUBLICATION": slot,
    }
    with exact_client(opensearch_server.url) as client:
        deployment = SmallDeployment(tmp_path, environment, client, opensearch_prefix)
        try:
            yield deployment
        finally:
            deployment.close()
