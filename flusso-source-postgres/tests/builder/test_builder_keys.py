"""Keys of any type (V2): spelled as the change stream spells them, read by pages and by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.model import Change, Key, KeyRange, Operation, TableName
from flusso_core.schema import parse_schema
from flusso_core.schema.model import ConstantField, IndexSchema, SoftDelete

if TYPE_CHECKING:
    from .conftest import Lab

pytestmark = pytest.mark.integration

TABLE = TableName("public", "things")
SCHEMA = IndexSchema("things", TABLE, (ConstantField("a", 1),), "h")

TYPES = """
    CREATE TYPE mood AS ENUM ('z', 'Ä ''"', 'a');
    CREATE DOMAIN code AS varchar(20);
    """

KEYS: dict[str, tuple[str, ...]] = {
    "bigint": ("-9223372036854775808", "0", "9223372036854775807"),
    "smallint": ("-1", "5"),
    "text": (
        "''",
        "'a,b'",
        "'{}'",
        "'\"'",
        "E'\\\\'",
        "'it''s'",
        "' x '",
        "'NULL'",
        "'🦊é'",
        "E'\\n'",
    ),
    "varchar(10)": ("'b'", "'B'", "'ab'"),
    "char(5)": ("'a'", "'ab'", "'abcde'"),
    "name": ("'n'", "'N'"),
    "code": ("'c1'", "' '"),
    "mood": ("'z'", "'Ä ''\"'", "'a'"),
    "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"),
    "bytea": ("''", "'\\x00ff'", "'\\x5c'"),
    "boolean": ("true", "false"),
    "numeric": ("1.50", "'NaN'", "12345678901234567890.1", "-0.0001"),
    "real": ("1.1", "'Infinity'"),
    "double precision": ("0.1", "1e300"),
    "date": ("'2024-02-29'", "'0044-03-15 BC'", "'infinity'"),
    "timestamp": ("'2024-05-01 12:00:00.5'", "'-infinity'"),
    "timestamptz": ("'2024-05-01 12:00:00+02'",),
    "time": ("'12:00'", "'24:00'"),
    "interval": ("'1 day -02:03:04'", "'-1 year'"),
    "inet": ("'10.0.0.1'", "'10.0.0.0/8'", "'::1'"),
    "macaddr": ("'08:00:2b:01:02:03'",),
    "int4range": ("'[1,5)'", "'empty'"),
    "integer[]": ("'{1,2}'", "'{{1},{2}}'", "'{}'"),
    "text[]": ("ARRAY['a,b', '\"']", "ARRAY[NULL, '']::text[]"),
    "money": ("'1.50'", "'-2'"),
    "bit(3)": ("B'101'", "B'011'"),
    "oid": ("4294967295", "1"),
}


@pytest.mark.parametrize("key_type", KEYS)
async def test_keys_of_any_type_are_spelled_as_the_stream_spells_them(
    lab: Lab, key_type: str
) -> None:
    """V2: pages, builds and resolves agree with the type's output function."""
    lab.execute(TYPES)
    lab.execute(f"CREATE TABLE things (id {key_type} PRIMARY KEY)")
    for value in KEYS[key_type]:
        lab.execute(f"INSERT INTO things VALUES ({value})")
    expected: set[Key] = {(text or "",) for (text,) in lab.texts("SELECT id FROM things")}
    assert len(expected) == len(KEYS[key_type])
    async with lab.builder(SCHEMA) as builder:
        assert set(await lab.pages(builder, "things", limit=1)) == expected
        built = await lab.build(builder, "things", list(expected))
        assert set(built.values()) == {b'{"a":1}'}
        changes = [
            Change(TABLE, Operation.UPSERT, None, {"id": key[0]}) for key in sorted(expected)
        ]
        assert await lab.resolve(builder, changes) == {"things": expected}


