"""The schedules in which polling loses changes elsewhere, one by one, in each mode of following.

Each one names the mistake that it catches. The mode `comparison` reads whole tables; `cursor` and
`xmin` read what is behind a cursor, and with `+diff` compare all keys now and then; `outbox` reads
what triggers have written down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import MODES, World, clock

DATABASES = {
    "sqlite": ("comparison", "cursor", "outbox"),
    "postgres": ("comparison", "cursor", "xmin", "outbox"),
    "mariadb": ("cursor", "outbox"),
}


def on_each(*, diff: bool) -> pytest.MarkDecorator:
    """The test on each database, in each mode that it has.

    Args:
        diff: a cursor alone does not promise to see it.
    """
    cases: list[object] = []
    for database, modes in DATABASES.items():
        marks = [] if database == "sqlite" else [pytest.mark.integration]
        for mode in modes:
            name = f"{mode}+diff" if diff and f"{mode}+diff" in MODES else mode
            cases.append(pytest.param((database, name), id=f"{database}-{name}", marks=marks))
    return pytest.mark.parametrize("world", cases, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world that nothing follows yet."""
    database, mode = request.param
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'world.db'}"
    else:
        url = request.getfixturevalue(f"{database}_database")
    with contextlib.closing(World(url, tmp_path, mode)) as found:
        yield found


@on_each(diff=False)
async def test_late_commit(world: World) -> None:
    """A row that commits after a row with a later time was read: `> last` never sees it."""
    early = clock(-1)
    async with world.running():
        # The first is older than the stream, and found when nothing of before can come any more.
        # The second is late by itself.
        for number in (1, 11):
            if world.database == "sqlite":  # it has one writer at a time: the other one comes first
                world.parent(number + 1, "prompt", clock())
                await world.right()
                world.parent(number, "late", early)
            else:
                late = world.connect()
                world.write("BEGIN", late)
                world.parent(number, "late", early, late)
                world.parent(number + 1, "prompt", clock())
                await world.right()
                world.parent(number + 2, "prompt too", clock())
                await world.right()
                world.write("COMMIT", late)
            await world.right()
            early = clock(-1)


@on_each(diff=False)
async def test_equal_times_across_a_page(world: World) -> None:
    """More rows of one time than a page has: `>` skips those behind it, `>=` never goes on."""
    async with world.running():
        pass
    at = clock()
    values = ", ".join(f"({key}, 'p{key}', '{at}')" for key in range(1, 9))
    world.write(f"INSERT INTO parents VALUES {values}")
    async with world.running():
        world.parent(0, "below all of them", at)
        await world.right()
        world.parent(9, "above all of them", at)
        await world.right()
        world.write(f"UPDATE parents SET name = 'again', changed = '{at}' WHERE id = 4")
        await world.right()


@on_each(diff=True)
async def test_delete_between_polls(world: World) -> None:
    """A row that is not there any more has no time: only what is known of it tells."""
    world.families(8)
    async with world.running():
        pass
    world.write("DELETE FROM parents WHERE id IN (1, 4, 8)")
    world.write("DELETE FROM children WHERE id IN (1, 2, 7)")
    async with world.running():
        world.write("DELETE FROM children")
        await world.right()
        world.write("DELETE FROM parents")
        await world.right()


@on_each(diff=True)
async def test_delete_and_insert_again(world: World) -> None:
    """The key is there before and after, with another row, perhaps one that is older."""
    world.families(5)
    async with world.running():
        pass
    world.write("DELETE FROM parents WHERE id = 2")
    world.parent(2, "another", clock())
    world.write("DELETE FROM children WHERE id IN (3, 4)")
    world.child(3, 1, "moved by it", clock())
    world.child(4, 4, "older", clock(-1))
    async with world.running():
        pass


@on_each(diff=True)
async def test_moved_foreign_key(world: World) -> None:
    """The new parent is in the row; the old one is nowhere but in what is known (C3)."""
    world.families(5)
    async with world.running():
        pass
    world.write(f"UPDATE children SET parent = 5, changed = '{clock()}' WHERE id = 1")
    world.write(f"UPDATE children SET parent = NULL, changed = '{clock()}' WHERE id = 2")
    world.write(f"UPDATE children SET id = 30, changed = '{clock()}' WHERE id = 3")
    world.write(f"UPDATE parents SET id = 40, changed = '{clock()}' WHERE id = 4")
    async with world.running():
        # Back and forth, so that the parents are what they were but for the last step.
        for parent in (2, 3, 2):
            world.write(
                f"UPDATE children SET parent = {parent}, changed = '{clock()}' WHERE id = 1"
            )
        await world.right()


@on_each(diff=False)
async def test_clock_step(world: World) -> None:
    """The clock goes back: what is written then is older than all that was read before."""
    world.parent(1, "one", clock())
    world.child(1, 1, "one", clock())
    async with world.running():
        world.parent(2, "ahead", clock(1))
        await world.right()
        world.parent(3, "back", clock(-1))
        world.write(f"UPDATE parents SET name = 'back', changed = '{clock(-1)}' WHERE id = 1")
        world.write(f"UPDATE children SET label = 'back', changed = '{clock(-1)}' WHERE id = 1")
        await world.right()
