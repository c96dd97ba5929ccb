"""The worlds: tables with rows, the indexes made of them, and what may happen to them.

Every table that changes has an integer column `revision`, which its documents show. A change sets
it to a number that was never there before, so a search for that number tells which documents have
the change, whatever program wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to a world and touches documents of it.

    Attributes:
        name: for people.
        statement: run in one transaction. `%(mark)s` is the new revision; `%(row)s`, in a
            happening of many transactions, counts from 1.
        path: of the field in the documents that shows the revision.
        ids: SQL for the ids of the documents that it touches, as text.
        transactions: how many times the statement runs, each in a transaction of its own.
    """

    name: str
    statement: str
    path: str
    ids: str
    transactions: int = 1


@dataclass(frozen=True, slots=True)
class World:
    """Tables, the rows in them, and the indexes that are made of them.

    Attributes:
        name: for people, and part of names at the servers.
        title: what is special about it.
        rows: of the root table.
        tables: SQL that makes and fills them.
        schemas: flusso's schema of each index.
        happenings: what is measured when the indexes are filled.
        page: documents that the floor reads at once: about what flusso chooses.
    """

    name: str
    title: str
    rows: int
    tables: str
    schemas: Mapping[str, str]
    happenings: tuple[Happening, ...] = ()
    page: int = 1000

    @property
    def documents(self) -> int:
        """How many documents there are in all indexes together."""
        return self.rows * len(self.schemas)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the worlds are.

    Attributes:
        users: of the shop.
        wide: rows of 200 columns.
        big: documents of 100 kB.
        deep: documents of six levels.
        fan_out: orders of one product.
        shared: rows of the table that has many indexes.
    """

    users: int
    wide: int
    big: int
    deep: int
    fan_out: int
    shared: int

    @classmethod
    def of(cls, users: int) -> Sizes:
        """The others as they follow from the number of users: 50,000 give the full sizes."""

        def share(full: int) -> int:
            return max(20, full * users // 50_000)

        return cls(
            users=users,
            wide=share(10_000),
            big=share(1_000),
            deep=share(3_000),
            fan_out=share(100_000),
            shared=share(10_000),
        )


SHOP_TABLES = """
CREATE TABLE users (
    id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, tier text NOT NULL,
    balance numeric(12, 2) NOT NULL, created_at timestamptz NOT NULL, revision int NOT NULL);
CREATE TABLE orders (
    id bigint PRIMARY KEY, user_id bigint NOT NULL, status text NOT NULL,
    total numeric(12, 2) NOT NULL, placed_at timestamptz NOT NULL, revision int NOT NULL);
CREATE TABLE items (
    id bigint PRIMARY KEY, order_id bigint NOT NULL, sku text NOT NULL, quantity int NOT NULL,
    price numeric(12, 2) NOT NULL, revision int NOT NULL);
CREATE TABLE tags (id bigint PRIMARY KEY, user_id bigint NOT NULL, label text NOT NULL);
INSERT INTO users SELECT i, 'User ' || md5(i::text), 'user' || i || '@example.com',
    (ARRAY['bronze', 'silver', 'gold'])[1 + i % 3], (i * 37 % 100000) / 100.0,
    timestamptz '2024-01-01 00:00:00+00' + i * interval '7 minutes', 0
    FROM generate_series(1, {rows}) AS i;
INSERT INTO orders SELECT i, (i - 1) / 5 + 1, (ARRAY['placed', 'paid', 'shipped'])[1 + i % 3],
    (i * 53 % 500000) / 100.0, timestamptz '2025-01-01 00:00:00+00' + i * interval '1 minute', 0
    FROM generate_series(1, {rows} * 5) AS i;
INSERT INTO items SELECT i, (i - 1) / 2 + 1, 'SKU-' || i * 71 % 9973, 1 + i % 4,
    (i * 31 % 20000) / 100.0, 0
    FROM generate_series(1, {rows} * 10) AS i;
INSERT INTO tags SELECT i, (i - 1) / 2 + 1, 'tag ' || i % 211
    FROM generate_series(1, {rows} * 2) AS i;
