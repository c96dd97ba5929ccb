"""Worlds of one shape each, which puts one part of a program to the test."""

from __future__ import annotations

from textwrap import dedent

from benchmarks.worlds.world import Happening, World, first, root_rows


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
        happenings=(root_rows("sheets", rows),),
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
        happenings=(root_rows("pages", rows),),
        page=24,
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
                first(rows, "level0"),
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
                first(rows, "orders"),
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
        happenings=(root_rows("notes", rows),),
    )
