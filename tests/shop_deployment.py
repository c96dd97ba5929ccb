"""A copy of the shop's deployment, and `flusso` run on it as its user would: as a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from opensearchpy import NotFoundError, OpenSearch

from flusso_sandbox.compare import Comparison, compare, expected_documents, index_documents

SHOP = Path(__file__).parent.parent / "examples" / "shop"
INDEXES = ("users", "products", "orders")
FLUSSO = Path(sys.executable).with_name("flusso")

Connection = psycopg.Connection[tuple[Any, ...]]


def load_shop(connection: Connection, users: int) -> None:
    """Create the shop's tables and fill them."""
    connection.execute((SHOP / "sql/tables.sql").read_bytes())
    connection.execute("SELECT set_config('shop.users', %s, false)", [str(users)])
    connection.execute((SHOP / "sql/seed.sql").read_bytes())


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when the condition holds; fail when it does not within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            message = f"not within {seconds:.0f} s: {what}"
            raise AssertionError(message)
        time.sleep(0.05)


def control() -> dict[str, str]:
    """Variables by which a run answers at an address of its own, and commands ask it there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return {
        "FLUSSO_PUBLIC_ADDRESS": "127.0.0.1:0",
        "FLUSSO_PRIVATE_ADDRESS": f"127.0.0.1:{port}",
        "FLUSSO_ADMIN_USER": "ops",
        "FLUSSO_ADMIN_PASSWORD": "of the tests",
    }


class Flusso:
    """A running `flusso` process with its output in a file.

    Args:
        arguments: of the command.
        folder: where it runs, and where its output goes.
        environment: on top of this process's, less what starts with `FLUSSO_`.
    """

    def __init__(self, *arguments: str, folder: Path, environment: Mapping[str, str]) -> None:
        inherited = {name: text for name, text in os.environ.items() if name[:7] != "FLUSSO_"}
        self.arguments = arguments
        self._log = folder / f"flusso-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(FLUSSO), *arguments],
                cwd=folder,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code; fails when it does not end within the bound."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"flusso did not end within {seconds:.0f} s:\n{self.output}"
            raise AssertionError(message) from None

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.running:
            self._process.kill()
        self._process.wait(10)


class Deployment:
    """The shop's files in a folder of their own, with servers of the test.

    Args:
        folder: to copy them to.
        database: URL of the database that holds the shop.
        client: of the cluster, exact.
        opensearch: URL of the cluster.
        prefix: of every index.
        slot: name of the replication slot and the publication.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str,
        client: OpenSearch,
        opensearch: str,
        prefix: str,
        slot: str,
    ) -> None:
        for file in (SHOP / "flusso.toml", *SHOP.glob("*.schema.yml")):
            shutil.copy(file, folder)
        self.folder = folder
        self.database = database
        self.opensearch = opensearch
        self.client = client
        self.prefix = prefix
        self._environment = {
            "DATABASE_URL": database,
            "OPENSEARCH_URL": opensearch,
            "FLUSSO_INDEX_PREFIX": prefix,
            "FLUSSO_SLOT": slot,
            "FLUSSO_PUBLICATION": slot,
        }
        self._started: list[Flusso] = []

    def flusso(self, *arguments: str, **environment: str) -> Flusso:
        """Start `flusso` on this deployment; `close` ends it at the latest."""
        process = Flusso(
            *arguments, folder=self.folder, environment={**self._environment, **environment}
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what still runs, and print what each run said: pytest shows it on a failure."""
        for process in self._started:
            process.kill()
            print(f"--- {process.arguments}\n{process.output}")  # noqa: T201

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

    def compare(self, connection: Connection) -> dict[str, Comparison]:
        """Each index against the SQL that says what it must hold."""
        result: dict[str, Comparison] = {}
        for index in INDEXES:
            alias = f"{self.prefix}{index}"
            self.client.indices.refresh(index=alias)
            query = (SHOP / f"expected/{index}.sql").read_text(encoding="utf-8")
            result[index] = compare(
                expected_documents(connection, query), index_documents(self.client, alias)
            )
        return result

    def differences(self, connection: Connection) -> int:
        """How many documents of all indexes are not right."""
        return sum(result.differences for result in self.compare(connection).values())
