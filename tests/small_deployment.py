"""A deployment of one small index, and `flusso` run on it as its user would: as a process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from opensearchpy import NotFoundError, OpenSearch, RequestError

from .shop_deployment import FLUSSO, Flusso

CONFIG = """
[source]
type = "postgres"
connection_url = { env = "DATABASE_URL" }

[sinks.search]
type = "opensearch"
url = { env = "OPENSEARCH_URL" }
number_of_replicas = 0
refresh_interval = "5s"

[[index]]
name = "items"
schema = "items.schema.yml"
"""
SCHEMA = """
version: 1
table: items
fields:
  - keyword: name
"""
TABLE = "CREATE TABLE items (id bigint PRIMARY KEY, name text)"


class SmallDeployment:
    """The files in a folder of their own, with servers of the test.

    Args:
        folder: where the files are.
        environment: where the servers are, and what is the test's own there.
        client: of the cluster.
        prefix: of every index.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str], client: OpenSearch, prefix: str
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._started: list[Flusso] = []
        self.client = client
        self.prefix = prefix
        (folder / "items.schema.yml").write_text(SCHEMA)
        self.configure(CONFIG)

    @property
    def alias(self) -> str:
        """What searches go to."""
        return f"{self.prefix}items"

    def configure(self, text: str) -> None:
        """Write the configuration."""
        (self._folder / "flusso.toml").write_text(text)

    def start(self, *arguments: str) -> Flusso:
        """Start `flusso`; `close` ends it at the latest."""
        process = Flusso(*arguments, folder=self._folder, environment=self._environment)
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `flusso` to its end."""
        return subprocess.run(
            [str(FLUSSO), *arguments],
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin", **self._environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def count(self) -> int:
        """How many documents a search finds; -1: nothing serves, or what does is closed."""
        try:
            return int(self.client.count(index=self.alias)["count"])
        except (NotFoundError, RequestError):
            return -1

    def close(self) -> None:
        """End what still runs, and print what each run said: pytest shows it on a failure."""
        for process in self._started:
            process.kill()
            print(f"--- {process.arguments}\n{process.output}")  # noqa: T201
