"""Who runs a server: databases refuse to run as root, so root hands them to another account."""

from __future__ import annotations

import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flusso_sandbox.errors import SandboxError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An existing unprivileged account of this machine."""

    name: str
    uid: int
    gid: int

    def may_reach(self, path: Path, *, need: int = os.R_OK) -> bool:
        """Whether the account can use a path, by the mode bits of it and of its parents.

        Args:
            path: The file or folder.
            need: What the account does with it: `os.R_OK`, `os.X_OK`, or both.
        """
        target = path.resolve()
        if not all(self._allows(parent, os.X_OK) for parent in target.parents):
            return False
        return self._allows(target, need)

    def _allows(self, path: Path, need: int) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
        return (status.st_mode >> shift) & need == need


def unprivileged_account() -> Account | None:
    """The account to run a server as: None for the present user, who is not root.

    Raises:
        SandboxError: The present user is root, and there is no account to hand the server to.
    """
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    msg = (
        "a database server does not run as root, and neither of the accounts "
        f"{' and '.join(_CANDIDATES)} exists here: run as an ordinary user"
    )
    raise SandboxError(msg)


def make_folder(name: str, account: Account | None) -> Path:
    """Makes a temporary folder that belongs to the account, with no access for others.

    Args:
        name: What the folder is for; part of its name.
        account: Its owner, or None for the present user.

    Raises:
        SandboxError: No temporary folder can be reached by the account, or given to it.
    """
    prefix = f"flusso-{name}-"
    if account is None:
        return Path(tempfile.mkdtemp(prefix=prefix))
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108
        if account.may_reach(Path(parent), need=os.X_OK):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            try:
                os.chown(folder, account.uid, account.gid)
            except OSError as error:
                folder.rmdir()
                msg = f"{folder} cannot be given to the account {account.name}: {error}"
                raise SandboxError(msg) from error
            return folder
    msg = f"no temporary folder can be reached by the account {account.name}: set TMPDIR"
    raise SandboxError(msg)
