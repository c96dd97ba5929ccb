"""What a teardown takes back, and what it leaves."""

from __future__ import annotations

import pytest

from flusso_core.errors import SourceFatal
from flusso_core.model import Removal

from .shop import Shop

pytestmark = pytest.mark.integration

IDENTITIES = "SELECT relreplident::text FROM pg_class WHERE relname IN ('users', 'orders')"
SLOT = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"


async def torn_down(shop: Shop, url: str | None = None, *, dry_run: bool = False) -> list[Removal]:
    async with shop.capture(url=url) as capture:
        return list(await capture.teardown(dry_run=dry_run))


async def test_what_a_run_has_made_is_taken_back(shop: Shop) -> None:
    """Twice: the second one finds nothing."""
    async with shop.provisioned():
        pass
    made = [
        Removal(f"replication slot {shop.slot}"),
        Removal("publication flusso"),
        Removal("replica identity of public.orders"),
    ]
    assert await torn_down(shop, dry_run=True) == made
    assert shop.sql(IDENTITIES) == [("d",), ("f",)]
    assert shop.sql(SLOT, shop.slot)
    assert await torn_down(shop) == made
    assert shop.sql(IDENTITIES) == [("d",), ("d",)]
    assert not shop.sql(SLOT, shop.slot)
    assert not shop.sql("SELECT 1 FROM pg_publication")
    assert [one.subject for one in await torn_down(shop)] == ["replica identities"]
    async with shop.provisioned():
        pass


async def test_an_identity_by_index_comes_back(shop: Shop) -> None:
    """Also where a later run has found it set already."""
    shop.sql(
        'ALTER TABLE orders ALTER total SET NOT NULL; CREATE UNIQUE INDEX "Odd" ON orders (total);'
        'ALTER TABLE orders REPLICA IDENTITY USING INDEX "Odd"'
    )
    for _ in range(2):
        async with shop.provisioned():
            pass
    await torn_down(shop)
    assert shop.sql("SELECT relreplident::text FROM pg_class WHERE relname = 'orders'") == [("i",)]


async def test_what_others_made_is_left_and_named_with_the_sql(shop: Shop) -> None:
    shop.sql("CREATE PUBLICATION flusso FOR TABLE users, orders")
    async with shop.provisioned():
        pass
    slot, publication, identities = await torn_down(shop)
    assert slot.left is None
    assert publication.left == 'flusso did not make it: DROP PUBLICATION "flusso"'
    assert "is not known" in str(identities.left)
    assert shop.sql("SELECT 1 FROM pg_publication")


async def test_a_table_that_others_publish_keeps_its_identity(shop: Shop) -> None:
    async with shop.provisioned():
        shop.sql("CREATE PUBLICATION other FOR TABLE orders")
    *_, identity = await torn_down(shop)
    assert 'also published by "other"' in str(identity.left)
    assert shop.sql("SELECT relreplident::text FROM pg_class WHERE relname = 'orders'") == [("f",)]


async def test_a_run_in_progress_is_not_cut_off(shop: Shop) -> None:
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1)")
        await received.until(lambda got: bool(got.changes))
        with pytest.raises(SourceFatal, match=r"in use by process \d+: stop flusso first"):
            await torn_down(shop)
    assert shop.sql("SELECT 1 FROM pg_publication")


async def test_a_role_that_may_not_gets_the_sql_for_an_administrator(shop: Shop) -> None:
    async with shop.provisioned():
        pass
    url = shop.role(f"role_{shop.slot}", "REPLICATION")
    slot, publication, identity = await torn_down(shop, url)
    assert slot.left is None
    assert publication.left == 'the role may not remove it: DROP PUBLICATION "flusso"'
    assert 'ALTER TABLE "public"."orders" REPLICA IDENTITY DEFAULT' in str(identity.left)