async def test_composite_keys(lab: Lab) -> None:
    """V2: of several columns, in the catalogue's order, compared as rows."""
    lab.execute('CREATE TABLE things (b int, "A" text, c bool, PRIMARY KEY ("A", b, c))')
    lab.execute(
        "INSERT INTO things SELECT n % 7, 'k' || n % 5, n % 2 = 0 FROM generate_series(1, 70) n"
    )
    expected = {
        (a or "", b or "", c or "") for a, b, c in lab.texts('SELECT "A", b, c FROM things')
    }
    async with lab.builder(SCHEMA) as builder:
        assert set(await lab.pages(builder, "things", limit=3)) == expected
        keys = [*expected, ("nobody", "0", "t")]
        built = await lab.build(builder, "things", keys)
        assert {key for key, body in built.items() if body is not None} == expected
        assert built["nobody", "0", "t"] is None
        image = {"A": "k1", "b": "2", "c": "t", "other": None}
        found = await lab.resolve(builder, [Change(TABLE, Operation.DELETE, image, None)])
        assert found == {"things": {("k1", "2", "t")}}


CITEXT = """
version: 1
table: things
filters: [{ column: id, op: neq, value: HIDDEN }, { column: id, op: in, value: [A, B, C, D, Z] }]
fields:
  - keyword: id
  - belongs_to: up
    column: up
    table: things
    fields: [{ keyword: id }]
  - count: down
    table: things
    foreign_key: up
  - ids: others
    table: things
    element_type: keyword
    through: { table: pairs, left_key: one, right_key: other }
"""


@pytest.mark.parametrize("paired", ["", ", UNIQUE (one, other)"])
async def test_keys_of_an_extensions_type_compare_as_it_says(lab: Lab, paired: str) -> None:
    """V2, V6: citext ignores case everywhere, though no schema is searched for its operators."""
    lab.execute(
        'CREATE SCHEMA "Odd schema"; CREATE EXTENSION citext SCHEMA "Odd schema";'
        'SET search_path = public, "Odd schema";'
        "CREATE TABLE things (id citext PRIMARY KEY, up citext);"
        f"CREATE TABLE pairs (one citext NOT NULL, other citext NOT NULL{paired});"
        "INSERT INTO things VALUES "
        "('a', 'B'), ('B', 'b'), ('c', 'A'), ('D', NULL), ('hidden', 'a');"
        "INSERT INTO pairs VALUES ('A', 'b'), ('b', 'D')"
    )
    schema = parse_schema(CITEXT, "things", "things.schema.yml")
    expected: dict[str, Any] = {
        "a": {"id": "a", "up": {"id": "B"}, "down": 2, "others": ["B"]},
        "B": {"id": "B", "up": {"id": "B"}, "down": 2, "others": ["D"]},
        "c": {"id": "c", "up": {"id": "a"}, "down": 0, "others": []},
        "D": {"id": "D", "up": None, "down": 0, "others": []},
    }
    found = {key[0]: document for key, document in (await lab.documents(schema)).items()}
    assert found == expected
    change = Change(TABLE, Operation.UPSERT, {"id": "b", "up": "A"}, {"id": "b", "up": None})
    async with lab.builder(schema) as builder:
        assert set(await lab.pages(builder, "things", limit=1)) == {(key,) for key in expected}
        touched = await lab.resolve(builder, [change])
    assert touched["things"] >= {("a",), ("B",)}


async def test_pages_of_a_composite_key_compare_each_column_as_its_type_says(lab: Lab) -> None:
    """V2, H4: an extension's type beside another one."""
    lab.execute(
        "CREATE EXTENSION citext; CREATE TABLE things (n int, id citext, PRIMARY KEY (n, id));"
        "INSERT INTO things SELECT n, w FROM generate_series(1, 3) n, "
        "unnest('{a,B,c,D,é}'::citext[]) w"
    )
    expected = {(str(n), word) for n in (1, 2, 3) for word in ("a", "B", "c", "D", "é")}
    async with lab.builder(SCHEMA) as builder:
        assert set(await lab.pages(builder, "things", limit=2)) == expected
        page = await builder.page("things", KeyRange(("1", "b"), ("2", "C")), None, 100)
        keys = [document.key for document in page.documents]
    assert keys == [
        ("1", "c"), ("1", "D"), ("1", "é"), ("2", "a"), ("2", "B"), ("2", "c")
    ]  # fmt: skip


