"""What the two surfaces answer. They know a run by the few questions of `RunView` alone."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from flusso_core.errors import EngineError
from flusso_core.model import JsonValue

_METRICS = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus, "Exposition formats": the text format's content type."""


class RunView(Protocol):
    """What a run answers about itself. No answer holds a secret."""

    def reasons(self) -> Sequence[str]:
        """Why the run is not ready: a lost connection, a stopped index. None: it is."""
        ...

    def status(self) -> Mapping[str, JsonValue]:
        """Everything about the run that can be told without asking a server."""
        ...

    def metrics(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        ...

    def indexes(self) -> Mapping[str, JsonValue]:
        """Index to what is known of it."""
        ...


class Reindexer(Protocol):
    """What can be asked of a run."""

    async def reindex(self, index: str) -> bool:
        """Begin a new generation of the index; False: one is being filled already.

        Raises:
            KeyError: there is no such index.
            EngineError: that cannot be done now.
        """
        ...


def public_app(view: RunView) -> web.Application:
    """`/healthz`, `/readyz`, `/status`, `/metrics`: for probes and scrapers, without a password."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reasons = list(view.reasons())
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def status(_: web.Request) -> web.Response:
        return _json(view.status())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=view.metrics(), headers={"Content-Type": _METRICS})

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/status", status),
            web.get("/metrics", metrics),
        ]
    )
    return app


def private_app(
    view: RunView, reindexer: Reindexer, *, user: str, password: str
) -> web.Application:
    """`GET /indexes` and `POST /reindex?index=NAME`, by HTTP Basic (RFC 7617)."""

    async def indexes(_: web.Request) -> web.Response:
        return _json({"indexes": view.indexes()})

    async def reindex(request: web.Request) -> web.Response:
        name = request.query.get("index", "")
        if not name:
            return _json({"error": "name the index: POST /reindex?index=NAME"}, 400)
        try:
            # A client that hangs up takes nothing back.
            begun = await asyncio.shield(reindexer.reindex(name))
        except KeyError:
            return _json({"error": f"there is no index {name!r}"}, 404)
        except EngineError as error:
            return _json({"error": str(error)}, 409)
        if not begun:
            return _json({"error": f"a new generation of {name} is being filled already"}, 409)
        return _json({"index": name, "state": "reindexing"}, 202)

    app = web.Application(middlewares=[_basic_auth(user, password)])
    app.add_routes([web.get("/indexes", indexes), web.post("/reindex", reindex)])
    return app


def _basic_auth(user: str, password: str) -> Middleware:
    """Lets in who has the user's name and password; compares in constant time."""
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        given = f"{scheme.capitalize()} {credentials.strip()}".encode()
        if not hmac.compare_digest(given, expected):
            response = _json({"error": "wrong user or password"}, 401)
            response.headers["WWW-Authenticate"] = 'Basic realm="flusso", charset="UTF-8"'
            return response
        return await handler(request)

    return authenticate


def _json(content: Mapping[str, JsonValue], status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(content, ensure_ascii=False) + "\n",
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
