"""What every throw-away server does: start, answer, stop, crash, and leave nothing behind."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from flusso_sandbox.account import Account, make_folder
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.process import ServerProcess, StopSignal, log_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_POLL_SECONDS = 0.02
_PORT_ATTEMPTS = 3
_PORT_TAKEN = ("Address already in use", "BindException", "Failed to bind")


class ThrowAwayServer(ABC):
    """A server of its own in a temporary folder, on a free loopback port.

    A context manager; `start` and `close` do the same by hand. The calls block, from any thread
    (`asyncio.to_thread` from a coroutine). The server never outlives this program, however that
    ends: a supervisor process notices within about a second, stops it and removes its folder.

    Args:
        name: The product and its version, for people.
        start_timeout: Seconds that a start may take.
        stop_signals: The steps of a clean stop.
    """

    def __init__(
        self, name: str, *, start_timeout: float, stop_signals: Sequence[StopSignal]
    ) -> None:
        self._name = name
        self._start_timeout = start_timeout
        self._stop_signals = stop_signals
        self._account: Account | None = None
        self._folder: Path | None = None
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        process = self._process
        return process.pid if process is not None and process.exit_code() is None else None

    @property
    def folder(self) -> Path:
        """The server's folder, with its `log`.

        Raises:
            SandboxError: The server was never started, or is closed.
        """
        if self._folder is None:
            raise self._not_started()
        return self._folder

    def start(self) -> None:
        """Starts the server, the first time or after `stop` or `kill`, and waits until it answers.

        Raises:
            SandboxError: It does not start; the message ends with the last lines of its log.
            DownloadUnavailable: The files of this version cannot be had.
        """
        if self.pid is not None:
            return
        if self._folder is not None:
            self._launch()
            return
        try:
            self._first_start()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stops the server cleanly; its data stay for another `start`. Idempotent."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kills the server with SIGKILL, as a crash would; its data stay. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stops and starts the server, on the same port and with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the server and removes its folder. Idempotent."""
        self.stop()
        if self._folder is not None:
            self._forget(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _first_start(self) -> None:
        self._account = self._choose_account()
        self._folder = make_folder(self._name.split()[0].lower(), self._account)
        self._prepare(self._folder)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._choose_port(self._folder)
            try:
                self._launch()
            except SandboxError as error:
                # Another program may have taken the port between the choice and the start.
                taken = any(sign in str(error) for sign in _PORT_TAKEN)
                if attempt == _PORT_ATTEMPTS or not taken:
                    raise
            else:
                return

    def _launch(self) -> None:
        log = self.folder / "log"
        since = log.stat().st_size if log.exists() else 0
        process = self._run(self._command(self.folder))
        try:
            deadline = time.monotonic() + self._start_timeout
            while not self._answers():
                code = process.exit_code()
                if code is not None:
                    msg = f"{self._name} ended with {code} while it started.{self._reason()}"
                    raise SandboxError(msg + log_tail(log, since=since))
                if time.monotonic() > deadline:
                    msg = f"{self._name} gave no answer within {self._start_timeout:g} s."
                    raise SandboxError(msg + log_tail(log, since=since))
                time.sleep(_POLL_SECONDS)
        except BaseException:
            process.stop()
            raise
        self._process = process

    def _run(self, command: Sequence[str]) -> ServerProcess:
        return ServerProcess(
            command,
            folder=self.folder,
            log=self.folder / "log",
            env=self._environment(self.folder),
            account=self._account,
            stop_signals=self._stop_signals,
        )

    def _reason(self) -> str:
        """Why the server ended while it started, where its log does not say so."""
        return ""

    def _not_started(self) -> SandboxError:
        return SandboxError(f"{self._name} is not started")

    @abstractmethod
    def _choose_account(self) -> Account | None:
        """Who runs the server; None for the present user."""

    @abstractmethod
    def _prepare(self, folder: Path) -> None:
        """Fills the server's folder, fetching its programs first."""

    @abstractmethod
    def _choose_port(self, folder: Path) -> None:
        """Settles the server's port, which then stays the same."""

    @abstractmethod
    def _command(self, folder: Path) -> Sequence[str]:
        """The program to run, with its arguments."""

    @abstractmethod
    def _environment(self, folder: Path) -> Mapping[str, str]:
        """The whole environment of the server."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server can be used now."""

    @abstractmethod
    def _forget(self, folder: Path) -> None:
        """Drops what belongs to the folder, which is removed next."""
