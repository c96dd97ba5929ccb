"""The shop is what its files say: the same rows each time, changes that hit, every field in use."""

from __future__ import annotations

import json
import random
import threading
from typing import Any, cast

import psycopg
import pytest
from ruamel.yaml import YAML

from .shop_deployment import INDEXES, SHOP, Connection, load_shop
from .shop_happenings import HAPPENINGS
from .shop_writer import TRANSACTIONS, ShopWriter

TO_MANY = ("has_many", "many_to_many")

Documents = dict[str, dict[str, str]]


def read(name: str) -> bytes:
    return (SHOP / name).read_bytes()


def expected(connection: Connection) -> Documents:
    """What every index must hold: its documents' text by id."""
    documents: Documents = {}
    for index in INDEXES:
        query = b"SELECT id, document::text FROM (%b) AS expected" % read(f"expected/{index}.sql")
        rows = connection.execute(query).fetchall()
        documents[index] = dict(rows)
        assert len(documents[index]) == len(rows), f"an id appears twice among the {index}"
    return documents


def changes() -> dict[str, str]:
    """The statements of changes.sql by their names."""
    parts = read("sql/changes.sql").decode().split("-- change: ")[1:]
    return {name: statement for name, _, statement in (part.partition("\n") for part in parts)}


def changed(before: Documents, after: Documents, index: str) -> set[str]:
    """Ids of the documents that differ, came or went."""
    return {key for key, _ in before[index].items() ^ after[index].items()}


@pytest.fixture
def shop(connection: Connection) -> Connection:
    load_shop(connection, 200)
    return connection


def assert_fields(fields: list[dict[str, Any]], document: dict[str, Any], seen: set[str]) -> None:
    """The document has the fields' keys at every depth, and no other."""
    keys = {str(next(iter(field.values()))): field for field in fields}
    assert document.keys() == keys.keys()
    for key, field in keys.items():
        value = document[key]
        children = cast("list[Any]", value) if next(iter(field)) in TO_MANY else [value]
        for child in children:
            seen.add(key if child is not None else "")
            if "fields" in field and child is not None:
                assert_fields(field["fields"], child, seen)


def all_keys(fields: list[dict[str, Any]]) -> set[str]:
    """Every document key of a schema file, at any depth."""
    return {str(next(iter(field.values()))) for field in fields}.union(
        *(all_keys(field["fields"]) for field in fields if "fields" in field)
    )


@pytest.mark.integration
@pytest.mark.parametrize("index", INDEXES)
def test_every_expected_document_has_exactly_the_fields_of_the_schema_file(
    shop: Connection, index: str
) -> None:
    yaml: Any = YAML(typ="safe")
    schema = yaml.load(read(f"{index}.schema.yml"))
    documents = expected(shop)[index]
    seen: set[str] = set()
    for document in documents.values():
        assert_fields(schema["fields"], json.loads(document), seen)
    assert documents
    # No field is null throughout: each is put to the test by some row.
    assert all_keys(schema["fields"]) <= seen


@pytest.mark.integration
def test_the_expected_documents_do_not_depend_on_the_session(shop: Connection) -> None:
    """V6: a reader's settings change no spelling."""
    before = expected(shop)
    shop.execute(
        "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET bytea_output = 'escape'"
    )
    assert expected(shop) == before


@pytest.mark.integration
def test_two_shops_of_one_size_are_equal(shop: Connection) -> None:
    before = expected(shop)
    shop.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    load_shop(shop, 200)
    assert expected(shop) == before


@pytest.mark.integration
def test_the_seed_leaves_room_for_the_next_row(shop: Connection) -> None:
    ShopWriter(shop, random.Random(1)).run(50)


@pytest.mark.integration
def test_each_change_touches_what_it_claims(shop: Connection) -> None:
    statements = changes()
    before = expected(shop)

    def commit(name: str) -> tuple[Documents, dict[str, set[str]]]:
        nonlocal before
        shop.execute(statements.pop(name).encode())
        was, before = before, expected(shop)
        return was, {index: changed(was, before, index) for index in INDEXES}

    _, touched = commit("a price")
    assert touched["products"]
    assert not touched["users"] | touched["orders"]

    _, touched = commit("an order item deleted")
    assert [len(touched[index]) for index in INDEXES] == [1, 1, 1]

    was, touched = commit("an order moved to another user")
    (order,) = touched["orders"]
    customers = {json.loads(state["orders"][order])["customer"]["id"] for state in (was, before)}
    assert touched["users"] == {str(customer) for customer in customers}
    assert len(customers) == 2
    assert not touched["products"]

    _, touched = commit("a product renamed")
    assert touched["users"]
    assert touched["products"]
    assert len(touched["orders"]) > 5

    was, touched = commit("a user soft-deleted")
    (user,) = touched["users"]
    assert user in was["users"]
    assert user not in before["users"]
    assert touched["products"]
    for order in touched["orders"]:
        assert json.loads(before["orders"][order])["customer"] is None
    assert touched["orders"]

    _, touched = commit("a tag truncated away")
    assert touched["products"]
    assert all(json.loads(text)["tags"] == [] for text in before["products"].values())
    assert not touched["users"] | touched["orders"]

    assert not statements


@pytest.mark.integration
def test_in_the_whole_shop_a_rename_touches_more_than_500_orders(connection: Connection) -> None:
    load_shop(connection, 20_000)
    before = expected(connection)
    assert len(before["users"]) > 19_000
    assert len(before["products"]) > 1_700
    assert len(before["orders"]) > 36_000
    connection.execute(changes()["a product renamed"].encode())
    after = expected(connection)
    assert len(changed(before, after, "orders")) > 500
    assert len(changed(before, after, "users")) > 100


@pytest.mark.integration
def test_the_writer_does_the_same_for_the_same_seed(shop: Connection) -> None:
    first = ShopWriter(shop, random.Random(3))
    first.run(200)
    before = expected(shop)
    shop.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    load_shop(shop, 200)
    second = ShopWriter(shop, random.Random(3))
    second.run(200)
    assert second.done == first.done
    assert expected(shop) == before


@pytest.mark.integration
def test_the_writer_does_everything_and_changes_every_index(shop: Connection) -> None:
    before = expected(shop)
    writer = ShopWriter(shop, random.Random(4))
    writer.run(2000)
    assert {happening.name for happening in HAPPENINGS} <= writer.done.keys()
    assert 1500 < writer.done[TRANSACTIONS] < 2000
    after = expected(shop)
    for index in INDEXES:
        assert len(after[index]) > 10
        assert len(changed(before, after, index)) > 10


@pytest.mark.integration
def test_the_writer_stops_when_it_is_told_to(shop: Connection) -> None:
    stop = threading.Event()
    writer = ShopWriter(shop, random.Random(5), rate=1000)
    thread = threading.Thread(target=writer.run, kwargs={"stop": stop})
    thread.start()
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.mark.integration
def test_the_writer_wants_an_autocommit_connection_and_an_end(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        with pytest.raises(ValueError, match="autocommit"):
            ShopWriter(connection, random.Random(6))
        connection.autocommit = True
        with pytest.raises(ValueError, match="end"):
            ShopWriter(connection, random.Random(6)).run()
