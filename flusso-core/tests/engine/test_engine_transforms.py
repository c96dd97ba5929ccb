"""The user's transforms: what they return is written, and what they fail on is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.engine.transforms import Transforms
from flusso_core.errors import DocumentRejected
from flusso_core.model import Document, DocumentId
from flusso_core.settings import FailurePolicies, FailurePolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)


def filled() -> MemoryDatabase:
    database = MemoryDatabase()
    for number in range(10):
        database.commit(database.put_parent(f"p{number}", f"name {number}"))
    return database


async def sync(
    database: MemoryDatabase,
    destination: MemoryDestination,
    *transforms: Callable[[dict[str, Any]], Mapping[str, Any] | None],
    **settings: Any,
) -> None:
    engine = Engine(
        MemoryCapture(database),
        MemoryBuilder(database),
        {"memory": MemorySink(destination)},
        transforms={"parents": transforms},
        **settings,
    )
    await engine.run(once=True)


def document(body: bytes | None, index: str = "parents") -> Document:
    return Document(DocumentId(index, 1, ("1",)), body, 7)


async def test_what_transforms_return_is_written_in_the_seed_and_behind_it() -> None:
    """One after the other."""
    database, destination = filled(), MemoryDestination()

    def upper(found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "name": found["name"].upper()}

    def mark(found: dict[str, Any]) -> dict[str, Any]:
        found["marked"] = found["name"].isupper()
        return found

    await sync(database, destination, upper, mark)
    database.commit(database.put_parent("p1", "Zoë"))
    await sync(database, destination, upper, mark)
    written = {key: json.loads(body) for key, body in destination.search("parents").items()}
    assert written["p0"] == {"name": "NAME 0", "children": [], "marked": True}
    assert written["p1"] == {"name": "ZOË", "children": [], "marked": True}
    assert database.confirmed == database.head


async def test_a_document_that_is_dropped_is_deleted_where_it_was() -> None:
    """It is a tombstone: with the change that drops it, it goes."""
    database, destination = filled(), MemoryDestination()

    def public(found: dict[str, Any]) -> dict[str, Any] | None:
        return None if found["name"] == "secret" else found

    await sync(database, destination, public)
    assert len(destination.search("parents")) == 10
    database.commit(database.put_parent("p1", "secret"))
    await sync(database, destination, public)
    assert "p1" not in destination.search("parents")
    assert len(destination.search("parents")) == 9


def failing(found: dict[str, Any]) -> dict[str, Any]:
    if found["name"] == "name 3":
        raise KeyError("country")
    return found


async def test_a_document_that_a_transform_fails_on_is_quarantined_and_delays_no_other() -> None:
    """D3: with the body as it was."""
    database, destination = filled(), MemoryDestination()
    await sync(database, destination, failing, failures=FailurePolicies(default=FailurePolicy.SKIP))
    assert set(destination.search("parents")) == set(database.documents()) - {"p3"}
    rejection = destination.quarantined[0]
    assert rejection.document.body == database.document("p3")
    assert rejection.reason == "its transform failed: KeyError: 'country'"
    assert database.confirmed == database.head


async def test_a_document_that_a_transform_fails_on_stops_the_run_where_it_is_to() -> None:
    """D3: nothing is confirmed, and the transform comes again in the next run."""
    database, destination = filled(), MemoryDestination()
    with pytest.raises(DocumentRejected, match=r"p3 of index parents is refused: .*'country'"):
        await sync(database, destination, failing)
    assert database.confirmed == 0


@pytest.mark.parametrize(
    "result",
    [{"name": float("nan")}, {"name": object()}, {"name": "\ud800"}, ["name"], 7],
    ids=["nan", "object", "surrogate", "list", "number"],
)
def test_what_is_no_json_object_fails_that_document(result: object) -> None:
    """A destination must never get what it cannot read."""
    transforms = Transforms({"parents": [lambda _: result]})  # type: ignore[list-item]
    ready, failed = transforms.apply([document(b"{}"), document(None)])
    assert [each.body for each in ready] == [None]
    assert [each.document for each in failed] == [document(b"{}")]


def test_documents_without_a_transform_are_not_parsed() -> None:
    """The bytes of the builder, also where another index has a transform."""
    transforms = Transforms({"parents": [dict], "people": []})
    untouched = [document(b"no json at all", "people")]
    assert transforms.apply(untouched) == (untouched, [])


def test_numbers_and_text_survive_a_transform() -> None:
    """V4: integers of any size, and text as it is, on one line."""
    body = '{"a":12345678901234567890,"b":"Zoë 🚀\\n","c":0.1}'.encode()
    ready, _ = Transforms({"parents": [dict]}).apply([document(body)])
    assert [each.body for each in ready] == [body]
