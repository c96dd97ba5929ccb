"""Documents: relations of each kind, filters of each operator, names of any kind."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from flusso_core.model import FieldType, TableName
from flusso_core.schema import parse_schema
from flusso_core.schema.model import (
    AggregateField,
    AggregateFunction,
    Comparison,
    ConstantField,
    Filter,
    IndexSchema,
    JoinField,
    JoinKind,
    Operator,
    OrderBy,
    RawFilter,
    ScalarField,
    SoftDelete,
    Through,
)
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import ConnectionTarget, connect
from flusso_source_postgres.sql.compiled import compile_index, table_names

if TYPE_CHECKING:
    from .conftest import Lab

pytestmark = pytest.mark.integration

TREE = """
CREATE TABLE countries (code text PRIMARY KEY, name text);
CREATE TABLE authors (id int PRIMARY KEY, name text, country text, rival int);
CREATE TABLE books (id int PRIMARY KEY, author_id int, title text, price numeric, year int);
CREATE TABLE chapters (book_id int, no int, title text, PRIMARY KEY (book_id, no));
CREATE TABLE shelved (book_id int, genre_id int, note text);
CREATE TABLE genres (id int PRIMARY KEY, name text);
INSERT INTO countries VALUES ('it', 'Italy'), ('uk', 'Britain');
INSERT INTO authors VALUES (1, 'Ada', 'uk', 2), (2, 'Bea', NULL, 1), (3, 'Cy', 'xx', 3);
INSERT INTO books VALUES (1, 1, 'One', 1.50, 2001), (2, 1, 'Two', NULL, 2002),
    (3, 1, 'Three', 3, 2002), (4, 2, 'Four', 'NaN', NULL);
INSERT INTO chapters VALUES (1, 2, 'b'), (1, 1, 'a'), (3, 1, 'c');
INSERT INTO genres VALUES (1, 'poetry'), (2, 'novel'), (3, 'essay');
INSERT INTO shelved VALUES (1, 2, ''), (1, 1, ''), (1, 2, 'twice'), (4, 9, 'gone'), (3, 3, '');
"""

AUTHORS = """
version: 1
table: authors
fields:
  - integer: id
  - belongs_to: country
    table: countries
    primary_key: code
    fields:
      - keyword: name
  - belongs_to: rival
    table: authors
    primary_key: id
    fields:
      - text: name
      - belongs_to: rival
        table: authors
        primary_key: id
        fields:
          - text: name
          - count: books
            table: books
            foreign_key: author_id
  - has_one: newest
    table: books
    foreign_key: author_id
    primary_key: id
    order_by: [{ column: year, direction: desc }]
    fields:
      - text: title
  - has_many: books
    table: books
    foreign_key: author_id
    primary_key: id
    order_by: [{ column: year, direction: desc }]
    fields:
      - text: title
      - has_many: chapters
        table: chapters
        foreign_key: book_id
        primary_key: no
        fields:
          - text: title
      - many_to_many: genres
        table: genres
        primary_key: id
        through: { table: shelved, left_key: book_id, right_key: genre_id }
        fields:
          - keyword: name
      - object: about
        fields:
          - decimal: price
          - count: chapters
            table: chapters
            foreign_key: book_id
  - has_many: two
    table: books
    foreign_key: author_id
    primary_key: id
    order_by: [{ column: title }]
    limit: 2
    fields:
      - text: title
