"""What the two surfaces answer. They know a run by the few questions of `RunView` alone."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from flusso_core.errors import EngineError
from flusso_core.model import JsonValue, Key
from flusso_core.server.control import Control, UnknownIndex

REALM = 'realm="flusso"'
"""By which a client knows that it is a run that wants another password."""

MOST_BYTES = 16 * 1024 * 1024
"""Of a request's body."""

MOST_DOCUMENTS = 10_000
"""That one request may name; a short key takes a hundred times its bytes in memory."""

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


class RebuildRequest(BaseModel):
    """The body of `POST /rebuild`: documents by the keys of their rows, or by their own ids."""

    model_config = ConfigDict(extra="forbid", strict=True)

    index: str
    keys: list[list[str]] = []
    ids: list[str] = []

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        count = len(self.keys) + len(self.ids)
        if not 0 < count <= MOST_DOCUMENTS:
            raise ValueError(f"name 1 to {MOST_DOCUMENTS} documents a request, not {count}")
        return self

    @property
    def documents(self) -> list[Key | str]:
        """What is named, by key or by id."""
        return [*(tuple(key) for key in self.keys), *self.ids]


def private_app(control: Control, *, user: str, password: str) -> web.Application:
    """What operators ask of a run, by HTTP Basic (RFC 7617).

    A client that hangs up takes nothing back: aiohttp lets its handler go on.
    """

    async def indexes(_: web.Request) -> web.Response:
        told = {
            index: {
                sink: at.model_dump(mode="json", exclude_unset=True) for sink, at in sinks.items()
            }
            for index, sinks in (await control.indexes()).items()
        }
        return _json({"prefix": control.prefix, "indexes": told})

    async def reindex(request: web.Request) -> web.Response:
        index = _named(request)
        await control.reindex(index, keep_old=_flag(request, "keep_old", default=False))
        return _json({"index": index, "state": "reindexing"}, 202)

    async def rollback(request: web.Request) -> web.Response:
        index = _named(request)
        keep = _flag(request, "keep_current", default=True)
        await control.rollback(index, keep_current=keep)
        return _json({"index": index, "state": "rolled back"}, 202)

    async def sweep(request: web.Request) -> web.Response:
        index = _named(request)
        await control.sweep(index)
        return _json({"index": index, "state": "sweeping"}, 202)

    async def rebuild(request: web.Request) -> web.Response:
        asked = _rebuild_of(await request.read())
        await control.rebuild(asked.index, asked.documents)
        return _json({"index": asked.index, "documents": len(asked.documents)})

    app = web.Application(
        middlewares=[_basic_auth(user, password), _refusals], client_max_size=MOST_BYTES
    )
    app.add_routes(
        [
            web.get("/indexes", indexes),
            web.post("/reindex", reindex),
            web.post("/rollback", rollback),
            web.post("/sweep", sweep),
            web.post("/rebuild", rebuild),
        ]
    )
    return app


class _BadRequest(Exception):
    """The request says nothing that could be done."""


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is refused with its reason."""
    try:
        return await handler(request)
    except _BadRequest as error:
        return _json({"error": str(error)}, 400)
    except UnknownIndex as error:
        return _json({"error": str(error)}, 404)
    except EngineError as error:
        return _json({"error": str(error)}, 409)
    except web.HTTPRequestEntityTooLarge:
        return _json({"error": f"a request has {MOST_BYTES} bytes at most; send several"}, 413)


def _named(request: web.Request) -> str:
    index = request.query.get("index", "")
    if not index:
        raise _BadRequest(f"name the index: POST {request.path}?index=NAME")
    return index


def _flag(request: web.Request, name: str, *, default: bool) -> bool:
    text = request.query.get(name)
    values = {None: default, "true": True, "false": False}
    if text not in values:
        raise _BadRequest(f"{name} is true or false, not {text!r}")
    return values[text]


def _rebuild_of(body: bytes) -> RebuildRequest:
    try:
        return RebuildRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise _BadRequest(f"{where}: {first['msg']}") from error


def credentials(user: str, password: str) -> str:
    """The `Authorization` of HTTP Basic (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _basic_auth(user: str, password: str) -> Middleware:
    """Lets in who has the user's name and password; compares in constant time."""
    expected = credentials(user, password).encode()

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = f"{scheme.capitalize()} {token.strip()}".encode()
        if not hmac.compare_digest(given, expected):
            response = _json({"error": "wrong user or password"}, 401)
            response.headers["WWW-Authenticate"] = f'Basic {REALM}, charset="UTF-8"'
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
