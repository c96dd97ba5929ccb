"""How to reach an OpenSearch."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

from flusso_sandbox.endpoints.server_url import ServerUrl, bracketed
from flusso_sandbox.errors import SandboxError

_HTTP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class OpenSearchEndpoint:
    """An OpenSearch cluster.

    Attributes:
        url: Its base URL, without a slash at the end; `repr` does not show it, as it may hold a
            password.
    """

    url: str = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a URL such as `http://user:password@host:9200`.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        _read(url)
        return cls(url.rstrip("/"))

    @property
    def shown(self) -> str:
        """The URL without user and password.

        Raises:
            SandboxError: The URL is not one of an OpenSearch.
        """
        parts = _read(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{bracketed(parts.host)}{port}{parts.path}"

    def answers(self) -> bool:
        """Whether the cluster can be written to now: its status is yellow or green."""
        try:
            # Without its own bound the call waits half a minute for a node that is starting.
            health = self._call("GET", "/_cluster/health?cluster_manager_timeout=1s")
        except SandboxError:
            return False
        return json.loads(health).get("status") in {"yellow", "green"}

    def delete_indexes(self, prefix: str) -> None:
        """Deletes every index (with its aliases) whose name starts with a prefix.

        Raises:
            SandboxError: The cluster refused, or cannot be reached.
        """
        pattern = f"{quote(prefix, safe='')}*"
        query = "h=index&format=json&expand_wildcards=all"
        for row in json.loads(self._call("GET", f"/_cat/indices/{pattern}?{query}")):
            self._call("DELETE", f"/{quote(row['index'], safe='')}?ignore_unavailable=true")

    def _call(self, method: str, path: str) -> bytes:
        parts = _read(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        headers = {"Accept": "application/json"}
        if parts.user:
            pair = f"{parts.user}:{parts.password}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        connection = kind(parts.host, parts.port, timeout=_HTTP_SECONDS)
        try:
            connection.request(method, f"{parts.path}{path}", headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"OpenSearch does not answer to {method} {path}: {error}"
            raise SandboxError(msg) from error
        finally:
            connection.close()
        # A run that a test has not ended yet may drop an index meanwhile.
        gone = method == "DELETE" and response.status == http.client.NOT_FOUND
        if response.status >= http.client.BAD_REQUEST and not gone:
            msg = f"OpenSearch answers {method} {path} with {response.status}: {body[:500]!r}"
            raise SandboxError(msg)
        return body


def _read(url: str) -> ServerUrl:
    like = "an OpenSearch URL like http://127.0.0.1:9200"
    return ServerUrl.read(url, scheme="https?", like=like, with_user=False)