"""


async def test_relations_nest_three_levels_deep(lab: Lab) -> None:
    """Joins of each kind: null without a row, arrays in order, ties broken by the key."""
    lab.execute(TREE)
    documents = await lab.documents(parse_schema(AUTHORS, "authors", "authors.schema.yml"))
    three = {
        "title": "Three",
        "chapters": [{"title": "c"}],
        "genres": [{"name": "essay"}],
        "about": {"price": 3, "chapters": 1},
    }
    two: dict[str, object] = {
        "title": "Two",
        "chapters": [],
        "genres": [],
        "about": {"price": None, "chapters": 0},
    }
    one = {
        "title": "One",
        "chapters": [{"title": "a"}, {"title": "b"}],
        "genres": [{"name": "poetry"}, {"name": "novel"}],
        "about": {"price": Decimal("1.50"), "chapters": 2},
    }
    assert documents["1",] == {
        "id": 1,
        "country": {"name": "Britain"},
        "rival": {"name": "Bea", "rival": {"name": "Ada", "books": 3}},
        "newest": {"title": "Two"},
        "books": [two, three, one],
        "two": [{"title": "One"}, {"title": "Three"}],
    }
    assert documents["2",]["books"][0]["genres"] == []
    assert documents["3",] == {
        "id": 3,
        "country": None,
        "rival": {"name": "Cy", "rival": {"name": "Cy", "books": 0}},
        "newest": None,
        "books": [],
        "two": [],
    }


def _aggregate(
    name: str,
    function: AggregateFunction,
    kind: FieldType,
    column: str | None = None,
    *filters: Filter,
    through: bool = False,
) -> AggregateField:
    table = "genres" if through else "books"
    link = Through(TableName("public", "shelved"), "book_id", "genre_id") if through else None
    return AggregateField(
        name,
        function,
        kind,
        TableName("public", table),
        column=column,
        foreign_key=None if through else "author_id",
        through=link,
        filters=filters,
    )


async def test_aggregates(lab: Lab) -> None:
    """`count` and `ids` are never null; the others are null over nothing."""
    lab.execute(TREE)
    function = AggregateFunction
    recent = Comparison("year", Operator.GTE, (2002,))
    fields = (
        _aggregate("count", function.COUNT, FieldType.LONG),
        _aggregate("recent", function.COUNT, FieldType.LONG, None, recent),
        _aggregate("sum", function.SUM, FieldType.DECIMAL, "price"),
        _aggregate("avg", function.AVG, FieldType.DOUBLE, "price"),
        _aggregate("min", function.MIN, FieldType.DECIMAL, "price"),
        _aggregate("max", function.MAX, FieldType.DECIMAL, "price"),
        _aggregate("last", function.MAX, FieldType.KEYWORD, "title", recent),
        _aggregate("years", function.AVG, FieldType.DOUBLE, "year", recent),
        _aggregate("ids", function.IDS, FieldType.LONG),
        _aggregate("keys", function.IDS, FieldType.KEYWORD),
    )
    authors = IndexSchema("authors", TableName("public", "authors"), fields, "h")
    documents = await lab.documents(authors)
    assert documents["1",] == {
        "count": 3,
        "recent": 2,
        "sum": Decimal("4.50"),
        "avg": Decimal("2.25"),
        "min": Decimal("1.50"),
        "max": 3,
        "last": "Two",
        "years": 2002,
        "ids": [1, 2, 3],
        "keys": ["1", "2", "3"],
    }
    assert documents["2",]["sum"] == "NaN"
    assert documents["3",] == {
        "count": 0,
        "recent": 0,
        "sum": None,
        "avg": None,
        "min": None,
        "max": None,
        "last": None,
        "years": None,
        "ids": [],
        "keys": [],
    }


async def test_aggregates_through_a_junction_count_each_row_once(lab: Lab) -> None:
    """A pair that stands in the junction twice relates its rows once."""
    lab.execute(TREE)
    function = AggregateFunction
    poetry = Comparison("name", Operator.LIKE, ("po%",))
    fields = (
        _aggregate("count", function.COUNT, FieldType.LONG, through=True),
        _aggregate("poetry", function.COUNT, FieldType.LONG, None, poetry, through=True),
        _aggregate("max", function.MAX, FieldType.KEYWORD, "name", through=True),
        _aggregate("ids", function.IDS, FieldType.LONG, through=True),
    )
    books = IndexSchema("books", TableName("public", "books"), fields, "h")
    documents = await lab.documents(books)
    assert documents["1",] == {"count": 2, "poetry": 1, "max": "poetry", "ids": [1, 2]}
    assert documents["4",] == {"count": 0, "poetry": 0, "max": None, "ids": []}


FILTERS: tuple[tuple[Filter, set[int]], ...] = (
    (Comparison("n", Operator.IS_NULL), {4}),
    (Comparison("n", Operator.IS_NOT_NULL), {1, 2, 3}),
    (Comparison("n", Operator.EQ, (2,)), {2}),
    (Comparison("n", Operator.NEQ, (2,)), {1, 3}),
    (Comparison("n", Operator.LT, (2,)), {1}),
    (Comparison("n", Operator.LTE, (2,)), {1, 2}),
    (Comparison("n", Operator.GT, (2,)), {3}),
    (Comparison("n", Operator.GTE, (1.5,)), {2, 3}),
    (Comparison("n", Operator.IN, (1, 3, 9)), {1, 3}),
    (Comparison("n", Operator.NOT_IN, (1, 3)), {2}),
    (Comparison("n", Operator.BETWEEN, (2, 3)), {2, 3}),
    (Comparison("s", Operator.LIKE, ("a%",)), {1}),
    (Comparison("s", Operator.ILIKE, ("a%",)), {1, 2}),
    (Comparison("s", Operator.EQ, ("it's \\",)), {3}),
    (Comparison("e", Operator.EQ, ("on",)), {1, 2}),
    (Comparison("e", Operator.LIKE, ("of%",)), {3}),
    (Comparison("e", Operator.IN, ("on", "off")), {1, 2, 3}),
    (Comparison("b", Operator.EQ, (True,)), {1}),
    (Comparison("b", Operator.EQ, (False,)), {2, 3}),
    (Comparison("d", Operator.GT, ("2024-01-01",)), {2}),
    (Comparison("u", Operator.EQ, ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",)), {1}),
    (Comparison('O"d, d', Operator.EQ, (7,)), {1}),
    (RawFilter("n > 1 AND s <> '%s $1 {}'"), {2, 3}),
    (RawFilter("n = 1 OR n = 3"), {1, 3}),
    (RawFilter("n = 2 -- not a comment that ends the statement"), {2}),
    (RawFilter("things.n = 2 AND public.things.s IS NOT NULL"), {2}),
    (RawFilter("""t0 = 5"""), {1}),
)


@pytest.mark.parametrize(("condition", "expected"), FILTERS, ids=str)
async def test_filters_of_each_operator(lab: Lab, condition: Filter, expected: set[int]) -> None:
    """C6, R5: on the root, on a relation and in a soft delete's condition alike."""
    lab.execute(
        """
        CREATE TYPE state AS ENUM ('on', 'off');
        CREATE TABLE things (id int PRIMARY KEY, n int, s text, e state, b bool, d date, u uuid,
                             "O""d, d" int, t0 int, parent int DEFAULT 1, dead bool DEFAULT true);
        INSERT INTO things VALUES
            (1, 1, 'ab', 'on', true, '2024-01-01', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 7, 5),
            (2, 2, 'Ab', 'on', false, '2024-01-02', NULL, NULL, NULL),
            (3, 3, E'it''s \\\\', 'off', false, NULL, NULL, NULL, NULL),
            (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        CREATE TABLE parents (id int PRIMARY KEY, n int, s text);
        INSERT INTO parents VALUES (1, 99, 'parent');
        """
    )
    things = TableName("public", "things")
    body = (ScalarField("id", FieldType.LONG, "id"),)
    root = IndexSchema("things", things, body, "h", filters=(condition,))
    assert {int(key) for (key,) in await lab.documents(root)} == expected
    deleted = IndexSchema("things", things, body, "h", soft_delete=SoftDelete("dead", (condition,)))
    assert {int(key) for (key,) in await lab.documents(deleted)} == {1, 2, 3, 4} - expected
    many = JoinField(
        "many", JoinKind.HAS_MANY, things, body, foreign_key="parent", filters=(condition,)
    )
    count = AggregateField(
        "count",
        AggregateFunction.COUNT,
        FieldType.LONG,
        things,
        foreign_key="parent",
        filters=(condition,),
    )
    parents = IndexSchema("parents", TableName("public", "parents"), (many, count), "h")
    assert await lab.document(parents) == {
        "many": [{"id": one} for one in sorted(expected)],
        "count": len(expected),
    }


