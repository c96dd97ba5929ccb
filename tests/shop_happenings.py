"""What happens in a shop: one function each, with how often it happens."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from psycopg.types.json import Jsonb

from .shop_rows import STATUSES, TIERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shop_rows import Shop

Action: TypeAlias = "Callable[[Shop], bool]"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens in the shop.

    Attributes:
        name: for the summary.
        weight: how often, among all the others.
        act: does it, inside a transaction; answers whether it touched a row.
    """

    name: str
    weight: int
    act: Action


HAPPENINGS: list[Happening] = []


def _action(name: str, weight: int) -> Callable[[Action], Action]:
    """Register something that happens in the shop. It answers whether it touched a row."""

    def register(action: Action) -> Action:
        HAPPENINGS.append(Happening(name, weight, action))
        return action

    return register


# ---------------------------------------------------------------- users and what is theirs


@_action("user inserted", 4)
def _(shop: Shop) -> bool:
    user = shop.insert_user()
    if shop.chance(0.5):
        shop.insert_profile(user)
    if shop.chance(0.7):
        shop.insert_address(user)
    return True


@_action("user changed", 8)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "users",
        shop.pick("users"),
        name=shop.text(),
        nickname=shop.maybe_text(),
        tier=shop.rng.choice(TIERS),
        balance=shop.money(low=-100),
        login_count=shop.rng.randrange(1000),
        email=f"{shop.unique_text()}@Example.com ",
    )


@_action("user soft-deleted", 3)
def _(shop: Shop) -> bool:
    return shop.update("users", shop.pick("users", "deleted_at IS NULL"), deleted_at=shop.moment())


@_action("user undeleted", 3)
def _(shop: Shop) -> bool:
    return shop.update("users", shop.pick("users", "deleted_at IS NOT NULL"), deleted_at=None)


@_action("user deleted, with all that is theirs", 1)
def _(shop: Shop) -> bool:
    return shop.delete("users", shop.pick("users"))


@_action("user's key changed", 2)
def _(shop: Shop) -> bool:
    return shop.update("users", shop.pick("users"), id=shop.new_key("users"))


@_action("user replaced under the same key", 1)
def _(shop: Shop) -> bool:
    user = shop.pick("users")
    return shop.delete("users", user) and bool(shop.insert_user(id=user))


@_action("profile inserted", 3)
def _(shop: Shop) -> bool:
    bare = "NOT EXISTS (SELECT FROM profiles WHERE profiles.user_id = users.id)"
    user = shop.pick("users", bare)
    return user is not None and bool(shop.insert_profile(user))


@_action("profile changed", 3)
def _(shop: Shop) -> bool:
    profile = shop.pick("profiles")
    return shop.update_one_of(
        "profiles", profile, bio=shop.maybe_text(), birthday=shop.day(), website=shop.text()
    )


@_action("profile deleted", 2)
def _(shop: Shop) -> bool:
    return shop.delete("profiles", shop.pick("profiles"))


@_action("profile moved to another user", 2)
def _(shop: Shop) -> bool:
    bare = "NOT EXISTS (SELECT FROM profiles WHERE profiles.user_id = users.id)"
    user = shop.pick("users", bare)
    return user is not None and shop.update("profiles", shop.pick("profiles"), user_id=user)


@_action("address inserted", 3)
def _(shop: Shop) -> bool:
    user = shop.pick("users")
    return user is not None and bool(shop.insert_address(user))


@_action("address changed", 3)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "addresses",
        shop.pick("addresses"),
        street=shop.text(),
        city=shop.text(),
        postcode=shop.rng.choice((None, "00184")),
        lat=shop.rng.choice((None, 45.4642)),
        is_default=shop.chance(0.5),
    )


@_action("address deleted", 2)
def _(shop: Shop) -> bool:
    return shop.delete("addresses", shop.pick("addresses"))


@_action("address moved to another user", 2)
def _(shop: Shop) -> bool:
    user = shop.pick("users")
    return user is not None and shop.update("addresses", shop.pick("addresses"), user_id=user)


# ---------------------------------------------------------------- catalogue


@_action("category inserted", 1)
def _(shop: Shop) -> bool:
    return bool(
        shop.insert(
            "categories",
            parent_id=shop.pick("categories"),
            slug=shop.unique_text(),
            name=shop.text(),
        )
    )


@_action("category renamed", 1)
def _(shop: Shop) -> bool:
    category = shop.pick("categories")
    return shop.update("categories", category, name=shop.text(), slug=shop.unique_text())


