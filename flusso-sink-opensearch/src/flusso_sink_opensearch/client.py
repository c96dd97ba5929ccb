"""The cluster's client, and its errors by how the engine reacts to them."""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import ssl
from collections.abc import Awaitable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlencode

from aiohttp import ClientConnectorCertificateError, Payload, ServerDisconnectedError
from aiohttp.abc import AbstractStreamWriter
from opensearchpy import AIOHttpConnection, AsyncOpenSearch
from opensearchpy.exceptions import (
    ConnectionError as ClientConnectionError,
)
from opensearchpy.exceptions import (
    ConnectionTimeout,
    SerializationError,
    TransportError,
)

from flusso_core.errors import ConfigError, SinkError, SinkFatal, SinkUnavailable
from flusso_sink_opensearch.connection import Connection
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.signing import AwsSigner

_log = logging.getLogger(__name__)

_SLICE = 1 << 18
_REASON_LIMIT = 2000
"""Characters of the server's own words that a message keeps."""


_TEXT_HEADER = "x-flusso-answer"
AS_TEXT: Mapping[str, str] = {_TEXT_HEADER: "text"}
"""Headers of a request whose answer is to come as text, not parsed. They are not sent."""


class SinkTimedOut(SinkUnavailable):
    """The cluster did not answer in time; what it made of the request is unknown."""


class SinkOverloaded(SinkUnavailable):
    """The cluster refused the request because it has too much to do (429)."""


class RequestTooLarge(SinkFatal):
    """The request has more bytes than the server takes (413)."""


class _LargeBody(Payload):
    """A body that is written in slices, so that other tasks run in between.

    For plain bytes of this size aiohttp writes everything at once, and warns about it.
    """

    _autoclose = True

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._bytes = value
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text; only debug output asks for it."""
        return self._bytes.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write everything; each slice waits until the socket has taken enough."""
        view = memoryview(self._bytes)
        for at in range(0, len(view), _SLICE):
            await writer.write(view[at : at + _SLICE])


