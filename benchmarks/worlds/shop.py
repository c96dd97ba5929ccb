"""The shop: users with what belongs to them, and the ways in which a shop changes."""

from __future__ import annotations

from benchmarks.worlds.world import Happening, World, first, root_rows

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
                first(some, "users"),
            ),
            root_rows("users", some),
            Happening(
                "one commit, ten child rows a document",
                f"UPDATE items SET revision = %(mark)s WHERE id <= {few * 10}",
                "orders.items.revision",
                first(few, "users"),
            ),
            Happening(
                "many small transactions",
                "UPDATE users SET revision = %(mark)s WHERE id = %(row)s",
                "revision",
                first(many, "users"),
                transactions=many,
            ),
            Happening(
                GIANT,
                "UPDATE items SET revision = %(mark)s",
                "orders.items.revision",
                first(users, "users"),
            ),
        ),
    )
