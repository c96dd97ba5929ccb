"""A throw-away real MariaDB, from ready-made programs.

```python
with MariaDBServer() as server:
    url = server.create_database("shop")
```
"""

from __future__ import annotations

import os
import secrets
import signal
from types import MappingProxyType
from typing import TYPE_CHECKING

from flusso_sandbox.account import Account, unprivileged_account
from flusso_sandbox.endpoints import MariaDBEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.mariadb_files import MARIADB_VERSIONS, find_programs, readable_programs
from flusso_sandbox.ports import free_port
from flusso_sandbox.process import StopSignal, log_tail
from flusso_sandbox.server import ThrowAwayServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flusso_sandbox.progress import ProgressCallback

MARIADB_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "character-set-server": "utf8mb4",
        "max-connections": "200",
        "innodb-buffer-pool-size": "64M",
        "innodb-log-file-size": "32M",
        # The log reaches the operating system with each commit, so nothing is lost by `kill`.
        "innodb-flush-log-at-trx-commit": "2",
        "innodb-doublewrite": "OFF",
    }
)
"""What a throw-away server is set to unless told otherwise (MariaDB manual, "Server System
Variables"). The time zone is UTC: that of the process."""

# What makes the server a private one. Not to be changed: the rest of this module relies on it.
_PRIVATE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "bind-address": "127.0.0.1",
        "skip-name-resolve": "ON",
        # Else each start makes a certificate, which takes seconds.
        "ssl": "OFF",
        # Relative to the data folder, so that no length of its path is too long for a socket.
        "socket": "socket",
        "pid-file": "pid",
    }
)

_INSTALL_SECONDS = 120.0
_USER = "root"
_STOP_SIGNALS = (StopSignal(signal.SIGTERM, 15.0),)


class MariaDBServer(ThrowAwayServer):
    """A MariaDB of its own in a temporary folder, on a free loopback port.

    Connections need the password. As root the server runs as the account `postgres` or `nobody`.
    See `ThrowAwayServer` for how it starts and ends. The first start needs a download of 149 MB.

    Args:
        version: One of `MARIADB_VERSIONS`.
        settings: Server settings, spelled as options of `mariadbd` without the dashes, that
            replace or add to `MARIADB_SETTINGS`.
        start_timeout: Seconds that a start may take.
        progress: Told how far a download is; None shows it on standard error.
    """

    def __init__(
        self,
        version: str = MARIADB_VERSIONS[0],
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(
            f"MariaDB {version}", start_timeout=start_timeout, stop_signals=_STOP_SIGNALS
        )
        self.version = version
        self._settings = {**MARIADB_SETTINGS, **(settings or {}), **_PRIVATE_SETTINGS}
        self._progress = progress
        self._programs: Path | None = None
        self._password = secrets.token_urlsafe(18)
        self._endpoint: MariaDBEndpoint | None = None

    @property
    def endpoint(self) -> MariaDBEndpoint:
        """How to reach the server; it stays the same over restarts.

        Raises:
            SandboxError: The server was never started, or is closed.
        """
        if self._endpoint is None:
            raise self._not_started()
        return self._endpoint

    def url(self, database: str | None = None) -> str:
        """The SQLAlchemy URL of a database, password included; None for no database."""
        return self.endpoint.url(database)

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL."""
        return self.endpoint.create_database(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, and ends its sessions."""
        self.endpoint.drop_database(name)

    def _choose_account(self) -> Account | None:
        return unprivileged_account()

    def _prepare(self, folder: Path) -> None:
        programs = find_programs(self.version, self._progress)
        self._programs = readable_programs(programs, self._account, folder)
        secret = folder / "accounts.sql"
        secret.touch(mode=0o600)
        # The password needs no quoting: it is made of letters, digits, `-` and `_`.
        secret.write_text(
            "FLUSH PRIVILEGES;\n"
            "DELETE FROM mysql.global_priv WHERE User IN ('', 'root');\n"
            "FLUSH PRIVILEGES;\n"
            f"CREATE USER '{_USER}'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO '{_USER}'@'127.0.0.1' WITH GRANT OPTION;\n",
            encoding="ascii",
        )
        if self._account is not None:
            os.chown(secret, self._account.uid, self._account.gid)
        self._install(self._programs, folder, secret)
        secret.unlink()

    def _install(self, programs: Path, folder: Path, secret: Path) -> None:
        process = self._run(
            (
                str(programs / "scripts" / "mariadb-install-db"),
                "--no-defaults",
                f"--basedir={programs}",
                f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--force",
                f"--innodb-log-file-size={self._settings['innodb-log-file-size']}",
                f"--extra-file={secret}",
            )
        )
        try:
            code = process.wait(_INSTALL_SECONDS)
        finally:
            process.stop()
        if code != 0:
            msg = f"mariadb-install-db of {self._name} failed ({code}).{log_tail(folder / 'log')}"
            raise SandboxError(msg)

    def _choose_port(self, folder: Path) -> None:
        self._endpoint = MariaDBEndpoint("127.0.0.1", free_port(), _USER, self._password)

    def _command(self, folder: Path) -> Sequence[str]:
        if self._programs is None:
            raise self._not_started()
        return (
            str(self._programs / "bin" / "mariadbd"),
            "--no-defaults",
            f"--basedir={self._programs}",
            f"--lc-messages-dir={self._programs / 'share'}",
            f"--datadir={folder / 'data'}",
            f"--port={self.endpoint.port}",
            *(f"--{name}={value}" for name, value in self._settings.items()),
        )

    def _environment(self, folder: Path) -> Mapping[str, str]:
        libraries = str(self._programs / "libs") if self._programs is not None else ""
        return {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "TZ": "UTC",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LD_LIBRARY_PATH": libraries,
        }

    def _answers(self) -> bool:
        return self.endpoint.answers()

    def _forget(self, folder: Path) -> None:
        self._programs = self._endpoint = None
