"""A run in another process, asked over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from flusso_core.errors import ConfigError, EngineError
from flusso_core.model import StrayKey
from flusso_core.observe import Phase
from flusso_core.server import Control, PrivateAddress, private_app, running_instance, serving

from .test_surfaces import PASSWORD, View

HERE = "127.0.0.1:0"


@pytest.fixture
async def view() -> View:
    made = View()
    made.observer.phase(Phase.LIVE)
    return made


@pytest.fixture
async def where(view: View) -> AsyncIterator[PrivateAddress]:
    app = private_app(Control(view.run, view, prefix=""), user="ops", password=PASSWORD)
    async with serving(app, HERE, "private_address") as url:
        yield PrivateAddress(url.removeprefix("http://"), "ops", PASSWORD)


async def test_a_run_is_found_and_does_what_it_is_asked(where: PrivateAddress, view: View) -> None:
    async with running_instance(where, prefix="", indexes=["users"]) as run:
        assert run is not None
        users = (await run.indexes())["users"]["search"]
        assert (users.state, users.generation, users.serving, users.clean) == ("live", 2, 2, True)
        await run.reindex("users", keep_old=True)
        await run.rollback("users", keep_current=False)
        await run.sweep("orders")
        many = [(str(number), "ä") for number in range(1500)]
        await run.rebuild("users", [("1",), "~~x", StrayKey(("~sha256:0",)), *many])
    assert view.asked[:3] == [
        ("reindex", "users", True),
        ("rollback", "users", False),
        ("sweep", "orders"),
    ]
    first, second = view.asked[3:]
    assert {*first[2:], *second[2:]} == {("1",), "~~x", "~sha256:0", *many}


async def test_a_refusal_comes_with_its_reason(where: PrivateAddress, view: View) -> None:
    view.refusal = "a new generation is being filled"
    async with running_instance(where, prefix="", indexes=["users"]) as run:
        assert run is not None
        with pytest.raises(EngineError, match="a new generation is being filled"):
            await run.sweep("users")
        with pytest.raises(EngineError, match="there is no index 'nobody'"):
            await run.sweep("nobody")


async def test_where_nobody_listens_there_is_no_run() -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    where = PrivateAddress(f"127.0.0.1:{port}")
    async with running_instance(where, prefix="", indexes=[]) as run:
        assert run is None


@pytest.mark.parametrize(("user", "password"), [("", ""), ("ops", "hunter2"), ("root", PASSWORD)])
async def test_a_wrong_password_is_said_and_never_shown(
    where: PrivateAddress, user: str, password: str
) -> None:
    """R4."""
    other = replace(where, user=user, password=password)
    with pytest.raises(ConfigError, match="wants its own --admin-user") as refused:
        async with running_instance(other, prefix="", indexes=[]):
            pass
    assert "hunter2" not in f"{refused.value!r} {other!r}"
    assert PASSWORD not in f"{refused.value!r} {where!r}"


async def test_another_deployments_run_is_told_apart(where: PrivateAddress) -> None:
    """D5: its indexes have the same names, or not even those."""
    with pytest.raises(ConfigError, match=r"another deployment runs at .* has no index carts \(it"):
        async with running_instance(where, prefix="", indexes=["users", "carts"]):
            pass
    with pytest.raises(ConfigError, match="its prefix is '', and here it is 'stage-'"):
        async with running_instance(where, prefix="stage-", indexes=["users"]):
            pass


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500])
async def test_who_is_no_run_is_told_apart(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>", status=status, headers={"Location": "/"})

    app = web.Application()
    app.add_routes([web.get("/indexes", answer)])
    async with serving(app, HERE, "private_address") as url:
        where = PrivateAddress(url.removeprefix("http://"))
        with pytest.raises(ConfigError, match="is no run of flusso"):
            async with running_instance(where, prefix="", indexes=[]):
                pass


async def test_a_run_that_has_gone_meanwhile_is_an_error(view: View) -> None:
    app = private_app(Control(view.run, view, prefix=""), user="ops", password=PASSWORD)
    async with serving(app, HERE, "private_address") as url:
        where = PrivateAddress(url.removeprefix("http://"), "ops", PASSWORD)
        found = running_instance(where, prefix="", indexes=[])
        run = await found.__aenter__()
        assert run is not None
    with pytest.raises(EngineError, match=r"the run at .* cannot be asked: "):
        await run.indexes()
    await found.__aexit__(None, None, None)


async def test_a_server_that_speaks_no_http_is_an_error() -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(garbage, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        where = PrivateAddress(f"127.0.0.1:{port}")
        with pytest.raises(EngineError, match=f"the run at 127.0.0.1:{port} does not answer"):
            async with running_instance(where, prefix="", indexes=[]):
                pass


def test_a_run_that_listens_everywhere_is_asked_on_this_machine() -> None:
    assert PrivateAddress("0.0.0.0:9465").url == "http://127.0.0.1:9465"
    assert PrivateAddress("[::]:9465").url == "http://[::1]:9465"
    assert PrivateAddress("flusso.internal:9465").url == "http://flusso.internal:9465"
