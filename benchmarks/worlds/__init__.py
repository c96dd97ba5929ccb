"""The worlds: tables with rows, the indexes made of them, and what may happen to them.

Every table that changes has an integer column `revision`, which its documents show. A change sets
it to a number that was never there before, so a search for that number tells which documents have
the change, whatever program wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.worlds.shapes import big, deep, fan_out, shared, wide
from benchmarks.worlds.shop import GIANT, shop
from benchmarks.worlds.world import Happening, World

__all__ = ["GIANT", "NAMES", "Happening", "Sizes", "World", "shop", "world"]


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
