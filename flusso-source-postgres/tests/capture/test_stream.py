"""What a capture delivers, from a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from flusso_core.model import Change, ChangeBatch, Operation, TableName
from flusso_core.schema.model import IndexSchema, JoinField, JoinKind, Through

from .shop import ORDERS, SCHEMA, USERS, Shop

pytestmark = pytest.mark.integration


async def test_an_insert_an_update_and_a_delete_of_a_root_row_carry_its_key(shop: Shop) -> None:
    """C1."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1, 'a')")
        shop.sql("UPDATE users SET name = 'b'")
        shop.sql("DELETE FROM users")
        await received.until(lambda got: len(got.changes) == 3)
    assert received.changes == [
        Change(USERS, Operation.UPSERT, None, {"id": "1"}),
        Change(USERS, Operation.UPSERT, {"id": "1"}, {"id": "1"}),
        Change(USERS, Operation.DELETE, {"id": "1"}, None),
    ]


async def test_a_changed_root_key_carries_the_old_and_the_new_one(shop: Shop) -> None:
    """C2."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1, 'a')")
        shop.sql("UPDATE users SET id = 2")
        await received.until(lambda got: len(got.changes) == 2)
    assert received.changes[1] == Change(USERS, Operation.UPSERT, {"id": "1"}, {"id": "2"})


async def test_a_moved_and_a_deleted_child_carry_the_old_parent(shop: Shop) -> None:
    """C3: flusso sets the replica identity that this needs."""
    shop.sql("INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO orders VALUES (10, 1, 5)")
        shop.sql("UPDATE orders SET user_id = 2")
        shop.sql("UPDATE orders SET total = 6")
        shop.sql("DELETE FROM orders")
        await received.until(lambda got: len(got.changes) == 4)
    assert received.changes == [
        Change(ORDERS, Operation.UPSERT, None, {"user_id": "1"}),
        Change(ORDERS, Operation.UPSERT, {"user_id": "1"}, {"user_id": "2"}),
        Change(ORDERS, Operation.UPSERT, {"user_id": "2"}, {"user_id": "2"}),
        Change(ORDERS, Operation.DELETE, {"user_id": "2"}, None),
    ]


async def test_what_the_default_identity_does_not_carry_is_unknown_and_not_null(
    shop: Shop,
) -> None:
    """C3, C11: only the key of an old row is known."""
    async with (
        shop.provisioned(manage_replica_identity=False) as capture,
        shop.live(capture) as received,
    ):
        shop.sql("INSERT INTO orders VALUES (10, NULL, 5)")
        shop.sql("UPDATE orders SET id = 11")
        shop.sql("UPDATE orders SET total = 6")
        shop.sql("DELETE FROM orders")
        await received.until(lambda got: len(got.changes) == 4)
    assert [change.before for change in received.changes] == [None, {}, {}, {}]
    assert [change.after for change in received.changes[:3]] == [{"user_id": None}] * 3


async def test_an_index_as_identity_carries_its_columns(shop: Shop) -> None:
    """C11: REPLICA IDENTITY USING INDEX."""
    shop.sql(
        "INSERT INTO users VALUES (1), (2);"
        "ALTER TABLE orders ALTER user_id SET NOT NULL;"
        "CREATE UNIQUE INDEX by_user ON orders (user_id, id);"
        "ALTER TABLE orders REPLICA IDENTITY USING INDEX by_user"
    )
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO orders VALUES (10, 1, 5)")
        shop.sql("UPDATE orders SET total = 6")
        shop.sql("UPDATE orders SET user_id = 2")
        shop.sql("DELETE FROM orders")
        await received.until(lambda got: len(got.changes) == 4)
    assert [change.before for change in received.changes] == [
        None,
        {"user_id": "1"},
        {"user_id": "1"},
        {"user_id": "2"},
    ]
    identity = shop.sql("SELECT relreplident::text FROM pg_class WHERE relname = 'orders'")
    assert identity == [("i",)]


async def test_a_large_value_that_did_not_change_is_taken_from_the_old_row(shop: Shop) -> None:
    """C13: unchanged TOAST, here in a foreign key."""
    shop.sql(
        "CREATE TABLE papers (id bigint PRIMARY KEY, of_user text, words int);"
        "ALTER TABLE papers ALTER of_user SET STORAGE EXTERNAL"
    )
    papers = TableName("public", "papers")
    schema = IndexSchema(
        index="users",
        table=USERS,
        schema_hash="1",
        fields=(JoinField("papers", JoinKind.HAS_MANY, papers, (), foreign_key="of_user"),),
    )
    async with shop.provisioned(schema) as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO papers SELECT 1, repeat('é', 3000), 0")
        shop.sql("UPDATE papers SET words = 1")
        await received.until(lambda got: len(got.changes) == 2)
    assert received.changes[1].before == {"of_user": "é" * 3000}
    assert received.changes[1].after == {"of_user": "é" * 3000}


async def test_truncate_names_every_table_it_empties(shop: Shop) -> None:
    """C7: by CASCADE too."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1); INSERT INTO orders VALUES (10, 1)")
        shop.sql("TRUNCATE users CASCADE")
        await received.until(lambda got: len(got.changes) == 4)
    assert sorted(received.changes[2:]) == [
        Change(ORDERS, Operation.TRUNCATE, None, None),
        Change(USERS, Operation.TRUNCATE, None, None),
    ]


