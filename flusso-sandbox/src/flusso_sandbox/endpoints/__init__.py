"""How to reach a server, whether the sandbox started it or it ran already."""

from __future__ import annotations

from flusso_sandbox.endpoints.database import DatabaseEndpoint
from flusso_sandbox.endpoints.mariadb import MariaDBEndpoint
from flusso_sandbox.endpoints.opensearch import OpenSearchEndpoint
from flusso_sandbox.endpoints.postgres import PostgresEndpoint

__all__ = ["DatabaseEndpoint", "MariaDBEndpoint", "OpenSearchEndpoint", "PostgresEndpoint"]