@pytest.mark.parametrize(
    ("kind", "values"), [("bool", "true, false, NULL"), ("timestamptz", "now(), NULL, NULL")]
)
async def test_soft_deleted_rows_have_no_document(lab: Lab, kind: str, values: str) -> None:
    """C6: a true boolean, or any value of another type, means deleted."""
    lab.execute(
        f"CREATE TABLE things (id int PRIMARY KEY, gone {kind});"
        f"INSERT INTO things SELECT row_number() over (), * FROM unnest(ARRAY[{values}]::{kind}[])"
    )
    schema = IndexSchema(
        "things",
        TableName("public", "things"),
        (ConstantField("a", 1),),
        "h",
        soft_delete=SoftDelete("gone"),
    )
    assert (await lab.documents(schema)).keys() == {("2",), ("3",)}


async def test_names_of_any_kind(lab: Lab) -> None:
    """V1: mixed case, quotes, reserved words, 63 bytes, two schemas with one table name."""
    long = "é" * 31
    lab.execute(
        f"""
        CREATE SCHEMA "Odd "" schema";
        CREATE TABLE "Odd "" schema"."select" ("from" int PRIMARY KEY, "{long}" text, "a.b" int);
        CREATE TABLE "select" ("from" int PRIMARY KEY, "{long}" text, "Select id" int);
        INSERT INTO "select" VALUES (1, 'public', 2);
        INSERT INTO "Odd "" schema"."select" VALUES (2, 'odd', 1);
        """
    )
    far = JoinField(
        "far",
        JoinKind.BELONGS_TO,
        TableName('Odd " schema', "select"),
        (ScalarField("name", FieldType.KEYWORD, long), ScalarField("ab", FieldType.LONG, "a.b")),
        primary_key="from",
        column="Select id",
    )
    back = JoinField(
        "back",
        JoinKind.HAS_MANY,
        TableName('Odd " schema', "select"),
        (ScalarField("name", FieldType.KEYWORD, long),),
        foreign_key="a.b",
        order_by=(OrderBy(long, descending=True),),
        filters=(Comparison(long, Operator.EQ, ("odd",)),),
    )
    fields = (ScalarField("name", FieldType.KEYWORD, long), far, back)
    schema = IndexSchema("odd", TableName("public", "select"), fields, "h")
    assert await lab.document(schema) == {
        "name": "public",
        "far": {"name": "odd", "ab": 1},
        "back": [{"name": "odd"}],
    }


