"""The HTTP surfaces, asked over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import ClientSession

from flusso_core.errors import ConfigError, SourceUnavailable
from flusso_core.model import Position
from flusso_core.observe import FanOut, Phase
from flusso_core.server import AddressInUse, RunObserver, private_app, public_app, serving

PASSWORD = "s3cret:with colon ü"


class View(RunObserver):
    """A run that an observer has heard of, and that can be asked for a reindex."""

    def __init__(self) -> None:
        super().__init__(["search"], ["users", "orders"])
        self.observer = FanOut((self.run, self.measured))
        self.reindexed: list[str] = []

    async def reindex(self, index: str) -> bool:
        if index not in {"users", "orders"}:
            raise KeyError(index)
        self.reindexed.append(index)
        return self.reindexed.count(index) == 1


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
async def public(view: View) -> AsyncIterator[str]:
    async with serving(public_app(view), "127.0.0.1:0", "public_address") as url:
        yield url


@pytest.fixture
async def private(view: View) -> AsyncIterator[str]:
    app = private_app(view, view, user="ops", password=PASSWORD)
    async with serving(app, "127.0.0.1:0", "private_address") as url:
        yield url


def credentials(user: str, password: str) -> Mapping[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"basic {token}"}


OPERATOR = credentials("ops", PASSWORD)


async def ask(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    async with ClientSession() as client, client.request(method, url, headers=headers) as response:
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


async def test_a_reindex_is_accepted_once(private: str, view: View) -> None:

    async def post(query: str) -> int:
        return (await ask(f"{private}/reindex{query}", method="POST", headers=OPERATOR))[0]

    assert await post("?index=users") == 202
    assert await post("?index=users") == 409
    assert await post("?index=nobody") == 404
    assert await post("") == 400
    assert (await ask(f"{private}/reindex?index=orders", headers=OPERATOR))[0] == 405
    assert view.reindexed == ["users", "users"]


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
