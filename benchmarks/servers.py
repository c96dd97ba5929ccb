"""The servers that are measured: throw-away ones, or those that URLs name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from flusso_sandbox import OpenSearchServer, PostgresEndpoint, PostgresServer

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

# Twice the sandbox's memory for blocks: a shop of 50,000 users is in it, as it would be in use.
POSTGRES_SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
HEAP_MB = 1024
COMPILED = ("-XX:TieredStopAtLevel=4",)
"""Both compilers of Java, as where a node lives long."""


@dataclass(frozen=True, slots=True)
class Servers:
    """One Postgres and one OpenSearch.

    Attributes:
        postgres: how to reach it, as a user who may create databases.
        opensearch: its URL.
        versions: of both, for people.
        postgres_pid: of its first process, where that runs here.
        opensearch_pid: of its process, where that runs here.
    """

    postgres: PostgresEndpoint
    opensearch: str
    versions: str
    postgres_pid: int | None
    opensearch_pid: int | None


@contextmanager
def servers(postgres: str | None, opensearch: str | None) -> Generator[Servers]:
    """Those of the URLs; where one is not given, a server that lives until the end.

    Args:
        postgres: `postgresql://` URL of a user who may create databases, `wal_level` is `logical`.
        opensearch: URL of a cluster without security, or with user and password in it.
    """
    with ExitStack() as stack:
        words: list[str] = []
        if postgres is None:
            own = stack.enter_context(PostgresServer(settings=POSTGRES_SETTINGS))
            endpoint, postgres_pid = own.endpoint, own.pid
            words.append(f"Postgres {own.version}")
        else:
            endpoint, postgres_pid = PostgresEndpoint.from_url(postgres), listener(postgres)
            words.append("Postgres of a given URL")
        if opensearch is None:
            node = stack.enter_context(OpenSearchServer(heap_mb=HEAP_MB, java_options=COMPILED))
            url, opensearch_pid = node.url, node.pid
            words.append(f"OpenSearch {node.version}")
        else:
            url, opensearch_pid = opensearch.rstrip("/"), listener(opensearch)
            words.append("OpenSearch of a given URL")
        yield Servers(endpoint, url, ", ".join(words), postgres_pid, opensearch_pid)


def listener(url: str) -> int | None:
    """The process that listens at the URL's port, where it runs here and may be looked at."""
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK:
        return None
    port = parts.port or (5432 if parts.scheme.startswith("postgres") else 9200)
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    pids = (
        one.pid
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port
    )
    return next((pid for pid in pids if pid is not None), None)
