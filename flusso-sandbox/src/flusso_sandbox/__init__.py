"""Throw-away real servers to try and to test flusso on, and the demo.

`PostgresServer`, `MariaDBServer` and `OpenSearchServer` start a server of their own from the files
of package registries, and leave nothing behind. The pytest fixtures are in
`flusso_sandbox.pytest_plugin`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flusso_sandbox.endpoints import MariaDBEndpoint, OpenSearchEndpoint, PostgresEndpoint
    from flusso_sandbox.errors import DownloadUnavailable, SandboxError
    from flusso_sandbox.mariadb import MARIADB_SETTINGS, MariaDBServer
    from flusso_sandbox.mariadb_files import MARIADB_VERSIONS
    from flusso_sandbox.opensearch import OpenSearchServer
    from flusso_sandbox.opensearch_files import OPENSEARCH_VERSIONS
    from flusso_sandbox.postgres import DEFAULT_SETTINGS, PostgresServer
    from flusso_sandbox.postgres_files import POSTGRES_VERSIONS
    from flusso_sandbox.progress import DownloadProgress, ProgressCallback

__all__ = [
    "DEFAULT_SETTINGS",
    "MARIADB_SETTINGS",
    "MARIADB_VERSIONS",
    "OPENSEARCH_VERSIONS",
    "POSTGRES_VERSIONS",
    "DownloadProgress",
    "DownloadUnavailable",
    "MariaDBEndpoint",
    "MariaDBServer",
    "OpenSearchEndpoint",
    "OpenSearchServer",
    "PostgresEndpoint",
    "PostgresServer",
    "ProgressCallback",
    "SandboxError",
]

# pytest imports this package at every start, for the plugin, so the rest comes when asked for.
_HOMES = {
    "DEFAULT_SETTINGS": "postgres",
    "MARIADB_SETTINGS": "mariadb",
    "MARIADB_VERSIONS": "mariadb_files",
    "OPENSEARCH_VERSIONS": "opensearch_files",
    "POSTGRES_VERSIONS": "postgres_files",
    "DownloadProgress": "progress",
    "DownloadUnavailable": "errors",
    "MariaDBEndpoint": "endpoints",
    "MariaDBServer": "mariadb",
    "OpenSearchEndpoint": "endpoints",
    "OpenSearchServer": "opensearch",
    "PostgresEndpoint": "endpoints",
    "PostgresServer": "postgres",
    "ProgressCallback": "progress",
    "SandboxError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
