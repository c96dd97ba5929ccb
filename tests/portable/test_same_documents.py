"""The portable builder makes the documents of the Postgres builder, wherever the rows are."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import Change, IndexKeys, Key, Operation
from flusso_core.schema import complete_keys, routing_columns
from flusso_sandbox.endpoints import MariaDBEndpoint, PostgresEndpoint
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.options import PollingOptions
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.options import PostgresOptions

from .databases import Database, sqlalchemy_url
from .kinds import MARIADB, POSTGRES, SQLITE
from .worlds import Row, Table, image, random_row, random_world

pytestmark = pytest.mark.integration

SEED = "FLUSSO_PORTABLE_SEED"
"""The variable that names a world to repeat."""

SECONDS = "FLUSSO_PORTABLE_SECONDS"
"""The variable that says for how long a soak tries."""

CHANGES = 8
"""Rows that change in a world before its documents are compared again."""


@pytest.fixture(autouse=True)
def _no_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


class Servers:
    """Where the worlds are put."""

    def __init__(self, postgres: PostgresEndpoint, mariadb: MariaDBEndpoint, folder: Path) -> None:
        self._postgres, self._mariadb, self._folder = postgres, mariadb, folder

    async def attempt(self, seed: int) -> None:
        """One world on all databases, or on the two whose types are wider."""
        print(f"{SEED}={seed}")  # noqa: T201 - shown where it fails
        kinds = (POSTGRES, MARIADB) if seed % 3 == 0 else (POSTGRES, MARIADB, SQLITE)
        name = f"portable_{secrets.token_hex(6)}"
        urls = {
            POSTGRES: self._postgres.create_database(name),
            MARIADB: self._mariadb.create_database(name),
            SQLITE: f"sqlite:///{self._folder / name}.db",
        }
        try:
            databases = [Database(kind, sqlalchemy_url(kind, urls[kind])) for kind in kinds]
            await Trial(Random(seed), seed, databases, urls[POSTGRES]).run()
        finally:
            self._postgres.drop_database(name)
            self._mariadb.drop_database(name)


@pytest.fixture
def servers(
    postgres_server: PostgresEndpoint, mariadb_server: MariaDBEndpoint, tmp_path: Path
) -> Servers:
    return Servers(postgres_server, mariadb_server, tmp_path)


@pytest.mark.parametrize("seed", range(5))
async def test_documents_and_keys_are_the_same_on_every_database(
    servers: Servers, seed: int
) -> None:
    """C1 to C9, V2, V4."""
    await servers.attempt(int(os.environ.get(SEED, seed)))


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_documents_are_the_same_for_as_long_as_told(servers: Servers) -> None:
    """C1 to C9, V2, V4."""
    deadline = time.monotonic() + float(os.environ.get(SECONDS, "300"))
    while time.monotonic() < deadline:
        await servers.attempt(secrets.randbits(40))


class Trial:
    """A world, its databases, and the builders that read it."""

    def __init__(
        self, random: Random, seed: int, databases: Sequence[Database], postgres: str
    ) -> None:
        self._random, self._seed, self._databases = random, seed, databases
        self._world = random_world(random, [one.kind for one in databases])
        keys = {table.full_name: table.key for table in self._world.tables}
        complete = [complete_keys(one, lambda name: keys[name]) for one in self._world.schemas]
        self._routing = routing_columns(complete)
        schemas = self._world.schemas
        options = PostgresOptions.model_validate({"connection_url": postgres, "slot": "unused"})
        self._builders: dict[str, DocumentBuilder] = {
            "the Postgres builder": PostgresBuilder(SourceContext(options, schemas))
        }
        for one in databases:
            polling = PollingOptions.model_validate({"connection_url": one.url})
            self._builders[one.kind] = PollingBuilder(SourceContext(polling, schemas))

    async def run(self) -> None:
        """Fail where a document or a key is not the same, and say in which world."""
        for database in self._databases:
            database.make(self._world.tables)
        try:
            for builder in self._builders.values():
                await builder.open()
                assert not builder.unfit(), self._told(str(builder.unfit()))
            await self._compare_documents()
            for _ in range(CHANGES):
                await self._change()
            await self._compare_documents()
        finally:
            for builder in self._builders.values():
                await builder.close()

    async def _change(self) -> None:
        """One row goes, comes, moves, or becomes another."""
        random = self._random
        table = random.choice(self._world.tables)
        before = random.choice(list(table.rows.values())) if table.rows else None
        after = random_row(random, table, self._world.tables)
        match random.randrange(4):
            case 0:
                before = None
            case 1 if before is not None:
                after = {**after, **{key: before[key] for key in table.key}}
            case 2 if before is not None:
                self._replace(table, before, None)
                await self._compare_keys(table, before, None)
                return
            case _:
                pass
        if _key(table, after) in table.rows and (
            before is None or _key(table, after) != _key(table, before)
        ):
            return
        self._replace(table, before, after)
        await self._compare_keys(table, before, after)

    def _replace(self, table: Table, before: Row | None, after: Row | None) -> None:
        for database in self._databases:
            database.replace(table, before, after)
        if before is not None:
            del table.rows[_key(table, before)]
        if after is not None:
            table.rows[_key(table, after)] = after

    async def _compare_keys(self, table: Table, before: Row | None, after: Row | None) -> None:
        columns = self._routing.get(table.full_name)
        if columns is None:
            return
        operation = Operation.UPSERT if after is not None else Operation.DELETE
        change = Change(table.full_name, operation, image(before, columns), image(after, columns))
        # A key without a row costs a look and does no harm, so a builder may give it or not.
        there = {
            (schema.index, tuple(_texts(root, row)))
            for schema in self._world.schemas
            for root in self._world.tables
            if root.full_name == schema.table
            for row in root.rows.values()
        }
        found: dict[str, set[tuple[str, Key]]] = {}
        for name, builder in self._builders.items():
            resolved = [one async for one in builder.resolve([change])]
            keys = {
                (one.index, key)
                for one in resolved
                if isinstance(one, IndexKeys)
                for key in one.keys
            }
            found[name] = keys & there
        self._same(found, f"the keys above {change}")

    async def _compare_documents(self) -> None:
        for schema in self._world.schemas:
            read: dict[str, dict[Key, Any]] = {}
            built: dict[str, dict[Key, Any]] = {}
            root = next(one for one in self._world.tables if one.full_name == schema.table)
            keys: list[Key] = [tuple(map(str, _texts(root, row))) for row in root.rows.values()]
            for name, builder in self._builders.items():
                read[name] = await self._pages(builder, schema.index)
                one_by_one = [
                    one async for chunk in builder.build(schema.index, keys) for one in chunk
                ]
                built[name] = {one.key: parse(one.body) for one in one_by_one}
            self._same(read, f"pages of {schema.index}")
            self._same(built, f"documents of {schema.index}")
            some = next(iter(built.values()))
            assert {key: one for key, one in some.items() if one is not None} == next(
                iter(read.values())
            )

    async def _pages(self, builder: DocumentBuilder, index: str) -> dict[Key, Any]:
        found: dict[Key, Any] = {}
        for span in await builder.ranges(index, 3):
            after: Key | None = None
            while True:
                page = await builder.page(index, span, after, 4)
                found.update({key: parse(body) for key, body in page.documents})
                after = page.cursor
                if after is None:
                    break
        return found

    def _same(self, found: dict[str, Any], what: str) -> None:
        (first, wanted), *others = found.items()
        for name, one in others:
            if one != wanted:
                raise AssertionError(self._told(_difference(what, first, wanted, name, one)))

    def _told(self, wrong: str) -> str:
        tables = "\n".join(
            f"{table.name}: { ({name: kind.name for name, kind in table.columns.items()}) }"
            for table in self._world.tables
        )
        return f"{SEED}={self._seed}: {wrong}\n{tables}\n" + "\n".join(self._world.texts)


def parse(body: bytes | None) -> Any:
    """JSON whose numbers are exact, and are equal to all that are as great."""
    return None if body is None else json.loads(body, parse_float=Decimal)


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key)


def _texts(table: Table, row: Row) -> list[str]:
    found = image(row, frozenset(table.key)) or {}
    return [found[name] or "" for name in table.key]


def _difference(what: str, first: str, wanted: Any, name: str, found: Any) -> str:
    if isinstance(wanted, set):
        return (
            f"{what} by {first} but not by {name}: {wanted - found}; "
            f"by {name} only: {found - wanted}"
        )
    for key in wanted.keys() | found.keys():
        if wanted.get(key) != found.get(key):
            return f"{what}: {key}\n  by {first}: {wanted.get(key)}\n  by {name}: {found.get(key)}"
    return what