CREATE INDEX ON orders (user_id);
CREATE INDEX ON items (order_id);
CREATE INDEX ON tags (user_id);
"""

SHOP_SCHEMA = """
version: 1
table: users
fields:
  - long: id
  - text: name
  - keyword: email
  - keyword: tier
  - decimal: balance
  - timestamp: createdAt
    column: created_at
  - integer: revision
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields:
      - long: id
      - keyword: status
      - decimal: total
      - timestamp: placedAt
        column: placed_at
      - integer: revision
      - has_many: items
        table: items
        foreign_key: order_id
        fields:
          - keyword: sku
          - integer: quantity
          - decimal: price
          - integer: revision
  - has_many: tags
    table: tags
    foreign_key: user_id
    fields:
      - keyword: label
"""


GIANT = "one giant transaction"
"""The name of the happening that changes every item of the shop at once."""


def shop(users: int) -> World:
    """Users with 5 orders of 2 items each and 2 tags: 18 Lucene documents a user."""
    some = min(10_000, users)
    few = min(2_500, users)
    many = min(5_000, users)
    return World(
        name="shop",
        title="users with orders, items and tags",
        rows=users,
        tables=SHOP_TABLES.format(rows=users),
        schemas={"users": SHOP_SCHEMA},
        happenings=(
            Happening(
                "child rows, one a document",
                f"UPDATE orders SET revision = %(mark)s WHERE id <= {some * 5} AND mod(id, 5) = 1",
                "orders.revision",
                _first(some),
            ),
            Happening(
                "root rows",
                f"UPDATE users SET revision = %(mark)s WHERE id <= {some}",
                "revision",
                _first(some),
            ),
            Happening(
                "one commit, ten child rows a document",
                f"UPDATE items SET revision = %(mark)s WHERE id <= {few * 10}",
                "orders.items.revision",
                _first(few),
            ),
            Happening(
                "many small transactions",
                "UPDATE users SET revision = %(mark)s WHERE id = %(row)s",
                "revision",
                _first(many),
                transactions=many,
            ),
            Happening(
                GIANT,
                "UPDATE items SET revision = %(mark)s",
                "orders.items.revision",
                _first(users),
            ),
        ),
    )


def _first(rows: int, table: str = "users") -> str:
    return f"SELECT id::text FROM {table} WHERE id <= {rows} ORDER BY id"


def _root_rows(table: str, rows: int) -> Happening:
    return Happening(
        "root rows",
        f"UPDATE {table} SET revision = %(mark)s WHERE id <= {rows}",
        "revision",
        _first(rows, table),
    )


def wide(rows: int) -> World:
    """Rows of 200 columns, half numbers and half words."""
    numbers = [f"n{place}" for place in range(1, 101)]
    words = [f"w{place}" for place in range(1, 101)]
    columns = ", ".join([f"{name} int" for name in numbers] + [f"{name} text" for name in words])
    values = ", ".join(
        [f"i * {place} % 10007" for place in range(1, 101)]
        + [f"'word ' || i % {place + 10}" for place in range(1, 101)]
    )
    fields = [f"  - integer: {name}" for name in numbers] + [
        f"  - keyword: {name}" for name in words
    ]
    head = ["version: 1", "table: sheets", "fields:", "  - long: id", "  - integer: revision"]
    return World(
        name="wide",
        title="rows of 200 columns",
        rows=rows,
        tables=(
            f"CREATE TABLE sheets (id bigint PRIMARY KEY, revision int NOT NULL, {columns});"
            f"INSERT INTO sheets SELECT i, 0, {values} FROM generate_series(1, {rows}) AS i;"
        ),
        schemas={"sheets": "\n".join([*head, *fields])},
        happenings=(_root_rows("sheets", rows),),
    )


def big(rows: int) -> World:
    """Documents of 100 kB, most of it one text."""
    return World(
        name="big",
        title="documents of 100 kB",
        rows=rows,
        tables=dedent(f"""
            CREATE TABLE pages (id bigint PRIMARY KEY, revision int NOT NULL, body text NOT NULL);
            INSERT INTO pages SELECT i, 0, (
                SELECT string_agg(substr(md5((i * 3000 + n % 900)::text), 1, 7 + n % 5), ' ')
                FROM generate_series(1, 10000) AS n)
            FROM generate_series(1, {rows}) AS i;
        """),
        schemas={
            "pages": dedent("""
                version: 1
                table: pages
                fields:
                  - long: id
                  - integer: revision
                  - text: body
            """)
        },
        happenings=(_root_rows("pages", rows),),
        page=64,
    )


DEPTH = 6


def deep(rows: int) -> World:
    """Documents of six levels, each row with two below it: 63 Lucene documents each."""
    tables = ["CREATE TABLE level0 (id bigint PRIMARY KEY, revision int NOT NULL, name text);"]
    tables.append(
        f"INSERT INTO level0 SELECT i, 0, 'row ' || i FROM generate_series(1, {rows}) AS i;"
    )
    lines = ["version: 1", "table: level0", "fields:", "  - long: id", "  - integer: revision"]
    for level in range(1, DEPTH):
        tables.append(
            f"CREATE TABLE level{level} (id bigint PRIMARY KEY, parent bigint NOT NULL, "
            f"revision int NOT NULL, name text);"
            f"INSERT INTO level{level} SELECT i, (i - 1) / 2 + 1, 0, 'row ' || i "
            f"FROM generate_series(1, {rows * 2**level}) AS i;"
            f"CREATE INDEX ON level{level} (parent);"
        )
        indent = "    " * (level - 1)
        lines += [
            f"{indent}  - has_many: below",
            f"{indent}    table: level{level}",
            f"{indent}    foreign_key: parent",
            f"{indent}    fields:",
            f"{indent}      - integer: revision",
            f"{indent}      - keyword: name",
        ]
    path = ".".join(["below"] * (DEPTH - 1))
    lowest = 2 ** (DEPTH - 1)
    return World(
        name="deep",
        title="documents of six levels",
        rows=rows,
        tables="\n".join(tables),
        schemas={"trees": "\n".join(lines)},
        happenings=(
            Happening(
                "the lowest rows, one a document",
                f"UPDATE level{DEPTH - 1} SET revision = %(mark)s WHERE mod(id, {lowest}) = 1",
                f"{path}.revision",
                _first(rows, "level0"),
            ),
        ),
    )


def fan_out(rows: int) -> World:
    """One product that every order shows."""
    return World(
        name="fan-out",
        title="one product in every order",
        rows=rows,
        tables=dedent(f"""
            CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, revision int NOT NULL);
            CREATE TABLE orders (id bigint PRIMARY KEY, product_id int NOT NULL, total int);
            INSERT INTO products VALUES (1, 'the only one', 0);
            INSERT INTO orders SELECT i, 1, i % 1000 FROM generate_series(1, {rows}) AS i;
            CREATE INDEX ON orders (product_id);
        """),
        schemas={
            "orders": dedent("""
                version: 1
                table: orders
                fields:
                  - long: id
                  - integer: total
                  - belongs_to: product
                    table: products
                    column: product_id
                    primary_key: id
                    fields:
                      - keyword: name
                      - integer: revision
            """)
        },
        happenings=(
            Happening(
                "the one product",
                "UPDATE products SET revision = %(mark)s",
                "product.revision",
                _first(rows, "orders"),
            ),
        ),
    )


SHARED_BY = 8


def shared(rows: int) -> World:
    """A table that eight indexes are made of."""
    schema = dedent("""
        version: 1
        table: notes
        fields:
          - long: id
          - integer: revision
          - text: title
          - keyword: topic
    """)
    return World(
        name="shared",
        title=f"{SHARED_BY} indexes on one table",
        rows=rows,
        tables=dedent(f"""
            CREATE TABLE notes (
                id bigint PRIMARY KEY, revision int NOT NULL, title text, topic text);
            INSERT INTO notes SELECT i, 0, 'Note ' || md5(i::text), 'topic ' || i % 97
            FROM generate_series(1, {rows}) AS i;
        """),
        schemas={f"notes{number}": schema for number in range(1, SHARED_BY + 1)},
        happenings=(_root_rows("notes", rows),),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    make: Callable[[int], World]
    size: Callable[[Sizes], int] = field(repr=False)


_KINDS: Mapping[str, _Kind] = {
    "shop": _Kind(shop, lambda sizes: sizes.users),
    "wide": _Kind(wide, lambda sizes: sizes.wide),
    "big": _Kind(big, lambda sizes: sizes.big),
    "deep": _Kind(deep, lambda sizes: sizes.deep),
    "fan-out": _Kind(fan_out, lambda sizes: sizes.fan_out),
    "shared": _Kind(shared, lambda sizes: sizes.shared),
}

NAMES = tuple(_KINDS)
"""The worlds, by name."""


def world(name: str, sizes: Sizes) -> World:
    """The world of that name in its size."""
    kind = _KINDS[name]
    return kind.make(kind.size(sizes))
