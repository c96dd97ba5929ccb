"""`flusso` as its user runs it: as a process, in a folder with its files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

FLUSSO = Path(sys.executable).with_name("flusso")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when the condition holds; fail when it does not within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            message = f"not within {seconds:.0f} s: {what}"
            raise AssertionError(message)
        time.sleep(0.05)


def control() -> dict[str, str]:
    """Variables by which a run answers at an address of its own, and commands ask it there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return {
        "FLUSSO_PUBLIC_ADDRESS": "127.0.0.1:0",
        "FLUSSO_PRIVATE_ADDRESS": f"127.0.0.1:{port}",
        "FLUSSO_ADMIN_USER": "ops",
        "FLUSSO_ADMIN_PASSWORD": "of the tests",
    }


def _with_inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """These variables on top of this process's, less what starts with `FLUSSO_`."""
    inherited = {name: text for name, text in os.environ.items() if name[:7] != "FLUSSO_"}
    return {**inherited, **environment}


class Flusso:
    """A running `flusso` process with its output in a file.

    Args:
        arguments: of the command.
        folder: where it runs, and where its output goes.
        environment: on top of this process's, less what starts with `FLUSSO_`.
    """

    def __init__(self, *arguments: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.arguments = arguments
        self._log = folder / f"flusso-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(FLUSSO), *arguments],
                cwd=folder,
                env=_with_inherited(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code; fails when it does not end within the bound."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"flusso did not end within {seconds:.0f} s:\n{self.output}"
            raise AssertionError(message) from None

    def stop(self, seconds: float = 30) -> None:
        """Ask it to end; fails when it does not end well within the bound."""
        self.signal(signal.SIGTERM)
        assert self.wait(seconds) == 0, self.output

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.running:
            self._process.kill()
        self._process.wait(10)


class Workplace:
    """A folder with the files of a deployment, and what was started there.

    Args:
        folder: where the files are.
        environment: variables of whatever runs there, such as where the servers are.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self._started: list[Flusso] = []

    def start(self, *arguments: str, **environment: str) -> Flusso:
        """Start `flusso`; `close` ends it at the latest."""
        variables = {**self.environment, **environment}
        process = Flusso(*arguments, folder=self.folder, environment=variables)
        self._started.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `flusso` to its end."""
        return subprocess.run(
            [str(FLUSSO), *arguments],
            cwd=self.folder,
            env=_with_inherited({**self.environment, **environment}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def close(self) -> None:
        """End what still runs, and print what each run said: pytest shows it on a failure."""
        for process in self._started:
            process.kill()
            print(f"--- {process.arguments}\n{process.output}")  # noqa: T201
