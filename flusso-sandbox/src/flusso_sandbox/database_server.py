"""What throw-away databases have in common: an account, a password, and data to initialise."""

from __future__ import annotations

import os
import secrets
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flusso_sandbox.account import Account, unprivileged_account
from flusso_sandbox.endpoints import DatabaseEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.ports import free_port
from flusso_sandbox.process import StopSignal, log_tail
from flusso_sandbox.server import ThrowAwayServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flusso_sandbox.progress import ProgressCallback

_INITIALISE_SECONDS = 120.0

DatabaseEndpointT = TypeVar("DatabaseEndpointT", bound=DatabaseEndpoint)


class DatabaseServer(ThrowAwayServer[DatabaseEndpointT]):
    """A database server whose connections need a password that is made for it alone.

    As root it runs as the account `postgres` or `nobody`. See `ThrowAwayServer` for how it starts
    and ends.

    Args:
        product: What it is, for people.
        version: One of the versions.
        versions: Those that can be started.
        settings: All of its settings.
        start_timeout: Seconds that a start may take.
        stop_signals: The steps of a clean stop.
        progress: Told how far a download is; None shows it on standard error.
    """

    def __init__(
        self,
        product: str,
        version: str,
        *,
        versions: Sequence[str],
        settings: Mapping[str, str],
        start_timeout: float,
        stop_signals: Sequence[StopSignal],
        progress: ProgressCallback | None,
    ) -> None:
        super().__init__(
            product,
            version,
            versions=versions,
            start_timeout=start_timeout,
            stop_signals=stop_signals,
            progress=progress,
        )
        self._settings = settings
        self._password = secrets.token_urlsafe(18)

    def url(self, database: str | None = None) -> str:
        """The URL of a database, password included; see the endpoint's."""
        return self.endpoint.url(database)

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL."""
        return self.endpoint.create_database(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, whatever still hangs on it."""
        self.endpoint.drop_database(name)

    def _choose_account(self) -> Account | None:
        return unprivileged_account()

    def _prepare(self, folder: Path) -> None:
        secret = folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(self._secret(), encoding="ascii")
        if self._account is not None:
            os.chown(secret, self._account.uid, self._account.gid)
        self._initialise(self._initialiser(folder / "data", secret), folder / "log")
        secret.unlink()

    def _initialise(self, command: Sequence[str], log: Path) -> None:
        failed = f"{Path(command[0]).name} of {self._name} failed"
        process = self._run(command)
        try:
            code = process.wait(_INITIALISE_SECONDS)
        except SandboxError as error:
            msg = f"{failed}: {error}.{log_tail(log)}"
            raise SandboxError(msg) from error
        finally:
            process.stop()
        if code != 0:
            msg = f"{failed} ({code}).{log_tail(log)}"
            raise SandboxError(msg)

    def _choose_endpoint(self, folder: Path) -> DatabaseEndpointT:
        return self._endpoint_at(free_port())

    @abstractmethod
    def _endpoint_at(self, port: int) -> DatabaseEndpointT:
        """How to reach the server at a loopback port."""

    @abstractmethod
    def _secret(self) -> str:
        """What the initialiser reads from a file that only the server's account can read."""

    @abstractmethod
    def _initialiser(self, data: Path, secret: Path) -> Sequence[str]:
        """The program that makes the data folder, with its arguments."""