@_action("category moved in the tree", 1)
def _(shop: Shop) -> bool:
    category, parent = shop.pick("categories"), shop.pick("categories")
    if not isinstance(category, int) or not isinstance(parent, int):
        return False
    # A parent always has the smaller key: the tree stays one.
    return shop.update("categories", category, parent_id=parent if parent < category else None)


@_action("category deleted", 1)
def _(shop: Shop) -> bool:
    # One with a parent: the roots would be gone soon otherwise.
    return shop.delete("categories", shop.pick("categories", "parent_id IS NOT NULL"))


@_action("product inserted", 3)
def _(shop: Shop) -> bool:
    return bool(shop.insert_product())


@_action("product changed", 8)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "products",
        shop.pick("products"),
        name=shop.text(),
        description=shop.maybe_text(),
        stock=shop.rng.randint(-5, 500),
        price=shop.money(),
        weight_kg=shop.rng.choice((None, 0.25)),
        attributes=Jsonb({"colour": shop.text()}),
        thumbnail=shop.rng.choice((None, shop.rng.randbytes(4000))),
    )


@_action("product taken from sale", 3)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "products",
        shop.pick("products"),
        price=shop.rng.choice((None, Decimal("-0.01"))),
        sku=f"TEST-{shop.rng.getrandbits(48):x}",
        discontinued=True,
    )


@_action("product put on sale again", 3)
def _(shop: Shop) -> bool:
    gone = "discontinued OR price IS NULL OR price < 0 OR starts_with(sku, 'TEST-')"
    return shop.update(
        "products",
        shop.pick("products", gone),
        discontinued=False,
        price=shop.money(),
        sku=f"AB-{shop.rng.getrandbits(48):x}",
    )


@_action("product moved to another category", 3)
def _(shop: Shop) -> bool:
    category = shop.rng.choice((None, shop.pick("categories"), shop.pick("categories")))
    return shop.update("products", shop.pick("products"), category_id=category)


@_action("product given another successor", 3)
def _(shop: Shop) -> bool:
    successor = shop.rng.choice((None, shop.pick("products"), shop.pick("products")))
    return shop.update("products", shop.pick("products"), successor_id=successor)


@_action("product's key changed", 2)
def _(shop: Shop) -> bool:
    return shop.update("products", shop.pick("products"), id=shop.new_key("products"))


@_action("product deleted, with its tags and reviews", 1)
def _(shop: Shop) -> bool:
    return shop.delete("products", shop.pick("products"))


@_action("product replaced under the same key", 1)
def _(shop: Shop) -> bool:
    product = shop.pick("products")
    return shop.delete("products", product) and bool(shop.insert_product(id=product))


@_action("tag inserted", 1)
def _(shop: Shop) -> bool:
    return bool(shop.insert("tags", name=shop.unique_text(), colour=shop.maybe_text()))


@_action("tag changed", 2)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "tags",
        shop.pick("tags"),
        name=f"{shop.rng.choice(('season-', ''))}{shop.unique_text()}",
        colour=shop.rng.choice((None, " RED ", shop.text())),
    )


@_action("tag deleted", 1)
def _(shop: Shop) -> bool:
    return shop.delete("tags", shop.pick("tags"))


@_action("product tagged", 5)
def _(shop: Shop) -> bool:
    product, tag = shop.pick("products"), shop.pick("tags")
    if product is None or tag is None:
        return False
    return shop.execute(
        "INSERT INTO product_tags (product_id, tag_id) VALUES (%(product)s, %(tag)s) "
        "ON CONFLICT DO NOTHING",
        product=product,
        tag=tag,
    )


@_action("product untagged", 3)
def _(shop: Shop) -> bool:
    product = shop.pick("products", "id IN (SELECT product_id FROM product_tags)")
    return shop.execute(
        "DELETE FROM product_tags WHERE product_id = %(product)s AND tag_id = "
        "(SELECT max(tag_id) FROM product_tags WHERE product_id = %(product)s)",
        product=product,
    )


@_action("pair moved to another tag", 3)
def _(shop: Shop) -> bool:
    product = shop.pick("products", "id IN (SELECT product_id FROM product_tags)")
    tag = shop.pick("tags")
    return shop.execute(
        "UPDATE product_tags SET tag_id = %(tag)s WHERE product_id = %(product)s AND tag_id = "
        "(SELECT min(tag_id) FROM product_tags WHERE product_id = %(product)s) AND NOT EXISTS "
        "(SELECT FROM product_tags WHERE product_id = %(product)s AND tag_id = %(tag)s)",
        product=product,
        tag=tag,
    )


