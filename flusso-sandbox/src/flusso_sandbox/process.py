"""A server process that never outlives the program that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flusso_sandbox.account import Account

_MARGIN_SECONDS = 10.0
_SUPERVISOR = Path(__file__).with_name("_supervisor.py")


def log_tail(log: Path, *, since: int = 0, lines: int = 20) -> str:
    """The last lines of a log file, ready to stand at the end of an error message.

    Args:
        log: The file.
        since: The byte from which on it concerns the reader.
        lines: How many lines at most.
    """
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(since)
            tail = "".join(deque(file, maxlen=lines)).rstrip()
    except OSError:
        tail = ""
    return f"\nIts log ends with:\n{tail}" if tail else "\nIts log is empty."


@dataclass(frozen=True, slots=True)
class StopSignal:
    """One step of a clean stop: a signal, and how many seconds it may take to work."""

    number: int
    seconds: float


class ServerProcess:
    """Runs a command under a supervisor process that ends it together with this program.

    The supervisor (`_supervisor.py`) notices when this program is gone, also by SIGKILL, stops
    the server within about a second and removes its folder. It leads a session of its own: a
    Ctrl-C at the terminal reaches this program only, which then stops its servers in order.
    Any thread may start a server.

    Args:
        command: The program and its arguments.
        folder: The working directory, which belongs to the server alone: it is removed if this
            program dies.
        log: The file that takes the server's output.
        env: The whole environment of the server.
        account: Who runs it, or None for the present user.
        stop_signals: The steps of a clean stop, tried in turn; SIGKILL comes after the last.

    Raises:
        SandboxError: The command could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        log: Path,
        env: Mapping[str, str],
        account: Account | None,
        stop_signals: Sequence[StopSignal],
    ) -> None:
        self._bound = sum(step.seconds for step in stop_signals) + _MARGIN_SECONDS
        order = {
            "command": list(command),
            "env": dict(env),
            "folder": str(folder),
            "log": str(log),
            "user": account.uid if account else None,
            "group": account.gid if account else None,
            "signals": [(step.number, step.seconds) for step in stop_signals],
            "parent": os.getpid(),
        }
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SUPERVISOR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._say(json.dumps(order).encode())
            answer = self._answer()
        except BaseException:
            self._release()
            raise
        if not answer.startswith("started "):
            self._release()
            msg = f"{command[0]} could not be started: {answer.removeprefix('failed ')}"
            raise SandboxError(msg)
        self.pid = int(answer.split()[1])

    def exit_code(self) -> int | None:
        """The server's exit code (128 + n after signal n), or None while it runs."""
        return self._supervisor.poll()

    def wait(self, seconds: float) -> int:
        """Waits until the server ends by itself.

        Raises:
            SandboxError: It still runs after that many seconds.
        """
        try:
            return self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired as error:
            msg = f"process {self.pid} still runs after {seconds:g} s"
            raise SandboxError(msg) from error

    def stop(self) -> None:
        """Stops the server cleanly, within the bounds of its stop signals. Idempotent."""
        self._end(b"stop")

    def kill(self) -> None:
        """Kills the server with SIGKILL, as a crash would. Idempotent."""
        self._end(b"kill")

    def _end(self, word: bytes) -> None:
        if self._supervisor.poll() is None:
            self._say(word)
            try:
                self._supervisor.wait(self._bound)
            except subprocess.TimeoutExpired:
                # The kernel takes the server along (PR_SET_PDEATHSIG).
                self._supervisor.kill()
        self._release()

    def _say(self, word: bytes) -> None:
        pipe = self._supervisor.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(word + b"\n")
                pipe.flush()
            except BrokenPipeError:
                return  # it has ended, which its exit code tells

    def _answer(self) -> str:
        pipe = self._supervisor.stdout
        return pipe.readline().decode(errors="replace").strip() if pipe is not None else ""

    def _release(self) -> None:
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._supervisor.wait()
