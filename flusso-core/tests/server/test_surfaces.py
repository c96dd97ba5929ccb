"""The HTTP surfaces, asked over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession

from flusso_core.errors import ConfigError, EngineError, SourceUnavailable
from flusso_core.model import GenerationRecord, Key, Position, StateRecord, StreamIdentity
from flusso_core.observe import FanOut, Phase
from flusso_core.server import (
    AddressInUse,
    Control,
    RunObserver,
    private_app,
    public_app,
    serving,
)
from flusso_core.server.app import MOST_BYTES

PASSWORD = "s3cret:with colon ü"

Asked: TypeAlias = tuple[object, ...]
"""What was asked of a run: its method and what it got."""


class View(RunObserver):
    """A run that an observer has heard of, and that does what it is asked."""

    def __init__(self) -> None:
        super().__init__(["search"], ["users", "orders"])
        self.observer = FanOut((self.run, self.measured))
        self.asked: list[Asked] = []
        self.refusal: str | None = None
        self.waiting: asyncio.Event | None = None

    async def reindex(self, index: str, *, keep_old: bool = False) -> None:
        await self._do("reindex", index, keep_old)

    async def rollback(self, index: str, *, keep_current: bool = True) -> None:
        await self._do("rollback", index, keep_current)

    async def sweep(self, index: str) -> None:
        await self._do("sweep", index)

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        await self._do("rebuild", index, *documents)

    async def _do(self, *asked: object) -> None:
        if self.refusal is not None:
            raise EngineError(self.refusal)
        self.asked.append(asked)
        if self.waiting is not None:
            await self.waiting.wait()

    def records(self) -> Mapping[str, Mapping[str, StateRecord]]:
        first, second = (GenerationRecord(number, "hash", seeded=number == 2) for number in (2, 3))
        kept = GenerationRecord(1, "hash", seeded=True)
        identity, position = StreamIdentity("1", "2", "3", "4"), Position(1, "1")
        users = StateRecord("users", identity, position, first, kept=(kept,))
        orders = StateRecord("orders", identity, position, second, serving=first, keep=True)
        return {"search": {"users": users, "orders": orders}}


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
async def public(view: View) -> AsyncIterator[str]:
    async with serving(public_app(view), "127.0.0.1:0", "public_address") as url:
        yield url


@pytest.fixture
async def private(view: View) -> AsyncIterator[str]:
    view.observer.phase(Phase.LIVE)
    control = Control(view.run, view, prefix="shop-")
    app = private_app(control, user="ops", password=PASSWORD)
    async with serving(app, "127.0.0.1:0", "private_address") as url:
        yield url


def credentials(user: str, password: str) -> Mapping[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"basic {token}"}


OPERATOR = credentials("ops", PASSWORD)


async def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, Any, Mapping[str, str]]:
    async with (
        ClientSession() as client,
        client.request(method, url, headers=headers, data=BytesIO(body or b"")) as response,
    ):
        text = await response.text()
        is_json = response.content_type == "application/json"
        return response.status, json.loads(text) if is_json else text, response.headers


async def test_the_process_is_healthy_as_long_as_it_answers(public: str) -> None:
    assert (await ask(f"{public}/healthz"))[:2] == (200, "ok\n")


async def test_a_run_is_ready_while_everything_is_connected(public: str, view: View) -> None:
    """R1: readiness follows what the engine has lost and found again."""
    assert (await ask(f"{public}/readyz"))[0] == 503
    view.observer.phase(Phase.BACKFILLING)
    assert (await ask(f"{public}/readyz"))[:2] == (200, {"ready": True, "reasons": []})

    view.observer.retrying("following changes", SourceUnavailable("no server"), 1.0)
    status, told, _ = await ask(f"{public}/readyz")
    assert (status, told["reasons"]) == (503, ["following changes: no server"])

    view.observer.recovered("following changes")
    view.observer.phase(Phase.LIVE)
    assert (await ask(f"{public}/readyz"))[0] == 200
    view.observer.index_stopped("users", "column users.name is gone")
    status, told, _ = await ask(f"{public}/readyz")
    assert (status, told["reasons"]) == (503, ["index users: column users.name is gone"])


async def test_a_status_tells_how_far_a_backfill_is(public: str, view: View) -> None:
    view.observer.phase(Phase.BACKFILLING)
    view.observer.seeding("search", "users", 0, 1000)
    view.observer.seeding("search", "users", 250, 1000)
    _, told, headers = await ask(f"{public}/status")
    assert told["indexes"] == {"users": "backfilling", "orders": "waiting"}
    users = told["v2"]["sinks"]["search"]["indexes"]["users"]
    assert (users["rows"], users["estimated_rows"]) == (250, 1000)
    assert users["seconds_left"] >= 0
    assert headers["Cache-Control"] == "no-store"

    view.observer.seed_given_up("search", "users")
    _, told, _ = await ask(f"{public}/status")
    assert told["indexes"]["users"] == "waiting"
    view.observer.seeding("search", "users", 0, 1000)
    view.observer.seeded("search", "users", 1000, 1.0)
    view.observer.phase(Phase.LIVE)
    _, told, _ = await ask(f"{public}/status")
    assert (told["phase"], told["indexes"]) == ("live", {"users": "live", "orders": "live"})


async def test_a_status_counts_what_is_confirmed(public: str, view: View) -> None:
    view.observer.captured(3, Position(10, "0/A"))
    view.observer.captured(4, None)
    view.observer.captured(1, Position(20, "0/14"))
    view.observer.confirmed(Position(10, "0/A"))
    _, told, _ = await ask(f"{public}/status")
    counted = [told[f"changes_{what}"] for what in ("captured", "committed", "in_flight")]
    assert (counted, told["v2"]["confirmed"]) == ([8, 3, 5], "0/A")
    view.observer.confirmed(Position(25, "0/19"))
    _, told, _ = await ask(f"{public}/status")
    assert (told["changes_committed"], told["changes_in_flight"]) == (8, 0)


async def test_metrics_are_in_the_text_format(public: str, view: View) -> None:
    view.observer.captured(7, None)
    view.observer.phase(Phase.LIVE)
    status, text, headers = await ask(f"{public}/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "flusso_changes_captured_total 7.0\n" in text
    assert 'flusso_phase{phase="live"} 1.0\n' in text


async def test_only_who_has_the_password_gets_in(private: str) -> None:
    wrong: tuple[Mapping[str, str], ...] = (
        {},
        {"Authorization": "Basic not base64"},
        {"Authorization": OPERATOR["Authorization"].replace("basic", "bearer")},
        credentials("ops", "s3cret"),
        credentials("other", PASSWORD),
    )
    for given in wrong:
        status, told, headers = await ask(f"{private}/indexes", headers=given)
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Basic")
        assert PASSWORD not in json.dumps(told, ensure_ascii=False)
    status, told, _ = await ask(f"{private}/indexes", headers=OPERATOR)
    assert (status, set(told["indexes"])) == (200, {"users", "orders"})


async def post(url: str, body: bytes | None = None) -> tuple[int, Any]:
    return (await ask(url, method="POST", headers=OPERATOR, body=body))[:2]


async def test_each_index_is_told_with_its_generations(private: str) -> None:
    """D4: who waits for a reindex sees when searches see it."""
    _, told, _ = await ask(f"{private}/indexes", headers=OPERATOR)
    assert told == {
        "prefix": "shop-",
        "indexes": {
            "users": {
                "search": {
                    "state": "live",
                    "generation": 2,
                    "serving": 2,
                    "kept": [1],
                    "keep_old": False,
                    "clean": True,
                }
            },
            "orders": {
                "search": {
                    "state": "live",
                    "generation": 3,
                    "serving": 2,
                    "kept": [],
                    "keep_old": True,
                    "clean": False,
                }
            },
        },
    }


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("reindex?index=users", ("reindex", "users", False)),
        ("reindex?index=users&keep_old=true", ("reindex", "users", True)),
        ("rollback?index=users", ("rollback", "users", True)),
        ("rollback?index=users&keep_current=false", ("rollback", "users", False)),
        ("sweep?index=users", ("sweep", "users")),
    ],
)
async def test_what_an_operator_asks_for_reaches_the_run(
    private: str, view: View, query: str, asked: Asked
) -> None:
    status, told = await post(f"{private}/{query}")
    assert (status, told["index"], view.asked) == (202, "users", [asked])
    view.refusal = "its schema is another one"
    assert await post(f"{private}/{query}") == (409, {"error": "its schema is another one"})
    path = query.partition("?")[0]
    status, told = await post(f"{private}/{path}")
    assert (status, told["error"]) == (400, f"name the index: POST /{path}?index=NAME")
    status, told = await post(f"{private}/{path}?index=nobody")
    assert (status, told["error"]) == (404, "there is no index 'nobody'")
    assert (await ask(f"{private}/{query}", headers=OPERATOR))[0] == 405
    assert view.asked == [asked]


async def test_a_flag_that_is_neither_is_refused(private: str, view: View) -> None:
    status, told = await post(f"{private}/reindex?index=users&keep_old=yes")
    assert (status, told["error"]) == (400, "keep_old is true or false, not 'yes'")
    assert view.asked == []


async def test_one_thing_at_a_time_is_done_to_an_index(private: str, view: View) -> None:
    """D4: what would wait for another request is refused, and so is a second seed."""
    view.waiting = asyncio.Event()
    asking = asyncio.create_task(post(f"{private}/sweep?index=users"))
    while not view.asked:
        await asyncio.sleep(0)
    status, told = await post(f"{private}/reindex?index=users")
    assert (status, told["error"]) == (409, "another request for users is under way; ask again")
    view.waiting.set()
    assert (await asking)[0] == 202
    assert (await post(f"{private}/reindex?index=users"))[0] == 202
    status, told = await post(f"{private}/reindex?index=orders")
    assert (status, told["error"]) == (409, "a new generation of orders is being filled already")


async def test_documents_are_built_anew_by_key_or_id(private: str, view: View) -> None:
    body = json.dumps({"index": "users", "keys": [["1"], ["a", "b"]], "ids": ["~x", "é"]})
    status, told = await post(f"{private}/rebuild", body.encode())
    assert (status, told) == (200, {"index": "users", "documents": 4})
    assert view.asked == [("rebuild", "users", ("1",), ("a", "b"), "~x", "é")]
    view.refusal = "search: not every document of index users has been built anew"
    status, told = await post(f"{private}/rebuild", body.encode())
    assert (status, told["error"]) == (409, view.refusal)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "the body: Invalid JSON"),
        (b"[]", 400, "the body: Input should be an object"),
        (b'{"index": "users"}', 400, "name 1 to 10000 documents a request, not 0"),
        (b'{"index": "users", "keys": [[1]]}', 400, "keys.0.0: Input should be a valid string"),
        (b'{"index": "users", "ids": "x"}', 400, "ids: Input should be a valid array"),
        (b'{"index": "users", "ids": ["x"], "a": 1}', 400, "a: Extra inputs are not permitted"),
        (b'{"index": "nobody", "ids": ["x"]}', 404, "there is no index 'nobody'"),
        (b" " * (MOST_BYTES + 1), 413, "16777216 bytes at most"),
        (
            json.dumps({"index": "users", "ids": [""] * 10_001}).encode(),
            400,
            "name 1 to 10000 documents a request, not 10001",
        ),
    ],
)
async def test_a_body_that_says_nothing_that_could_be_done_is_refused(
    private: str, view: View, body: bytes, status: int, reason: str
) -> None:
    found, told = await post(f"{private}/rebuild", body)
    assert found == status
    assert reason in told["error"]
    assert view.asked == []


async def test_the_surfaces_are_apart(public: str, private: str) -> None:
    """What needs no password controls nothing."""
    assert (await ask(f"{public}/indexes"))[0] == 404
    assert (await ask(f"{public}/reindex?index=users", method="POST"))[0] == 404
    assert (await ask(f"{private}/status", headers=OPERATOR))[0] == 404


async def test_an_address_that_is_taken_is_named(public: str, view: View) -> None:
    address = public.removeprefix("http://")
    with pytest.raises(AddressInUse, match=f"public_address {address} is in use"):
        async with serving(public_app(view), address, "public_address"):
            pass


async def test_an_address_of_another_machine_is_refused(view: View) -> None:
    with pytest.raises(ConfigError, match=r"private_address 192\.0\.2\.1:9465 cannot be listened"):
        async with serving(public_app(view), "192.0.2.1:9465", "private_address"):
            pass
