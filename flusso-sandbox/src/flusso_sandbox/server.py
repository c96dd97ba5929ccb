"""What every throw-away server does: start, answer, stop, crash, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from flusso_sandbox.account import make_folder
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.process import ServerProcess, StopSignal, log_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from flusso_sandbox.account import Account
    from flusso_sandbox.programs import Installation
    from flusso_sandbox.progress import ProgressCallback

_POLL_SECONDS = 0.02
_PORT_ATTEMPTS = 3
_PORT_TAKEN = ("Address already in use", "BindException", "Failed to bind")


class Endpoint(Protocol):
    """How to reach a server."""

    def answers(self) -> bool:
        """Whether the server can be used now."""
        ...


EndpointT = TypeVar("EndpointT", bound=Endpoint)


class ThrowAwayServer(ABC, Generic[EndpointT]):
    """A server of its own in a temporary folder, on a free loopback port.

    A context manager; `start` and `close` do the same by hand. The calls block, from any thread
    (`asyncio.to_thread` from a coroutine). The server never outlives this program, however that
    ends: a supervisor process notices within about a second, stops it and removes its folder.

    Args:
        product: What it is, for people.
        version: One of the versions.
        versions: Those that can be started.
        start_timeout: Seconds that a start may take.
        stop_signals: The steps of a clean stop.
        progress: Told how far a download is; None shows it on standard error.

    Attributes:
        version: The version that is started.
    """

    def __init__(
        self,
        product: str,
        version: str,
        *,
        versions: Sequence[str],
        start_timeout: float,
        stop_signals: Sequence[StopSignal],
        progress: ProgressCallback | None,
    ) -> None:
        self.version = version
        self._product = product
        self._versions = versions
        self._start_timeout = start_timeout
        self._stop_signals = stop_signals
        self._progress = progress
        self._account: Account | None = None
        self._folder: Path | None = None
        self._home: Path | None = None
        self._endpoint: EndpointT | None = None
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
    def endpoint(self) -> EndpointT:
        """How to reach the server; it stays the same over restarts.

        Raises:
            SandboxError: The server was never started, or is closed.
        """
        if self._endpoint is None:
            raise self._not_started()
        return self._endpoint

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
        self.stop()  # lets go of a process that has ended by itself
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
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._home = self._endpoint = None

    def _first_start(self) -> None:
        if self.version not in self._versions:
            known = ", ".join(self._versions)
            msg = f"the sandbox has no {self._product} {self.version!r}, but {known}"
            raise SandboxError(msg)
        self._account = self._choose_account()
        # A download may take minutes, so there is no folder before it that could be left behind.
        programs = self._find_programs()
        self._folder = make_folder(self._product.lower(), self._account)
        self._home = programs.readable(self._account, self._folder / "site")
        self._prepare(self._folder)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._endpoint = self._choose_endpoint(self._folder)
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

    @property
    def _name(self) -> str:
        return f"{self._product} {self.version}"

    @property
    def _programs(self) -> Path:
        """The folder of the server's programs."""
        if self._home is None:
            raise self._not_started()
        return self._home

    def _not_started(self) -> SandboxError:
        return SandboxError(f"{self._name} is not started: call start, or enter it with `with`")

    def _answers(self) -> bool:
        """Whether the server can be used now."""
        return self.endpoint.answers()

    def _environment(self, folder: Path) -> Mapping[str, str]:
        """The whole environment of the server."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}

    @abstractmethod
    def _choose_account(self) -> Account | None:
        """Who runs the server; None for the present user."""

    @abstractmethod
    def _find_programs(self) -> Installation:
        """The server's programs, fetched first if need be."""

    @abstractmethod
    def _prepare(self, folder: Path) -> None:
        """Fills the server's folder before the first start."""

    @abstractmethod
    def _choose_endpoint(self, folder: Path) -> EndpointT:
        """Settles the server's port, which then stays the same."""

    @abstractmethod
    def _command(self, folder: Path) -> Sequence[str]:
        """The program to run, with its arguments."""
