"""Runs one server for a parent process, and ends it when that parent is gone.

A script of its own, started with `python -I -S`: standard library only, one thread. It is the
server's parent, so it signals nothing but its own child, whose process id cannot be taken by
another program in the meantime.

Standard input: a line of JSON (an `order`), then `stop` or `kill`. The end of the input without
either, or a new parent process id, means that the parent died, however it died: the server is
stopped and its folder removed. Standard output: `started PID` or `failed REASON`. The exit code is
the server's.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_PARENT_CHECK_SECONDS = 1.0
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
_REAP_SECONDS = 5.0


def _die_with_supervisor() -> None:
    """Asks Linux to kill the server should this process be killed (`prctl(2)`).

    The signal is tied to the thread that started the child. There is just this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    user, group = order["user"], order["group"]
    with open(order["log"], "ab") as log:  # noqa: PTH123 - pathlib costs start-up time
        return subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=order["folder"],
            env=order["env"],
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            process_group=0,
            preexec_fn=_die_with_supervisor,  # noqa: PLW1509 - there is one thread
        )


def _end(server: subprocess.Popen[bytes], signals: list[tuple[int, float]]) -> None:
    """Sends each signal in turn and waits as long as it may take, then kills."""
    for number, seconds in signals:
        server.send_signal(number)
        try:
            server.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    _reap_orphans()


def _reap_orphans() -> None:
    """Waits for the server's own children, which follow it within moments (see `main`)."""
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.005)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Gives a signal a handler, so that it reaches the wake-up pipe."""


def _next_word(parent: int, server: subprocess.Popen[bytes], wake: int) -> bytes:
    """Waits for a command, the parent's end (nothing) or the server's own end (`exit`)."""
    while True:
        if server.poll() is not None:
            return b"exit"
        if os.getppid() != parent:
            return b""
        ready, _, _ = select.select([0, wake], [], [], _PARENT_CHECK_SECONDS)
        if wake in ready and signal.SIGTERM in os.read(wake, 64):
            return b""
        if 0 in ready:
            return os.read(0, 64).strip()


def _read_order() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            sys.exit(0)
        line += piece
    order: dict[str, Any] = json.loads(line)
    return order


def main() -> int:
    """Runs the server that the order names until one of its three possible ends."""
    order = _read_order()
    if sys.platform == "linux":
        # Children that a dead server leaves behind become this process's own (prctl(2)), so that
        # a server counts as ended when they are gone too.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    awake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _wake)
    try:
        server = _start(order)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(f"failed {error}\n")
        return 127
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"started {server.pid}\n")
        sys.stdout.flush()
    word = _next_word(order["parent"], server, awake)
    _end(server, [] if word == b"kill" else order["signals"])
    if not word:
        shutil.rmtree(order["folder"], ignore_errors=True)
    code = server.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
