"""Fixtures of the tests that cross packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from opensearchpy import OpenSearch

from flusso_sandbox import OpenSearchServer
from flusso_sandbox.compare import exact_client
from flusso_sandbox.endpoints import OpenSearchEndpoint

from .shop_deployment import Connection, Deployment
from .small_deployment import Deploy, SmallDeployment


@pytest.fixture
def connection(postgres_database: str) -> Iterator[Connection]:
    """An autocommit connection to an empty database."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(opensearch_server: OpenSearchEndpoint) -> Iterator[OpenSearch]:
    """An exact client of the cluster of the test run."""
    with exact_client(opensearch_server.url) as client:
        yield client


@pytest.fixture
def own_opensearch() -> Iterator[OpenSearchServer]:
    """A server that the test may stop and kill."""
    with OpenSearchServer() as server:
        yield server


@pytest.fixture
def environment(
    postgres_database: str, opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> Mapping[str, str]:
    """Where the servers of the test run are, and what is the test's own there."""
    stream = opensearch_prefix.strip("-").replace("-", "_")
    return {
        "DATABASE_URL": postgres_database,
        "OPENSEARCH_URL": opensearch_server.url,
        "FLUSSO_INDEX_PREFIX": opensearch_prefix,
        "FLUSSO_SLOT": stream,
        "FLUSSO_PUBLICATION": stream,
    }


@pytest.fixture
def deployment(
    tmp_path: Path, environment: Mapping[str, str], client: OpenSearch
) -> Iterator[Deployment]:
    """The shop's deployment on the servers of the test run."""
    deployment = Deployment(tmp_path, environment, client)
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture
def deploy(tmp_path: Path, environment: Mapping[str, str], client: OpenSearch) -> Iterator[Deploy]:
    """Makes a deployment of one index on the servers of the test run."""
    with ExitStack() as made:

        def deploy(index: str, schema: str) -> SmallDeployment:
            small = SmallDeployment(tmp_path, environment, client, index, schema)
            made.callback(small.close)
            return small

        yield deploy


@pytest.fixture
def small(connection: Connection, deploy: Deploy) -> SmallDeployment:
    """A deployment of one table, `items`, which is there and empty."""
    connection.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text)")
    return deploy("items", "version: 1\ntable: items\nfields:\n  - keyword: name\n")
