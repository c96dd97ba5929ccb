"""The rows of `examples/shop` by chance: what `shop_writer` makes its transactions of."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, LiteralString, TypeAlias

from psycopg import sql
from psycopg.types.json import Json, Jsonb

if TYPE_CHECKING:
    import random

    import psycopg
    from psycopg.rows import TupleRow

Key: TypeAlias = int | uuid.UUID

WORDS = (
    "Ada", "Zoë", "O'Brien", "田中", "Шевченко", 'the "Hammer"', r"back\slash", "🦊", "sale",
    "100%", "café", "{brace}", "ß", "SHOUT", "season-", "  spaced ", "tab\there", "new\nline", "$1",
    "%s",
)  # fmt: skip
# As the types and checks of tables.sql.
TIERS = ("bronze", "silver", "gold", "platinum")
STATUSES = ("draft", "placed", "paid", "shipped", "delivered", "cancelled")
ADDRESS_KINDS = ("home", "work", "billing")


class Shop:
    """The shop's rows by chance: picks, values, and statements on one row.

    Args:
        connection: autocommit, to a database that holds the shop's tables.
        rng: decides everything; neither a clock nor the server's chance is asked.
    """

    def __init__(self, connection: psycopg.Connection[TupleRow], rng: random.Random) -> None:
        if not connection.autocommit:
            raise ValueError("the writer ends its transactions itself: give it autocommit=True")
        self.connection = connection
        self.rng = rng

    # ----- rows

    def pick(self, table: LiteralString, where: LiteralString = "true") -> Key | None:
        """The key of some row for which `where` holds, or None where there is none.

        A few rows are picked far more often than the rest, so that changes meet in a document.
        """
        at = self.rng.random() * self.rng.choice((0.01, 0.1, 1.0))
        start: Key
        if table == "reviews":
            start = uuid.UUID(int=int(at * 2**128))
        else:
            low, high = self._row(f"SELECT min(id), max(id) FROM {table}") or (None, None)
            if low is None or high is None:
                return None
            start = low + int((high - low + 1) * at)
        row = self._row(
            f"SELECT id FROM {table} WHERE ({where}) AND id >= %s ORDER BY id LIMIT 1", start
        ) or self._row(f"SELECT id FROM {table} WHERE ({where}) ORDER BY id LIMIT 1")
        return None if row is None else row[0]

    def insert(self, table: str, **values: object) -> Key:
        """Insert a row; its key."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        row = self.connection.execute(statement, list(values.values())).fetchone()
        if row is None:
            raise AssertionError("INSERT … RETURNING gave no row")
        key: Key = row[0]
        return key

    def update(self, table: str, key: Key | None, **values: object) -> bool:
        """Change columns of the row with this key; whether there was one."""
        if key is None:
            return False
        statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(
            sql.Identifier(table),
            sql.SQL(", ").join(
                sql.SQL("{} = %s").format(sql.Identifier(column)) for column in values
            ),
        )
        return self.connection.execute(statement, [*values.values(), key]).rowcount > 0

    def update_one_of(self, table: str, key: Key | None, **values: object) -> bool:
        """Change one of these columns, as most statements of an application do."""
        column = self.rng.choice(sorted(values))
        return self.update(table, key, **{column: values[column]})

    def delete(self, table: str, key: Key | None) -> bool:
        """Delete the row with this key; whether there was one."""
        if key is None:
            return False
        statement = sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table))
        return self.connection.execute(statement, [key]).rowcount > 0

    def execute(self, statement: LiteralString, **values: object) -> bool:
        """Run a statement with `%(named)s` values; whether it touched a row."""
        return self.connection.execute(statement, values).rowcount > 0

    def new_key(self, table: LiteralString) -> int:
        """A key that no row of the table has had yet."""
        row = self._row("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", table)
        if row is None:
            raise AssertionError("nextval gave no row")
        return int(row[0])

    def _row(self, statement: LiteralString, *values: object) -> TupleRow | None:
        return self.connection.execute(statement, values).fetchone()

    # ----- values

    def text(self) -> str:
        """One to four words, some of them awkward."""
        return " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(1, 4)))

    def maybe_text(self) -> str | None:
        """A text, or the empty one, or NULL, or one that is stored out of line."""
        return self.rng.choice((self.text(), self.text(), "", None, self.long_text()))

    def long_text(self) -> str:
        """Some 6,000 characters that do not compress much, so that Postgres TOASTs them."""
        return f"{self.rng.getrandbits(24_000):x}"

    def unique_text(self) -> str:
        """A text that no row has."""
        return f"{self.text()}-{self.rng.getrandbits(48):x}"

    def money(self, low: int = 0) -> Decimal:
        """An amount with two decimals, from `low` up to 5,000."""
        return self.rng.choice(
            (Decimal(0), Decimal(self.rng.randint(low * 100, 500_000)).scaleb(-2))
        )

    def moment(self) -> datetime:
        """An instant of 2024 or 2025: whole hours often, so that two rows share one."""
        micros = self.rng.choice((0, 0, 500_000, self.rng.randrange(1_000_000)))
        return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(
            hours=self.rng.randrange(17_000), microseconds=micros
        )

    def day(self) -> date | None:
        """A day, or NULL."""
        return self.rng.choice((None, date(1950, 1, 1) + timedelta(self.rng.randrange(28_000))))

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self.rng.random() < probability

    def uuid(self) -> uuid.UUID:
        """A UUID that no row has."""
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    # ----- whole rows

    def insert_user(self, **given: object) -> Key:
        """Insert a user."""
        return self.insert(
            "users",
            email=f" {self.unique_text()}@Example.org",
            name=self.text(),
            nickname=self.maybe_text(),
            tier=self.rng.choice(TIERS),
            balance=self.money(low=-100),
            marketing_opt_in=self.rng.choice((True, False, None)),
            signup_ip=self.rng.choice((None, "192.0.2.7", "2001:db8::7")),
            created_at=self.moment(),
            last_seen_at=self.rng.choice((None, self.moment().replace(tzinfo=None))),
            **given,
        )

    def insert_product(self, **given: object) -> Key:
        """Insert a product: one of eight is not for sale, for one reason or another."""
        return self.insert(
            "products",
            category_id=self.rng.choice((None, self.pick("categories"))),
            successor_id=self.rng.choice((None, self.pick("products"))),
            sku=f"{'TEST-' if self.chance(0.05) else ' kx-'}{self.rng.getrandbits(48):x}",
            name=self.text(),
            description=self.maybe_text(),
            condition=self.rng.choice(("new", "refurbished", "used")),
            price=None if self.chance(0.05) else self.money(low=-1),
            cost=Decimal(self.rng.randrange(10**9)).scaleb(-6),
            stock=self.rng.randint(-5, 500),
            warranty_months=self.rng.choice((None, 0, 12)),
            weight_kg=self.rng.choice((None, 0.1, self.rng.randrange(90_000) / 1000)),
            popularity=self.rng.random(),
            attributes=Jsonb({"colour": self.text(), "size": "M"} if self.chance(0.7) else {}),
            dimensions=self.rng.choice((None, Json({"w": 1.5, "note": self.text()}))),
            thumbnail=self.rng.choice((None, b"", self.rng.randbytes(100))),
            released_on=self.day(),
            created_at=self.moment(),
            **given,
        )

    def insert_address(self, user: Key) -> Key:
        """Insert an address of this user."""
        return self.insert(
            "addresses",
            user_id=user,
            kind=self.rng.choice(ADDRESS_KINDS),
            street=self.text(),
            city=self.text(),
            lat=self.rng.choice((None, self.rng.randint(-90, 90))),
            lon=self.rng.choice((None, self.rng.randint(-1800, 1800) / 10)),
        )

    def insert_profile(self, user: Key) -> Key:
        """Insert the profile of a user who has none."""
        return self.insert(
            "profiles",
            user_id=user,
            bio=self.maybe_text(),
            birthday=self.day(),
            website=f" HTTPS://example.net/{self.text()}",
            preferences=self.rng.choice((None, Jsonb({"theme": self.text(), "sizes": [38, None]}))),
            avatar=self.rng.choice((None, self.rng.randbytes(100))),
        )

    def insert_order(self, user: Key) -> Key:
        """Insert an order of this user, without items."""
        return self.insert(
            "orders",
            user_id=user,
            shipping_address_id=self.rng.choice((None, self.pick("addresses"))),
            reference=self.uuid(),
            status=self.rng.choice(STATUSES),
            total=self.money(low=-10),
            coupon=self.rng.choice((None, "", " Spring-10 ")),
            note=self.maybe_text(),
            carrier=self.rng.choice((None, "DHL")),
            tracking_code=self.rng.choice((None, "TR-1/2")),
            shipped_at=self.rng.choice((None, self.moment())),
            placed_at=self.moment(),
        )

    def insert_item(self, order: Key) -> Key:
        """Insert an item of this order."""
        return self.insert(
            "order_items",
            order_id=order,
            product_id=None if self.chance(0.05) else self.pick("products"),
            quantity=self.rng.randint(0, 9),
            unit_price=Decimal(self.rng.randrange(10**7)).scaleb(-4),
            discount=self.rng.choice((None, Decimal("0.3333"))),
            returned=self.chance(0.1),
        )

    def insert_review(self, product: Key) -> Key:
        """Insert a review of this product."""
        return self.insert(
            "reviews",
            id=self.uuid(),
            product_id=product,
            user_id=None if self.chance(0.1) else self.pick("users"),
            stars=self.rng.randint(1, 5),
            title=self.rng.choice((None, "", self.text())),
            body=self.maybe_text(),
            visible=self.chance(0.9),
            written_at=self.moment().replace(tzinfo=None),
        )
