"""A copy of the shop's deployment."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from opensearchpy import NotFoundError, OpenSearch

from flusso_sandbox.compare import Comparison, compare, expected_documents, index_documents

from .processes import Workplace

SHOP = Path(__file__).parent.parent / "examples" / "shop"
INDEXES = ("users", "products", "orders")

Connection = psycopg.Connection[tuple[Any, ...]]


def load_shop(connection: Connection, users: int) -> None:
    """Create the shop's tables and fill them."""
    connection.execute((SHOP / "sql/tables.sql").read_bytes())
    connection.execute("SELECT set_config('shop.users', %s, false)", [str(users)])
    connection.execute((SHOP / "sql/seed.sql").read_bytes())


class Deployment(Workplace):
    """The shop's files in a folder of their own, with servers of the test.

    Args:
        folder: to copy them to.
        environment: where the servers are, and what is the test's own there.
        client: of the cluster, exact.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], client: OpenSearch) -> None:
        super().__init__(folder, environment)
        for file in (SHOP / "flusso.toml", *SHOP.glob("*.schema.yml")):
            shutil.copy(file, folder)
        self.client = client
        self.database = environment["DATABASE_URL"]
        self.opensearch = environment["OPENSEARCH_URL"]
        self.prefix = environment["FLUSSO_INDEX_PREFIX"]

    def written(self) -> int:
        """How many documents the cluster has been given, whether searches see them or not."""
        try:
            stats = self.client.indices.stats(index=f"{self.prefix}*", metric="indexing")
        except NotFoundError:
            return 0
        names = (name for name in stats["indices"] if "flusso_" not in name)
        return sum(stats["indices"][name]["primaries"]["indexing"]["index_total"] for name in names)

    def served(self) -> bool:
        """Whether every index can be searched."""
        return all(
            self.client.indices.exists_alias(name=f"{self.prefix}{index}") for index in INDEXES
        )

    def compare_index(self, connection: Connection, index: str) -> Comparison:
        """One index against the SQL that says what it must hold."""
        alias = f"{self.prefix}{index}"
        self.client.indices.refresh(index=alias)
        query = (SHOP / f"expected/{index}.sql").read_text(encoding="utf-8")
        found = index_documents(self.client, alias)
        return compare(expected_documents(connection, query), found)

    def compare(self, connection: Connection) -> dict[str, Comparison]:
        """Each index against the SQL that says what it must hold."""
        return {index: self.compare_index(connection, index) for index in INDEXES}

    def differences(self, connection: Connection) -> int:
        """How many documents of all indexes are not right."""
        return sum(result.differences for result in self.compare(connection).values())
