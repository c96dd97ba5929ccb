"""Fetches a server's files from Maven Central into a cache, once, and verifies them.

What belongs to a server is written down in `manifests/`: one line a file with its coordinate
(`group:artifact:packaging:classifier:version`), its size and its SHA-256. A manifest is made by
`python -m flusso_sandbox.manifest`. `FLUSSO_SANDBOX_MAVEN_URL` names a mirror to fetch the files
from instead.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from flusso_sandbox.cache import CACHE_VARIABLE, cached
from flusso_sandbox.errors import DownloadUnavailable
from flusso_sandbox.progress import DownloadProgress, progress_reporter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from requests import Session

    from flusso_sandbox.progress import ProgressCallback

MIRROR_VARIABLE = "FLUSSO_SANDBOX_MAVEN_URL"
_CHUNK_BYTES = 1 << 16
_CONNECTIONS = 4
_REQUEST_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RegistryFile:
    """One file of a Maven repository, with what it must contain."""

    group: str
    artifact: str
    packaging: str
    classifier: str
    version: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name, as Maven writes it."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"


def read_manifest(name: str) -> list[RegistryFile] | None:
    """The files that a manifest of this package lists, or None where there is no such manifest."""
    source = resources.files("flusso_sandbox") / "manifests" / f"{name}.txt"
    if not source.is_file():
        return None
    files: list[RegistryFile] = []
    for line in source.read_text(encoding="ascii").splitlines():
        coordinate, size, digest = line.split()
        group, artifact, packaging, classifier, version = coordinate.split(":")
        files.append(
            RegistryFile(group, artifact, packaging, classifier, version, int(size), digest)
        )
    return files


def fetch(manifest: str, *, title: str, progress: ProgressCallback | None = None) -> Path:
    """Gives the folder that holds all files of a manifest, downloading them the first time.

    A file counts only if its SHA-256 is the manifest's.

    Args:
        manifest: The manifest's name, such as `opensearch-3.8.0`.
        title: What it is, for people, such as `OpenSearch 3.8.0`.
        progress: Told how far the download is; None shows it on standard error.

    Raises:
        DownloadUnavailable: There is no such manifest, or its files cannot be had.
    """
    files = read_manifest(manifest)
    if files is None:
        msg = f"{title} has no file list for this platform: use a server that runs already"
        raise DownloadUnavailable(msg)

    def fill(folder: Path) -> None:
        with progress_reporter(progress) as report:
            _download(files, folder, title, report)

    return cached(manifest, fill)


def _download(
    files: list[RegistryFile], folder: Path, title: str, report: ProgressCallback
) -> None:
    """Fetches the files, a few at a time, into one flat folder."""
    from requests import RequestException

    addresses = _addresses(files)
    lock = threading.Lock()
    total = sum(file.size for file in files)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            report(DownloadProgress(title, done, total))

    advance(0)
    with _session() as session, ThreadPoolExecutor(_CONNECTIONS, "flusso-download") as pool:
        futures = [
            pool.submit(_download_one, session, address, file, folder / file.name, advance)
            for file, address in zip(files, addresses, strict=True)
        ]
        try:
            for future in futures:
                future.result()
        except (RequestException, OSError) as error:
            msg = (
                f"{title} cannot be downloaded: {error}. Its files come from Maven Central; "
                f"{MIRROR_VARIABLE} may name a mirror of it, "
                f"{CACHE_VARIABLE} a cache that holds them"
            )
            raise DownloadUnavailable(msg) from error
        finally:
            for future in futures:
                future.cancel()


def _download_one(
    session: Session,
    address: str,
    file: RegistryFile,
    target: Path,
    advance: Callable[[int], None],
) -> None:
    digest = hashlib.sha256()
    with (
        session.get(address, stream=True, timeout=_REQUEST_SECONDS) as response,
        target.open("wb") as content,
    ):
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK_BYTES):
            content.write(chunk)
            digest.update(chunk)
            advance(len(chunk))
    if digest.hexdigest() != file.sha256:
        msg = (
            f"{file.name} is not the file that the manifest names (SHA-256 {digest.hexdigest()}): "
            f"let {MIRROR_VARIABLE} name another mirror of Maven Central"
        )
        raise DownloadUnavailable(msg)


def _session() -> Session:
    """An HTTP session that tries again where a server is busy."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    session = requests.Session()
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _addresses(files: list[RegistryFile]) -> list[str]:
    """Where each file is, by Maven's layout of a repository."""
    from jgo.maven import MavenContext

    context = MavenContext()
    repository = os.environ.get(MIRROR_VARIABLE) or next(iter(context.remote_repos.values()))
    addresses: list[str] = []
    for file in files:
        component = context.project(file.group, file.artifact).at_version(file.version)
        name = component.artifact(file.classifier, file.packaging).filename
        addresses.append(f"{repository.rstrip('/')}/{component.path_prefix.as_posix()}/{name}")
    return addresses
