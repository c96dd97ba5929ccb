"""The cache on disk: each of its folders is made once, and is complete or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flusso_sandbox.errors import DownloadUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

CACHE_VARIABLE = "FLUSSO_SANDBOX_CACHE"
_LOCK_SECONDS = 900.0


def cache_folder() -> Path:
    """Where the cache is: `FLUSSO_SANDBOX_CACHE`, else a folder in the user's own cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("flusso-sandbox", appauthor=False)


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Gives a folder of the cache, and fills it the first time; other processes wait meanwhile.

    The folder appears once it is complete. What a killed process has left half-done goes away when
    the next one begins.

    Args:
        name: The folder's name.
        fill: Puts everything into an empty folder.

    Raises:
        DownloadUnavailable: The cache cannot be written, or another process fills the folder for
            too long. What `fill` raises comes through.
    """
    target = cache_folder() / name
    if target.is_dir():
        return target
    with _locked(target):
        if not target.is_dir():
            _make(target, fill)
    return target


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    for stale in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        complete = staging / "complete"
        complete.mkdir()
        fill(complete)
        complete.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock", timeout=_LOCK_SECONDS)
        lock.acquire()
    except Timeout as error:
        msg = f"another process has been filling {folder} for {_LOCK_SECONDS:g} s: end it"
        raise DownloadUnavailable(msg) from error
    except OSError as error:
        msg = f"the cache {folder.parent} cannot be written ({error}): set {CACHE_VARIABLE}"
        raise DownloadUnavailable(msg) from error
    try:
        yield
    finally:
        lock.release()
