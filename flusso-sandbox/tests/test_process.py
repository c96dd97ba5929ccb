"""The supervisor runs, stops and kills one process, and tells how it ended."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from flusso_sandbox.account import Account, make_folder
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.ports import free_port
from flusso_sandbox.process import ServerProcess, StopSignal, log_tail

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def run(folder: Path, script: str, *, seconds: float = 20.0) -> ServerProcess:
    return ServerProcess(
        [sys.executable, "-I", "-S", "-c", script],
        folder=folder,
        log=folder / "log",
        env={"NAME": "value"},
        account=None,
        stop_signals=[StopSignal(signal.SIGTERM, seconds)],
    )


def test_the_exit_code_and_the_output_are_kept(tmp_path: Path) -> None:
    process = run(tmp_path, "import os, sys; print(sorted(os.environ)); sys.exit(3)")
    assert process.wait(20) == 3
    process.stop()
    assert "'NAME'" in log_tail(tmp_path / "log")
    assert "'PATH'" not in log_tail(tmp_path / "log")


def test_a_stop_is_clean_and_can_be_repeated(tmp_path: Path) -> None:
    process = run(tmp_path, "import time; time.sleep(60)")
    assert process.exit_code() is None
    process.stop()
    process.stop()
    assert process.exit_code() == 128 + signal.SIGTERM
    assert tmp_path.exists()


def test_a_process_that_ignores_the_stop_is_killed(tmp_path: Path) -> None:
    process = run(tmp_path, DEAF, seconds=0.2)
    while "ready" not in log_tail(tmp_path / "log"):
        assert process.exit_code() is None
    process.stop()
    assert process.exit_code() == 128 + signal.SIGKILL


def test_children_that_a_killed_server_leaves_are_waited_for(tmp_path: Path) -> None:
    script = """
import os, time
if os.fork() == 0:
    time.sleep(0.5)
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    process = run(tmp_path, script)
    while "ready" not in log_tail(tmp_path / "log"):
        assert process.exit_code() is None
    children = psutil.Process(process.pid).children()
    process.kill()
    assert process.exit_code() == 128 + signal.SIGKILL
    assert children
    assert not any(child.is_running() for child in children)


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"could not be started.*No such file"):
        ServerProcess(
            ["/no/such/program"],
            folder=tmp_path,
            log=tmp_path / "log",
            env={},
            account=None,
            stop_signals=[],
        )


def test_waiting_has_an_end(tmp_path: Path) -> None:
    process = run(tmp_path, "import time; time.sleep(60)")
    try:
        with pytest.raises(SandboxError, match="still runs after"):
            process.wait(0.05)
    finally:
        process.kill()


def test_a_used_port_is_not_chosen() -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port: int = used.getsockname()[1]
        with pytest.raises(SandboxError, match="are in use"):
            free_port(range(port, port + 1))
    assert 0 < free_port() < 65536


def test_the_log_tail_is_short_and_begins_where_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert log_tail(log) == "\nIts log is empty."
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert log_tail(log).splitlines()[2] == "line 80"
    assert log_tail(log, since=log.stat().st_size) == "\nIts log is empty."


def test_reach_follows_the_mode_bits_of_every_parent(tmp_path: Path) -> None:
    stranger = Account("stranger", os.getuid() + 12345, os.getgid() + 12345)
    owner = Account("owner", os.getuid(), os.getgid())
    file = tmp_path / "closed" / "file"
    file.parent.mkdir(mode=0o700)
    file.write_text("")
    file.chmod(0o644)
    assert not stranger.may_reach(file)
    assert owner.may_reach(file)
    assert not owner.may_reach(file, need=os.X_OK)
    assert not owner.may_reach(file.with_name("missing"))
    assert stranger.may_reach(Path("/"), need=os.X_OK)


def test_a_server_folder_is_closed_to_others() -> None:
    folder = make_folder("test", None)
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()


def test_a_folder_that_cannot_be_given_away_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allow(*_: object) -> bool:
        return True

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Account, "_allows", allow)
    monkeypatch.setattr("os.chown", refuse)
    with pytest.raises(SandboxError, match=r"cannot be given to the account stranger: .*Invalid"):
        make_folder("test", Account("stranger", 12345, 12345))
    assert list(tmp_path.iterdir()) == []