class _Connection(AIOHttpConnection):
    """A connection that writes large bodies in slices, and leaves failures to whoever gets the
    exception, who logs them once.
    """

    def __init__(self, *, signer: AwsSigner | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._signer = signer

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and return status, headers and body of the answer."""
        if headers and _TEXT_HEADER in headers:
            headers = {name: text for name, text in headers.items() if name != _TEXT_HEADER}
            answer = await self.perform_request(method, url, params, body, timeout, ignore, headers)
            # What the transport parses it by.
            return answer[0], {"content-type": "text/plain"}, answer[2]
        if self._signer is not None:
            query = f"?{urlencode(params)}" if params else ""
            target = f"{self.host}{self.url_prefix}{url}{query}"
            # It hashes the body, and fetches the credentials of a role anew now and then.
            signed = await asyncio.to_thread(self._signer.headers, method, target, body)
            headers = {**(headers or {}), **signed}
        if body is not None and len(body) > _SLICE:
            body = _LargeBody(body)
        return await super().perform_request(method, url, params, body, timeout, ignore, headers)

    def log_request_fail(
        self,
        method: str,
        full_url: str,
        path: str,
        body: Any,
        duration: float,
        status_code: int | None = None,
        response: str | None = None,
        exception: Exception | None = None,
    ) -> None:
        """Log at debug level, without the traceback."""
        del full_url, body, response
        outcome = status_code if exception is None else type(exception).__name__
        _log.debug("%s %s: %s after %.3f s", method, path, outcome, duration)


def create_client(
    connection: Connection,
    options: OpenSearchOptions,
    *,
    connections: int,
    signer: AwsSigner | None = None,
) -> AsyncOpenSearch:
    """Make the client. It connects with its first request.

    The client's own retries are off: the engine decides about them, and a bulk request is sent
    again with the versions that it had.

    Args:
        connection: where, and as whom.
        options: the sink's options.
        connections: most requests at once.
        signer: signs every request.

    Raises:
        ConfigError: a certificate's file cannot be read.
    """
    return AsyncOpenSearch(
        hosts=[{"host": connection.host, "port": connection.port, "url_prefix": connection.path}],
        connection_class=_Connection,
        signer=signer,
        headers={**_basic_authentication(connection), **connection.headers},
        use_ssl=connection.scheme == "https",
        ssl_context=_ssl_context(connection, options),
        maxsize=connections,
        timeout=options.timeout_secs,
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
    )


def _basic_authentication(connection: Connection) -> Mapping[str, str]:
    """The header of basic authentication, in UTF-8: the client itself knows Latin-1 only."""
    if connection.credentials is None:
        return {}
    encoded = base64.b64encode(":".join(connection.credentials).encode()).decode()
    return {"authorization": f"Basic {encoded}"}


def _ssl_context(connection: Connection, options: OpenSearchOptions) -> ssl.SSLContext | None:
    if connection.scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.client_cert is not None:
            context.load_cert_chain(options.client_cert, options.client_key)
    except (OSError, ssl.SSLError) as error:
        msg = (
            f"sinks.{connection.sink}: the certificates of ca_file, client_cert or client_key "
            f"cannot be read: {error}"
        )
        raise ConfigError(msg) from error
    if not options.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Cluster:
    """A client with the address it talks to; the address has no credentials in it."""

    def __init__(self, client: AsyncOpenSearch, connection: Connection) -> None:
        self.client = client
        self.connection = connection

    @property
    def url(self) -> str:
        """The address, for messages."""
        return self.connection.url

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()

    @contextmanager
    def errors(self, doing: str) -> Generator[None]:
        """Raise the client's errors as `SinkUnavailable` or `SinkFatal`.

        Args:
            doing: what is being done, for the message: `creating the index users_1`.
        """
        try:
            yield
        except TransportError as error:
            raise self.translate(error, doing) from error
        except (SerializationError, UnicodeDecodeError) as error:
            msg = f"{doing}: what answers at {self.url} is cut off or not OpenSearch"
            raise SinkUnavailable(msg) from error

    def translate(self, error: TransportError, doing: str) -> SinkError:
        """The error to raise instead of this one."""
        if isinstance(error, ConnectionTimeout):
            return SinkTimedOut(f"{doing}: OpenSearch at {self.url} did not answer in time")
        if isinstance(error, ClientConnectionError):
            return self._connection_error(error, doing)
        status = error.status_code
        reason = server_reason(error)
        if status == 401:
            return SinkFatal(
                f"{doing}: OpenSearch at {self.url} does not accept the credentials (401); check "
                f"username and password of the sink {self.connection.sink}"
            )
        if status == 403 and not is_block(error_type(error)):
            return SinkFatal(
                f"{doing}: the user of the sink {self.connection.sink} may not do this on "
                f"OpenSearch at {self.url} (403): {reason}; grant the privilege that it names"
            )
        if status == 429:
            return SinkOverloaded(f"{doing}: OpenSearch at {self.url} (429): {reason}")
        if status in {403, 408} or (isinstance(status, int) and status >= 500):
            return SinkUnavailable(f"{doing}: OpenSearch at {self.url} ({status}): {reason}")
        refused = RequestTooLarge if status == 413 else SinkFatal
        return refused(f"{doing}: OpenSearch at {self.url} refused it ({status}): {reason}")

    def _connection_error(self, error: ClientConnectionError, doing: str) -> SinkError:
        cause: object = error.info
        if isinstance(cause, ClientConnectorCertificateError):
            return SinkFatal(
                f"{doing}: the certificate of {self.url} is not trusted: {cause}; give its "
                "authority's certificate as ca_file, or set tls_verify to false"
            )
        hint = ""
        if _hung_up(cause) and self.connection.scheme == "https":
            hint = " (if it asks for a client's certificate, give client_cert)"
        msg = f"{doing}: OpenSearch at {self.url} cannot be reached: {cause}{hint}"
        return SinkUnavailable(msg)


def _hung_up(cause: object) -> bool:
    """Whether the server ended the connection; it may say so, or only reset it."""
    reset = isinstance(cause, OSError) and cause.errno == errno.ECONNRESET
    return reset or isinstance(cause, ServerDisconnectedError)


def error_body(error: TransportError) -> dict[str, Any]:
    """The server's own description of an error, as far as it gave one."""
    info: object = error.info
    if not isinstance(info, dict):
        return {}
    body: object = cast(dict[str, object], info).get("error")
    return cast(dict[str, Any], body) if isinstance(body, dict) else {}


def error_type(error: TransportError) -> str:
    """The server's name of an error, such as `index_not_found_exception`."""
    return str(error_body(error).get("type", ""))


def is_block(kind: str) -> bool:
    """Whether an error of this type is a block on an index or a cluster: a full disk, read-only.

    It is lifted by someone or by itself, and no document's fault.
    """
    return kind == "cluster_block_exception"


def is_fixed_setting(error: TransportError) -> bool:
    """Whether a setting was refused because an open index cannot be given another value of it.

    There is no type of its own for it (`MetadataUpdateSettingsService`, `IndexScopedSettings`).
    """
    reason = str(error_body(error).get("reason", ""))
    return "non dynamic settings" in reason or "final" in reason or "private" in reason


def server_reason(error: TransportError) -> str:
    """The server's words for an error, with the root cause, shortened."""
    body = error_body(error)
    if body:
        return describe(body)
    return str(error.error)[:_REASON_LIMIT]


def describe(body: dict[str, Any]) -> str:
    """An error object of the server in one line: its reason and those of its causes."""
    parts: list[str] = []
    cause: dict[str, Any] = body
    while cause and len(parts) < 5:
        part = f"{cause.get('type', 'error')}: {cause.get('reason', 'no reason given')}"
        if part not in parts:
            parts.append(part)
        cause = cause.get("caused_by") or {}
    return "; caused by ".join(parts)[:_REASON_LIMIT]


async def within(seconds: float, cluster: Cluster, doing: str, request: Awaitable[object]) -> None:
    """Await a request for no longer than that.

    Raises:
        SinkUnavailable: the time is over, or as `Cluster.errors` says.
    """
    try:
        async with asyncio.timeout(seconds):
            with cluster.errors(doing):
                await request
    except TimeoutError as error:
        msg = f"{doing}: OpenSearch at {cluster.url} did not answer in time"
        raise SinkTimedOut(msg) from error
