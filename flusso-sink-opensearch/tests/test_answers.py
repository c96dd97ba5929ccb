"""D2, R4: what the sink makes of answers that real servers give seldom.

A small HTTP server plays them: refusals, throttling, cut-off answers, something else than
OpenSearch at the address.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Document, DocumentId
from flusso_sink_opensearch.bulk import BulkOutcome, BulkRequest, BulkTarget, pack
from flusso_sink_opensearch.client import Cluster, SinkTimedOut, create_client
from flusso_sink_opensearch.connection import resolve_connection
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.writer import BulkWriter

PASSWORD = "hunter2"

Reply: TypeAlias = web.StreamResponse
Handler: TypeAlias = Callable[[web.Request, bytes], Awaitable[Reply]]
Send: TypeAlias = Callable[..., Awaitable[BulkOutcome]]


def request_of(count: int) -> BulkRequest:
    documents = [Document(DocumentId("users", 1, (str(n),)), b"{}", 1) for n in range(count)]
    targets = {("users", 1): BulkTarget.of("alias")}
    (request,) = pack(documents, targets, max_documents=1000, max_bytes=1 << 20)
    return request


class Cloak:
    """A server that answers as it is told, and remembers the bulk requests it saw."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.seen: list[bytes] = []
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> Reply:
        body = await request.read()
        self.seen.append(body)
        self.requests.append(request)
        assert self.handler is not None
        return await self.handler(request, body)

    def always(self, status: int, body: Any, *, kind: str = "application/json") -> None:
        text = body if isinstance(body, str) else json.dumps(body)

        async def handler(request: web.Request, sent: bytes) -> Reply:
            return web.Response(status=status, text=text, content_type=kind)

        self.handler = handler


@pytest.fixture
def cloak() -> Cloak:
    return Cloak()


@pytest.fixture
async def send(cloak: Cloak) -> AsyncIterator[Send]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", cloak.handle)
    clusters: list[Cluster] = []
    async with TestServer(app) as server:

        async def run(count: int = 2, **options: Any) -> BulkOutcome:
            url = f"http://elastic:{PASSWORD}@{server.make_url('/').authority}"
            given = OpenSearchOptions.model_validate({"url": url, "max_retries": 0, **options})
            connection = resolve_connection(given, "primary", {})
            cluster = Cluster(create_client(connection, given, connections=2), connection)
            clusters.append(cluster)
            return await BulkWriter(cluster, given).send(request_of(count), refresh=False)

        yield run
        for cluster in clusters:
            await cluster.close()


def fine(count: int) -> dict[str, Any]:
    return {"errors": False, "items": [{"index": {"status": 201}}] * count}


def error(kind: str) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": f"the reason of {kind}"}}


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, "Unauthorized", r"\(401\); check username and password of the sink primary"),
        (403, error("security_exception"), r"\(403\): .*grant the privilege that it names"),
        (400, error("illegal_argument_exception"), "refused it .*the reason of illegal_argument"),
        (404, error("no_handler"), "refused it .*no_handler"),
    ],
)
async def test_what_someone_must_mend_stops_the_run_and_says_how(
    cloak: Cloak, send: Send, status: int, body: Any, message: str
) -> None:
    kind = "text/plain" if isinstance(body, str) else "application/json"
    cloak.always(status, body, kind=kind)
    with pytest.raises(SinkFatal, match=message) as caught:
        await send(max_retries=3)
    assert "http://127.0.0.1:" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert len(cloak.seen) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, error("rejected_execution_exception")),
        (500, "a crash"),
        (502, "<html>Bad Gateway</html>"),
        (503, error("cluster_manager_not_discovered_exception")),
        (403, error("cluster_block_exception")),
    ],
)
async def test_what_passes_by_itself_is_tried_a_few_times_and_then_left_to_the_engine(
    cloak: Cloak, send: Send, status: int, body: Any
) -> None:
    cloak.always(status, body)
    with pytest.raises(SinkUnavailable, match=str(status)):
        await send(max_retries=2)
    assert len(cloak.seen) == 3
    assert len(set(cloak.seen)) == 1


async def test_a_quick_new_try_may_succeed(cloak: Cloak, send: Send) -> None:
    async def handler(request: web.Request, body: bytes) -> Reply:
        if len(cloak.seen) < 3:
            return web.json_response(error("unavailable"), status=503)
        return web.json_response(fine(2))

    cloak.handler = handler
    assert await send(max_retries=2) == BulkOutcome()


async def test_an_answer_that_does_not_come_is_given_up_without_a_quick_new_try(
    cloak: Cloak, send: Send
) -> None:
    async def handler(request: web.Request, body: bytes) -> Reply:
        await asyncio.sleep(30)
        return web.json_response(fine(2))

    cloak.handler = handler
    with pytest.raises(SinkTimedOut, match="did not answer in time"):
        await send(timeout_secs=0.2, max_retries=3)
    assert len(cloak.seen) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>a login page</html>", "text/html"),
        ("plain", "text/plain"),
        ('{"errors":false,"items":[{"ind', "application/json"),
        ('{"errors":false}', "application/json"),
        ("[]", "application/json"),
        ("", "application/json"),
        (json.dumps(fine(1)), "application/json"),
    ],
)
async def test_an_answer_that_is_none_never_passes_for_success(
    cloak: Cloak, send: Send, body: str, kind: str
) -> None:
    cloak.always(200, body, kind=kind)
    with pytest.raises(SinkUnavailable):
        await send()


async def test_an_answer_that_is_cut_off_never_passes_for_success(cloak: Cloak, send: Send) -> None:
    async def handler(request: web.Request, body: bytes) -> Reply:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(json.dumps(fine(2)).encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    cloak.handler = handler
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await send()


async def test_a_request_that_is_too_large_is_halved_down_to_the_document(
    cloak: Cloak, send: Send
) -> None:
    async def handler(request: web.Request, body: bytes) -> Reply:
        ids = [json.loads(line)["index"]["_id"] for line in body.splitlines()[::2]]
        if len(ids) > 2 or "3" in ids:
            return web.Response(status=413)
        return web.json_response(fine(len(ids)))

    cloak.handler = handler
    outcome = await send(8)
    ((document, reason),) = outcome.rejected
    assert document.id.key == ("3",)
    assert "413" in reason


async def test_requests_carry_credentials_headers_and_pipeline(cloak: Cloak, send: Send) -> None:
    cloak.always(200, fine(2))
    await send(pipeline="clean", headers={"X-Team": "search"})
    (request,) = cloak.requests
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["x-team"] == "search"
    assert request.query["pipeline"] == "clean"
    assert request.query["require_alias"] == "true"


async def test_compressed_requests_say_so(cloak: Cloak, send: Send) -> None:
    cloak.always(200, fine(2))
    await send(compress=True)
    (request,) = cloak.requests
    assert request.headers["content-encoding"] == "gzip"
    # The server has unpacked it already.
    assert cloak.seen == [request_of(2).body]
    assert gzip.compress(cloak.seen[0]) != cloak.seen[0]


async def test_failures_are_told_once_and_by_the_exception_alone(
    cloak: Cloak, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    """R4: the driver would log bodies, and tracebacks for what is tried again anyway."""
    cloak.always(503, error("busy"))
    with caplog.at_level(logging.INFO), pytest.raises(SinkUnavailable):
        await send()
    assert [record for record in caplog.records if record.name != "aiohttp.access"] == []