async def test_a_junction_carries_both_keys_before_and_after(shop: Shop) -> None:
    """C5: also where it has no key at all."""
    shop.sql("CREATE TABLE tags (id bigint PRIMARY KEY); CREATE TABLE tagged (u bigint, t bigint)")
    tagged = TableName("public", "tagged")
    schema = IndexSchema(
        index="users",
        table=USERS,
        schema_hash="1",
        fields=(
            JoinField(
                "tags",
                JoinKind.MANY_TO_MANY,
                TableName("public", "tags"),
                (),
                through=Through(tagged, "u", "t"),
            ),
        ),
    )
    async with shop.provisioned(schema) as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO tagged VALUES (1, 2)")
        shop.sql("UPDATE tagged SET t = 3")
        shop.sql("DELETE FROM tagged")
        await received.until(lambda got: len(got.changes) == 3)
    assert received.changes == [
        Change(tagged, Operation.UPSERT, None, {"u": "1", "t": "2"}),
        Change(tagged, Operation.UPSERT, {"u": "1", "t": "2"}, {"u": "1", "t": "3"}),
        Change(tagged, Operation.DELETE, {"u": "1", "t": "3"}, None),
    ]


async def test_changes_of_partitions_are_the_partitioned_tables(shop: Shop) -> None:
    """C12: also of one that was made later."""
    shop.sql(
        "CREATE TABLE visits (id bigint, user_id bigint, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (100)"
    )
    visits = TableName("public", "visits")
    schema = replace(
        SCHEMA,
        fields=(JoinField("visits", JoinKind.HAS_MANY, visits, (), foreign_key="user_id"),),
    )
    async with shop.provisioned(schema) as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO visits VALUES (1, 7)")
        shop.sql("UPDATE visits SET user_id = 8")
        shop.sql("CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (100) TO (200)")
        shop.sql("INSERT INTO visits VALUES (101, 7)")
        await received.until(lambda got: len(got.changes) == 3)
    assert received.changes == [
        Change(visits, Operation.UPSERT, None, {"user_id": "7"}),
        Change(visits, Operation.UPSERT, {"user_id": "7"}, {"user_id": "8"}),
        Change(visits, Operation.UPSERT, None, {"user_id": "7"}),
    ]


async def test_odd_names_and_unrelated_tables_do_not_matter(shop: Shop) -> None:
    """C15, V1."""
    shop.sql(
        'CREATE SCHEMA "Ünï ""q"""; CREATE TABLE "Ünï ""q"""."or der" ("to day" text PRIMARY KEY);'
        'CREATE TABLE "x""y" (z xml, p point, a int[]); CREATE TABLE nokey (a int);'
        f"CREATE PUBLICATION {'flusso'} FOR ALL TABLES WITH (publish_via_partition_root)"
    )
    odd = TableName('Ünï "q"', "or der")
    schema = IndexSchema(index="odd", table=odd, schema_hash="1", fields=())
    async with shop.provisioned(schema) as capture, shop.live(capture) as received:
        shop.sql(
            'INSERT INTO "x""y" VALUES (NULL, point(1, 2), ARRAY[1]); INSERT INTO nokey VALUES (1)'
        )
        shop.sql("TRUNCATE nokey")
        shop.sql('INSERT INTO "Ünï ""q"""."or der" VALUES (%s)', "a'b\\ 🙂")
        await received.until(lambda got: bool(got.changes))
    assert received.changes == [Change(odd, Operation.UPSERT, None, {"to day": "a'b\\ 🙂"})]