async def test_documents_larger_than_a_chunk_come_in_smaller_chunks(lab: Lab) -> None:
    """Memory is bounded in bytes: the number of documents read at once follows their size."""
    lab.execute("CREATE TABLE things (id int PRIMARY KEY, big text)")
    lab.execute("INSERT INTO things SELECT n, repeat('x', 1000000) FROM generate_series(1, 40) n")
    schema = IndexSchema(
        "things", TableName("public", "things"), (ScalarField("b", FieldType.TEXT, "big"),), "h"
    )
    async with lab.builder(schema) as builder:
        bodies = await lab.pages(builder, "things", limit=1000)
        assert len(bodies) == 40
        sizes = [len(chunk) async for chunk in builder.build("things", list(bodies))]
        assert sum(sizes) == 40
        assert max(sizes) <= 8


SHARED = """
version: 1
table: users
fields:
  - count: orders
    table: orders
    foreign_key: user_id
  - sum: paid
    table: orders
    foreign_key: user_id
    column: total
    value_type: decimal
    filters: [{ column: status, op: eq, value: paid }]
  - avg: mean
    table: orders
    foreign_key: user_id
    column: total
  - min: first
    table: orders
    foreign_key: user_id
    column: total
    value_type: keyword
    filters: [{ raw: "orders.status <> 'paid' -- not yet" }]
  - ids: orderIds
    table: orders
    foreign_key: user_id
    element_type: keyword
    filters: [{ column: total, op: gt, value: 1 }]
  - constant: between
    value: 1
  - has_many: list
    table: orders
    foreign_key: user_id
    order_by: [{ column: total, direction: desc }]
    filters: [{ column: total, op: gt, value: 1 }]
    fields:
      - decimal: total
  - count: listed
    table: orders
    foreign_key: user_id
    filters: [{ column: total, op: gt, value: 1 }]
"""


async def test_neighbours_over_the_same_rows_share_one_reading_of_them(lab: Lab) -> None:
    """Each as if it stood alone: its own filters, order and value over no rows."""
    lab.execute(
        "CREATE TABLE users (id int PRIMARY KEY);"
        'CREATE TABLE orders (id int PRIMARY KEY, user_id int, status text, "passes 1" int,'
        " total numeric(9, 2));"
        "INSERT INTO users VALUES (1), (2);"
        "INSERT INTO orders VALUES "
        "(1, 1, 'paid', 0, 1), (2, 1, 'paid', 0, 2.5), (3, 1, 'new', 0, 4)"
    )
    schema = parse_schema(SHARED, "users", "users.schema.yml")
    documents = await lab.documents(schema)
    assert documents["1",] == {
        "orders": 3,
        "paid": Decimal("3.50"),
        "mean": Decimal("2.5"),
        "first": "4.00",
        "orderIds": ["2", "3"],
        "between": 1,
        "list": [{"total": Decimal("4.00")}, {"total": Decimal("2.50")}],
        "listed": 2,
    }
    assert list(documents["1",]) == list(documents["2",])
    assert documents["2",] == {
        "orders": 0,
        "paid": None,
        "mean": None,
        "first": None,
        "orderIds": [],
        "between": 1,
        "list": [],
        "listed": 0,
    }
    lab.execute("SET plan_cache_mode = force_generic_plan")
    async with await connect(ConnectionTarget.from_url(lab.url), application_name="test") as asked:
        compiled = compile_index(schema, await read_tables(asked, table_names(schema)))
    lab.execute(f"PREPARE statement AS {compiled.build}")
    plan = [row[0] for row in lab.rows("EXPLAIN EXECUTE statement(NULL)")]
    assert sum("Scan on orders" in line for line in plan) == 2
