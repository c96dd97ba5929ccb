"""`flusso demo`, as its user runs it: a process, on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psycopg
import pytest

from flusso_sandbox.endpoints import OpenSearchEndpoint

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FLUSSO = Path(sys.executable).with_name("flusso")
USERS = "200"
CHANGES = 6


class Demo:
    """A running `flusso demo` with its output in files; it is killed if the block is left first.

    Args:
        arguments: of the command.
        folder: where its output goes.
        environment: on top of this process's, less what starts with `FLUSSO_`.
    """

    def __init__(
        self, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        # Its servers and downloads come from the same cache as those of the tests.
        kept = ("FLUSSO_SANDBOX_CACHE", "FLUSSO_SANDBOX_MAVEN_URL")
        inherited = {
            name: text
            for name, text in os.environ.items()
            if name in kept or not name.startswith("FLUSSO_")
        }
        self._report = folder / "report"
        self._log = folder / "log"
        with self._report.open("wb") as report, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(FLUSSO), "demo", "--users", USERS, *arguments],
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def report(self) -> str:
        return self._report.read_text(encoding="utf-8")

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Return when the report has the text; fail when the demo ends before."""
        end = time.monotonic() + seconds
        while text not in self.report:
            assert self._process.poll() is None, f"{self.report}\n{self.log}"
            assert time.monotonic() < end, f"no {text!r} in {self.report}\n{self.log}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 120) -> int:
        """Its exit code; fails when it does not end within the bound."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"the demo did not end within {seconds:.0f} s:\n{self.report}\n{self.log}"
            raise AssertionError(message) from None


@pytest.fixture
def demo(
    tmp_path: Path, postgres_database: str, opensearch_server: OpenSearchEndpoint
) -> Iterator[Demo]:
    """One on servers that run already."""
    urls = ("--postgres-url", postgres_database, "--opensearch-url", opensearch_server.url)
    with Demo(*urls, folder=tmp_path) as running:
        yield running


def leftovers(database: str) -> list[tuple[str, ...]]:
    """Everything in a database that an empty one does not have."""
    query = """
        SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT 'type', typname::text FROM pg_type
            WHERE typnamespace = 'public'::regnamespace
        UNION ALL SELECT 'slot', slot_name::text FROM pg_replication_slots
            WHERE database = current_database()
        UNION ALL SELECT 'publication', pubname::text FROM pg_publication
    """
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def demo_indexes(endpoint: OpenSearchEndpoint) -> list[str]:
    """The indexes of demos in a cluster."""
    url = f"{endpoint.url}/_cat/indices?h=index&format=json&expand_wildcards=all"
    with urllib.request.urlopen(url, timeout=30) as response:
        rows: list[dict[str, str]] = json.load(response)
    return [row["index"] for row in rows if row["index"].startswith("flusso_demo_")]


def assert_told(report: str, *, outcome: str) -> None:
    """The report has every change with its time, three checked indexes, and no difference."""
    times = re.findall(
        rf"^     [\d,]+ ms from the commit until {outcome}: \d", report, re.MULTILINE
    )
    assert len(times) == CHANGES, report
    right = re.findall(r"^  \w+ +[\d,]+ documents, 0 differences$", report, re.MULTILINE)
    assert len(right) == 3, report
    assert re.search(r"^  differences +0 in \d+ documents$", report, re.MULTILINE), report
    assert "Speedster" in report
    assert "\x1b" not in report, "no colours off a terminal"


def test_with_running_servers_it_takes_away_what_it_made(
    demo: Demo, postgres_database: str, opensearch_server: OpenSearchEndpoint
) -> None:
    demo.wait_for("Backfill")
    assert leftovers(postgres_database)
    assert demo.wait() == 0, f"{demo.report}\n{demo.log}"
    assert_told(demo.report, outcome="searchable")
    assert leftovers(postgres_database) == []
    assert demo_indexes(opensearch_server) == []


def test_a_document_that_must_not_be_there_ends_it_with_5(
    demo: Demo, postgres_database: str, opensearch_server: OpenSearchEndpoint
) -> None:
    demo.wait_for("Changes, committed one by one")
    (index,) = (name for name in demo_indexes(opensearch_server) if "_users_" in name)
    stray = urllib.request.Request(
        f"{opensearch_server.url}/{index}/_doc/777777?refresh=true",
        data=b'{"id": 777777}',
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(stray, timeout=30) as response:
        assert response.status == 201
    assert demo.wait() == 5, f"{demo.report}\n{demo.log}"
    assert "extra: 777777\n" in demo.report
    assert re.search(r"^  differences +1 in \d+ documents$", demo.report, re.MULTILINE)
    assert leftovers(postgres_database) == []


def test_a_kept_demo_ends_with_ctrl_c_and_0(
    tmp_path: Path, postgres_database: str, opensearch_server: OpenSearchEndpoint
) -> None:
    with Demo(
        "--keep",
        folder=tmp_path,
        environment={
            "FLUSSO_POSTGRES_URL": postgres_database,
            "FLUSSO_OPENSEARCH_URL": opensearch_server.url,
        },
    ) as demo:
        demo.wait_for("until Ctrl-C")
        assert demo_indexes(opensearch_server)
        demo.signal(signal.SIGINT)
        assert demo.wait() == 0, f"{demo.report}\n{demo.log}"
        assert leftovers(postgres_database) == []
        assert demo_indexes(opensearch_server) == []


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("Servers", signal.SIGTERM, 143),
        ("the shop", signal.SIGINT, 130),
        ("Backfill", signal.SIGTERM, 143),
        ("Changes, committed one by one", signal.SIGINT, 130),
        ("Changes, committed one by one", signal.SIGTERM, 143),
    ],
)
def test_a_signal_on_the_way_leaves_nothing_behind(
    demo: Demo,
    postgres_database: str,
    opensearch_server: OpenSearchEndpoint,
    moment: str,
    number: signal.Signals,
    code: int,
) -> None:
    demo.wait_for(moment)
    demo.signal(number)
    assert demo.wait(60) == code, f"{demo.report}\n{demo.log}"
    assert "Traceback" not in demo.log
    assert leftovers(postgres_database) == []
    assert demo_indexes(opensearch_server) == []


def test_the_stdout_sink_writes_the_same_documents_into_a_file(
    tmp_path: Path, postgres_database: str
) -> None:
    with Demo("--sink", "stdout", "--postgres-url", postgres_database, folder=tmp_path) as demo:
        demo.wait_for("stdout sink")
        assert demo.wait() == 0, f"{demo.report}\n{demo.log}"
        assert_told(demo.report, outcome="in the file")
        assert leftovers(postgres_database) == []
        found = re.search(r"^  stdout sink +(/\S+)$", demo.report, re.MULTILINE)
        assert found, demo.report
        assert not Path(found[1]).parent.exists()


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with an empty cache and a registry that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield {
            "FLUSSO_SANDBOX_CACHE": str(tmp_path / "cache"),
            "FLUSSO_SANDBOX_MAVEN_URL": f"http://127.0.0.1:{taken.getsockname()[1]}",
        }


def test_without_opensearchs_files_it_says_so_and_goes_on_into_a_file(
    tmp_path: Path, postgres_database: str, nowhere: dict[str, str]
) -> None:
    with Demo("--postgres-url", postgres_database, folder=tmp_path, environment=nowhere) as demo:
        assert demo.wait() == 0, f"{demo.report}\n{demo.log}"
        assert "There is no OpenSearch here: OpenSearch 3.8.0 cannot be downloaded" in demo.report
        assert_told(demo.report, outcome="in the file")


def test_opensearch_that_was_asked_for_and_cannot_be_had_is_an_error(
    tmp_path: Path, postgres_database: str, nowhere: dict[str, str]
) -> None:
    with Demo(
        *("--sink", "opensearch", "--postgres-url", postgres_database),
        folder=tmp_path,
        environment=nowhere,
    ) as demo:
        assert demo.wait() == 1, f"{demo.report}\n{demo.log}"
        assert "OpenSearch 3.8.0 cannot be downloaded" in demo.log
        assert leftovers(postgres_database) == []


def test_it_writes_over_no_table(tmp_path: Path, postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE users (mine text)")
    before = leftovers(postgres_database)
    with Demo("--sink", "stdout", "--postgres-url", postgres_database, folder=tmp_path) as demo:
        assert demo.wait() == 1, f"{demo.report}\n{demo.log}"
        assert "holds users already" in demo.log
        assert "create an empty database" in demo.log
        assert leftovers(postgres_database) == before


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    """R4: neither the report nor an error shows a secret."""
    url = "postgresql://someone:hunter2@127.0.0.1:1/shop"
    with Demo("--sink", "stdout", "--postgres-url", url, folder=tmp_path) as demo:
        assert demo.wait() == 1
        assert "postgresql://127.0.0.1:1/shop does not let the demo in" in demo.log
        assert "hunter2" not in demo.log + demo.report


def test_on_servers_of_its_own_it_leaves_nothing_running(tmp_path: Path) -> None:
    with Demo(folder=tmp_path) as demo:
        assert demo.wait(150) == 0, f"{demo.report}\n{demo.log}"
        assert_told(demo.report, outcome="searchable")
        ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", demo.report)]
        assert len(ports) == 2, demo.report
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