async def test_keys_are_spelled_by_pinned_settings(shop: Shop) -> None:
    """V2, V6: whatever the database's own settings are."""
    name = shop.sql("SELECT quote_ident(current_database())")[0][0]
    shop.sql(f"ALTER DATABASE {name} SET datestyle = 'German'")
    shop.sql(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    shop.sql(f"ALTER DATABASE {name} SET bytea_output = 'escape'")
    shop.sql("CREATE TABLE k (a date, b timestamptz, c bytea, d float8, PRIMARY KEY (a, b, c, d))")
    k = TableName("public", "k")
    schema = IndexSchema(index="k", table=k, schema_hash="1", fields=())
    async with shop.provisioned(schema) as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO k VALUES ('2024-02-03', '2024-02-03 04:05:06+00', '\\x00ff', 0.1)")
        await received.until(lambda got: bool(got.changes))
    assert received.changes[0].after == {
        "a": "2024-02-03",
        "b": "2024-02-03 04:05:06+00",
        "c": "\\x00ff",
        "d": "0.1",
    }


async def test_a_rolled_back_subtransaction_brings_nothing(shop: Shop) -> None:
    """C10: the others of its transaction come, under the top transaction's id."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql(
            "BEGIN; INSERT INTO users VALUES (1); SAVEPOINT s; INSERT INTO users VALUES (2);"
            "ROLLBACK TO s; SAVEPOINT t; INSERT INTO users VALUES (3); RELEASE t; COMMIT"
        )
        await received.until(lambda got: len(got.changes) == 2)
        await capture.wait_visible(received.batches[-1])
    assert [change.after for change in received.changes] == [{"id": "1"}, {"id": "3"}]


async def test_a_prepared_transaction_comes_when_it_is_committed(shop: Shop) -> None:
    """C10."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("BEGIN; INSERT INTO users VALUES (1); PREPARE TRANSACTION 'two'")
        shop.sql("INSERT INTO users VALUES (2)")
        await received.until(lambda got: len(got.changes) == 1)
        shop.sql("COMMIT PREPARED 'two'")
        await received.until(lambda got: len(got.changes) == 2)
        await capture.wait_visible(received.batches[-1])
    assert [change.after for change in received.changes] == [{"id": "2"}, {"id": "1"}]


async def test_a_large_commit_comes_in_pieces_and_only_its_end_is_confirmable(shop: Shop) -> None:
    """C10, H8."""
    async with shop.provisioned() as capture, shop.live(capture) as received:
        before = await capture.head()
        shop.sql("INSERT INTO users SELECT g FROM generate_series(1, 25000) g")
        await received.until(lambda got: len(got.changes) == 25_000)
        await capture.wait_visible(received.batches[-1])
    pieces = [batch for batch in received.batches if batch.changes]
    assert max(len(batch.changes) for batch in pieces) <= 1001
    assert len({batch.transactions for batch in pieces}) == 1
    assert all(batch.position is None or batch.position <= before for batch in pieces[:-1])
    assert pieces[-1].position is not None
    assert pieces[-1].position > before


async def test_many_small_commits_that_wait_come_in_order_each_once(shop: Shop) -> None:
    async with shop.provisioned() as capture:
        start = await capture.confirmed()
        with psycopg.connect(shop.url, autocommit=True) as connection:
            for number in range(500):
                connection.execute("INSERT INTO users VALUES (%s)", [number])
        async with shop.live(capture, start) as received:
            await received.until(lambda got: len(got.changes) == 500)
    assert [change.after for change in received.changes] == [{"id": str(n)} for n in range(500)]
    assert len({xid for batch in received.batches for xid in batch.transactions}) == 500


async def test_an_idle_stream_advances_by_its_keepalives(shop: Shop) -> None:
    """H7: WAL of tables that nobody follows is let go."""
    shop.sql("CREATE TABLE busy (a text)")
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO busy SELECT repeat('x', 500) FROM generate_series(1, 2000)")
        head = await capture.head()
        await received.until(lambda got: got.position is not None and got.position >= head)
        position = received.position
        assert position is not None
        await capture.confirm(position)
        async with asyncio.timeout(10):
            while await capture.confirmed() < position:
                await asyncio.sleep(0.02)
    assert not received.changes
    assert positions_rise(received.batches)


def positions_rise(batches: list[ChangeBatch]) -> bool:
    positions = [batch.position for batch in batches if batch.position]
    return positions == sorted(positions)
