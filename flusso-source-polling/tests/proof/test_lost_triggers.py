"""What becomes of a stream whose outbox is not as it was left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Severity
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.outbox.model import Logged

from .world import World, clock

REMADE = """
ALTER TABLE parents RENAME TO old_parents;
CREATE TABLE parents (id INTEGER PRIMARY KEY, name VARCHAR(40), changed DATETIME NOT NULL);
INSERT INTO parents SELECT * FROM old_parents;
DROP TABLE old_parents
"""
"""How migrations of SQLite change a table: its triggers go with the old one."""


def remake(world: World) -> None:
    """Make the table anew, and write to it."""
    world.script(REMADE)
    world.write("UPDATE parents SET name = 'unseen'")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(World(f"sqlite:///{tmp_path / 'w.db'}", tmp_path, "outbox")) as found:
        found.parent(1, "one", clock())
        yield found


async def test_a_table_that_was_remade_between_runs_is_read_again(world: World) -> None:
    """H3: what was written to it without triggers is in no log, so that there is a gap."""
    async with world.running():
        pass
    remake(world)
    async with world.running():
        world.write("UPDATE parents SET name = 'seen'")
        await world.right()


async def test_a_start_that_ends_when_triggers_are_made_leaves_the_gap_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H3: the next one finds triggers as they were remembered, and must not be content."""
    async with world.running():
        pass
    remake(world)
    install = Outbox.install

    def install_and_end(self: Outbox, tables: Sequence[Logged]) -> NoReturn:
        install(self, tables)
        raise SourceUnavailable("somebody is writing to another table")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "install", install_and_end)
        async with PollingCapture(world.context) as capture:
            with pytest.raises(SourceUnavailable):
                await capture.provision(temporary=False)
    async with world.running():
        await world.right()


async def test_a_table_that_is_remade_during_a_run_ends_it_and_is_read_again(world: World) -> None:
    """H3: nothing is missed in silence."""
    with pytest.raises(SourceFatal, match=r"changes of table public\.parents \(missing: "):
        await remake_during_a_run(world)
    async with world.running():
        await world.right()


async def test_triggers_that_are_lost_during_a_run_and_made_by_hand_leave_a_gap(
    world: World,
) -> None:
    """H3: as the error says; the next run finds them as they were, and must not be content."""
    without_leave(world)
    await paste(world)
    with pytest.raises(SourceFatal, match="made again, by the SQL that `flusso check` prints"):
        await remake_during_a_run(world)
    await paste(world)
    async with world.running():
        await world.right()


async def remake_during_a_run(world: World) -> None:
    """Returns when the run has ended, as it does."""
    async with world.running():
        remake(world)
        await world.ended()


def without_leave(world: World) -> None:
    """Runs may not make the outbox."""
    options = world.context.options.model_copy(update={"manage_outbox": False})
    world.context = SourceContext(options, world.context.schemas)


async def paste(world: World) -> None:
    """Do the SQL that a check prints."""
    for finding in await PollingCapture(world.context).check():
        if finding.severity is Severity.ERROR:
            world.script(finding.cure or "")


async def test_a_log_that_was_removed_is_made_again_and_the_tables_are_read(world: World) -> None:
    async with world.running():
        pass
    await PollingCapture(world.context).teardown(dry_run=False)
    world.write("UPDATE parents SET name = 'unseen'")
    async with world.running():
        world.write("UPDATE parents SET name = 'seen'")
        await world.right()


async def test_without_leave_to_make_it_a_run_says_what_is_missing(world: World) -> None:
    """`check` prints the SQL, and with that the run begins."""
    without_leave(world)
    async with PollingCapture(world.context) as capture:
        with pytest.raises(SourceFatal, match="there is no outbox"):
            await capture.provision(temporary=False)
    await paste(world)
    async with world.running():
        world.write("DELETE FROM parents WHERE id = 1")
        await world.right()


async def test_teardown_leaves_nothing_of_a_stream_that_has_ended(world: World) -> None:
    async with world.running():
        with pytest.raises(SourceFatal, match="stop flusso first"):
            await PollingCapture(world.context).teardown(dry_run=False)
        world.parent(2, "still logged", clock())
        await world.right()
    dry = await PollingCapture(world.context).teardown(dry_run=True)
    assert len(dry) == 4
    assert await PollingCapture(world.context).teardown(dry_run=False) == dry
    assert await PollingCapture(world.context).teardown(dry_run=False) == []
    world.parent(3, "logged no more", clock())
