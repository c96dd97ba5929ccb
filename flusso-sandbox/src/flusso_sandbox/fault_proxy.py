"""An HTTP proxy before a server that fails as networks and busy servers do.

```python
with FaultProxy(server.url) as proxy:
    sink = make_sink(proxy.url)
    proxy.choose = lambda request: Fault.RESET_AFTER if request.path == "/_bulk" else None
```

It runs on a thread of its own, so that what is tested may block or run in another process.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from aiohttp import ClientSession, ClientTimeout, web

from flusso_sandbox.errors import SandboxError
from flusso_sandbox.ports import free_port

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

_NOT_HANDED_ON = {
    *("connection", "keep-alive", "transfer-encoding", "content-length", "host"),
    "accept-encoding",  # answers are looked into
}
_DRIPS = 8
_TLS_CLOSE_SECONDS = 0.1
_STOP_SECONDS = 10.0


class Fault(StrEnum):
    """What may happen to a request on its way, beside an answer with a status."""

    RESET_BEFORE = "reset before the server had it"
    RESET_AFTER = "reset after the server did it"
    SILENT_BEFORE = "no answer, and the server never had it"
    SILENT_AFTER = "no answer, and the server did it"
    LATE = "no answer, and the server gets it when the client has given up"
    TRUNCATED = "the answer is cut off"
    DRIP = "the answer comes in drops"
    SOME_BUSY = "some documents of a bulk request are refused for now (429)"


Outcome: TypeAlias = Fault | HTTPStatus | None
"""A fault, or a status that the proxy answers with by itself, or `None`: all goes well."""


class FaultProxy:
    """A context manager: the proxy listens on a free loopback port until it ends.

    Args:
        target: URL of the server.
        late_seconds: after which a `LATE` request reaches the server; `None`: when `deliver` says.
        drip_seconds: that a `DRIP` answer takes.
        tls: terminates TLS; the server is still asked in plain text.

    Attributes:
        choose: says what happens to a request; may be replaced at any time. It is called on the
            proxy's thread.
        handed_on: told of each request with its body just before the server gets it; may be
            replaced, and is called on the proxy's thread.
        happened: how often each outcome has happened.
    """

    def __init__(
        self,
        target: str,
        *,
        late_seconds: float | None = 2.0,
        drip_seconds: float = 0.5,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.choose: Callable[[web.Request], Outcome] = lambda _request: None
        self.handed_on: Callable[[web.Request, bytes], None] = lambda _request, _body: None
        self.happened: Counter[Outcome] = Counter()
        self._target = target.rstrip("/")
        self._late_seconds = late_seconds
        self._drip_seconds = drip_seconds
        self._tls = tls
        self._port = free_port()
        self._random = random.Random(7)  # noqa: S311  # chooses documents to refuse
        self._started = threading.Event()
        self._failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._delivering: asyncio.Event | None = None
        self._late: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failed is not None:
            msg = f"the proxy could not start: {self._failed}"
            raise SandboxError(msg) from self._failed
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_STOP_SECONDS)

    @property
    def under_way(self) -> int:
        """How many late requests have not reached the server yet."""
        return len(self._late)

    def deliver(self) -> None:
        """Have late requests reach the server now, and later ones at once."""
        if self._loop is not None and self._delivering is not None:
            self._loop.call_soon_threadsafe(self._delivering.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # told where the proxy was started
            self._failed = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._delivering = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        async with ClientSession(
            skip_auto_headers=["Accept-Encoding"], timeout=ClientTimeout(None)
        ) as client:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, client)

            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(
                app,
                access_log=None,
                shutdown_timeout=0.1,
                handler_cancellation=True,
                auto_decompress=False,
            )
            await runner.setup()
            assert runner.server is not None  # noqa: S101  # `setup` makes it
            server = await self._loop.create_server(
                runner.server,
                "127.0.0.1",
                self._port,
                ssl=self._tls,
                ssl_shutdown_timeout=None if self._tls is None else _TLS_CLOSE_SECONDS,
            )
            try:
                self._started.set()
                await self._ending.wait()
            finally:
                server.close()
                for task in list(self._late):
                    task.cancel()
                await asyncio.gather(*self._late, return_exceptions=True)
                await runner.cleanup()
                if self._tls is not None:
                    # Nothing tells when asyncio has closed its side of TLS connections.
                    await asyncio.sleep(2 * _TLS_CLOSE_SECONDS)

    async def _handle(self, request: web.Request, client: ClientSession) -> web.StreamResponse:
        outcome = self.choose(request)
        self.happened[outcome] += 1
        if isinstance(outcome, HTTPStatus):
            await request.read()
            return _refusal(outcome)
        if outcome is Fault.RESET_BEFORE:
            return _reset(request)
        body = await request.read()
        if outcome is Fault.LATE:
            task = asyncio.create_task(self._deliver_late(client, request, body))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if outcome in (Fault.LATE, Fault.SILENT_BEFORE):
            return await self._silence()
        refused: list[int] = []
        if outcome is Fault.SOME_BUSY and "Content-Encoding" not in request.headers:
            body, refused = self._without_some(body)
        status, headers, answer = await self._forward(client, request, body)
        match outcome:
            case Fault.RESET_AFTER:
                return _reset(request)
            case Fault.SILENT_AFTER:
                return await self._silence()
            case Fault.TRUNCATED:
                return await _send_part(request, status, headers, answer)
            case Fault.DRIP:
                return await self._drip(request, status, headers, answer)
            case _:
                if refused and status == HTTPStatus.OK:
                    answer = _with_refusals(answer, refused)
                return web.Response(status=status, headers=headers, body=answer)

    async def _forward(
        self, client: ClientSession, request: web.Request, body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        url = f"{self._target}{request.rel_url}"
        self.handed_on(request, body)
        headers = _handed_on(request.headers)
        async with client.request(request.method, url, data=body, headers=headers) as response:
            answer = await response.read()
            return response.status, _handed_on(response.headers), answer

    async def _deliver_late(self, client: ClientSession, request: web.Request, body: bytes) -> None:
        assert self._delivering is not None  # noqa: S101  # it is made before anything is served
        with suppress(TimeoutError):
            async with asyncio.timeout(self._late_seconds):
                await self._delivering.wait()
        await self._forward(client, request, body)

    async def _silence(self) -> web.StreamResponse:
        """Hold the connection and say nothing until the client gives up, or this proxy ends."""
        assert self._ending is not None  # noqa: S101  # it is made before anything is served
        await self._ending.wait()
        return web.Response(status=HTTPStatus.GATEWAY_TIMEOUT)

    async def _drip(
        self, request: web.Request, status: int, headers: Mapping[str, str], answer: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(answer)
        await response.prepare(request)
        size = max(1, -(-len(answer) // _DRIPS))
        for at in range(0, len(answer), size):
            await response.write(answer[at : at + size])
            await asyncio.sleep(self._drip_seconds / _DRIPS)
        return response

    def _without_some(self, body: bytes) -> tuple[bytes, list[int]]:
        """A bulk body without some of its documents, and their places."""
        kept: list[bytes] = []
        refused: list[int] = []
        lines = iter(body.split(b"\n")[:-1])
        for place, action in enumerate(lines):
            item = [action] if action.startswith(b'{"delete"') else [action, next(lines)]
            if self._random.random() < 0.3:
                refused.append(place)
            else:
                kept += item
        if not kept:
            return body, []
        return b"\n".join((*kept, b"")), refused


def _handed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of one connection that another one has as well."""
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_HANDED_ON}


def _refusal(status: HTTPStatus) -> web.Response:
    error = {"type": "fault_proxy_exception", "reason": f"the proxy says: {status.phrase}"}
    return web.json_response({"error": error, "status": status.value}, status=status)


def _reset(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # Without lingering, closing sends RST instead of FIN (socket(7), SO_LINGER).
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _send_part(
    request: web.Request, status: int, headers: Mapping[str, str], answer: bytes
) -> web.StreamResponse:
    """Announce the whole answer, send the half, and go."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = max(2, len(answer))
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


def _with_refusals(answer: bytes, refused: list[int]) -> bytes:
    """The answer to a bulk request, with what the proxy took out of it refused in its place."""
    told: dict[str, Any] = json.loads(answer)
    reason = {"type": "rejected_execution_exception", "reason": "the proxy says: busy"}
    for place in refused:
        told["items"].insert(place, {"index": {"status": 429, "error": reason}})
    told["errors"] = True
    return json.dumps(told).encode()