async def test_a_key_that_is_equal_but_spelled_otherwise_has_no_document(lab: Lab) -> None:
    """C2: 1.0 became 1.00: the old key's document goes, though the values are equal."""
    lab.execute("CREATE TABLE things (id numeric PRIMARY KEY)")
    lab.execute("INSERT INTO things VALUES (1.00)")
    async with lab.builder(SCHEMA) as builder:
        built = await lab.build(builder, "things", [("1.0",), ("1.00",)])
    assert built == {("1.0",): None, ("1.00",): b'{"a":1}'}


async def test_a_schema_may_name_another_key(lab: Lab) -> None:
    lab.execute("CREATE TABLE things (id int PRIMARY KEY, slug text UNIQUE NOT NULL)")
    lab.execute("INSERT INTO things VALUES (1, 'b'), (2, 'a')")
    schema = IndexSchema("things", TABLE, (ConstantField("a", 1),), "h", primary_key=("slug",))
    assert list(await lab.documents(schema)) == [("a",), ("b",)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
async def test_ranges_cover_every_row_once(lab: Lab, count: int) -> None:
    """H6: whatever the number of ranges and the size of a page."""
    lab.execute("CREATE TABLE things (id bigint PRIMARY KEY, filler text)")
    lab.execute("INSERT INTO things SELECT n * 3, repeat('x', 200) FROM generate_series(1, 5000) n")
    async with lab.builder(SCHEMA) as builder:
        spans = await builder.ranges("things", count)
        assert len(spans) == count
        assert spans[0].lower is None
        assert spans[-1].upper is None
        assert [span.upper for span in spans[:-1]] == [span.lower for span in spans[1:]]
        found = await lab.pages(builder, "things", ranges=count, limit=333)
        assert found.keys() == {(str(n * 3),) for n in range(1, 5001)}
        sizes = [
            lab.rows(
                f"SELECT count(*) FROM things WHERE id > {(span.lower or ('0',))[0]} "
                f"AND id <= {(span.upper or ('99999',))[0]}"
            )[0][0]
            for span in spans
        ]
        assert max(sizes) < 2 * 5000 / count + 200
        assert await builder.estimate("things") == 5000


async def test_ranges_of_an_empty_and_of_a_partitioned_table(lab: Lab) -> None:
    """C12, H6: a partitioned table has no pages of its own."""
    lab.execute(
        """
        CREATE TABLE things (id bigint PRIMARY KEY, filler text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF things FOR VALUES FROM (MINVALUE) TO (2000);
        CREATE TABLE high PARTITION OF things FOR VALUES FROM (2000) TO (MAXVALUE);
        """
    )
    async with lab.builder(SCHEMA) as builder:
        assert list(await builder.ranges("things", 4)) == [KeyRange()]
        assert await builder.estimate("things") == 0
        page = await builder.page("things", KeyRange(), None, 10)
        assert (list(page.documents), page.cursor) == ([], None)
        lab.execute("INSERT INTO things SELECT n, repeat('x', 200) FROM generate_series(1, 4000) n")
        assert len(await builder.ranges("things", 4)) == 4
        assert len(await lab.pages(builder, "things", ranges=4, limit=500)) == 4000
        assert await builder.estimate("things") == 4000


async def test_rows_that_do_not_qualify_move_the_cursor_and_give_no_document(lab: Lab) -> None:
    """H4, C6: a page of rows that are all filtered out is not the end of the range."""
    lab.execute("CREATE TABLE things (id int PRIMARY KEY, gone bool, qualifies text)")
    lab.execute("INSERT INTO things SELECT n, n BETWEEN 3 AND 8, 'q' FROM generate_series(1, 10) n")
    schema = IndexSchema(
        "things", TABLE, (ConstantField("a", 1),), "h", soft_delete=SoftDelete("gone")
    )
    async with lab.builder(schema) as builder:
        cursors: list[Key | None] = []
        found: list[Key] = []
        after: Key | None = None
        while True:
            page = await builder.page("things", KeyRange(), after, 2)
            found += [one.key for one in page.documents]
            after = page.cursor
            cursors.append(after)
            if after is None:
                break
        assert found == [("1",), ("2",), ("9",), ("10",)]
        assert cursors == [("2",), ("4",), ("6",), ("8",), ("10",), None]
        built = await lab.build(builder, "things", [("2",), ("3",)])
        assert built == {("2",): b'{"a":1}', ("3",): None}
