"""The pytest plugin is light, gives each test its own place, and never skips."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flusso_sandbox import OpenSearchEndpoint, PostgresEndpoint, SandboxError

if TYPE_CHECKING:
    from pathlib import Path

USES = """
import psycopg

def test_one(postgres_database):
    psycopg.connect(postgres_database).execute("CREATE TABLE t ()").connection.commit()

def test_two(postgres_database):
    psycopg.connect(postgres_database).execute("CREATE TABLE t ()").connection.commit()
"""


def run_pytest(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(USES)
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
        "print({'psycopg', 'rich', 'requests', 'flusso_core'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout.decode().strip() == "set()"


@pytest.mark.integration
def test_each_test_has_a_database_of_its_own_on_the_server_that_is_named(
    postgres_server: PostgresEndpoint, tmp_path: Path
) -> None:
    result = run_pytest(tmp_path, FLUSSO_TEST_POSTGRES_URL=postgres_server.url())
    assert "2 passed" in result.stdout, result.stdout


def test_a_server_that_does_not_answer_is_an_error_and_no_skip(tmp_path: Path) -> None:
    url = "postgresql://postgres:secret@127.0.0.1:9/postgres"
    result = run_pytest(tmp_path, FLUSSO_TEST_POSTGRES_URL=url)
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


def test_names_of_databases_are_quoted_in_urls() -> None:
    endpoint = PostgresEndpoint("h", 1, "u", "p")
    assert endpoint.url("a/b ?c") == "postgresql://u:p@h:1/a%2Fb%20%3Fc"


@pytest.mark.parametrize("url", ["", "host", "http://u:secret@h/d", "postgresql://u:secret@h:x/d"])
def test_a_wrong_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SandboxError) as caught:
        PostgresEndpoint.from_url(url)
    assert "secret" not in str(caught.value)


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(PostgresEndpoint("h", 1, "u", "secret"))
    assert "secret" not in repr(OpenSearchEndpoint("http://u:secret@h:9200"))
