"""Random writers, and `flusso run` killed again and again: the index is what the tables say."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from .deployment import Deployment
from .world import MODES, World
from .writers import Writers

SECONDS = "FLUSSO_WRITERS_SECONDS"
"""The variable that says for how long a soak writes to each database."""

SEED = "FLUSSO_WRITERS_SEED"
"""The variable that names what to write, to see a failure again."""

BOUND = 60.0
"""Seconds within which the index is right: the interval and the pass over the keys that the
deployment asks for are well below one, the rest is what a small machine may need to start.
"""

# Parents one way and children the other, so that the ways meet in each document.
WAYS = {
    "sqlite": (("cursor+diff", "outbox"), ("outbox", "comparison"), ("comparison", "cursor+diff")),
    "postgres": (
        ("xmin+diff", "outbox"),
        ("outbox", "cursor+diff"),
        ("comparison", "xmin+diff"),
        ("cursor+diff", "comparison"),
    ),
    "mariadb": (("cursor+diff", "outbox"), ("outbox", "comparison"), ("comparison", "cursor+diff")),
}
DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.integration),
    pytest.param("mariadb", marks=pytest.mark.integration),
]


def url_of(database: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """A new database, in SQLAlchemy's terms."""
    if database == "sqlite":
        return f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"
    return str(request.getfixturevalue(f"{database}_database"))


@pytest.mark.parametrize("database", DATABASES)
def test_what_was_killed_goes_on_and_nothing_is_lost(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """C1 to C3, H8, R2: open transactions, equal times, wrong clocks, bulk deletes, moved keys."""
    attempt(url_of(database, request, tmp_path), tmp_path, WAYS[database][0], _seed(), 4.0)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("database", list(WAYS))
def test_nothing_is_lost_for_as_long_as_told(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """C1 to C3, H8, R2: the same for longer, in every way."""
    seconds = float(os.environ.get(SECONDS, "300")) / len(WAYS[database])
    url = url_of(database, request, tmp_path)
    for ways in WAYS[database]:
        folder = tmp_path / "-".join(ways)
        folder.mkdir()
        attempt(url, folder, ways, _seed(), seconds)


def attempt(url: str, folder: Path, ways: tuple[str, str], seed: int, seconds: float) -> None:
    """Write for so long, killing now and then; then wait for the index, and compare."""
    print(f"play it again: {SEED}={seed}")  # noqa: T201  # pytest shows it on a failure
    random = Random(seed)
    tables = dict(zip(("parents", "children"), (MODES[way] for way in ways), strict=True))
    pace = {"interval": 0.05, "max_interval": 0.2, "page_size": 7}
    source: dict[str, object] = {"connection_url": url, **pace}
    for mode in tables.values():
        source |= mode.source
    options = {name: mode.table for name, mode in tables.items() if mode.table}
    with contextlib.closing(World(url, folder, "comparison")) as world:
        deployment = Deployment(folder, source, options)
        try:
            with Writers(world, seed, 4) as writers:
                for pause in _pauses(random, seconds):
                    deployment.kill()
                    deployment.start()
                    if random.random() < 0.8:  # otherwise it is killed wherever it is
                        deployment.wait_until_live()
                    time.sleep(pause)  # the schedule itself, not a wait for something
                deployment.wait_until_live()
                time.sleep(1.0)
                # What it has found and not written is in the state file alone, and nobody writes
                # over it any more.
                deployment.kill()
            assert writers.committed > 10 * seconds / 2
            deployment.start()
            deployment.wait_until_live()
            _wait_until_right(world, deployment)
        finally:
            deployment.kill()


def _pauses(random: Random, seconds: float) -> Iterator[float]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield random.choice((0.5, 1.0, 2.0)) * random.uniform(0.6, 1.2)


def _wait_until_right(world: World, deployment: Deployment) -> None:
    expected = world.expected()
    end = time.monotonic() + BOUND
    while (found := deployment.documents()) != expected:
        assert time.monotonic() < end, (found, expected, deployment.log)
        time.sleep(0.1)


def _seed() -> int:
    return int(os.environ.get(SEED) or secrets.randbits(32))
