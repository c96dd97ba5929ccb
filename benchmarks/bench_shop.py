"""Measure `flusso run` on the shop: filling its indexes, one change, many changes.

Postgres, OpenSearch and flusso share this machine. The program measured is the installed command
in a process of its own; its memory is the peak that the operating system saw.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import requests

from flusso_sandbox import OpenSearchServer, PostgresServer

SHOP = Path(__file__).parent.parent / "examples" / "shop"
FLUSSO = Path(sys.executable).with_name("flusso")
INDEXES = ("users", "products", "orders")
PATIENCE = 300.0
"""Seconds that anything may take."""


class Shop:
    """The shop's database and the cluster that it is searched in."""

    def __init__(self, database: str, cluster: str, folder: Path) -> None:
        self.database = database
        self.cluster = cluster
        self.folder = folder
        self.connection = psycopg.connect(database, autocommit=True)

    def load(self, users: int) -> None:
        """Create the tables and fill them."""
        self.connection.execute("SELECT set_config('shop.users', %s, false)", [str(users)])
        for name in ("tables.sql", "seed.sql"):
            self.connection.execute((SHOP / "sql" / name).read_bytes())
        self.connection.execute("ANALYZE")

    def search(self, index: str, query: dict[str, Any], size: int = 0) -> dict[str, Any]:
        """What the cluster finds; nothing while the index is not there."""
        answer = requests.post(
            f"{self.cluster}/shop_{index}/_search",
            json={"query": query, "size": size, "track_total_hits": True, "_source": False},
            timeout=30,
        )
        hits: dict[str, Any] = answer.json().get("hits", {"total": {"value": 0}, "hits": []})
        return hits

    def found(self, name: str, users: int) -> bool:
        """Whether a search for a name finds that many users."""
        return self.count("users", {"term": {"name.keyword": name}}) == users

    def count(self, index: str, query: dict[str, Any]) -> int:
        """How many documents a search finds."""
        return int(self.search(index, query)["total"]["value"])

    def last_words(self) -> str:
        """The end of what flusso logged."""
        return (self.folder / "flusso.log").read_text(encoding="utf-8")[-2000:]

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start flusso on the shop's own configuration."""
        environment = {**os.environ, "DATABASE_URL": self.database, "OPENSEARCH_URL": self.cluster}
        with (self.folder / "flusso.log").open("ab") as log:
            return subprocess.Popen(
                [FLUSSO, "run", *args], cwd=self.folder, env=environment, stdout=log, stderr=log
            )


def wait_for(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a condition holds, while flusso runs.

    Raises:
        SystemExit: it does not hold in time, or flusso ended.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            raise SystemExit(f"flusso ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.002)


def fill(shop: Shop) -> dict[str, float]:
    """Fill the empty indexes and end."""
    begun = time.monotonic()
    process = shop.start("--once")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"flusso ended with {process.returncode}\n{shop.last_words()}")
    documents = sum(shop.count(index, {"match_all": {}}) for index in INDEXES)
    return {
        "documents": documents,
        "seconds": round(seconds, 2),
        "documents_per_second": round(documents / seconds),
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
    }


@contextmanager
def running(shop: Shop) -> Generator[subprocess.Popen[bytes]]:
    """Flusso at work, stopped at the end."""
    process = shop.start()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rename(shop: Shop, user: int, name: str) -> None:
    """Change one user in a transaction of its own."""
    shop.connection.execute("UPDATE users SET name = %s WHERE id = %s", [name, user])


def one_change(
    shop: Shop, process: subprocess.Popen[bytes], users: list[int], times: int
) -> dict[str, float]:
    """Time from a commit to the search that finds it; the first change is for warming up."""
    milliseconds: list[float] = []
    for number in range(times + 1):
        name = f"single{number}"
        rename(shop, users[number % len(users)], name)
        begun = time.monotonic()
        wait_for(partial(shop.found, name, 1), name, process)
        milliseconds.append((time.monotonic() - begun) * 1000)
    ordered = sorted(milliseconds[1:])
    return {
        "changes": times,
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 1),
    }


def many_changes(
    shop: Shop, process: subprocess.Popen[bytes], users: list[int]
) -> dict[str, float]:
    """Commit one change after the other; then wait until all are found."""
    begun = time.monotonic()
    for user in users:
        rename(shop, user, "many")
    committed = time.monotonic() - begun
    wait_for(partial(shop.found, "many", len(users)), "all changes", process)
    seconds = time.monotonic() - begun
    return {
        "changes": len(users),
        "commits_took_seconds": round(committed, 2),
        "seconds": round(seconds, 2),
        "changes_per_second": round(len(users) / seconds),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the servers, measure, stop them."""
    with (
        tempfile.TemporaryDirectory(prefix="flusso-bench-") as folder,
        PostgresServer() as postgres,
        OpenSearchServer() as opensearch,
    ):
        files = Path(folder) / "shop"
        shutil.copytree(SHOP, files)
        shop = Shop(postgres.create_database("shop"), opensearch.url, files)
        shop.load(arguments.users)
        figures: dict[str, Any] = {
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "postgres": postgres.version,
                "opensearch": opensearch.version,
                "users": arguments.users,
            },
            "fill": fill(shop),
        }
        hits = shop.search("users", {"match_all": {}}, size=arguments.changes)["hits"]
        users = [int(hit["_id"]) for hit in hits]
        with running(shop) as process:
            figures["one change"] = one_change(shop, process, users, arguments.singles)
            figures["many changes"] = many_changes(shop, process, users)
        shop.connection.close()
        return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000, help="size of the shop")
    parser.add_argument("--singles", type=int, default=50, help="changes one at a time")
    parser.add_argument("--changes", type=int, default=5_000, help="changes in a row")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    figures = measure(arguments)
    if arguments.format == "json":
        print(json.dumps(figures, indent=2))
        return
    for title, rows in figures.items():
        print(title)
        for name, value in rows.items():
            print(f"  {name.replace('_', ' '):<24}{value}")


if __name__ == "__main__":
    main()
