"""The pytest plugin is light, gives each test its own place, and never skips."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flusso_sandbox import MariaDBEndpoint, OpenSearchEndpoint, PostgresEndpoint, SandboxError

if TYPE_CHECKING:
    from pathlib import Path

USES = """
import psycopg

def test_one(postgres_database):
    psycopg.connect(postgres_database).execute("CREATE TABLE t ()").connection.commit()

def test_two(postgres_database):
    psycopg.connect(postgres_database).execute("CREATE TABLE t ()").connection.commit()
"""


USES_MARIADB = """
import pymysql
from urllib.parse import unquote, urlsplit

def create_table(url):
    one = urlsplit(url)
    assert one.port == {port}
    with pymysql.connect(
        host=one.hostname, port=one.port, user=one.username, password=unquote(one.password),
        database=one.path[1:],
    ) as connection:
        connection.cursor().execute("CREATE TABLE t (n int)")

def test_one(mariadb_database):
    create_table(mariadb_database)

def test_two(mariadb_database):
    create_table(mariadb_database)
"""


def run_pytest(folder: Path, uses: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(uses)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_loading_the_plugin_imports_no_driver() -> None:
    script = (
        "import sys, flusso_sandbox.pytest_plugin;"
        "print({'psycopg', 'pymysql', 'rich', 'requests', 'flusso_core'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout.decode().strip() == "set()"


@pytest.mark.integration
def test_each_test_has_a_database_of_its_own_on_the_server_that_is_named(
    postgres_server: PostgresEndpoint, tmp_path: Path
) -> None:
    result = run_pytest(tmp_path, USES, FLUSSO_TEST_POSTGRES_URL=postgres_server.url())
    assert "2 passed" in result.stdout, result.stdout


@pytest.mark.integration
def test_each_test_has_a_mariadb_database_of_its_own(
    mariadb_server: MariaDBEndpoint, tmp_path: Path
) -> None:
    uses = USES_MARIADB.format(port=mariadb_server.port)
    result = run_pytest(tmp_path, uses, FLUSSO_TEST_MARIADB_URL=mariadb_server.url())
    assert "2 passed" in result.stdout, result.stdout


def test_a_server_that_does_not_answer_is_an_error_and_no_skip(tmp_path: Path) -> None:
    url = "postgresql://postgres:secret@127.0.0.1:9/postgres"
    result = run_pytest(tmp_path, USES, FLUSSO_TEST_POSTGRES_URL=url)
    assert "2 errors" in result.stdout
    assert "skipped" not in result.stdout


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (
            "postgresql://us%20er:p%40ss@db:6543/main",
            PostgresEndpoint("db", 6543, "us er", "p@ss", "main"),
        ),
        (
            "postgresql://postgres@[::1]:5432/postgres",
            PostgresEndpoint("::1", 5432, "postgres", ""),
        ),
    ],
)
def test_a_postgres_url_is_read_and_written_alike(url: str, endpoint: PostgresEndpoint) -> None:
    assert PostgresEndpoint.from_url(url) == endpoint
    assert endpoint.url() == url


def test_a_mariadb_url_is_read_and_written_alike() -> None:
    endpoint = MariaDBEndpoint("db", 3307, "us er", "p@ss")
    assert MariaDBEndpoint.from_url("mysql://us%20er:p%40ss@db:3307/main") == endpoint
    assert MariaDBEndpoint.from_url(endpoint.url("other")) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (PostgresEndpoint, "mysql://u:secret@h/d"),
        (PostgresEndpoint, "postgresql://h/d"),
        (MariaDBEndpoint, "postgresql://u:secret@h/d"),
        (MariaDBEndpoint, "mariadb+pymysql://h/d"),
        (OpenSearchEndpoint, "postgresql://u:secret@h/d"),
    ],
)
def test_a_url_of_another_server_or_of_no_user_is_refused(
    endpoint: type[PostgresEndpoint | MariaDBEndpoint | OpenSearchEndpoint], url: str
) -> None:
    with pytest.raises(SandboxError, match=r"^not an? \w+ URL like "):
        endpoint.from_url(url)


def test_an_opensearch_url_is_shown_without_user_and_password() -> None:
    endpoint = OpenSearchEndpoint.from_url("https://u:secret@[::1]:9200/search/")
    assert endpoint.url == "https://u:secret@[::1]:9200/search"
    assert endpoint.shown == "https://[::1]:9200/search"
    assert OpenSearchEndpoint.from_url("http://u@db").shown == "http://db"


def test_names_of_databases_are_quoted_in_urls() -> None:
    endpoint = PostgresEndpoint("h", 1, "u", "p")
    assert endpoint.url("a/b ?c") == "postgresql://u:p@h:1/a%2Fb%20%3Fc"
    url = MariaDBEndpoint("h", 1, "u", "p").url("a/b ?c")
    assert url == "mariadb+pymysql://u:p@h:1/a%2Fb%20%3Fc?charset=utf8mb4"


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://u:secret@h/d", "postgresql://u:secret@h:x/d", "http://u:secret@h:x"]
)
def test_a_wrong_url_is_refused_without_being_shown(url: str) -> None:
    for endpoint in (PostgresEndpoint, MariaDBEndpoint, OpenSearchEndpoint):
        with pytest.raises(SandboxError) as caught:
            endpoint.from_url(url)
        assert "secret" not in str(caught.value)


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(PostgresEndpoint("h", 1, "u", "secret"))
    assert "secret" not in repr(MariaDBEndpoint("h", 1, "u", "secret"))
    assert "secret" not in repr(OpenSearchEndpoint("http://u:secret@h:9200"))