@_action("pair moved to another product", 3)
def _(shop: Shop) -> bool:
    tag = shop.pick("tags", "id IN (SELECT tag_id FROM product_tags)")
    product = shop.pick("products")
    return shop.execute(
        "UPDATE product_tags SET product_id = %(product)s WHERE tag_id = %(tag)s AND product_id = "
        "(SELECT min(product_id) FROM product_tags WHERE tag_id = %(tag)s) AND NOT EXISTS "
        "(SELECT FROM product_tags WHERE product_id = %(product)s AND tag_id = %(tag)s)",
        product=product,
        tag=tag,
    )


# ---------------------------------------------------------------- orders, items, reviews


@_action("order inserted, with items", 8)
def _(shop: Shop) -> bool:
    user = shop.pick("users")
    if user is None:
        return False
    order = shop.insert_order(user)
    for _ in range(shop.rng.randint(0, 4)):
        shop.insert_item(order)
    return True


@_action("order changed", 6)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "orders",
        shop.pick("orders"),
        status=shop.rng.choice(STATUSES),
        total=shop.money(low=-10),
        placed_at=shop.moment(),
        note=shop.maybe_text(),
        carrier=shop.rng.choice((None, "UPS")),
        shipped_at=shop.rng.choice((None, shop.moment())),
    )


@_action("order moved to another user", 5)
def _(shop: Shop) -> bool:
    user = shop.pick("users")
    return user is not None and shop.update("orders", shop.pick("orders"), user_id=user)


@_action("order moved to another address", 3)
def _(shop: Shop) -> bool:
    address = shop.rng.choice((None, shop.pick("addresses"), shop.pick("addresses")))
    return shop.update("orders", shop.pick("orders"), shipping_address_id=address)


@_action("order's key changed", 2)
def _(shop: Shop) -> bool:
    return shop.update("orders", shop.pick("orders"), id=shop.new_key("orders"))


@_action("order deleted, with its items", 2)
def _(shop: Shop) -> bool:
    return shop.delete("orders", shop.pick("orders"))


@_action("item inserted", 4)
def _(shop: Shop) -> bool:
    order = shop.pick("orders")
    return order is not None and bool(shop.insert_item(order))


@_action("item changed", 5)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "order_items",
        shop.pick("order_items"),
        quantity=shop.rng.randint(0, 9),
        unit_price=shop.money(),
        discount=shop.rng.choice((None, Decimal("0.05"))),
        returned=shop.chance(0.5),
    )


@_action("item deleted", 5)
def _(shop: Shop) -> bool:
    return shop.delete("order_items", shop.pick("order_items"))


@_action("item moved to another order", 5)
def _(shop: Shop) -> bool:
    order = shop.pick("orders")
    return order is not None and shop.update(
        "order_items", shop.pick("order_items"), order_id=order
    )


@_action("item moved to another product", 4)
def _(shop: Shop) -> bool:
    product = shop.rng.choice((None, shop.pick("products"), shop.pick("products")))
    return shop.update("order_items", shop.pick("order_items"), product_id=product)


@_action("all items of an order changed at once", 2)
def _(shop: Shop) -> bool:
    return shop.execute(
        "UPDATE order_items SET returned = NOT returned, quantity = quantity + 1 "
        "WHERE order_id = %(order)s",
        order=shop.pick("orders"),
    )


@_action("review inserted", 5)
def _(shop: Shop) -> bool:
    product = shop.pick("products")
    return product is not None and bool(shop.insert_review(product))


@_action("review changed", 4)
def _(shop: Shop) -> bool:
    return shop.update_one_of(
        "reviews",
        shop.pick("reviews"),
        stars=shop.rng.randint(1, 5),
        title=shop.maybe_text(),
        body=shop.maybe_text(),
        written_at=shop.moment().replace(tzinfo=None),
    )


@_action("review taken down or put back", 3)
def _(shop: Shop) -> bool:
    return shop.execute(
        "UPDATE reviews SET visible = NOT visible WHERE id = %(review)s",
        review=shop.pick("reviews"),
    )


@_action("review moved to another product", 3)
def _(shop: Shop) -> bool:
    product = shop.pick("products")
    return product is not None and shop.update("reviews", shop.pick("reviews"), product_id=product)


@_action("review moved to another user", 3)
def _(shop: Shop) -> bool:
    user = shop.rng.choice((None, shop.pick("users"), shop.pick("users")))
    return shop.update("reviews", shop.pick("reviews"), user_id=user)


@_action("review's key changed", 2)
def _(shop: Shop) -> bool:
    return shop.update("reviews", shop.pick("reviews"), id=shop.uuid())


@_action("review deleted", 3)
def _(shop: Shop) -> bool:
    return shop.delete("reviews", shop.pick("reviews"))
