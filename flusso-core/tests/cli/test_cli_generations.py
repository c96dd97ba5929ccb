"""`flusso reindex` and `flusso rollback`, with a run that answers and without one."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from flusso_core.cli import ExitCode
from flusso_core.cli.running import PATIENCE_SECONDS, Arrivals, run_for
from flusso_core.engine import Engine
from flusso_core.errors import EngineError, SinkUnavailable
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)

from .test_cli_surfaces import PASSWORD, surface

if TYPE_CHECKING:
    from .conftest import Place

ADMIN = {"FLUSSO_ADMIN_USER": "ops", "FLUSSO_ADMIN_PASSWORD": PASSWORD}


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def running(place: Place) -> Iterator[str]:
    """The address of a run's private surface."""
    everywhere = ("--public-address", "127.0.0.1:0", "--private-address", "127.0.0.1:0")
    with place.start("run", *everywhere, **ADMIN) as process:
        yield surface(process, "private_address").removeprefix("http://")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == ExitCode.OK


def test_a_run_that_answers_does_it(place: Place, running: str) -> None:
    """D4: and the command waits until searches see it."""
    asked = ("--private-address", running, "--format", "json")
    done = place.run("reindex", "parents", "--keep-old", *asked, **ADMIN)
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout) == {
        "version": 1,
        "index": "parents",
        "done": True,
        "sinks": {"out": {"generation": 2, "serving": 2, "kept": [1], "clean": True}},
    }
    done = place.run("rollback", "parents", "--drop-current", *asked, **ADMIN)
    assert json.loads(done.stdout)["sinks"] == {
        "out": {"generation": 1, "serving": 1, "kept": [], "clean": True}
    }
    done = place.run("rollback", "parents", *asked, **ADMIN)
    assert done.returncode == ExitCode.FAILURE
    assert "error: out: index parents has no older generation to go back to" in done.stderr
    done = place.run("reindex", "parents", "--private-address", running, **ADMIN)
    assert done.stdout == "out: index parents: generation 3 serves\n"


def test_a_wrong_password_is_no_reason_to_do_it_alone(place: Place, running: str) -> None:
    """D5, R4."""
    wrong = {**ADMIN, "FLUSSO_ADMIN_PASSWORD": "letmein"}
    done = place.run("reindex", "parents", "--private-address", running, **wrong)
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert f"the run at {running} wants its own --admin-user" in done.stderr
    assert "letmein" not in done.stderr
    place.more = 'prefix = "other-"'
    place.write()
    done = place.run("reindex", "parents", "--private-address", running, **ADMIN)
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert f"another deployment runs at {running}" in done.stderr


def test_without_a_run_the_command_does_it(place: Place, nobody: str) -> None:
    """D4."""
    done = place.run("reindex", "parents", "--private-address", nobody)
    assert done.returncode == ExitCode.OK
    assert done.stdout.startswith("out: index parents: generation ")
    assert f"nobody listens at {nobody}" in done.stderr
    assert len(place.written["documents"]) == 5
    done = place.run("reindex", "parents", "--private-address", nobody, "--no-wait")
    assert done.returncode == ExitCode.OK
    assert "is being filled" in done.stdout


@pytest.mark.parametrize("command", ["reindex", "rollback"])
def test_an_index_that_there_is_not_is_named(place: Place, command: str, nobody: str) -> None:
    done = place.run(command, "carts", "--private-address", nobody)
    assert done.returncode == ExitCode.FAILURE
    assert "there is no index 'carts' in this deployment, but parents" in done.stderr


def test_a_signal_leaves_the_rest_to_the_next_run(place: Place, nobody: str) -> None:
    """R2."""
    place.sink["hang"] = True
    place.write()
    with place.start("reindex", "parents", "--private-address", nobody) as process:
        assert process.stderr is not None
        while "is being filled already" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK
    assert "the next run of the deployment goes on with it" in log


class Waiting:
    """An engine over edges in memory, whose sink another run may hold."""

    def __init__(self, *, down: bool = False) -> None:
        self.destination = MemoryDestination(lease_seconds=15.0)
        database = MemoryDatabase()
        database.commit(database.put_parent("1", "one"))
        self.down = down
        self.arrivals = Arrivals(["memory"])
        self.engine = Engine(
            MemoryCapture(database),
            MemoryBuilder(database),
            {"memory": MemorySink(self.destination, fault=self._check)},
            observer=self.arrivals,
        )

    def _check(self, _: str) -> None:
        if self.down:
            raise SinkUnavailable("down")

    async def hold(self) -> None:
        """Be another run that lives."""
        self.destination.writer = 7
        while True:
            self.destination.renewed = asyncio.get_running_loop().time()
            await asyncio.sleep(5)

    async def work(self) -> None:
        """Reindex, as a command would."""
        await run_for(
            self.engine,
            self.arrivals,
            lambda: self.engine.reindex("parents"),
            address="127.0.0.1:9465",
        )


def test_a_lease_that_another_run_keeps_is_not_waited_for_for_ever() -> None:
    """D5: it answers nowhere, and only people can tell which one it is."""

    async def main() -> None:
        waiting = Waiting()
        holding = asyncio.create_task(waiting.hold())
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(EngineError, match="another run seems to write to memory") as refused:
            await waiting.work()
        assert PATIENCE_SECONDS <= asyncio.get_running_loop().time() - began < 60.0
        assert "does not answer at 127.0.0.1:9465" in str(refused.value)
        holding.cancel()

    run_in_virtual_time(main(), seconds=600.0)


@pytest.mark.parametrize("trouble", ["a dead run's lease", "a sink that is down"])
def test_what_passes_by_itself_is_waited_for(trouble: str) -> None:
    """R1."""

    async def main() -> None:
        waiting = Waiting(down=trouble != "a dead run's lease")
        waiting.destination.writer = 7
        working = asyncio.create_task(waiting.work())
        await asyncio.sleep(PATIENCE_SECONDS * 3)
        waiting.down = False
        await working
        assert waiting.destination.records["parents"].current.number == 2

    run_in_virtual_time(main(), seconds=600.0)
