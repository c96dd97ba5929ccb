"""Every value of every scalar type, from Postgres into the index, and found there by a query."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .processes import wait_until
from .shop_deployment import Connection
from .small_deployment import Deploy, SmallDeployment
from .value_kinds import KINDS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Row = Mapping[str, Any]
rows = st.lists(st.fixed_dictionaries({kind.name: st.none() | kind.values for kind in KINDS}),
                min_size=1, max_size=4)  # fmt: skip


class Things:
    """A table with a column of each kind, and the index that a running flusso fills from it."""

    def __init__(self, connection: Connection, small: SmallDeployment) -> None:
        self._connection = connection
        self._client = small.client
        self._index = small.alias
        self._keys = itertools.count(1)
        self._running = small.start("run")
        wait_until(
            lambda: small.count() >= 0 or not self._running.running, 60, "the index is served"
        )

    def insert(self, given: list[Row]) -> dict[str, Row]:
        """Insert rows; each by its key."""
        inserted = {str(next(self._keys)): row for row in given}
        names = ", ".join(kind.name for kind in KINDS)
        casts = ", ".join(f"%s::text::{kind.column}" for kind in KINDS)
        statement = f"INSERT INTO things (id, {names}) VALUES (%s, {casts})".encode()
        with self._connection.transaction():
            for key, row in inserted.items():
                values = [
                    None if row[kind.name] is None else kind.literal(row[kind.name])
                    for kind in KINDS
                ]
                self._connection.execute(statement, [int(key), *values])
        return inserted

    def documents(self, keys: list[str]) -> dict[str, Row]:
        """The documents with these keys, when all of them are there."""
        found: dict[str, Row] = {}

        def arrived() -> bool:
            nonlocal found
            answer = self._client.mget(index=self._index, body={"ids": keys})
            found = {hit["_id"]: hit["_source"] for hit in answer["docs"] if hit["found"]}
            return len(found) == len(keys) or not self._running.running

        wait_until(arrived, 30, f"documents {keys}")
        assert self._running.running, self._running.output
        return found

    def not_found(self, queries: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Those of the queries that do not find the document with the key beside them."""
        if not queries:
            return []
        lines: list[Any] = []
        for key, query in queries:
            both = {"bool": {"filter": [{"ids": {"values": [key]}}, query]}}
            lines += [{}, {"query": both, "size": 0}]
        self._client.indices.refresh(index=self._index)
        answer = self._client.msearch(index=self._index, body=lines)
        return [
            {"query": query, "answer": each}
            for (_, query), each in zip(queries, answer["responses"], strict=True)
            if "error" in each or each["hits"]["total"]["value"] != 1
        ]


@pytest.fixture
def things(connection: Connection, deploy: Deploy) -> Things:
    connection.execute("""CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok, "fine"')""")
    columns = ", ".join(f"{kind.name} {kind.column}" for kind in KINDS)
    connection.execute(f"CREATE TABLE things (id bigint PRIMARY KEY, {columns})".encode())
    fields = "".join(f"  - {kind.field}: {kind.name}\n" for kind in KINDS)
    return Things(connection, deploy("things", f"version: 1\ntable: things\nfields:\n{fields}"))


def arrive_as_they_are(things: Things, examples: int) -> None:
    """Hold so many random sets of rows to the property."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(rows)
    def every_value_arrives(given: list[Row]) -> None:
        inserted = things.insert(given)
        documents = things.documents(list(inserted))
        queries: list[tuple[str, dict[str, Any]]] = []
        for key, row in inserted.items():
            for kind in KINDS:
                value, stored = row[kind.name], documents[key][kind.name]
                if value is None:
                    assert stored is None
                    continue
                assert kind.same(value, stored), f"{kind.name}: {value!r} became {stored!r}"
                query = kind.query(kind.name, value)
                if query is not None:
                    queries.append((key, query))
        assert things.not_found(queries) == []

    every_value_arrives()


def test_any_value_arrives_as_it_is_stored_and_is_found(things: Things) -> None:
    """V4, V5: from a column of Postgres to `_source`, and found by what its type is for."""
    arrive_as_they_are(things, 40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_of_very_many_values_arrives_and_is_found(things: Things) -> None:
    """V4, V5."""
    arrive_as_they_are(things, 1000)
